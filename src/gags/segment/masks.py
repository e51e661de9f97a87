"""From prompts to the masks of one photo: filter, drop duplicates, clean up, paint one label map a level."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numba import njit

from gags.segment.base import LEVELS, Masks, Segmenter
from gags.segment.settings import DescribeSettings
from gags.segment.suppress import box_nms, mask_nms, measure

BATCH = 64  # prompts decoded at a time; bounds the memory


@dataclass(eq=False)
class Piece:
    """A mask in the photo, cut to a window.

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
    """Masks of one photo on three levels (METHOD §1.5-1.7).

    Args:
        image: Photo, uint8 RGB. [H, W, 3]
        prompts: Points (x, y) in px, from `sample_prompts`. float32 [P, 2]
        segmenter: Model of the SAM family.
        settings: Thresholds.

    Returns:
        The masks; a level may be empty, and so may be all.
    """
    height, width = image.shape[:2]
    encoded = segmenter.encode(image)
    candidates, extent = candidate_masks(encoded, prompts, segmenter, settings)
    scores: list[float] = []
    counts: list[int] = []
    labels = np.full((len(LEVELS), height, width), -1, np.int16)
    for level in range(len(LEVELS)):
        stay = suppress([c for c in candidates if c.level == level], extent, settings)
        pieces = [to_photo(candidate, extent, width, height) for candidate in stay]
        pieces = [Piece(remove_specks(p.mask, settings.min_area), p.x, p.y) for p in pieces]
        rows = paint(pieces, labels[level], first=len(scores), min_area=settings.min_area)
        scores += [stay[row].score for row in rows]
        counts.append(len(rows))
    levels = np.repeat(np.arange(len(LEVELS), dtype=np.int8), counts)
    boxes = _label_boxes(labels, len(scores))
    return Masks(labels, levels, boxes, np.array(scores, np.float32))


def candidate_masks(
    encoded: Any, prompts: np.ndarray, segmenter: Segmenter, settings: DescribeSettings
) -> tuple[list[Candidate], tuple[float, float]]:
    """Ask the segmenter about all prompts and keep masks that are good enough on their own.

    Args:
        encoded: What the segmenter's `encode` gave.
        prompts: Points (x, y) in px. float32 [P, 2]
        segmenter: Model of the SAM family.
        settings: Thresholds.

    Returns:
        The masks that pass, in the order of the prompts, and the photo's extent in cells of the grid.
    """
    candidates: list[Candidate] = []
    extent = (1.0, 1.0)
    for start in range(0, len(prompts), BATCH):
        batch = segmenter.predict(encoded, prompts[start : start + BATCH], min_iou=settings.min_iou)
        extent = batch.extent
        stabilities, boxes = measure(batch.logits, settings.stability_offset)
        scores = batch.ious * stabilities
        passed = (batch.ious > settings.min_iou) & (scores > settings.min_score)
        passed &= (stabilities >= settings.min_stability) & (boxes[:, 2] > 0)
        for row in np.flatnonzero(passed):
            x1, y1, x2, y2 = boxes[row]
            x, y = max(x1 - 1, 0), max(y1 - 1, 0)
            logits = batch.logits[row, y : y2 + 1, x : x2 + 1].astype(np.float16)
            iou, score = float(batch.ious[row]), float(scores[row])
            candidates.append(Candidate(logits, x, y, boxes[row], iou, score, int(batch.levels[row])))
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
    stays = mask_nms(
        masks.reshape(len(masks), -1),
        np.array([candidate.score for candidate in candidates]),
        max_iou=settings.mask_nms_iou,
        drop_contained=settings.drop_contained,
        contained_share=settings.contained_share,
        container_share=settings.container_share,
    )
    return [candidate for candidate, stay in zip(candidates, stays, strict=True) if stay]


def to_photo(candidate: Candidate, extent: tuple[float, float], width: int, height: int) -> Piece:
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
    # Centre of px X of the window lies at cell coordinate (X + x1 + ½)·cells_x, whose index is that − ½.
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
    return Piece(logits > 0, x1, y1)


def remove_specks(mask: np.ndarray, min_area: int) -> np.ndarray:
    """Fill holes and drop islands under `min_area` px; a hole is background that does not touch the edge.

    Args:
        mask: bool [h, w]
        min_area: px; pieces are connected through sides and corners.
    """
    padded = np.pad(mask, 1).astype(np.uint8)
    for value in (0, 1):
        same = padded if value else 1 - padded
        _, pieces, stats, _ = cv2.connectedComponentsWithStats(same, connectivity=8)
        around = pieces[0, 0]  # what surrounds the mask is no hole, however small
        small = np.flatnonzero(stats[:, cv2.CC_STAT_AREA] < min_area)
        for piece in small[(small != 0) & (small != around)]:
            x, y, w, h = stats[piece, :4]
            padded[y : y + h, x : x + w][pieces[y : y + h, x : x + w] == piece] = 1 - value
    return padded[1:-1, 1:-1].astype(bool)


def paint(pieces: list[Piece], labels: np.ndarray, *, first: int = 0, min_area: int = 1) -> list[int]:
    """Paint masks into a label map, smaller ones over larger ones.

    A mask of which less than `min_area` px would stay in sight is left out, and what it hid is seen again.

    Args:
        pieces: The masks.
        labels: Label map of -1, painted in place. int16 [H, W]
        first: Label of the first mask painted.
        min_area: px.

    Returns:
        Which piece each label `first`, `first + 1`, … stands for.
    """
    areas = np.array([np.count_nonzero(piece.mask) for piece in pieces])
    rows = [int(row) for row in np.argsort(-areas, kind="stable") if areas[row] >= min_area]
    while True:
        labels.fill(-1)
        for label, row in enumerate(rows, first):
            labels[pieces[row].window][pieces[row].mask] = label
        seen = np.bincount(labels[labels >= 0] - first, minlength=len(rows))
        if (seen >= min_area).all():
            return rows
        # The smallest hidden mask only: without it, others may be seen again.
        rows.pop(int(np.flatnonzero(seen < min_area)[-1]))


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
