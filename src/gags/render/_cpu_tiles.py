"""Which Gaussians touch which tile of the picture, front to back."""

from typing import NamedTuple

import numpy as np
from numba import njit, prange

from gags.render._cpu_project import (
    CENTRE_X,
    CENTRE_Y,
    DEPTH,
    FAINTEST,
    PEAK,
    QUAD_XX,
    QUAD_XY,
    QUAD_YY,
    RECORD,
)
from gags.render._simd import LANES

TILE_WIDTH = LANES  # one vector holds a row of a tile
TILE_HEIGHT = 32  # the rows a Gaussian touches are the bits of half an int64
_SLACK = 0.01  # px by which a Gaussian's outline is widened against rounding
_DIGIT = 12  # most bits of a depth that one pass of the radix sort takes


class TileLists(NamedTuple):
    """The members of every tile in depth order; one entry is one Gaussian in one tile.

    Attributes:
        order: Indices of the Gaussians in the picture, by depth, padded with the last one to whole blocks
            of 16. int32 [M padded]
        first: The entries of the r-th Gaussian of `order` start here. int64 [M + 1]
        counts: and are so many. int32 [M]
        entries: Gaussian index in the upper, rows of the tile it touches as bits in the lower half. int64 [E]
        members: Entries of all tiles, one tile after the other, each front to back. int32 [≤ E]
        starts: Where the members of each tile start. int64 [tiles + 1]
    """

    order: np.ndarray
    first: np.ndarray
    counts: np.ndarray
    entries: np.ndarray
    members: np.ndarray
    starts: np.ndarray


def list_tiles(
    records: np.ndarray, extents: np.ndarray, width: int, height: int, threads: int, wanted: np.ndarray
) -> tuple[TileLists, np.ndarray]:
    """Sort Gaussians by depth and find the tiles and rows each one touches.

    Args:
        records: Flat projected Gaussians. float32 [N · RECORD]
        extents: Screen radii, 0 for Gaussians that are not in the picture. float32 [N]
        width, height: Size of the picture.
        threads: How many threads share the work.
        wanted: Tiles to be listed; all if empty. bool [tiles]

    Returns:
        The lists, and the extents as int32 [N].
    """
    order, count, radii = _sort_by_depth(records.view(np.int32), extents)
    first = np.empty(count + 1, np.int64)
    _reserve(records, extents, order, width, height, first)
    entries = np.empty(first[-1], np.int64)
    tiles = np.empty(first[-1], np.int32)
    counts = np.empty(count, np.int32)
    tile_count = -(-width // TILE_WIDTH) * -(-height // TILE_HEIGHT)
    totals = np.zeros((threads, tile_count), np.int64)
    _enumerate(records, extents, order, width, height, wanted, first, counts, entries, tiles, totals)
    starts = np.empty(tile_count + 1, np.int64)
    members = np.empty(_starts(totals, starts), np.int32)
    _distribute(first, counts, tiles, totals, members)
    return TileLists(order, first, counts, entries, members, starts), radii


@njit(cache=True)
def _sort_by_depth(record_bits, extents):
    """Stable radix sort of the Gaussians in the picture by the bits of their depth (positive floats)."""
    n = len(extents)
    radii = np.empty(n, np.int32)
    keys = np.empty(n, np.int32)
    order = np.empty(n + LANES, np.int32)
    count = 0
    lowest, highest = np.int32(2**31 - 1), np.int32(0)
    for i in range(n):
        radii[i] = np.int32(extents[i])
        key = record_bits[i * RECORD + DEPTH]
        keys[count] = key
        order[count] = i
        if extents[i] > 0:
            count += 1
            lowest, highest = min(lowest, key), max(highest, key)
    bits = 0
    while count > 0 and (highest - lowest) >> bits > 0:
        bits += 1
    passes = -(-bits // _DIGIT)
    digit = -(-bits // max(passes, 1))
    size = 1 << digit
    sorted_keys, sorted_order = np.empty(n, np.int32), np.empty(n + LANES, np.int32)
    for p in range(passes):
        shift = p * digit
        cursor = np.zeros(size + 1, np.int64)
        for i in range(count):
            cursor[(((keys[i] - lowest) >> shift) & (size - 1)) + 1] += 1
        for d in range(size):
            cursor[d + 1] += cursor[d]
        for i in range(count):
            d = ((keys[i] - lowest) >> shift) & (size - 1)
            sorted_keys[cursor[d]] = keys[i]
            sorted_order[cursor[d]] = order[i]
            cursor[d] += 1
        keys, sorted_keys = sorted_keys, keys
        order, sorted_order = sorted_order, order
    padded = -(-count // LANES) * LANES
    for i in range(count, padded):
        order[i] = order[count - 1]
    return order[:padded], count, radii


@njit
def _outline(records, extents, i):
    """Half axes of the box around the ellipse in which Gaussian i is drawn, and its quadratic form."""
    r = i * RECORD
    xx, xy, yy = (
        -np.float64(records[r + QUAD_XX]),
        -0.5 * records[r + QUAD_XY],
        -np.float64(records[r + QUAD_YY]),
    )
    level = records[r + PEAK] - FAINTEST
    determinant = xx * yy - xy * xy
    half_x = half_y = np.float64(extents[i])
    if determinant > 0:
        half_x = min(half_x, np.sqrt(level * yy / determinant))
        half_y = min(half_y, np.sqrt(level * xx / determinant))
    return half_x, half_y, xx, xy, yy, level, max(determinant, 0.0)


@njit
def _pixels(low, high, side):
    """First and last pixel with its centre between two coordinates, inside an image side."""
    return max(int(np.ceil(low - 0.5 - _SLACK)), 0), min(int(np.floor(high - 0.5 + _SLACK)), side - 1)


@njit(cache=True)
def _reserve(records, extents, order, width, height, first):
    """Room for the entries of each Gaussian: the tiles of its box."""
    first[0] = 0
    for rank in range(len(first) - 1):
        i = order[rank]
        half_x, half_y, _, _, _, _, _ = _outline(records, extents, i)
        u, v = records[i * RECORD + CENTRE_X], records[i * RECORD + CENTRE_Y]
        x0, x1 = _pixels(u - half_x, u + half_x, width)
        y0, y1 = _pixels(v - half_y, v + half_y, height)
        room = 0
        if x0 <= x1 and y0 <= y1:
            room = (x1 // TILE_WIDTH - x0 // TILE_WIDTH + 1) * (y1 // TILE_HEIGHT - y0 // TILE_HEIGHT + 1)
        first[rank + 1] = first[rank] + room


@njit
def _enumerate_share(
    low, high, records, extents, order, width, height, wanted, first, counts, entries, tiles, totals
):
    """Write the entries of some Gaussians and count them per tile."""
    tiles_x = -(-width // TILE_WIDTH)
    for rank in range(low, high):
        i = np.int64(order[rank])
        half_x, half_y, xx, xy, yy, level, determinant = _outline(records, extents, i)
        u, v = records[i * RECORD + CENTRE_X], records[i * RECORD + CENTRE_Y]
        top = xy * half_y / xx  # dx of the outline's uppermost point; the lowest is opposite
        x0, x1 = _pixels(u - half_x, u + half_x, width)
        e = first[rank]
        for tile_x in range(x0 // TILE_WIDTH, x1 // TILE_WIDTH + 1 if x0 <= x1 else 0):
            left = max(tile_x * TILE_WIDTH + 0.5 - u, -half_x)
            right = min(tile_x * TILE_WIDTH + TILE_WIDTH - 0.5 - u, half_x)
            dx = min(max(top, left), right)
            y_top = v + (-xy * dx - np.sqrt(max(level * yy - determinant * dx * dx, 0.0))) / yy
            dx = min(max(-top, left), right)
            y_bottom = v + (-xy * dx + np.sqrt(max(level * yy - determinant * dx * dx, 0.0))) / yy
            y0, y1 = _pixels(max(y_top, v - half_y), min(y_bottom, v + half_y), height)
            for tile_y in range(y0 // TILE_HEIGHT, y1 // TILE_HEIGHT + 1 if y0 <= y1 else 0):
                tile = tile_y * tiles_x + tile_x
                if len(wanted) > 0 and not wanted[tile]:
                    continue
                row0 = max(y0 - tile_y * TILE_HEIGHT, 0)
                row1 = min(y1 - tile_y * TILE_HEIGHT, TILE_HEIGHT - 1)
                rows = (np.int64(2) << row1) - (np.int64(1) << row0)
                entries[e] = (i << 32) | rows
                tiles[e] = tile
                totals[tile] += 1
                e += 1
        counts[rank] = e - first[rank]


@njit(parallel=True, cache=True)
def _enumerate(records, extents, order, width, height, wanted, first, counts, entries, tiles, totals):
    shares = len(totals)
    n = len(counts)
    for s in prange(shares):
        low, high = s * n // shares, (s + 1) * n // shares
        _enumerate_share(
            low,
            high,
            records,
            extents,
            order,
            width,
            height,
            wanted,
            first,
            counts,
            entries,
            tiles,
            totals[s],
        )


@njit(cache=True)
def _starts(totals, starts):
    """Turn counts per share and tile into the place where that share writes; the number of members."""
    place = 0
    for tile in range(totals.shape[1]):
        starts[tile] = place
        for share in range(totals.shape[0]):
            count = totals[share, tile]
            totals[share, tile] = place
            place += count
    starts[-1] = place
    return place


@njit
def _distribute_share(low, high, first, counts, tiles, cursor, members):
    for rank in range(low, high):
        for e in range(first[rank], first[rank] + counts[rank]):
            tile = tiles[e]
            members[cursor[tile]] = e
            cursor[tile] += 1


@njit(parallel=True, cache=True)
def _distribute(first, counts, tiles, cursors, members):
    shares = len(cursors)
    n = len(counts)
    for s in prange(shares):
        _distribute_share(s * n // shares, (s + 1) * n // shares, first, counts, tiles, cursors[s], members)
