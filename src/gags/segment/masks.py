"""Masks of one photo as label maps, one a level; how single masks are cleaned up and painted into them."""

from dataclasses import dataclass

import cv2
import numpy as np

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
    """

    labels: np.ndarray
    levels: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.levels)

    def mask(self, row: int) -> np.ndarray:
        """The visible part of one mask. bool [H, W]"""
        return self.labels[self.levels[row]] == row


@dataclass(eq=False)
class CroppedMask:
    """One mask at the size of the photo, cut to a window.

    Attributes:
        mask: bool [h, w]
        x: Left edge of the window, px.
        y: Top edge of the window, px.
    """

    mask: np.ndarray
    x: int
    y: int

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the photo that the window covers."""
        return slice(self.y, self.y + self.mask.shape[0]), slice(self.x, self.x + self.mask.shape[1])


def remove_specks(mask: np.ndarray, min_area: int) -> np.ndarray:
    """Fill holes and drop islands under `min_area` px; a hole is background that does not touch the edge.

    Args:
        mask: bool [h, w]
        min_area: px; pixels that touch at a side or a corner belong together.
    """
    padded = np.pad(mask, 1).astype(np.uint8)
    for value in (0, 1):  # first holes, then islands
        same = padded if value else 1 - padded
        _, components, stats, _ = cv2.connectedComponentsWithStats(same, connectivity=8)
        around = components[0, 0]  # what surrounds the mask is no hole, however small
        small = np.flatnonzero(stats[:, cv2.CC_STAT_AREA] < min_area)
        for component in small[(small != 0) & (small != around)]:
            x, y, w, h = stats[component, :4]
            padded[y : y + h, x : x + w][components[y : y + h, x : x + w] == component] = 1 - value
    return padded[1:-1, 1:-1].astype(bool)


def paint(masks: list[CroppedMask], labels: np.ndarray, *, first: int = 0, min_area: int = 1) -> list[int]:
    """Paint masks into a label map, smaller ones over larger ones.

    A mask of which less than `min_area` px would stay visible is left out; what it covered is visible again.

    Args:
        masks: The masks.
        labels: Label map, painted in place; what it held before is lost. int16 [H, W]
        first: Label of the first mask painted.
        min_area: px.

    Returns:
        Row in `masks` that each label `first`, `first + 1`, … stands for.
    """
    areas = np.array([np.count_nonzero(cropped.mask) for cropped in masks])
    rows = [int(row) for row in np.argsort(-areas, kind="stable") if areas[row] >= min_area]
    while True:
        labels.fill(-1)
        for label, row in enumerate(rows, first):
            labels[masks[row].window][masks[row].mask] = label
        visible = np.bincount(labels[labels >= 0] - first, minlength=len(rows))
        if (visible >= min_area).all():
            return rows
        # Only the smallest hidden mask goes: without it, others may be visible again.
        rows.pop(int(np.flatnonzero(visible < min_area)[-1]))
