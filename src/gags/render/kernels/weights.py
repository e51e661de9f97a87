"""Blending weights of chosen pixels; one vector is any 16 of them in the same tile."""

import numpy as np
from numba import njit, prange

from gags.render.kernels.blend import aligned, alpha_of
from gags.render.kernels.layout import (
    CENTRE_X,
    CENTRE_Y,
    PEAK,
    QUAD_XX,
    QUAD_XY,
    QUAD_YY,
    TILE_HEIGHT,
    TILE_WIDTH,
    TileLists,
    record_stride,
    rows_of_tile,
)
from gags.render.types import MIN_TRANSMITTANCE
from gags.simd.cache import kernel
from gags.simd.memory import fetch_add, load, store
from gags.simd.vectors import LANES, any_lane, broadcast, broadcast_bits, select


@kernel()
def group_pixels(pixels, width, height) -> tuple[np.ndarray, np.ndarray]:
    """Order pixels by tile, then row, then column.

    Args:
        pixels: Column and row of each. int64 [P, 2]
        width, height: Size of the picture.

    Returns:
        The order, int64 [P], and where each tile starts in it, int64 [tiles + 1].
    """
    # A counting sort: count the pixels of every place, add up to where each place starts, hand out.
    tiles_x, tiles_y = -(-width // TILE_WIDTH), -(-height // TILE_HEIGHT)
    plane = TILE_WIDTH * TILE_HEIGHT
    cursor = np.zeros(tiles_x * tiles_y * plane + 1, np.int32)
    keys = np.empty(len(pixels), np.int64)
    for p in range(len(pixels)):
        x, y = pixels[p, 0], pixels[p, 1]
        tile = y // TILE_HEIGHT * tiles_x + x // TILE_WIDTH
        keys[p] = tile * plane + y % TILE_HEIGHT * TILE_WIDTH + x % TILE_WIDTH
        cursor[keys[p] + 1] += 1
    for key in range(len(cursor) - 1):
        cursor[key + 1] += cursor[key]
    starts = cursor[::plane].astype(np.int64)
    order = np.empty(len(pixels), np.int64)
    for p in range(len(pixels)):
        order[cursor[keys[p]]] = p
        cursor[keys[p]] += 1
    return order, starts


@njit
def _insert(weight, index, top_k, place, weights, indices) -> None:
    """Insert 16 weights into their 16 lists of the largest `top_k`, each by descending weight."""
    if not any_lane(weight > load(weights, place + (top_k - 1) * LANES)):
        return
    for at in range(place, place + top_k * LANES, LANES):
        other = load(weights, at)
        other_index = load(indices, at)
        better = weight > other
        store(weights, at, select(better, weight, other))
        store(indices, at, select(better, index, other_index))
        weight = select(better, other, weight)
        index = select(better, other_index, index)


@njit
def _tile_weights(tile, records, lists, x, y, rows, transmittances, alphas, top_k, weights, indices) -> None:
    """Walk one tile front to back for its groups of 16 pixels."""
    groups = len(rows)
    for k in range(lists.starts[tile], lists.starts[tile + 1]):
        i = lists.members[k, 0]
        touched = rows_of_tile(lists.members, k)
        r = i * record_stride(0)
        index = broadcast_bits(i)
        finished = True
        for group in range(groups):
            at = group * LANES
            if rows[group] == 0:  # all 16 pixels are finished
                continue
            finished = False
            if touched & rows[group] == 0:
                continue
            # log2 α_i at 16 pixels
            dx, dy = load(x, at) - records[r + CENTRE_X], load(y, at) - records[r + CENTRE_Y]
            power = records[r + PEAK] + records[r + QUAD_XX] * dx * dx
            power += dy * (records[r + QUAD_XY] * dx + records[r + QUAD_YY] * dy)
            alpha = alpha_of(power)
            # w_i = α_i T_i and T_{i+1} = T_i - w_i, as in `blend`; T is 0 once a pixel is finished.
            T = load(transmittances, at)
            T_behind = T - T * alpha
            unfinished = T_behind > MIN_TRANSMITTANCE
            weight = select(unfinished, T * alpha, broadcast(0.0))
            store(transmittances, at, select(unfinished, T_behind, broadcast(0.0)))
            store(alphas, at, load(alphas, at) + weight)
            if not any_lane(unfinished):
                rows[group] = 0
            _insert(weight, index, top_k, at * top_k, weights, indices)
        if finished:
            break


@njit
def _weigh_tile(
    tile, pixels, order, starts, records, lists, top_k, out_indices, out_weights, out_alphas
) -> None:
    """Gather the pixels of one tile in groups of 16, walk the tile, and write what was found."""
    first, count = starts[tile], starts[tile + 1] - starts[tile]
    groups = -(-count // LANES)
    size = groups * LANES
    x, y, transmittances, alphas = aligned(size), aligned(size), aligned(size), aligned(size)
    weights, indices = aligned(size * top_k), aligned(size * top_k)
    rows = np.zeros(groups, np.int64)
    transmittances[:] = 0  # lanes without a pixel get nothing
    alphas[:] = 0
    weights[:] = 0
    indices.view(np.int32)[:] = -1
    for j in range(size):
        pixel = order[first + min(j, count - 1)]
        x[j], y[j] = pixels[pixel, 0] + 0.5, pixels[pixel, 1] + 0.5
        rows[j // LANES] |= np.int64(1) << (pixels[pixel, 1] % TILE_HEIGHT)
        if j < count:
            transmittances[j] = 1
    _tile_weights(tile, records, lists, x, y, rows, transmittances, alphas, top_k, weights, indices)
    index_bits = indices.view(np.int32)
    for j in range(count):
        pixel = order[first + j]
        out_alphas[pixel] = alphas[j]
        for k in range(top_k):
            at = (j // LANES * top_k + k) * LANES + j % LANES
            out_weights[pixel, k] = weights[at]
            out_indices[pixel, k] = index_bits[at]


@njit
def _weigh_tiles(todo, pixels, order, starts, records, lists, top_k, indices, weights, alphas) -> None:
    """What one thread does: take the next tile that nobody has taken, until none is left."""
    tiles = len(starts) - 1
    while True:
        tile = fetch_add(todo, 0, 1)
        if tile >= tiles:
            break
        if starts[tile + 1] > starts[tile]:
            _weigh_tile(tile, pixels, order, starts, records, lists, top_k, indices, weights, alphas)


@kernel(parallel=True)
def weigh(
    threads, todo, pixels, order, starts, records, lists: TileLists, top_k, indices, weights, alphas
) -> None:
    """The strongest Gaussians of chosen pixels.

    Args:
        threads: How many threads share the tiles.
        todo: Next tile nobody has taken, starts as 0. int64 [1]
        pixels, order, starts: The pixels, and what `group_pixels` made of them.
        records, lists: Projected Gaussians and members of the tiles.
        top_k: How many to keep.
        indices, weights, alphas: Results in the order of `pixels`, written. [P, top_k], [P, top_k], [P]
    """
    for _ in prange(threads):
        _weigh_tiles(todo, pixels, order, starts, records, lists, top_k, indices, weights, alphas)
