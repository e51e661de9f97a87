"""Which Gaussians touch which tile of the picture, front to back."""

from typing import NamedTuple

import numpy as np
from numba import njit, prange

from gags.render._cpu_project import (
    BULGE,
    CENTRE_X,
    CENTRE_Y,
    DEPTH,
    FIRST_TILE,
    HALF_X,
    HALF_Y,
    LAST_TILE,
    OUTLINE,
    RADIUS,
    ROOM,
    TILE_HEIGHT,
    TILE_WIDTH,
    TILT,
    TOP,
    record_stride,
    slack,
)
from gags.render._simd import (
    LANES,
    ceiling,
    floor,
    lane_numbers,
    larger,
    lesser,
    prefetch,
    root,
    splat,
    store,
)

_AHEAD = 8  # Gaussians that are fetched from memory ahead of time
_DIGIT = 12  # most bits of a depth that one pass of the radix sort takes


class TileLists(NamedTuple):
    """The members of every tile in depth order; one member is one Gaussian in one tile.

    Attributes:
        shown: Indices of the M Gaussians in the picture, padded with the last one to whole blocks
            of 16. int32
        spans: Every member has a slot, those of one Gaussian lie together: first and last + 1 of each
            Gaussian in `shown`. int64 [M, 2]
        room: Number of slots, used or not.
        members: Of all tiles, one tile after the other, each front to back: Gaussian index in the upper, the
            rows of the tile it touches as bits in the lower half. int64
        slots: The slot of each member. int32
        starts: Where the members of each tile start. int64 [tiles + 1]
    """

    shown: np.ndarray
    spans: np.ndarray
    room: int
    members: np.ndarray
    slots: np.ndarray
    starts: np.ndarray


def list_tiles(
    records: np.ndarray,
    outlines: np.ndarray,
    channels: int,
    n: int,
    size: tuple[int, int],
    wanted: np.ndarray,
    shares: int,
) -> tuple[TileLists, np.ndarray]:
    """Sort Gaussians by depth and find the tiles and rows each one touches.

    Args:
        records, outlines, channels: Projected Gaussians.
        n: Their number.
        size: Width and height of the picture.
        wanted: Tiles to be listed; all if empty. bool [tiles]
        shares: In how many parts to share out the work.

    Returns:
        The lists, and the screen radii as int32 [N].
    """
    shown, order, spans, room, radii = _sort_by_depth(outlines, outlines.view(np.int32), n)
    patches = np.empty(room, np.int64)
    _enumerate(shown, records, record_stride(channels), outlines, *size, wanted, shares, spans, patches)
    tile_count = -(-size[0] // TILE_WIDTH) * -(-size[1] // TILE_HEIGHT)
    cursors = np.zeros((shares, tile_count), np.int64)
    starts = np.empty(tile_count + 1, np.int64)
    members, slots = np.empty(room, np.int64), np.empty(room, np.int32)
    _distribute(order, shown, spans, patches, cursors, starts, members, slots)
    return TileLists(shown, spans, room, members, slots, starts), radii


@njit(cache=True)
def _sort_by_depth(outlines, outline_bits, n):
    """Collect the Gaussians in the picture, and sort them stably by the bits of their depth (radix sort).

    Returns:
        Their indices, padded; the order of these by depth; the slots reserved for each (start twice)
        and for all; radii of all.
    """
    padded = -(-n // LANES) * LANES
    radii = np.empty(n, np.int32)
    shown = np.empty(padded, np.int32)
    keys = np.empty(n, np.int32)
    count = 0
    lowest, highest = np.int32(2**31 - 1), np.int32(0)
    for i in range(n):
        radius = outlines[RADIUS * padded + i]
        radii[i] = np.int32(radius)
        if radius > 0:
            key = outline_bits[DEPTH * padded + i]
            keys[count] = key
            shown[count] = i
            count += 1
            lowest, highest = min(lowest, key), max(highest, key)
    order = np.arange(count).astype(np.int32)
    spans = np.empty((count, 2), np.int64)
    room = 0
    for rank in range(count):
        spans[rank, 0] = spans[rank, 1] = room
        room += np.int64(outlines[ROOM * padded + shown[rank]])
    bits = 0
    while count > 0 and (highest - lowest) >> bits > 0:
        bits += 1
    passes = -(-bits // _DIGIT)
    digit = -(-bits // max(passes, 1))
    size = 1 << digit
    sorted_keys, sorted_order = np.empty(count, np.int32), np.empty(count, np.int32)
    for p in range(passes):
        shift = p * digit
        cursor = np.zeros(size + 1, np.int64)
        for rank in range(count):
            cursor[(((keys[rank] - lowest) >> shift) & (size - 1)) + 1] += 1
        for d in range(size):
            cursor[d + 1] += cursor[d]
        for rank in range(count):
            d = ((keys[rank] - lowest) >> shift) & (size - 1)
            sorted_keys[cursor[d]] = keys[rank]
            sorted_order[cursor[d]] = order[rank]
            cursor[d] += 1
        keys, sorted_keys = sorted_keys, keys
        order, sorted_order = sorted_order, order
    blocks_end = -(-count // LANES) * LANES
    for rank in range(count, blocks_end):
        shown[rank] = shown[count - 1]
    return shown[:blocks_end], order, spans, room, radii


@njit
def _enumerate_share(low, high, shown, records, stride, outlines, width, height, wanted, spans, patches):
    """Find the patches of some Gaussians: tile in the upper, rows in it as bits in the lower half."""
    tiles_x = -(-width // TILE_WIDTH)
    padded = len(outlines) // OUTLINE
    lane_left = lane_numbers() * TILE_WIDTH
    between = np.empty(2 * LANES, np.float32)
    for rank in range(low, high):
        i = np.int64(shown[rank])
        u, v = records[i * stride + CENTRE_X], records[i * stride + CENTRE_Y]
        half_x, half_y = outlines[HALF_X * padded + i], outlines[HALF_Y * padded + i]
        tilt, bulge, top = (
            outlines[TILT * padded + i],
            outlines[BULGE * padded + i],
            outlines[TOP * padded + i],
        )
        widening = slack(half_y)
        tile_x1 = np.int64(outlines[LAST_TILE * padded + i])
        slot = spans[rank, 0]
        # 16 columns of tiles at once: between which rows the outline runs in each
        for tile_x0 in range(np.int64(outlines[FIRST_TILE * padded + i]), tile_x1 + 1, LANES):
            left = lane_left + (np.float32(tile_x0 * TILE_WIDTH) + np.float32(0.5) - u)
            right = lesser(left + (TILE_WIDTH - 1), splat(half_x))
            left = larger(left, splat(-half_x))
            dx = lesser(larger(splat(top), left), right)
            above = tilt * dx - bulge * root(larger(half_x * half_x - dx * dx, splat(0.0)))
            dx = lesser(larger(splat(-top), left), right)
            below = tilt * dx + bulge * root(larger(half_x * half_x - dx * dx, splat(0.0)))
            store(between, 0, larger(ceiling(v + above - (0.5 + widening)), splat(0.0)))
            store(between, LANES, lesser(floor(v + below - (0.5 - widening)), splat(height - 1)))
            for j in range(min(LANES, tile_x1 + 1 - tile_x0)):
                y0, y1 = np.int64(between[j]), np.int64(between[LANES + j])
                for tile_y in range(y0 // TILE_HEIGHT, y1 // TILE_HEIGHT + 1 if y0 <= y1 else 0):
                    tile = tile_y * tiles_x + tile_x0 + j
                    if len(wanted) > 0 and not wanted[tile]:
                        continue
                    row0 = max(y0 - tile_y * TILE_HEIGHT, 0)
                    row1 = min(y1 - tile_y * TILE_HEIGHT, TILE_HEIGHT - 1)
                    patches[slot] = (tile << 32) | ((np.int64(2) << row1) - (np.int64(1) << row0))
                    slot += 1
        spans[rank, 1] = slot


@njit(parallel=True, cache=True)
def _enumerate(shown, records, stride, outlines, width, height, wanted, shares, spans, patches):
    n = len(spans)
    for s in prange(shares):
        _enumerate_share(
            *(s * n // shares, (s + 1) * n // shares, shown, records, stride, outlines, width, height),
            *(wanted, spans, patches),
        )


@njit
def _count_share(low, high, order, spans, patches, totals):
    for r in range(low, high):
        prefetch(spans, 2 * order[min(r + 2 * _AHEAD, high - 1)])
        prefetch(patches, spans[order[min(r + _AHEAD, high - 1)], 0])
        rank = order[r]
        for slot in range(spans[rank, 0], spans[rank, 1]):
            totals[patches[slot] >> 32] += 1


@njit
def _distribute_share(low, high, order, shown, spans, patches, cursor, members, slots):
    for r in range(low, high):
        prefetch(spans, 2 * order[min(r + 2 * _AHEAD, high - 1)])
        prefetch(patches, spans[order[min(r + _AHEAD, high - 1)], 0])
        rank = order[r]
        i = np.int64(shown[rank])
        for slot in range(spans[rank, 0], spans[rank, 1]):
            patch = patches[slot]
            tile = patch >> 32
            place = cursor[tile]
            members[place] = (i << 32) | (patch & 0xFFFFFFFF)
            slots[place] = slot
            cursor[tile] = place + 1


@njit(parallel=True, cache=True)
def _distribute(order, shown, spans, patches, cursors, starts, members, slots):
    """Put the members into the lists of their tiles by depth; fills `starts`, `members` and `slots`."""
    shares, n = len(cursors), len(order)
    for s in prange(shares):
        _count_share(s * n // shares, (s + 1) * n // shares, order, spans, patches, cursors[s])
    place = 0
    for tile in range(len(starts) - 1):
        starts[tile] = place
        for s in range(shares):
            count = cursors[s, tile]
            cursors[s, tile] = place
            place += count
    starts[-1] = place
    for s in prange(shares):
        low, high = s * n // shares, (s + 1) * n // shares
        _distribute_share(low, high, order, shown, spans, patches, cursors[s], members, slots)
