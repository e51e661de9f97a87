"""Masks of one photo as label maps, one a level; how single masks are cleaned up and painted into them."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from gags.segment.packed import CroppedMask, PackedMasks

LEVELS = ("sub-part", "part", "whole")


@dataclass(eq=False)
class Masks:
    """The masks of one photo, painted into one label map a level.

    Attributes:
        labels: Row of the mask that covers each pixel, -1 where there is none; one map for each of
            sub-part, part and whole. int16 [3, H, W]
        levels: Level (0, 1, 2) of each mask. int8 [M]
        boxes: x1, y1, x2, y2 of each mask in px, the far edges exclusive. int32 [M, 4]
        scores: Predicted IoU × stability of each mask, in [0, 1]. float32 [M]
        whole: Each mask before others were painted over it, with boxes of its own; None if nobody needs it,
            see the setting `crop`.
        kept: Which pixels of the photo count; the others belong to no mask. None if all count. bool [H, W]
    """

    labels: np.ndarray
    levels: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    whole: PackedMasks | None = None
    kept: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.levels)

    def mask(self, row: int) -> np.ndarray:
        """The visible part of one mask. bool [H, W]"""
        return self.labels[self.levels[row]] == row


def remove_specks(mask: np.ndarray, min_area: int, *, keep_largest: bool = False) -> np.ndarray:
    """Fill holes and drop islands under `min_area` px; a hole is background that does not touch the edge.

    Args:
        mask: bool [h, w]
        min_area: px; pixels that touch at a side or a corner belong together.
        keep_largest: Whether the largest island stays if all are under `min_area`, as in Segment Anything.
    """
    padded = np.pad(mask, 1).astype(np.uint8)
    for value in (0, 1):  # first holes, then islands
        same = padded if value else 1 - padded
        _, components, stats, _ = cv2.connectedComponentsWithStats(same, connectivity=8)
        areas = stats[:, cv2.CC_STAT_AREA]
        around = components[0, 0]  # what surrounds the mask is no hole, however small
        small = np.flatnonzero(areas < min_area)
        small = small[(small != 0) & (small != around)]
        if value and keep_largest and 0 < len(small) == len(areas) - 1:
            small = small[small != 1 + areas[1:].argmax()]
        for component in small:
            x, y, w, h = stats[component, :4]
            padded[y : y + h, x : x + w][components[y : y + h, x : x + w] == component] = 1 - value
    return padded[1:-1, 1:-1].astype(bool)


def paint(
    masks: Sequence[CroppedMask],
    labels: np.ndarray,
    *,
    first: int = 0,
    min_area: int = 1,
    ious: np.ndarray | None = None,
) -> list[int]:
    """Paint masks into a label map: smaller ones over larger ones, or worse ones over better ones.

    A mask of which less than `min_area` px would stay visible is left out; what it covered is visible again.

    Args:
        masks: The masks.
        labels: Label map, painted in place; what it held before is lost. int16 [H, W]
        first: Label of the first mask painted.
        min_area: px.
        ious: Predicted IoU of each mask. If given, the best mask is painted first and the worst comes on top,
            as in the released program of GAGS; of equal ones the later comes on top. [N]

    Returns:
        Row in `masks` that each label `first`, `first + 1`, … stands for, in the order of painting.
    """
    areas = np.array([np.count_nonzero(cropped.mask) for cropped in masks])
    order = np.argsort(-(areas if ious is None else ious), kind="stable")
    rows = [int(row) for row in order if areas[row] >= min_area]
    while True:
        labels.fill(-1)
        for label, row in enumerate(rows, first):
            cropped = masks[row]
            labels[cropped.window][cropped.mask] = label
        visible = np.bincount(labels[labels >= 0] - first, minlength=len(rows))
        if (visible >= min_area).all():
            return rows
        # Only the topmost hidden mask goes: without it, others may be visible again. (Masks of which nothing
        # is visible hide nothing: without them, the map is the same.)
        hidden = np.flatnonzero(visible < min_area)
        for label in hidden[::-1] if min_area <= 1 else hidden[-1:]:
            rows.pop(int(label))
