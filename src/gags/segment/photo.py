"""From prompts to the masks of one photo: filter, drop duplicates, clean up, paint one label map a level."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numba import njit

from gags.segment.masks import LEVELS, CroppedMask, Masks, paint, remove_specks
from gags.segment.segmenter import Segmenter
from gags.segment.settings import DescribeSettings
from gags.segment.suppress import box_nms, mask_nms, measure

PROMPTS_A_CALL = 64  # prompts decoded at a time; bounds the memory


@dataclass(eq=False)
class Candidate:
    """A mask that passed the filters, on the segmenter's grid, cut to its box and one cell around it.

    Attributes:
        logits: float16 [h, w]
        x: Column of the grid where `logits` starts.
        y: Row of the grid where `logits` starts.
        box: x1, y1, x2, y2 in cells of the grid, far edges exclusive. int64 [4]
        iou: Predicted IoU.
        score: Predicted IoU × stability.
        level: 0, 1 or 2.
    """

    logits: np.ndarray
    x: int
    y: int
    box: np.ndarray
    iou: float
    score: float
    level: int


def segment_photo(
    image: np.ndarray, prompts: np.ndarray, segmenter: Segmenter, settings: DescribeSettings
) -> Masks:
    """Masks of one photo on three levels.

    Args:
        image: Photo, uint8 RGB. [H, W, 3]
        prompts: Points (x, y) in px, from `sample_prompts`. float32 [P, 2]
        segmenter: Model of the SAM family.
        settings: Thresholds.

    Returns:
        The masks; any level may be empty.
    """
    height, width = image.shape[:2]
    encoded = segmenter.encode(image)
    candidates, extent = candidate_masks(encoded, prompts, segmenter, settings)
    scores: list[float] = []
    counts: list[int] = []
    labels = np.full((len(LEVELS), height, width), -1, np.int16)
    for level in range(len(LEVELS)):
        kept = suppress([c for c in candidates if c.level == level], extent, settings)
        masks = [to_photo(candidate, extent, width, height) for candidate in kept]
        masks = [CroppedMask(remove_specks(m.mask, settings.min_area), m.x, m.y) for m in masks]
        rows = paint(masks, labels[level], first=len(scores), min_area=settings.min_area)
        scores += [kept[row].score for row in rows]
        counts.append(len(rows))
    levels = np.repeat(np.arange(len(LEVELS), dtype=np.int8), counts)
    boxes = _label_boxes(labels, len(scores))
    return Masks(labels=labels, levels=levels, boxes=boxes, scores=np.array(scores, np.float32))


def candidate_masks(
    encoded: Any, prompts: np.ndarray, segmenter: Segmenter, settings: DescribeSettings
) -> tuple[list[Candidate], tuple[float, float]]:
    """Run the segmenter on all prompts and keep masks that are good enough on their own.

    Args:
        encoded: The result of the segmenter's `encode`.
        prompts: Points (x, y) in px. float32 [P, 2]
        segmenter: Model of the SAM family.
        settings: Thresholds.

    Returns:
        The masks that pass, in the order of the prompts, and the photo's extent in cells of the grid.
    """
    candidates: list[Candidate] = []
    extent = (1.0, 1.0)
    for start in range(0, len(prompts), PROMPTS_A_CALL):
        batch = segmenter.predict(encoded, prompts[start : start + PROMPTS_A_CALL], min_iou=settings.min_iou)
        extent = batch.extent
        stabilities, boxes = measure(batch.logits, settings.stability_offset)
        scores = batch.ious * stabilities
        passed = (batch.ious > settings.min_iou) & (scores > settings.min_score)
        passed &= (stabilities >= settings.min_stability) & (boxes[:, 2] > 0)
        for row in np.flatnonzero(passed):
            x1, y1, x2, y2 = boxes[row]
            # One cell more on every side, so that the border can be interpolated.
            x, y = max(x1 - 1, 0), max(y1 - 1, 0)
            candidates.append(
                Candidate(
                    logits=batch.logits[row, y : y2 + 1, x : x2 + 1].astype(np.float16),
                    x=x,
                    y=y,
                    box=boxes[row],
                    iou=float(batch.ious[row]),
                    score=float(scores[row]),
                    level=int(batch.levels[row]),
                )
            )
    return candidates, extent


def suppress(
    candidates: list[Candidate], extent: tuple[float, float], settings: DescribeSettings
) -> list[Candidate]:
    """The masks of one level that neither repeat a better one nor lie inside a bigger one."""
    if not candidates:
        return []
    boxes = np.stack([candidate.box for candidate in candidates])
    ious = np.array([candidate.iou for candidate in candidates])
    candidates = [candidates[row] for row in box_nms(boxes, ious, settings.box_nms_iou)]
    columns, rows = int(np.ceil(extent[0])), int(np.ceil(extent[1]))
    masks = np.zeros((len(candidates), rows, columns), bool)
    for mask, c in zip(masks, candidates, strict=True):
        mask[c.y : c.y + c.logits.shape[0], c.x : c.x + c.logits.shape[1]] = c.logits > 0
    kept = mask_nms(
        masks.reshape(len(masks), -1),
        np.array([candidate.score for candidate in candidates]),
        max_iou=settings.mask_nms_iou,
        drop_contained=settings.drop_contained,
        contained_share=settings.contained_share,
        container_share=settings.container_share,
    )
    return [candidate for candidate, keep in zip(candidates, kept, strict=True) if keep]


def to_photo(candidate: Candidate, extent: tuple[float, float], width: int, height: int) -> CroppedMask:
    """Resize one mask to the photo: bilinear on the logits, then the threshold.

    Args:
        candidate: The mask on the segmenter's grid.
        extent: Width and height of the photo in cells of the grid.
        width: Width of the photo, px.
        height: Height of the photo, px.
    """
    h, w = candidate.logits.shape
    cells_x, cells_y = extent[0] / width, extent[1] / height  # cells per px
    x1, y1 = int(candidate.x / cells_x), int(candidate.y / cells_y)
    x2 = min(width, int(np.ceil((candidate.x + w) / cells_x)))
    y2 = min(height, int(np.ceil((candidate.y + h) / cells_y)))
    # The centre of px X of the window lies at cell coordinate (X + x1 + ½)·cells_x, whose index is that − ½.
    to_cells = np.array(
        [
            [cells_x, 0, (x1 + 0.5) * cells_x - 0.5 - candidate.x],
            [0, cells_y, (y1 + 0.5) * cells_y - 0.5 - candidate.y],
        ]
    )
    logits = cv2.warpAffine(
        candidate.logits.astype(np.float32),
        to_cells,
        (x2 - x1, y2 - y1),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return CroppedMask(logits > 0, x1, y1)


@njit(cache=True)
def _label_boxes(labels: np.ndarray, count: int) -> np.ndarray:
    """x1, y1, x2, y2 of each label, far edges exclusive. int16 [L, H, W] to int32 [count, 4]"""
    levels, height, width = labels.shape
    boxes = np.zeros((count, 4), np.int32)
    boxes[:, 0], boxes[:, 1] = width, height
    for level in range(levels):
        for y in range(height):
            for x in range(width):
                row = labels[level, y, x]
                if row >= 0:
                    boxes[row, 0] = min(boxes[row, 0], x)
                    boxes[row, 1] = min(boxes[row, 1], y)
                    boxes[row, 2] = max(boxes[row, 2], x + 1)
                    boxes[row, 3] = max(boxes[row, 3], y + 1)
    return boxes
