"""Figures of all arms as Markdown tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.granularity.arms import Arm
from benchmarks.granularity.bootstrap import Bootstrap, Effect, joined, plain_means
from benchmarks.granularity.cut import CONTAINMENT
from benchmarks.granularity.photos import RINGS
from gags.segment.masks import LEVELS
from gags.store import plain

REFERENCE = "crops"  # arm that all others are compared with, as in the paper
PERCENT = 100.0


@dataclass(frozen=True, eq=False)
class Outcome:
    """One arm, with contained masks dropped or kept.

    Attributes:
        prompts: Prompts a photo, by ring; NaN for a ring without photos. [3]
        masks: Masks a photo, by ring and level. [3, 3]
        found: From `found_in_both`. [4, K, U, V]
        surface: From `surface_iou`. [3, K, U, V]
    """

    prompts: np.ndarray
    masks: np.ndarray
    found: np.ndarray
    surface: np.ndarray


Outcomes = Mapping[tuple[str, bool], Outcome]
"""By name of the arm, and whether contained masks are dropped."""


@dataclass(frozen=True)
class Contrast:
    """Two arms that differ in one thing, or in the way that the paper compared them.

    Attributes:
        title: What is compared.
        one: Arm, and whether contained masks are dropped.
        other: Likewise; its mean is subtracted.
    """

    title: str
    one: tuple[str, bool]
    other: tuple[str, bool]


def contrasts(arms: Sequence[Arm]) -> list[Contrast]:
    """What is compared: each law with as many uniform prompts, with the reference, and containment."""
    titles = {arm.name: arm.title for arm in arms}
    own = {arm.name: arm.settings.drop_contained for arm in arms}
    pairs = [(arm.name, arm.equal) for arm in arms if arm.equal]
    pairs += [(arm.name, REFERENCE) for arm in arms if arm.name != REFERENCE and REFERENCE in titles]
    found = [
        Contrast(f"{titles[one]}, less {titles[other]}", (one, own[one]), (other, own[other]))
        for one, other in pairs
    ]
    return found + [
        Contrast(f"{arm.title}: contained masks dropped, less kept", (arm.name, True), (arm.name, False))
        for arm in arms
    ]


def masks_table(arms: Sequence[Arm], outcomes: Outcomes) -> str:
    """Prompts and masks a photo, near and far."""
    head = " | ".join(f"masks, {RINGS[ring]}: {' / '.join(LEVELS)}" for ring in (0, 2))
    lines = [
        f"| prompts | contained masks | prompts a photo, {' / '.join(RINGS)} | {head} |",
        "|---|---|---|---|---|",
    ]
    for arm, dropped, outcome in _rows(arms, outcomes):
        prompts = " / ".join("–" if np.isnan(n) else f"{n:.0f}" for n in outcome.prompts)
        masks = [" / ".join(f"{n:.1f}" for n in outcome.masks[ring]) for ring in (0, 2)]
        lines.append(f"| {arm.title} | {_kept(dropped)} | {prompts} | {' | '.join(masks)} |")
    return "\n".join(lines)


def means_table(arms: Sequence[Arm], outcomes: Outcomes) -> str:
    """Share of objects that are found near and far, %, and surface IoU, of every level."""
    levels = [*LEVELS, "any"]
    head = [f"found, {level}" for level in levels] + [f"IoU, {level}" for level in LEVELS]
    lines = [f"| prompts | contained masks | {' | '.join(head)} |", "|---" * (len(head) + 2) + "|"]
    for arm, dropped, outcome in _rows(arms, outcomes):
        cells = [f"{PERCENT * mean:.1f}" for mean in plain_means(outcome.found)]
        cells += [f"{mean:.3f}" for mean in plain_means(outcome.surface)]
        lines.append(f"| {arm.title} | {_kept(dropped)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def effects_table(
    arms: Sequence[Arm], outcomes: Outcomes, bootstrap: Bootstrap, measure: str, levels: Sequence[str]
) -> str:
    """Differences with intervals, in percent points; "not shown" where the interval holds both signs.

    Args:
        arms: The arms.
        outcomes: Their figures.
        bootstrap: The draws.
        measure: "found" or "surface".
        levels: Names of the rows of that measure.
    """
    lines = [f"| compared | {' | '.join(levels)} |", "|---" * (len(levels) + 1) + "|"]
    for contrast, effects in effects_of(arms, outcomes, bootstrap, measure):
        lines.append(f"| {contrast.title} | {joined(effects, PERCENT)} |")
    return "\n".join(lines)


def effects_of(
    arms: Sequence[Arm], outcomes: Outcomes, bootstrap: Bootstrap, measure: str
) -> list[tuple[Contrast, list[Effect]]]:
    """Every contrast with its effects by level."""
    return [
        (c, bootstrap.effects(getattr(outcomes[c.one], measure), getattr(outcomes[c.other], measure)))
        for c in contrasts(arms)
    ]


def all_tables(arms: Sequence[Arm], outcomes: Outcomes) -> str:
    """Everything that is printed."""
    _, objects, near, far = next(iter(outcomes.values())).found.shape
    bootstrap = Bootstrap(objects, near, far)
    return "\n\n".join(
        [
            masks_table(arms, outcomes),
            f"{objects} objects, {near} near and {far} far photos: share of objects whose best mask is the "
            "object both near and far, in %, and IoU of masks between near and far, on the surface both see:",
            means_table(arms, outcomes),
            "Differences of the share found near and far, percent points (95 % interval):",
            effects_table(arms, outcomes, bootstrap, "found", [*LEVELS, "any"]),
            "Differences of the IoU between near and far, percent points (95 % interval):",
            effects_table(arms, outcomes, bootstrap, "surface", LEVELS),
        ]
    )


def to_json(arms: Sequence[Arm], outcomes: Outcomes) -> dict[str, Any]:
    """Arms, figures of every object and pair of photos, and effects, as plain values."""
    _, objects, near, far = next(iter(outcomes.values())).found.shape
    bootstrap = Bootstrap(objects, near, far)
    pairs = {
        f"{name}, {_kept(dropped)}": {"found": _nested(of.found), "surface": _nested(of.surface)}
        for (name, dropped), of in outcomes.items()
    }
    effects = {
        measure: [
            {"compared": contrast.title, "levels": [vars(effect) for effect in found]}
            for contrast, found in effects_of(arms, outcomes, bootstrap, measure)
        ]
        for measure in ("found", "surface")
    }
    described = {arm.name: {"title": arm.title, "settings": plain(arm.settings)} for arm in arms}
    return {"arms": described, "pairs": pairs, "effects": effects}


def _nested(values: np.ndarray) -> list:
    """Nested lists of an array; None, as JSON has no NaN, for what a photo does not see."""
    return np.where(np.isnan(values), np.array(None), values.round(4)).tolist()


def _rows(arms: Sequence[Arm], outcomes: Outcomes) -> list[tuple[Arm, bool, Outcome]]:
    return [(arm, dropped, outcomes[arm.name, dropped]) for arm in arms for dropped in CONTAINMENT]


def _kept(dropped: bool) -> str:
    return "dropped" if dropped else "kept"
