"""The presets: which settings of describing and distilling belong together, under one word.

`paper` has every formula as the paper's text has it, and the released program's constants where the text has
none. `released` does what the released program does. `lite` was measured to be best with MobileSAM and the
encoder `lite`; it is the default of every setting. `docs/method.md` says what each of them switches on.
"""

from dataclasses import dataclass
from typing import Literal

from gags.distill.settings import DistillSettings
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
            detach_granularity=False,
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
            entropy_weight=0.002,
            consistency_weight=0.1,
            feature_rate=1e-3,
            decoder_rate=1e-4,
            rate_decay="constant",
            asked="pixels",
        ),
    ),
}
"""Every preset by name. Constants of `paper` that are not formulas are those of `released`, converted."""
