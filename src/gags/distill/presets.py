"""The presets: which settings of describing and distilling belong together, under one word.

`paper` has every formula as the paper's text has it, and the released program's constants where the text has
none. `released` does what the released program does. `lite` was measured to be best with MobileSAM and the
encoder `lite`; it is the default of every setting. `docs/method.md` says what each of them switches on.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gags.distill.settings import DistillSettings
from gags.errors import WorkspaceError
from gags.segment.settings import DescribeSettings

PresetName = Literal["auto", "lite", "paper", "released"]


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
# λ_e and λ_c of the released program belong to its means over D = 512 channels, 3 levels and 16 channels, and
# to an L1 distance; the paper's formulas are sums, and of squares. Let the decoded embedding miss its target by
# a vector of length δ that is spread over the channels as a Gaussian is. Then
#   released:  L_r = mean|·| = sqrt(2 / (πD)) δ,   L_e = E / 3,   L_c = V / 16
#   paper:     L_r = δ²,                           L_e = E,       L_c = V
# and the terms weigh as much against L_r if
#   λ_e(paper) = λ_e(released) · δ² / (3 sqrt(2 / (πD)) δ) = λ_e(released) · 9.46 δ
#   λ_c(paper) = λ_c(released) · δ² / (16 sqrt(2 / (πD)) δ) = λ_c(released) · 1.77 δ
# One δ has to be chosen, since L1 and squares are not proportional. It is the distance of a thing's CLIP
# embeddings from their mean, where distillation ends: a cosine of 0.86, 1 − δ²/2. So the entropy is five times
# the released program's. V here is the mean over the regions of Eq. 6, because λ_c belongs to a mean, too.
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


PRESETS: dict[str, Preset] = {
    "lite": Preset(DescribeSettings(), DistillSettings()),
    "paper": Preset(
        DescribeSettings(
            prompts_per_patch=16,
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
            feature_rate=1e-2,
            decoder_rate=1e-3,
            steps=3000,
            batch_regions=128,
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
class Need:
    """What another setting must be, or must not be, for a setting to have an effect.

    Attributes:
        name: The other setting.
        values: Values of it that will do; or, if `none_of`, that will not.
        none_of: See `values`.
    """

    name: str
    values: tuple[object, ...]
    none_of: bool = False

    def met(self, settings: object) -> bool:
        """Whether these settings meet it."""
        return (getattr(settings, self.name) in self.values) != self.none_of

    def wanted(self) -> str:
        """What to set, in words."""
        listed = " or ".join(_word(value) for value in self.values)
        return f"{self.name} to something other than {listed}" if self.none_of else f"{self.name} to {listed}"


def _word(value: object) -> str:
    """A value as the command line takes it."""
    return {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)


Needs = tuple[Need, ...]  # one of them has to be met
ALWAYS: tuple[Needs, ...] = ()
_TRAINED: Needs = (Need("steps", (0,), none_of=True),)
_MIXED: Needs = (Need("schedule", ("mixed",)),)
_PHOTO: Needs = (Need("schedule", ("photo",)),)
_KEPT_PIXELS: Needs = (Need("schedule", ("mixed",)), Need("step_pixels", (0,), none_of=True))
_LEARNT: Needs = (Need("levels", ("learnt",)),)
_CONSISTENT: Needs = (Need("consistency_weight", (0.0,), none_of=True),)
_DRAWN: Needs = (Need("prompts", ("density", "released")),)
_GRID: Needs = (Need("prompts", ("grid", "crops")),)
_CONTAINED: Needs = (Need("drop_contained", (True,)),)

DISTILL_NEEDS: dict[str, tuple[Needs, ...]] = {
    "feature_dim": ALWAYS,
    "decoder": ALWAYS,
    "hidden": ((Need("decoder", ("principal",)),),),
    "start": ALWAYS,
    "schedule": ALWAYS,
    "photo_scale": (_PHOTO,),
    "step_pixels": (_PHOTO, _TRAINED),
    "steps": ALWAYS,
    "batch_regions": (_MIXED, _TRAINED),
    "pixels_per_photo": (_KEPT_PIXELS, _TRAINED),
    "single_share": (_MIXED, _TRAINED),
    "consensus": ALWAYS,
    "levels": ALWAYS,
    "loss": (_TRAINED,),
    "units": (_TRAINED,),
    "counted": (_TRAINED,),
    "region_aware": (_TRAINED,),
    "region_smoothing": (
        _PHOTO,
        _LEARNT,
        _TRAINED,
        (Need("region_aware", (True,)), Need("consistency_weight", (0.0,), none_of=True)),
    ),
    "granularity": (_LEARNT, _TRAINED),
    "sharpness": (_LEARNT, (Need("granularity", ("repeatability",)),), _TRAINED),
    "entropy_weight": (_LEARNT, (Need("granularity", ("distance",)),), _TRAINED),
    "consistency_weight": (_TRAINED,),
    "consistency_by": (_CONSISTENT, _TRAINED),
    "detach_granularity": (_LEARNT, _TRAINED),
    "feature_rate": (_TRAINED,),
    "decoder_rate": (_TRAINED,),
    "rate_decay": (_TRAINED,),
    "top_k": (_KEPT_PIXELS,),
    "seed": ALWAYS,
    "asked": ALWAYS,
}
"""What every setting of distillation needs to have an effect: all of these, of each at least one."""

DESCRIBE_NEEDS: dict[str, tuple[Needs, ...]] = {
    "prompts": ALWAYS,
    "grid_side": (_GRID,),
    "prompts_per_patch": (_DRAWN,),
    "exponent": ((Need("prompts", ("density",)),),),
    "replacement": (_DRAWN,),
    "min_iou": ALWAYS,
    "min_stability": ALWAYS,
    "stability_offset": ALWAYS,
    "stability_at": ALWAYS,
    "score_first": ALWAYS,
    "box_nms_iou": ALWAYS,
    "second_box_nms": ALWAYS,
    "mask_nms_iou": ALWAYS,
    "min_score": ALWAYS,
    "drop_contained": ALWAYS,
    "contained_share": (_CONTAINED,),
    "container_share": (_CONTAINED,),
    "min_area": ALWAYS,
    "keep_largest": ALWAYS,
    "paint_by": ALWAYS,
    "crop": ALWAYS,
    "crop_filter": ALWAYS,
    "seed": (_DRAWN,),
}
"""The same for describing."""


def refuse_ignored(given: Mapping[str, Any], settings: DescribeSettings | DistillSettings) -> None:
    """Make sure that every setting a user gave has an effect under the settings as a whole.

    Args:
        given: What the user set, by name; only names matter.
        settings: The settings that come of it.

    Raises:
        WorkspaceError: If one has none; the message names it, why, and what would give it an effect.
    """
    table = DISTILL_NEEDS if isinstance(settings, DistillSettings) else DESCRIBE_NEEDS
    for name in given:
        for needs in table[name]:
            if any(need.met(settings) for need in needs):
                continue
            now = " and ".join(f"{n.name} {_word(getattr(settings, n.name))}" for n in needs)
            wanted = ", or ".join(need.wanted() for need in needs)
            raise WorkspaceError(f"{name} has no effect with {now}; leave it out, or set {wanted}")
