"""Settings of the stage `describe`; light to import, for the command line."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DescribeSettings:
    """How photos are segmented; the defaults are those of GAGS, except where a setting says otherwise."""

    prompts_per_patch: float = 4
    """Prompts of each of 8×8 patches where a surface is seen from nearest; N0 of Eq. 1, the paper has 16."""
    exponent: float = 2.0
    """Power of the distance ratio in Eq. 1; 0 spreads the prompts evenly."""
    min_iou: float = 0.7
    """Masks whose predicted IoU is not above this are dropped."""
    min_stability: float = 0.85
    """Masks whose stability is below this are dropped."""
    stability_offset: float = 1.0
    """How far the threshold on the logits moves up and down to measure stability."""
    box_nms_iou: float = 0.7
    """Of masks of one level whose boxes overlap more than this, the one of best predicted IoU stays."""
    mask_nms_iou: float = 0.8
    """A mask that a better one of its level overlaps more than this is dropped."""
    min_score: float = 0.7
    """Masks whose score (predicted IoU × stability) is not above this are dropped."""
    drop_contained: bool = False
    """Drop masks inside bigger ones of their level, as LangSplat and GAGS do; loses small things."""
    contained_share: float = 0.85
    """A mask is contained if a bigger one covers at least this share of it ..."""
    container_share: float = 0.5
    """... and what they share is less than this share of the bigger one."""
    min_area: int = 100
    """Masks, specks and holes smaller than this are removed, px."""
    seed: int = 0
    """Seed of the places of the prompts."""
