"""Work on the entries of evidence: sparse rows, too many of them to be in memory at once."""

from collections.abc import Callable, Iterator

import numpy as np
from numba import njit

BLOCK_ENTRIES = 1 << 24  # that are worked on at once: 128 MB


def blocks_of(
    starts: np.ndarray, entries: int, release: Callable[[], None] = lambda: None
) -> Iterator[tuple[int, int]]:
    """Cut rows that begin at `starts` [N + 1] into blocks of at most so many entries, or of one row.

    Args:
        starts: First entry of each row, and the end. int64 [N + 1]
        entries: At most so many in a block.
        release: Called behind every block, if there are several.

    Yields:
        First row of a block, and the end.
    """
    first, count = 0, len(starts) - 1
    while first < count:
        end = int(np.searchsorted(starts, starts[first] + entries, "right")) - 1
        end = min(max(end, first + 1), count)
        yield first, end
        if end - first < count:
            release()
        first = end


@njit(cache=True)
def add_entries(
    starts: np.ndarray, columns: np.ndarray, weights: np.ndarray, rows: np.ndarray, sums: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Add the weights of some Gaussians' entries to the sums of their columns. int64 [n], float64 [M + V]"""
    for row in rows:
        for e in range(starts[row], starts[row + 1]):
            sums[columns[e]] += weights[e]


@njit(cache=True)
def add_photos(
    starts: np.ndarray,
    columns: np.ndarray,
    weights: np.ndarray,
    mask_count: int,
    first: int,
    end: int,
    sums: np.ndarray,
) -> None:  # pragma: no cover - compiled
    """Add up the weights over whole photos of Gaussians from `first` to `end`. float64 [N]"""
    for row in range(first, end):
        for e in range(starts[row], starts[row + 1]):
            if columns[e] >= mask_count:
                sums[row] += weights[e]


@njit(cache=True)
def hand_out(
    gaussians: np.ndarray,
    masks: np.ndarray,
    weights: np.ndarray,
    photos: np.ndarray,
    firsts: np.ndarray,
    cursors: np.ndarray,
    first: int,
    columns: np.ndarray,
    out_weights: np.ndarray,
) -> None:  # pragma: no cover - compiled
    """Copy the entries of a block of Gaussians to where their Gaussian wants the next one, photo after photo.

    Args:
        gaussians, masks, weights: Entries of all photos, those of a photo sorted by Gaussian. [E] each
        photos: First entry of each photo, and the end. int64 [V + 1]
        firsts: First mask of each photo, and the end. int64 [V + 1]
        cursors: Where the next entry of each Gaussian of the block goes; changed. int64 [n]
        first: First Gaussian of the block.
        columns, out_weights: Entries of the block, written.
    """
    total = firsts[-1]
    for photo in range(len(photos) - 1):
        low, high = photos[photo], photos[photo + 1]
        while low < high:  # the photo's first entry in the block, by halving
            middle = (low + high) // 2
            if gaussians[middle] < first:
                low = middle + 1
            else:
                high = middle
        count = firsts[photo + 1] - firsts[photo]
        for e in range(low, photos[photo + 1]):
            gaussian = gaussians[e] - first
            if gaussian >= len(cursors):
                break
            place = cursors[gaussian]
            cursors[gaussian] = place + 1
            columns[place] = total + photo if masks[e] == count else firsts[photo] + masks[e]
            out_weights[place] = weights[e]


@njit(cache=True)
def keep_columns(
    starts: np.ndarray, columns: np.ndarray, weights: np.ndarray, place: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # pragma: no cover - compiled
    """Entries of some columns alone, whose new numbers are `place`, -1 for the others. int32 [M + V]

    Returns:
        starts, columns and weights, as those of `Evidence`.
    """
    kept = 0
    for column in columns:
        kept += place[column] >= 0
    new_starts = np.zeros(len(starts), np.int64)
    new_columns, new_weights = np.empty(kept, np.int32), np.empty(kept, np.float32)
    count = 0
    for row in range(len(starts) - 1):
        for e in range(starts[row], starts[row + 1]):
            if place[columns[e]] >= 0:
                new_columns[count], new_weights[count] = place[columns[e]], weights[e]
                count += 1
        new_starts[row + 1] = count
    return new_starts, new_columns, new_weights
