"""Which Gaussians touch which tile of the picture, front to back."""

from typing import NamedTuple

import numpy as np
from numba import njit, prange

from gags.render.kernels.layout import (
    BULGE,
    FIRST_TILE,
    HALF_X,
    HALF_Y,
    LAST_TILE,
    MEMBER,
    OUTLINE,
    OUTLINE_X,
    OUTLINE_Y,
    PLANE_DEPTH,
    PLANE_RADIUS,
    PLANE_SLOTS,
    STRIP,
    STRIPS,
    TILE_HEIGHT,
    TILE_WIDTH,
    TILT,
    TOP,
    Scratch,
    TileLists,
    slack,
)
from gags.simd.cache import kernel
from gags.simd.memory import native_load_broadcast, prefetch, store
from gags.simd.vectors import (
    LANES,
    NATIVE_LANES,
    ceil,
    floor,
    maximum,
    minimum,
    native_broadcast,
    native_lane_indices,
    select,
    sqrt,
)

_GAUSSIANS_AHEAD = 8  # Gaussians that are fetched from memory ahead of time
_TILES_AT_ONCE = NATIVE_LANES // STRIPS
_DIGIT = 12  # most bits of a depth that one pass of the radix sort takes


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
        scratch: Memory to work with.

    Returns:
        The lists, and the screen radii as int32 [N].
    """
    shown, order, spans, slots_needed, radii = _sort_by_depth(planes, planes.view(np.int32), n)
    slot_count = int(slots_needed)
    found = _Found(
        scratch.take("found tiles", slot_count, np.int32),
        scratch.take("found members", slot_count * MEMBER, np.int32).reshape(slot_count, MEMBER),
        scratch.take("found slots", slot_count, np.int32),
    )
    tile_count = -(-size[0] // TILE_WIDTH) * -(-size[1] // TILE_HEIGHT)
    cursors = np.zeros((shares, tile_count), np.int64)
    starts = np.empty(tile_count + 1, np.int64)
    members, slots = np.empty((slot_count, MEMBER), np.int32), np.empty(slot_count, np.int32)
    lists = TileLists(shown, spans, slot_count, members, slots, starts)
    width, height = size
    _fill(lists, order, outlines, width, height, wanted, found, cursors)
    return lists, radii


class _Found(NamedTuple):
    """Members in the order of their Gaussians' depth, before they are handed out to the tiles."""

    tiles: np.ndarray
    members: np.ndarray
    slots: np.ndarray


@kernel()
def _sort_by_depth(planes, plane_bits, n) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.int64, np.ndarray]:
    """Collect the Gaussians in the picture, and sort them stably by the bits of their depth (radix sort).

    Returns:
        Their indices, padded; the order of these by depth; the slots reserved for each, and their number;
        the radii of all.
    """
    # Collect those in the picture. Depths are positive floats, so their bits are in the same order.
    padded = -(-n // LANES) * LANES
    radii = np.empty(n, np.int32)
    shown = np.empty(padded, np.int32)
    keys = np.empty(n, np.int32)
    count = 0
    lowest, highest = np.int32(2**31 - 1), np.int32(0)
    for i in range(n):
        radius = planes[PLANE_RADIUS * padded + i]
        radii[i] = np.int32(radius)
        if radius > 0:
            key = plane_bits[PLANE_DEPTH * padded + i]
            keys[count] = key
            shown[count] = i
            count += 1
            lowest, highest = min(lowest, key), max(highest, key)
    # Reserve slots for each, one after the other.
    order = np.arange(count).astype(np.int32)
    spans = np.empty((count, 2), np.int64)
    slot_count = np.int64(0)
    for rank in range(count):
        spans[rank, 0] = slot_count
        slot_count += np.int64(planes[PLANE_SLOTS * padded + shown[rank]])
        spans[rank, 1] = slot_count
    # Radix sort by the bits in which depths differ, in as few passes as possible, all with the same digit.
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
    return shown[:blocks_end], order, spans, slot_count, radii


@njit
def _find_members(
    shown, order, spans, outlines, width, height, wanted, low, high, first, found, totals
) -> int:
    """Find the members that some Gaussians, given by their places in the order, make; count them by tile.

    Returns:
        Where they end among those found; they start at `first`.
    """
    tiles_x = -(-width // TILE_WIDTH)
    lane_left = native_lane_indices() * STRIP + np.float32(0.5)
    zero, bottom = native_broadcast(0.0), native_broadcast(height - 1)
    between = np.empty(2 * NATIVE_LANES, np.float32)
    end = first
    for place in range(low, high):
        prefetch(spans, 2 * order[min(place + _GAUSSIANS_AHEAD, high - 1)])
        prefetch(outlines, np.int64(shown[order[min(place + _GAUSSIANS_AHEAD, high - 1)]]) * OUTLINE)
        rank = order[place]
        i = np.int64(shown[rank])
        at = i * OUTLINE
        u, v = native_load_broadcast(outlines, at + OUTLINE_X), native_load_broadcast(outlines, at + OUTLINE_Y)
        half_x = native_load_broadcast(outlines, at + HALF_X)
        half_y = native_load_broadcast(outlines, at + HALF_Y)
        tilt, bulge = native_load_broadcast(outlines, at + TILT), native_load_broadcast(outlines, at + BULGE)
        top = native_load_broadcast(outlines, at + TOP)
        widening = slack(half_y)
        tile_x1 = np.int64(outlines[at + LAST_TILE])
        slot = spans[rank, 0]
        # For as many strips of columns as a vector has lanes, the first and last row inside the outline. Over
        # the dx that lie in the strip, the curve tilt dx - bulge √(half_x² - dx²) is least at dx = top, or at
        # the end nearer to it; by symmetry the other curve is greatest at -top.
        for tile_x0 in range(np.int64(outlines[at + FIRST_TILE]), tile_x1 + 1, _TILES_AT_ONCE):
            left = lane_left + (np.float32(tile_x0 * TILE_WIDTH) - u)
            right = minimum(left + (STRIP - 1), half_x)
            left = maximum(left, -1.0 * half_x)
            dx = minimum(maximum(top, left), right)
            above = tilt * dx - bulge * sqrt(maximum(half_x * half_x - dx * dx, zero))
            dx = minimum(maximum(-1.0 * top, left), right)
            below = tilt * dx + bulge * sqrt(maximum(half_x * half_x - dx * dx, zero))
            first_row = maximum(ceil(v + above - (widening + 0.5)), zero)
            last_row = minimum(floor(v + below + (widening - 0.5)), bottom)
            # No row at all where the whole strip lies beside the outline.
            store(between, 0, select(left - right <= slack(half_x), first_row, bottom + 1.0))
            store(between, NATIVE_LANES, last_row)
            for j in range(min(_TILES_AT_ONCE, tile_x1 + 1 - tile_x0)):
                end, slot = _add_members(
                    i, tile_x0 + j, tiles_x, between, j * STRIPS, wanted, found, totals, end, slot
                )
        spans[rank, 1] = slot
    return end


@njit
def _add_members(
    i, tile_x, tiles_x, between, strip0, wanted, found, totals, end, slot
) -> tuple[int, int]:
    """Add Gaussian `i` to those tiles of a column of tiles that its first and last rows reach.

    Returns:
        Where the members now end, and the next slot.
    """
    y0, y1 = np.int64(between[strip0]), np.int64(between[NATIVE_LANES + strip0])
    for s in range(strip0 + 1, strip0 + STRIPS):
        y0, y1 = min(y0, np.int64(between[s])), max(y1, np.int64(between[NATIVE_LANES + s]))
    for tile_y in range(y0 // TILE_HEIGHT, y1 // TILE_HEIGHT + 1 if y0 <= y1 else 0):
        tile = tile_y * tiles_x + tile_x
        if len(wanted) > 0 and not wanted[tile]:
            continue
        found.members[end, 0] = i
        touched = np.int64(0)
        for s in range(STRIPS):
            row0 = max(np.int64(between[strip0 + s]) - tile_y * TILE_HEIGHT, 0)
            row1 = min(np.int64(between[NATIVE_LANES + strip0 + s]) - tile_y * TILE_HEIGHT, TILE_HEIGHT - 1)
            rows = (np.int64(2) << row1) - (np.int64(1) << row0) if row0 <= row1 else np.int64(0)
            found.members[end, 1 + s] = rows
            touched |= rows
        if touched != 0:
            found.tiles[end] = tile
            found.slots[end] = slot
            totals[tile] += 1
            slot += 1
            end += 1
    return end, slot


@njit
def _hand_out(first, end, found, cursor, members, slots) -> None:
    """Copy members from the order of depth to where their tile wants the next one."""
    for k in range(first, end):
        tile = found.tiles[k]
        place = cursor[tile]
        cursor[tile] = place + 1
        for part in range(MEMBER):
            members[place, part] = found.members[k, part]
        slots[place] = found.slots[k]


@njit
def _slots_of(order, spans, low, high) -> int:
    """Number of slots reserved for a part of the Gaussians."""
    slots = 0
    for rank in order[low:high]:
        slots += spans[rank, 1] - spans[rank, 0]
    return slots


@kernel(parallel=True)
def _fill(lists: TileLists, order, outlines, width, height, wanted, found: _Found, cursors) -> None:
    """Fill `starts`, `members`, `slots` and the ends of `spans`; `cursors` is zeros, one row a share."""
    shown, spans, members = lists.shown, lists.spans, lists.members
    slots, starts = lists.slots, lists.starts
    # The Gaussians in order of depth are cut into shares. Each share finds its members, in its own part of
    # `found`, and counts them by tile.
    shares, n = len(cursors), len(order)
    firsts, ends = np.zeros(shares + 1, np.int64), np.empty(shares, np.int64)
    for s in prange(shares):
        firsts[s + 1] = _slots_of(order, spans, s * n // shares, (s + 1) * n // shares)
    for s in range(shares):
        firsts[s + 1] += firsts[s]
    for s in prange(shares):
        low, high = s * n // shares, (s + 1) * n // shares
        ends[s] = _find_members(
            shown, order, spans, outlines, width, height, wanted, low, high, firsts[s], found, cursors[s]
        )
    # Where the members of each tile, and in it those of each share, start: shares are in order of depth.
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
