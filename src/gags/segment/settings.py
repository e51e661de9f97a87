"""Settings of the stage `describe`; light to import, for the command line."""

from dataclasses import dataclass
from typing import Literal

from gags.files.ranges import SEED, SHARE, Range, Settings, ranged
from gags.store import added

RATING = Range(-1e9, 1)  # a network's own rating of a mask, which may fall below 0


@dataclass(frozen=True)
class DescribeSettings(Settings, prefix="describe"):
    """How photos are prompted and cut into masks; the defaults are those of the preset `lite`."""

    prompts: Literal["density", "released", "grid", "crops"] = added("density")
    """Where prompts go: by Eq. 1; by the released program's form of it; an even grid over the photo; or that
    grid over the photo and over four zoomed crops of it, each encoded anew, as LangSplat does."""
    grid_side: int = added(32, Range(1, 128))
    """Prompts a side of the even grid, for grid and crops."""
    prompts_per_patch: float = ranged(4, Range(0, 400, low_open=True))
    """Prompts of each of 8×8 patches where a surface is seen from nearest; N0 of Eq. 1, the released
    program has 16."""
    exponent: float = ranged(2.0, Range(-8, 8))
    """Power of the distance ratio in Eq. 1; 0 gives every patch as many; −2 is the law that the sentence
    after Eq. 1 describes."""
    replacement: bool = added(False)
    """Whether the places of prompts in a patch are drawn with replacement, as the released program does."""
    least_novelty: float = added(0.0, Range(0, 3))
    """A prompt is left out if an answered one that differs by no more than this got a mask that holds it, on
    every level; 0 answers all, as the paper does. The difference is 1 − cosine of the segmenter's image
    embedding at both, plus their distance as a share of the photo's diagonal. 0.2 saves a third of the time;
    heat maps stay as good, but things are put together worse."""
    min_iou: float = ranged(0.7, RATING)
    """Masks whose predicted IoU is not above this are dropped."""
    min_stability: float = ranged(0.85, SHARE)
    """Masks whose stability is below this are dropped."""
    stability_offset: float = ranged(1.0, Range(0, 100))
    """How far the threshold on the logits moves up and down to measure stability."""
    stability_at: Literal["grid", "photo"] = added("grid")
    """Whether stability is measured on the segmenter's grid, or on logits resized to the photo."""
    score_first: bool = added(True)
    """Whether the least score is asked for before boxes are suppressed, rather than after."""
    box_nms_iou: float = ranged(0.7, SHARE)
    """Of masks of one level whose boxes overlap more than this, the one of best predicted IoU stays."""
    second_box_nms: bool = added(False)
    """Whether boxes are suppressed once more after specks and holes were removed."""
    mask_nms_iou: float = ranged(0.8, SHARE)
    """A mask that a better one of its level overlaps more than this is dropped."""
    min_score: float = ranged(0.7, RATING)
    """Masks whose score (predicted IoU × stability) is not above this are dropped."""
    drop_contained: bool = False
    """Drop masks inside bigger ones of their level, as LangSplat and GAGS do; loses small things."""
    contained_share: float = ranged(0.85, SHARE)
    """A mask is contained if a bigger one covers at least this share of it ..."""
    container_share: float = ranged(0.5, SHARE)
    """... and what they share is less than this share of the bigger one."""
    min_area: int = ranged(100, Range(0, 100_000_000))
    """Masks, specks and holes smaller than this are removed, px."""
    keep_largest: bool = added(False)
    """Whether the largest island of a mask stays however small it is."""
    paint_by: Literal["area", "iou"] = added("area")
    """Order in the label map: smaller masks over larger ones, or, as released, masks of lower predicted IoU
    over those of higher."""
    crop: Literal["visible", "whole"] = added("visible")
    """What of a mask is embedded: what other masks of its level leave visible, or all of it."""
    crop_filter: Literal["encoder", "bilinear"] = added("encoder")
    """How a crop is resized: as the encoder was trained, or bilinearly without averaging, as released."""
    seed: int = ranged(0, SEED)
    """Seed of the places of the prompts."""
