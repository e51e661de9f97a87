"""Which of many overlapping masks are kept: pure functions on stacks of masks and boxes."""

import numpy as np
from numba import njit, prange

from gags.segment.packed import count_bits
from gags.simd.cache import kernel

ROUNDING = np.float32(1e-5)  # of two interpolations in float32, as a share of the largest value; generous


@kernel(parallel=True)
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


@kernel(parallel=True)
def measure_resized(
    logits: np.ndarray,
    wanted: np.ndarray,
    offset: float,
    extent: tuple[float, float],
    width: int,
    height: int,
) -> tuple[np.ndarray, np.ndarray]:
    """`measure` of logits resized bilinearly to a photo, without making the resized ones.

    A pixel lies above −offset only if one of the four cells around it does. So only pixels around such cells
    are computed, and of these one by one only the ones between cells that lie on both sides of a bar; the
    counts are those of the whole photo. (Segment Anything resizes twice, to its frame of
    1024 px and then to the photo; here it is once.)

    Args:
        logits: float32 [K, h, w]
        wanted: Which masks are measured; the others get 0. bool [K]
        offset: How far the threshold moves, at least 0.
        extent: Width and height of the photo in cells of the grid.
        width: Of the photo, px.
        height: Of the photo, px.

    Returns:
        Stability float32 [K]; boxes x1, y1, x2, y2 in px, far edges exclusive. int64 [K, 4]. Both are 0 for a
        mask without a pixel.
    """
    count, rows, columns = logits.shape
    cells_x, cells_y = extent[0] / width, extent[1] / height  # cells per px
    stabilities = np.zeros(count, np.float32)
    boxes = np.zeros((count, 4), np.int64)
    for k in prange(count):
        if not wanted[k]:
            continue
        # Cells above −offset: rows r1 to r2 and columns c1 to c2.
        r1, r2, c1, c2 = rows, -1, columns, -1
        largest = np.float32(0)
        for row in range(rows):
            for column in range(columns):
                largest = max(largest, abs(logits[k, row, column]))
                if logits[k, row, column] > -offset:
                    r1, r2 = min(r1, row), row
                    c1, c2 = min(c1, column), max(c2, column)
        if r2 < 0:
            continue
        # Pixels between the centres of the cells around these, and one more against rounding.
        left = max(int((c1 - 0.5) / cells_x) - 1, 0)
        right = min(int((c2 + 1.5) / cells_x) + 2, width)
        top = max(int((r1 - 0.5) / cells_y) - 1, 0)
        bottom = min(int((r2 + 1.5) / cells_y) + 2, height)
        slack = ROUNDING * largest  # a pixel may lie this far outside of the range of the cells around it
        low = np.empty(right - left, np.int64)
        share = np.empty(right - left, np.float32)
        for x in range(left, right):
            u = min(max((x + 0.5) * cells_x - 0.5, 0.0), columns - 1.0)
            low[x - left] = int(u)
            share[x - left] = u - int(u)
        start, end = low[0], low[-1] + 1
        first_of = np.full(
            end + 1, right - left
        )  # the first pixel of each column of cells, and of what follows
        for x in range(right - left - 1, -1, -1):
            first_of[low[x]] = x
        for column in range(end - 1, start - 1, -1):  # columns without a pixel
            first_of[column] = min(first_of[column], first_of[column + 1])
        line = np.empty(columns + 1, np.float32)  # one row of the photo, columns still those of the grid
        inner, outer = 0, 0
        x1, y1, x2, y2 = width, height, 0, 0
        for y in range(top, bottom):
            v = min(max((y + 0.5) * cells_y - 0.5, 0.0), rows - 1.0)
            row = int(v)
            below = min(row + 1, rows - 1)
            down = np.float32(v - row)
            for column in range(start, min(end + 1, columns)):
                upper = logits[k, row, column]
                line[column] = upper + down * (logits[k, below, column] - upper)
            line[columns] = line[columns - 1]
            first, last = width, -1
            for column in range(start, end):
                one, other = line[column], line[column + 1]
                if max(one, other) <= -offset - slack:
                    continue
                begin, behind = first_of[column], first_of[column + 1]
                if min(one, other) > offset + slack:
                    inner += behind - begin
                    outer += behind - begin
                    if behind > begin:
                        first, last = min(first, begin), behind - 1
                    continue
                for x in range(begin, behind):
                    value = one + share[x] * (other - one)
                    inner += value > offset
                    outer += value > -offset
                    if value > 0:
                        first, last = min(first, x), x
            if last >= 0:
                y1, y2 = min(y1, y), y + 1
                x1, x2 = min(x1, left + first), max(x2, left + last + 1)
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
    return order[_keep_boxes(boxes, threshold)]


@njit(cache=True)
def _keep_boxes(boxes: np.ndarray, threshold: float) -> np.ndarray:
    """Rows of boxes, the best first, that no better one that is kept overlaps. float64 [N, 4] to int64 [M]

    Box by box: thousands of prompts give thousands of boxes, of which few are kept.
    """
    kept = np.empty(len(boxes), np.int64)
    count = 0
    for row in range(len(boxes)):
        x1, y1, x2, y2 = boxes[row]
        area = (x2 - x1) * (y2 - y1)
        clashes = False
        for better in kept[:count]:
            a1, b1, a2, b2 = boxes[better]
            overlap = max(min(x2, a2) - max(x1, a1), 0.0) * max(min(y2, b2) - max(y1, b1), 0.0)
            if overlap > threshold * ((a2 - a1) * (b2 - b1) + area - overlap):
                clashes = True
                break
        if not clashes:
            kept[count] = row
            count += 1
    return kept[:count]


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
    return mask_nms_of_overlaps(
        overlaps(masks),
        scores,
        max_iou=max_iou,
        drop_contained=drop_contained,
        contained_share=contained_share,
        container_share=container_share,
    )


def mask_nms_of_overlaps(
    overlap: np.ndarray,
    scores: np.ndarray,
    *,
    max_iou: float,
    drop_contained: bool = True,
    contained_share: float = 0.85,
    container_share: float = 0.5,
) -> np.ndarray:
    """`mask_nms` of masks whose overlaps are known already.

    Args:
        overlap: I = |A ∩ B| of each two masks; the diagonal holds their areas. int64 [N, N]
        scores: As there, like all that follows. [N]

    Returns:
        Which masks are kept. bool [N]
    """
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
    for i in range(count):
        for j in range(i + 1):
            total = np.uint64(0)
            for k in range(words.shape[1]):
                total += count_bits(words[i, k] & words[j, k])
            shared[i, j] = shared[j, i] = np.int64(total)
    return shared
