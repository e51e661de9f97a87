"""The presets: which settings of describing and distilling belong together, under one word.

`paper` has every formula as the paper's text has it, and the released program's constants where the text has
none. `released` does what the released program does. `lite` was measured to be best with MobileSAM and the
encoder `lite`; it is the default of every setting. `docs/method.md` says what each of them switches on.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeVar

from gags import models
from gags.distill.effects import refuse_ignored, refuse_impossible
from gags.distill.settings import DistillSettings
from gags.errors import WorkspaceError
from gags.files.ranges import check_value
from gags.models import hub
from gags.models.hub import read_json
from gags.models.known import OWN_MODELS, PAPER_SEGMENTER
from gags.segment.settings import DescribeSettings

PresetName = Literal["auto", "lite", "paper", "released"]
Changes = Mapping[str, Any]
"""Settings by name, for those of a preset that the user changed."""

Settings = TypeVar("Settings", DescribeSettings, DistillSettings)
AUTO_PRESET: PresetName = "auto"
VIT_H_WIDTH = 1280  # of SAM's image encoder; ViT-L has 1024


@dataclass(frozen=True)
class Preset:
    """Settings that belong together.

    Attributes:
        describe: Prompts, masks and crops.
        distill: Distillation, and how the field is asked.
    """

    describe: DescribeSettings
    distill: DistillSettings


RELEASED_ENTROPY_WEIGHT = 0.002
RELEASED_CONSISTENCY_WEIGHT = 0.1
# λ_e and λ_c of the released program belong to its means over D = 512 channels, 3 levels and 16 channels,
# and to an L1 distance; the paper's formulas are sums, and of squares. Let the decoded embedding miss its
# target by a vector of length δ that is spread over the channels as a Gaussian is. Then
#   released:  L_r = mean|·| = sqrt(2 / (πD)) δ,   L_e = E / 3,   L_c = V / 16
#   paper:     L_r = δ²,                           L_e = E,       L_c = V
# and the terms weigh as much against L_r if
#   λ_e(paper) = λ_e(released) · δ² / (3 sqrt(2 / (πD)) δ) = λ_e(released) · 9.45 δ
#   λ_c(paper) = λ_c(released) · δ² / (16 sqrt(2 / (πD)) δ) = λ_c(released) · 1.77 δ
# One δ has to be chosen, since L1 and squares are not proportional. It is the distance of a thing's
# CLIP embeddings from their mean, where distillation ends: a cosine of 0.86, 1 − δ²/2. So the entropy weight
# is five times the released program's. V here is the mean over the regions of Eq. 6, because λ_c belongs to
# a mean, too.
REFERENCE_DISTANCE = 0.53
REFERENCE_DIM = 512


def entropy_for_sums(weight: float, distance: float = REFERENCE_DISTANCE, dim: int = REFERENCE_DIM) -> float:
    """λ_e for sums of squares that is to L_r what `weight` is with means of absolute values (derived above).

    Args:
        weight: λ_e of the released program.
        distance: Length δ of the residual of a pixel.
        dim: Length D of the embeddings.
    """
    return weight * distance / (3 * math.sqrt(2 / (math.pi * dim)))


def consistency_for_sums(
    weight: float, distance: float = REFERENCE_DISTANCE, dim: int = REFERENCE_DIM, feature_dim: int = 16
) -> float:
    """λ_c for sums of squares that is to L_r what `weight` is with means of absolute values (derived above).

    Args:
        weight: λ_c of the released program.
        distance: Length δ of the residual of a pixel.
        dim: Length D of the embeddings.
        feature_dim: Length d of the features.
    """
    return weight * distance / (feature_dim * math.sqrt(2 / (math.pi * dim)))


PRESETS: dict[Literal["lite", "paper", "released"], Preset] = {
    "lite": Preset(DescribeSettings(), DistillSettings()),
    "paper": Preset(
        DescribeSettings(
            prompts_per_patch=16,
            replacement=True,
            stability_at="photo",
            score_first=False,
            second_box_nms=True,
            keep_largest=True,
            drop_contained=True,
            paint_by="iou",
            crop="whole",
            crop_filter="bilinear",
        ),
        DistillSettings(
            decoder="one-net",
            start="zero",
            single_share=0.0,
            consensus=False,
            counted="all-levels",
            region_aware=True,
            granularity="distance",
            entropy_weight=round(entropy_for_sums(RELEASED_ENTROPY_WEIGHT), 4),
            consistency_weight=round(consistency_for_sums(RELEASED_CONSISTENCY_WEIGHT), 4),
            consistency_by="region",
            detach_granularity=False,
            # Free, as long as it ends at the loss of one-photo steps: `benchmarks/README.md`, "Schedules".
            feature_rate=4e-3,
            decoder_rate=1e-3,
            steps=10_000,
            batch_regions=64,
            asked="pixels",
        ),
    ),
    "released": Preset(
        DescribeSettings(
            prompts="released",
            prompts_per_patch=16,
            replacement=True,
            stability_at="photo",
            score_first=False,
            second_box_nms=True,
            keep_largest=True,
            drop_contained=True,
            paint_by="iou",
            crop="whole",
            crop_filter="bilinear",
        ),
        DistillSettings(
            decoder="two-nets",
            start="zero",
            schedule="photo",
            photo_scale=0.5,
            steps=30_000,
            single_share=0.0,
            consensus=False,
            loss="mixture",
            units="means",
            counted="all-levels",
            region_aware=True,
            region_smoothing=5,
            granularity="distance",
            entropy_weight=RELEASED_ENTROPY_WEIGHT,
            consistency_weight=RELEASED_CONSISTENCY_WEIGHT,
            feature_rate=1e-3,
            decoder_rate=1e-4,
            rate_decay="constant",
            asked="pixels",
        ),
    ),
}
"""Every preset by name. Constants of `paper` that are not formulas are those of `released`, converted."""


@dataclass(frozen=True)
class ChosenSettings:
    """What a preset and the user's own changes come to.

    Attributes:
        preset: Name of the preset.
        describe: Settings of describing.
        distill: Settings of distillation.
    """

    preset: str
    describe: DescribeSettings
    distill: DistillSettings


def choose_settings(
    name: str,
    describe: DescribeSettings | Changes | None = None,
    distill: DistillSettings | Changes | None = None,
) -> ChosenSettings:
    """Settings of a preset with the user's own changes.

    Args:
        name: Name of a preset, not "auto".
        describe: Settings that stand for themselves; or changes to those of the preset, by name; or None.
        distill: Likewise.

    Raises:
        SettingsError: If a change is to a value that the setting does not take.
        WorkspaceError: If there is no such preset, or a change names no setting, one that has no effect, or
            to a value that makes no sense with the others.
    """
    preset = named_preset(name)
    chosen = ChosenSettings(
        name, changed_settings(preset.describe, describe), changed_settings(preset.distill, distill)
    )
    for wanted, settings in ((describe, chosen.describe), (distill, chosen.distill)):
        if isinstance(wanted, Mapping):
            refuse_ignored(wanted, settings)
    refuse_impossible(chosen.distill)
    return chosen


def fitting_settings(
    name: str,
    describe: DescribeSettings | Changes | None = None,
    distill: DistillSettings | Changes | None = None,
) -> tuple[ChosenSettings, list[str]]:
    """Settings of a preset with those of a user's changes that have an effect there.

    For changes that are meant for several presets at once. Seeds, and settings that stand for themselves,
    change nothing here.

    Args:
        name: Name of a preset, not "auto".
        describe: Changes to its settings of describing, by name.
        distill: Changes to its settings of distillation.

    Returns:
        The settings, and for each change that is left out one line that says why.

    Raises:
        SettingsError: If a change is to a value that the setting does not take.
        WorkspaceError: If there is no such preset, or a change names no setting, or is to a value that makes
            no sense with the others.
    """
    preset = named_preset(name)
    described, first = _fitting(preset.describe, describe)
    distilled, second = _fitting(preset.distill, distill)
    refuse_impossible(distilled)
    return ChosenSettings(name, described, distilled), first + second


def _fitting(base: Settings, wanted: Settings | Changes | None) -> tuple[Settings, list[str]]:
    """Some settings with the changes that have an effect on them, and why the others have none."""
    if not isinstance(wanted, Mapping):
        return base, []
    changes = {name: value for name, value in wanted.items() if name != "seed"}
    together, ignored = changed_settings(base, changes), {}
    for name in changes:
        try:
            refuse_ignored([name], together)
        except WorkspaceError as error:
            ignored[name] = str(error)
    fitting = {name: value for name, value in changes.items() if name not in ignored}
    return changed_settings(base, fitting), list(ignored.values())


def named_preset(name: str) -> Preset:
    """The preset of a name.

    Raises:
        WorkspaceError: If there is none.
    """
    if name not in PRESETS:
        raise WorkspaceError(f"there is no preset {name!r}; --preset takes auto, {', '.join(PRESETS)}")
    return PRESETS[name]


def changed_settings(base: Settings, wanted: Settings | Changes | None) -> Settings:
    """Settings with changes by name; settings that stand for themselves, and None for no change, will do too.

    Raises:
        SettingsError: If a change is to a value that the setting does not take.
        WorkspaceError: If a change names no setting.
    """
    if not isinstance(wanted, Mapping):
        wanted = base if wanted is None else wanted
        return check_value(base.prefix, wanted, type(base))
    known = [field.name for field in fields(base)]
    if unknown := [key for key in wanted if key not in known]:
        raise WorkspaceError(f"there is no setting {unknown[0]!r}; there are: {', '.join(known)}")
    return replace(base, **wanted)


def changed_fields(settings: DescribeSettings | DistillSettings, name: str) -> list[str]:
    """Names of the settings that differ from those of a preset; the seed does not count."""
    preset = named_preset(name)
    base = preset.describe if isinstance(settings, DescribeSettings) else preset.distill
    names = [field.name for field in fields(base) if field.name != "seed"]
    return [field for field in names if getattr(settings, field) != getattr(base, field)]


def preset_for(segmenter: str, encoder: str) -> str:
    """The preset that two models get unless told otherwise.

    `paper` for SAM ViT-H with a CLIP or SigLIP, the only pair with published evidence, else `lite`, which was
    measured with MobileSAM and the encoder `lite`.

    Args:
        segmenter: Name of the model that cuts masks.
        encoder: Name of the model that embeds them.
    """
    own = {model.name for model in OWN_MODELS}
    if segmenter in own or encoder in own or not (hub.is_name(segmenter) and hub.is_name(encoder)):
        return "lite"
    if hub.split(segmenter)[0] == PAPER_SEGMENTER:
        return "paper"
    folder = models.find(segmenter).folder
    config = read_json(folder / "config.json") if folder else {}
    width = config.get("vision_config", {}).get("hidden_size")
    return "paper" if (config.get("model_type"), width) == ("sam", VIT_H_WIDTH) else "lite"
