"""Which Gaussians touch which tile of the picture, front to back."""

from typing import NamedTuple

import numpy as np
from numba import njit, prange

from gags.render.kernels.layout import (
    BULGE,
    DEPTH,
    FIRST_TILE,
    HALF_X,
    HALF_Y,
    LAST_TILE,
    OUTLINE,
    OUTLINE_X,
    OUTLINE_Y,
    RADIUS,
    ROOM,
    TILE_HEIGHT,
    TILE_WIDTH,
    TILT,
    TOP,
    slack,
)
from gags.render.kernels.memory import Scratch
from gags.simd.memory import load_splat, prefetch, store
from gags.simd.vectors import LANES, ceiling, floor, lane_numbers, larger, lesser, root, splat

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
    outlines: np.ndarray,
    planes: np.ndarray,
    n: int,
    size: tuple[int, int],
    wanted: np.ndarray,
    shares: int,
    scratch: Scratch,
) -> tuple[TileLists, np.ndarray]:
    """Sort Gaussians by depth and find the tiles and rows each one touches.

    Args:
        outlines, planes: Projected Gaussians.
        n: Their number.
        size: Width and height of the picture.
        wanted: Tiles to be listed; all if empty. bool [tiles]
        shares: In how many parts to share out the work.
        scratch: Memory to work in.

    Returns:
        The lists, and the screen radii as int32 [N].
    """
    shown, order, spans, slots_needed, radii = _sort_by_depth(planes, planes.view(np.int32), n)
    room = int(slots_needed)
    found = _Found(
        scratch.take("found tiles", room, np.int32),
        scratch.take("found members", room, np.int64),
        scratch.take("found slots", room, np.int32),
    )
    tile_count = -(-size[0] // TILE_WIDTH) * -(-size[1] // TILE_HEIGHT)
    cursors = np.zeros((shares, tile_count), np.int64)
    starts = np.empty(tile_count + 1, np.int64)
    members, slots = np.empty(room, np.int64), np.empty(room, np.int32)
    _fill(shown, order, spans, outlines, *size, wanted, found, cursors, starts, members, slots)
    return TileLists(shown, spans, room, members, slots, starts), radii


class _Found(NamedTuple):
    """Members in the order of their Gaussians' depth, before they are handed out to the tiles."""

    tiles: np.ndarray
    members: np.ndarray
    slots: np.ndarray


@njit(cache=True)
def _sort_by_depth(planes, plane_bits, n):
    """Collect the Gaussians in the picture, and sort them stably by the bits of their depth (radix sort).

    Returns:
        Their indices, padded; the order of these by depth; the slots reserved for each, and their number;
        the radii of all.
    """
    padded = -(-n // LANES) * LANES
    radii = np.empty(n, np.int32)
    shown = np.empty(padded, np.int32)
    keys = np.empty(n, np.int32)
    count = 0
    lowest, highest = np.int32(2**31 - 1), np.int32(0)
    for i in range(n):
        radius = planes[RADIUS * padded + i]
        radii[i] = np.int32(radius)
        if radius > 0:
            key = plane_bits[DEPTH * padded + i]
            keys[count] = key
            shown[count] = i
            count += 1
            lowest, highest = min(lowest, key), max(highest, key)
    order = np.arange(count).astype(np.int32)
    spans = np.empty((count, 2), np.int64)
    room = np.int64(0)
    for rank in range(count):
        spans[rank, 0] = room
        room += np.int64(planes[ROOM * padded + shown[rank]])
        spans[rank, 1] = room
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
def _find_members(shown, order, spans, outlines, width, height, wanted, low, high, first, found, totals):
    """Find the members that some Gaussians, given by their places in the order, make; count them by tile.

    Returns:
        Where they end among those found; they start at `first`.
    """
    tiles_x = -(-width // TILE_WIDTH)
    lane_left = lane_numbers() * TILE_WIDTH + np.float32(0.5)
    between = np.empty(2 * LANES, np.float32)
    end = first
    for place in range(low, high):
        prefetch(spans, 2 * order[min(place + _AHEAD, high - 1)])
        prefetch(outlines, np.int64(shown[order[min(place + _AHEAD, high - 1)]]) * OUTLINE)
        rank = order[place]
        i = np.int64(shown[rank])
        at = i * OUTLINE
        u, v = load_splat(outlines, at + OUTLINE_X), load_splat(outlines, at + OUTLINE_Y)
        half_x, half_y = load_splat(outlines, at + HALF_X), load_splat(outlines, at + HALF_Y)
        tilt, bulge = load_splat(outlines, at + TILT), load_splat(outlines, at + BULGE)
        top = load_splat(outlines, at + TOP)
        widening = slack(half_y)
        tile_x1 = np.int64(outlines[at + LAST_TILE])
        slot = spans[rank, 0]
        # 16 columns of tiles at once: between which rows the outline runs in each
        for tile_x0 in range(np.int64(outlines[at + FIRST_TILE]), tile_x1 + 1, LANES):
            left = lane_left + (np.float32(tile_x0 * TILE_WIDTH) - u)
            right = lesser(left + (TILE_WIDTH - 1), half_x)
            left = larger(left, -1.0 * half_x)
            dx = lesser(larger(top, left), right)
            above = tilt * dx - bulge * root(larger(half_x * half_x - dx * dx, splat(0.0)))
            dx = lesser(larger(-1.0 * top, left), right)
            below = tilt * dx + bulge * root(larger(half_x * half_x - dx * dx, splat(0.0)))
            store(between, 0, larger(ceiling(v + above - (widening + 0.5)), splat(0.0)))
            store(between, LANES, lesser(floor(v + below + (widening - 0.5)), splat(height - 1)))
            for j in range(min(LANES, tile_x1 + 1 - tile_x0)):
                y0, y1 = np.int64(between[j]), np.int64(between[LANES + j])
                for tile_y in range(y0 // TILE_HEIGHT, y1 // TILE_HEIGHT + 1 if y0 <= y1 else 0):
                    tile = tile_y * tiles_x + tile_x0 + j
                    if len(wanted) > 0 and not wanted[tile]:
                        continue
                    row0 = max(y0 - tile_y * TILE_HEIGHT, 0)
                    row1 = min(y1 - tile_y * TILE_HEIGHT, TILE_HEIGHT - 1)
                    found.tiles[end] = tile
                    found.members[end] = (i << 32) | ((np.int64(2) << row1) - (np.int64(1) << row0))
                    found.slots[end] = slot
                    totals[tile] += 1
                    slot += 1
                    end += 1
        spans[rank, 1] = slot
    return end


@njit
def _hand_out(first, end, found, cursor, members, slots):
    for k in range(first, end):
        tile = found.tiles[k]
        place = cursor[tile]
        cursor[tile] = place + 1
        members[place] = found.members[k]
        slots[place] = found.slots[k]


@njit
def _room_of(order, spans, low, high):
    room = 0
    for rank in order[low:high]:
        room += spans[rank, 1] - spans[rank, 0]
    return room


@njit(parallel=True, cache=True)
def _fill(shown, order, spans, outlines, width, height, wanted, found, cursors, starts, members, slots):
    """Fill `starts`, `members`, `slots` and the ends of `spans`; `cursors` is zeros, one row a share."""
    shares, n = len(cursors), len(order)
    firsts, ends = np.zeros(shares + 1, np.int64), np.empty(shares, np.int64)
    for s in prange(shares):
        firsts[s + 1] = _room_of(order, spans, s * n // shares, (s + 1) * n // shares)
    for s in range(shares):
        firsts[s + 1] += firsts[s]
    for s in prange(shares):
        low, high = s * n // shares, (s + 1) * n // shares
        ends[s] = _find_members(
            shown, order, spans, outlines, width, height, wanted, low, high, firsts[s], found, cursors[s]
        )
    place = 0
    for tile in range(len(starts) - 1):
        starts[tile] = place
        for s in range(shares):
            count = cursors[s, tile]
            cursors[s, tile] = place
            place += count
    starts[-1] = place
    for s in prange(shares):
        _hand_out(firsts[s], ends[s], found, cursors[s], members, slots)
