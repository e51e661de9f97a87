"""Which of many overlapping masks are kept: pure functions on stacks of masks and boxes."""

import numpy as np
from numba import njit, prange


@njit(parallel=True, cache=True)
def measure(logits: np.ndarray, offset: float) -> tuple[np.ndarray, np.ndarray]:
    """Stability and box of masks given as logits, in one pass.

    Stability is the area above +offset as a share of the area above −offset (Segment Anything, app. B); the
    box encloses the area above 0.

    Args:
        logits: float32 [K, h, w]
        offset: How far the threshold moves.

    Returns:
        Stability float32 [K], 0 for a mask without area; boxes x1, y1, x2, y2, far edges exclusive,
        all 0 for a mask without area. int64 [K, 4]
    """
    count, height, width = logits.shape
    stabilities = np.zeros(count, np.float32)
    boxes = np.zeros((count, 4), np.int64)
    for k in prange(count):
        inner, outer = 0, 0
        x1, y1, x2, y2 = width, height, 0, 0
        for row in range(height):
            filled = 0
            for column in range(width):
                value = logits[k, row, column]
                inner += value > offset
                outer += value > -offset
                filled += value > 0
            # A row with cells of the mask widens the box to its first and its last one.
            if filled:
                y1, y2 = min(y1, row), row + 1
                first, last = 0, width - 1
                while logits[k, row, first] <= 0:
                    first += 1
                while logits[k, row, last] <= 0:
                    last -= 1
                x1, x2 = min(x1, first), max(x2, last + 1)
        if y2:
            stabilities[k] = inner / outer
            boxes[k] = x1, y1, x2, y2
    return stabilities, boxes


def box_nms(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """Greedy non-maximum suppression of boxes.

    Args:
        boxes: x1, y1, x2, y2, far edges exclusive. [N, 4]
        scores: Boxes are visited from the highest on; of equal ones the first comes first. [N]
        threshold: A box is dropped if its IoU with a better one that is kept is above this.

    Returns:
        Rows of the boxes that are kept, best first. int64 [M]
    """
    order = np.argsort(-scores, kind="stable")
    boxes = boxes[order].astype(np.float64)  # rounding must not decide an IoU of exactly the threshold
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    overlap = np.clip(high - low, 0, None).prod(-1)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    union = area[:, None] + area[None] - overlap
    clashes = overlap > threshold * union
    kept = np.ones(len(boxes), bool)
    for row in range(len(boxes)):
        if kept[row]:
            kept[row + 1 :] &= ~clashes[row, row + 1 :]
    return order[kept]


def mask_nms(
    masks: np.ndarray,
    scores: np.ndarray,
    *,
    max_iou: float,
    drop_contained: bool = True,
    contained_share: float = 0.85,
    container_share: float = 0.5,
) -> np.ndarray:
    """Drop masks that a better one repeats or a bigger one contains (LangSplat's mask NMS).

    A mask A is dropped if its IoU with a better one is above `max_iou`, whether that one is kept or not.
    It is also dropped if I = |A ∩ B| with a bigger mask B has I / |A| ≥ `contained_share` and
    I / |B| < `container_share`.

    Args:
        masks: One row a mask. bool [N, P]
        scores: Higher is better; of equal ones the first is the better. [N]
        max_iou: Threshold on the IoU.
        drop_contained: Whether the second rule is used.
        contained_share: Least I / |A| of a contained mask.
        container_share: I / |B| must be below this.

    Returns:
        Which masks are kept. bool [N]
    """
    overlap = overlaps(masks)  # I of each two masks; the diagonal holds their areas
    area = overlap.diagonal()
    rank = np.empty(len(scores), np.int64)
    rank[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    better = rank[:, None] < rank[None]  # [i, j]: mask i is better than mask j
    repeated = better & (overlap > max_iou * (area[:, None] + area[None] - overlap))
    kept = ~np.any(repeated, axis=0)
    if drop_contained:
        contained = (overlap >= contained_share * area[None]) & (overlap < container_share * area[:, None])
        kept &= ~np.any(contained, axis=0)
    return kept


def overlaps(masks: np.ndarray) -> np.ndarray:
    """Number of cells that each two masks share. bool [N, P] to int64 [N, N]"""
    bits = np.packbits(masks, axis=1)
    words = np.zeros((len(masks), -(-bits.shape[1] // 8) * 8), np.uint8)
    words[:, : bits.shape[1]] = bits
    return _shared_bits(words.view(np.uint64))


@njit(nogil=True, cache=True)
def _shared_bits(words: np.ndarray) -> np.ndarray:
    """Number of bits set in both of each two rows, 64 cells at a time. uint64 [N, W] to int64 [N, N]"""
    count = len(words)
    shared = np.zeros((count, count), np.int64)
    pairs, fours, nibbles = (
        np.uint64(0x5555555555555555),
        np.uint64(0x3333333333333333),
        np.uint64(0x0F0F0F0F0F0F0F0F),
    )
    for i in range(count):
        for j in range(i + 1):
            total = np.uint64(0)
            for k in range(words.shape[1]):
                both = words[i, k] & words[j, k]
                # Count the bits set: sums of 2, 4 and 8 bits side by side, then of all bytes in the top one.
                both -= (both >> np.uint64(1)) & pairs
                both = (both & fours) + ((both >> np.uint64(2)) & fours)
                both = (both + (both >> np.uint64(4))) & nibbles
                total += (both * np.uint64(0x0101010101010101)) >> np.uint64(56)
            shared[i, j] = shared[j, i] = np.int64(total)
    return shared
