"""Figures of the experiment as tables beside the paper's and as JSON; intervals of what methods differ by."""

import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from benchmarks.granularity.bootstrap import DRAWS, INTERVAL, Effect, written
from benchmarks.granularity.photos import RINGS
from gags.compare.methods import UNIFORM
from gags.compare.methods.learner import Method
from gags.compare.paper import ComparedTable, side_by_side

FIGURES = {
    "mAcc": "mean_accuracy",
    "mIoU": "mean_iou",
    "mAP": "mean_average_precision",
    "best IoU": "mean_best_iou",
}
"""Columns of the table → figures of an evaluation."""
PAIRED = {"mAcc": "hit", "mIoU": "iou"}
"""Columns that methods are compared by pair by pair → what a pair has of it."""
REFERENCE = "average"  # method that levels are compared with


@dataclass(frozen=True)
class Outcome:
    """One method with all its seeds.

    Attributes:
        method: The method.
        evaluations: `Evaluation.to_json()` of every seed.
        seconds: Time to learn, of every seed.
    """

    method: Method
    evaluations: tuple[dict[str, Any], ...]
    seconds: tuple[float, ...]

    def percent(self, column: str) -> float:
        """Median of a column of the table over the seeds, %."""
        return 100 * statistics.median(e["overall"][FIGURES[column]] for e in self.evaluations)

    def of_pairs(self, column: str, frames: Collection[str] | None = None) -> np.ndarray:
        """A column of `PAIRED` for every seed and every pair of a frame and a category, shares. [S, P]

        Args:
            column: One of `PAIRED`.
            frames: Frames that count. Default: all.
        """
        rows = [sorted(e["rows"], key=lambda row: (row["frame"], row["category"])) for e in self.evaluations]
        return np.array(
            [
                [float(row[PAIRED[column]]) for row in seed if frames is None or row["frame"] in frames]
                for seed in rows
            ]
        )

    def to_json(self) -> dict[str, Any]:
        """Medians (%), then the means of every seed as shares."""
        seeds = [
            {"seconds": round(seconds, 1), **evaluation["overall"]}
            for evaluation, seconds in zip(self.evaluations, self.seconds, strict=True)
        ]
        medians = {column: round(self.percent(column), 2) for column in FIGURES}
        return {"method": self.method.name, "title": self.method.title, **medians, "seeds": seeds}


@dataclass(frozen=True, eq=False)
class Contrast:
    """Two methods in the same worlds.

    Attributes:
        title: What is compared.
        one: One method.
        other: The method that is subtracted.
    """

    title: str
    one: Outcome
    other: Outcome

    def effect(
        self, column: str, frames: Collection[str] | None = None, *, draws: int = DRAWS, seed: int = 0
    ) -> Effect:
        """Mean difference over pairs and seeds, with its 95 % interval, shares.

        A pair is one category in one frame; both methods are asked for it in every world. Pairs are drawn
        anew, and worlds, if there are several, the same for both methods (paired bootstrap).

        Args:
            column: One of `PAIRED`.
            frames: Frames that count. Default: all.
            draws: How often.
            seed: Of the draws.
        """
        differences = self.one.of_pairs(column, frames) - self.other.of_pairs(column, frames)
        rng = np.random.default_rng(seed)
        worlds, pairs = (rng.multinomial(n, np.full(n, 1 / n), size=draws) / n for n in differences.shape)
        low, high = np.percentile(((worlds @ differences) * pairs).sum(axis=1), INTERVAL)
        return Effect(float(differences.mean()), float(low), float(high))


def contrasts(outcomes: Sequence[Outcome]) -> list[Contrast]:
    """Every method less the same with uniform prompts, then less the averaged levels of the same prompts."""
    by_name = {outcome.method.name: outcome for outcome in outcomes}
    found = []
    for name, outcome in by_name.items():
        if UNIFORM + name in by_name:
            title = f"prompts: {name} less {UNIFORM}{name}"
            found.append(Contrast(title, outcome, by_name[UNIFORM + name]))
    for name, outcome in by_name.items():
        reference = UNIFORM * name.startswith(UNIFORM) + REFERENCE
        if name != reference and reference in by_name:
            found.append(Contrast(f"levels: {name} less {reference}", outcome, by_name[reference]))
    return found


def by_ring(rings: Mapping[str, str]) -> dict[str, list[str] | None]:
    """Frames by ring, first all of them.

    Args:
        rings: The ring of every frame; none if there are too few frames for rings.

    Returns:
        Names of frames; None for all.
    """
    found: dict[str, list[str] | None] = {"all": None}
    for ring in RINGS:
        frames = [frame for frame, where in rings.items() if where == ring]
        if frames:
            found[ring] = frames
    return found


def effects_table(compared: Sequence[Contrast], rings: Mapping[str, str] = MappingProxyType({})) -> str:
    """Differences in percent points with their intervals; "not shown" where one holds both signs.

    Args:
        compared: What is compared.
        rings: The ring of every frame, if rings are told apart.
    """
    lines = [
        f"| compared, 95 % interval | frames | {' | '.join(PAIRED)} |",
        "|---|---|" + "---|" * len(PAIRED),
    ]
    for contrast in compared:
        for ring, frames in by_ring(rings).items():
            cells = " | ".join(written(contrast.effect(column, frames), 100) for column in PAIRED)
            lines.append(f"| {contrast.title} | {ring} | {cells} |")
    return "\n".join(lines)


def main_table(outcomes: Sequence[Outcome]) -> str:
    """One Markdown row a method."""
    lines = [f"| method | {' | '.join(FIGURES)} | s |", "|---|" + "---|" * (len(FIGURES) + 1)]
    for outcome in outcomes:
        figures = " | ".join(f"{outcome.percent(column):.1f}" for column in FIGURES)
        lines.append(f"| {outcome.method.name} | {figures} | {statistics.median(outcome.seconds):.0f} |")
    return "\n".join(lines)


def paper_tables(outcomes: Sequence[Outcome]) -> list[str]:
    """Those rows of the paper's tables whose method was run; tables of one row are left out."""
    by_name = {outcome.method.name: outcome for outcome in outcomes}
    filled = [_paper_table(table, by_name) for table in side_by_side()]
    return [text for text in filled if text]


def _paper_table(table: ComparedTable, outcomes: dict[str, Outcome]) -> str:
    """One table as Markdown, empty if it would have fewer than two rows."""
    lines = [f"**{table.title}**", "", "| | mIoU | mAcc | paper mIoU | paper mAcc |", "|---|---|---|---|---|"]
    head = len(lines)
    for row in table.rows:
        if row.method in outcomes:
            outcome, paper = outcomes[row.method], row.paper
            theirs = f"{paper.mean_iou:.2f} | {paper.mean_accuracy:.2f}" if paper else "– | –"
            ours = f"{outcome.percent('mIoU'):.2f} | {outcome.percent('mAcc'):.2f}"
            lines.append(f"| {row.label} | {ours} | {theirs} |")
    return "\n".join(lines) if len(lines) > head + 1 else ""
