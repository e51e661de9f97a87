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
from gags.simd.memory import fetch_add, native_load_broadcast, prefetch, store
from gags.simd.vectors import (
    LANES,
    NATIVE_LANES,
    bits_between,
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
_SHARES_A_THREAD = 4  # so that a thread that other work holds up does not hold up the rest ...
_MOST_SHARES = 32  # ... but one a thread if there are more threads: each share has a number for every tile
_DIGIT = 12  # most bits of a depth that one pass of the radix sort takes


def list_tiles(
    outlines: np.ndarray,
    planes: np.ndarray,
    n: int,
    size: tuple[int, int],
    wanted: np.ndarray,
    threads: int,
    scratch: Scratch,
) -> tuple[TileLists, np.ndarray]:
    """Sort Gaussians by depth and find the tiles and rows each one touches.

    Args:
        outlines, planes: Projected Gaussians.
        n: Their number.
        size: Width and height of the picture.
        wanted: Tiles to be listed; all if empty. bool [tiles]
        threads: How many threads share the work.
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
    width, height = size
    tile_count = -(-width // TILE_WIDTH) * -(-height // TILE_HEIGHT)
    lists = TileLists(
        shown,
        spans,
        slot_count,
        members=np.empty((slot_count, MEMBER), np.int32),
        slots=np.empty(slot_count, np.int32),
        starts=np.empty(tile_count + 1, np.int64),
    )
    shares = min(threads * _SHARES_A_THREAD, max(threads, _MOST_SHARES))
    cursors, todo = np.zeros((shares, tile_count), np.int64), np.zeros(3, np.int64)
    _fill(threads, todo, lists, order, outlines, width, height, wanted, found, cursors)
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
    order = np.arange(count).astype(np.int32)
    # Reserve slots for each, one after the other.
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
def _find_members(lists, order, outlines, width, height, wanted, low, high, first, found, totals) -> int:
    """Find the members that some Gaussians, given by their places in the order, make; count them by tile.

    Returns:
        Where they end among those found; they start at `first`.
    """
    shown, spans = lists.shown, lists.spans
    tiles_x = -(-width // TILE_WIDTH)
    lane_left = native_lane_indices() * STRIP + np.float32(0.5)
    zero, bottom = native_broadcast(0.0), native_broadcast(height - 1)
    rows = np.empty(-(-height // TILE_HEIGHT) * NATIVE_LANES, np.float32)
    row_bits = rows.view(np.int32)
    end = first
    for place in range(low, high):
        prefetch(spans, 2 * order[min(place + _GAUSSIANS_AHEAD, high - 1)])
        prefetch(outlines, np.int64(shown[order[min(place + _GAUSSIANS_AHEAD, high - 1)]]) * OUTLINE)
        rank = order[place]
        i = np.int64(shown[rank])
        at = i * OUTLINE
        u, v = (
            native_load_broadcast(outlines, at + OUTLINE_X),
            native_load_broadcast(outlines, at + OUTLINE_Y),
        )
        half_x = native_load_broadcast(outlines, at + HALF_X)
        half_y = native_load_broadcast(outlines, at + HALF_Y)
        tilt, bulge = native_load_broadcast(outlines, at + TILT), native_load_broadcast(outlines, at + BULGE)
        top = native_load_broadcast(outlines, at + TOP)
        widening = slack(half_y)
        tile_x1 = np.int64(outlines[at + LAST_TILE])
        tile_y0, tile_y1 = _tile_rows(outlines[at + OUTLINE_Y], outlines[at + HALF_Y], height)
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
            last_row = select(left - right <= slack(half_x), last_row, -1.0)
            # In every row of tiles, these rows as bits.
            for tile_y in range(tile_y0, tile_y1 + 1):
                y0 = np.float32(tile_y * TILE_HEIGHT)
                bits = bits_between(maximum(first_row - y0, zero), minimum(last_row - y0, TILE_HEIGHT - 1.0))
                store(rows, (tile_y - tile_y0) * NATIVE_LANES, bits)
            # One member for each tile that has any.
            for j in range(min(_TILES_AT_ONCE, tile_x1 + 1 - tile_x0)):
                tile = tile_y0 * tiles_x + tile_x0 + j
                strip = j * STRIPS
                for _ in range(tile_y0, tile_y1 + 1):
                    some = row_bits[strip] != 0
                    for s in range(1, STRIPS):
                        some |= row_bits[strip + s] != 0
                    if some and (len(wanted) == 0 or wanted[tile]):
                        found.tiles[end] = tile
                        found.slots[end] = slot
                        found.members[end, 0] = i
                        for s in range(STRIPS):
                            found.members[end, 1 + s] = row_bits[strip + s]
                        totals[tile] += 1
                        slot += 1
                        end += 1
                    tile += tiles_x
                    strip += NATIVE_LANES
        spans[rank, 1] = slot
    return end


@njit
def _tile_rows(v, half_y, height) -> tuple[np.int64, np.int64]:
    """First and last row of tiles that an outline can touch."""
    half_y += slack(half_y)
    y0, y1 = max(v - half_y, np.float32(0)), min(v + half_y, np.float32(height - 1))
    return np.int64(y0) // TILE_HEIGHT, np.int64(y1) // TILE_HEIGHT


@njit
def _hand_out(first, end, found, cursor, members, slots) -> None:
    """Copy members from the order of depth to where their tile wants the next one; `cursor` is used up."""
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
def _fill(
    threads, todo, lists: TileLists, order, outlines, width, height, wanted, found: _Found, cursors
) -> None:
    """Fill `starts`, `members`, `slots` and the ends of `spans`; `cursors` and `todo` are zeros, of the
    first there is one row a share."""
    members, slots, starts = lists.members, lists.slots, lists.starts
    # The Gaussians in order of depth are cut into shares. A thread takes the next share that nobody has
    # taken; it finds the share's members, in its own part of `found`, and counts them by tile.
    shares, n = len(cursors), len(order)
    firsts, ends = np.zeros(shares + 1, np.int64), np.empty(shares, np.int64)
    for _ in prange(threads):
        while True:
            s = fetch_add(todo, 0, 1)
            if s >= shares:
                break
            firsts[s + 1] = _slots_of(order, lists.spans, s * n // shares, (s + 1) * n // shares)
    for s in range(shares):
        firsts[s + 1] += firsts[s]
    for _ in prange(threads):
        while True:
            s = fetch_add(todo, 1, 1)
            if s >= shares:
                break
            low, high = s * n // shares, (s + 1) * n // shares
            ends[s] = _find_members(
                lists, order, outlines, width, height, wanted, low, high, firsts[s], found, cursors[s]
            )
    # Where the members of each tile, and in it those of each share, start: shares are in order of depth.
    # One thread does this, share by share as they lie in memory.
    tiles = len(starts) - 1
    starts[:] = 0
    for s in range(shares):
        for tile in range(tiles):
            starts[tile + 1] += cursors[s, tile]
    for tile in range(tiles):
        starts[tile + 1] += starts[tile]
    places = starts[:tiles].copy()
    for s in range(shares):
        for tile in range(tiles):
            count = cursors[s, tile]
            cursors[s, tile] = places[tile]
            places[tile] += count
    for _ in prange(threads):
        while True:
            s = fetch_add(todo, 2, 1)
            if s >= shares:
                break
            _hand_out(firsts[s], ends[s], found, cursors[s], members, slots)
