"""Front-to-back blending of tiles, and its gradient; one vector is one row of a tile."""

import numpy as np
from numba import njit, prange
from numba.extending import register_jitable

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
from gags.render._cpu_tiles import TILE_HEIGHT, TILE_WIDTH
from gags.render._simd import (
    LANES,
    any_lane,
    exp2,
    fetch_add,
    lane_numbers,
    lane_sum,
    lesser,
    load,
    lowest_bit,
    select,
    splat,
    store,
)
from gags.render.types import MAX_ALPHA, MIN_TRANSMITTANCE

_PLANE = TILE_WIDTH * TILE_HEIGHT  # numbers a quantity takes in a tile
STRONGEST = float(np.log2(MAX_ALPHA))

# The gradient of one entry: sums over its pixels of g = dL/d ln α, alone and times products of dx and dy,
# then the gradient of the depth and of the colours.
SUM, SUM_X, SUM_Y, SUM_XX, SUM_XY, SUM_YY, SUM_DEPTH, SUM_COLORS = range(8)


@register_jitable
def entry_stride(channels: int) -> int:
    """Numbers between the gradients of two entries."""
    return -(-(SUM_COLORS + channels) // LANES) * LANES


@njit
def _open_tile(tile, width, height, state):
    """Start a tile: light 1 inside the picture, 0 beyond its edges. Its corner, and its rows as bits."""
    tiles_x = -(-width // TILE_WIDTH)
    x0, y0 = tile % tiles_x * TILE_WIDTH, tile // tiles_x * TILE_HEIGHT
    rows = min(TILE_HEIGHT, height - y0)
    light = select(lane_numbers() + x0 < width, splat(1.0), splat(0.0))
    for row in range(rows):
        store(state, row * LANES, light)
    return x0, y0, (np.int64(1) << rows) - 1


@njit
def _blend_tile(
    tile, width, height, records, colors, channels, background, lists, state, image, depths, alphas
):
    # Planes of the state: light left, alpha, depth, channels.
    x0, y0, live = _open_tile(tile, width, height, state)
    rows_in_tile = min(TILE_HEIGHT, height - y0)
    for i in range(_PLANE, (3 + channels) * _PLANE, LANES):
        store(state, i, splat(0.0))
    x = lane_numbers() + (x0 + np.float32(0.5))
    for k in range(lists.starts[tile], lists.starts[tile + 1]):
        entry = lists.entries[lists.members[k]]
        rows = entry & live
        if rows == 0:
            continue
        i = entry >> 32
        r = i * RECORD
        dx = x - records[r + CENTRE_X]
        constant = records[r + PEAK] + records[r + QUAD_XX] * dx * dx
        slope = records[r + QUAD_XY] * dx
        first_y = np.float32(y0) + np.float32(0.5) - records[r + CENTRE_Y]
        yy = records[r + QUAD_YY]
        depth = splat(records[r + DEPTH])
        while rows != 0:
            row = lowest_bit(rows)
            rows &= rows - 1
            at = row * LANES
            dy = first_y + np.float32(row)
            power = constant + dy * (slope + yy * dy)
            alpha = select(power >= FAINTEST, exp2(lesser(power, splat(STRONGEST))), splat(0.0))
            light = load(state, at)
            behind = light - light * alpha
            lit = behind > MIN_TRANSMITTANCE
            weight = select(lit, light * alpha, splat(0.0))
            store(state, at, select(lit, behind, splat(0.0)))
            store(state, _PLANE + at, load(state, _PLANE + at) + weight)
            store(state, 2 * _PLANE + at, load(state, 2 * _PLANE + at) + weight * depth)
            for c in range(channels):
                place = (3 + c) * _PLANE + at
                store(state, place, load(state, place) + weight * colors[i * channels + c])
            if not any_lane(lit):
                live &= ~(np.int64(1) << row)
        if live == 0:
            break
    columns = min(TILE_WIDTH, width - x0)
    for row in range(rows_in_tile):
        at = row * LANES
        pixel = (y0 + row) * width + x0
        for lane in range(columns):
            alpha = state[_PLANE + at + lane]
            alphas[pixel + lane] = alpha
            depths[pixel + lane] = state[2 * _PLANE + at + lane] / alpha if alpha > 0 else np.float32(0)
        for c in range(channels):
            for lane in range(columns):
                image[(pixel + lane) * channels + c] = state[(3 + c) * _PLANE + at + lane]
        if len(background) > 0:
            for lane in range(columns):
                through = np.float32(1) - state[_PLANE + at + lane]
                for c in range(channels):
                    image[(pixel + lane) * channels + c] += through * background[c]


@njit
def aligned(size):
    """float32 memory that starts at a cache line."""
    memory = np.empty(size + 16, np.float32)
    skip = (-memory.ctypes.data % 64) // 4
    return memory[skip : skip + size]


@njit
def _blend_tiles(todo, width, height, records, colors, channels, background, lists, image, depths, alphas):
    state = aligned((3 + channels) * _PLANE)
    tiles = len(lists.starts) - 1
    while True:
        tile = fetch_add(todo, 0, 1)
        if tile >= tiles:
            break
        _blend_tile(
            tile, width, height, records, colors, channels, background, lists, state, image, depths, alphas
        )


@njit(parallel=True, cache=True)
def blend(threads, todo, width, height, records, colors, channels, background, lists, image, depths, alphas):
    """Blend every tile into the picture.

    Args:
        threads: How many threads share the tiles.
        todo: Next tile nobody has taken, starts as 0. int64 [1]
        width, height: Size of the picture.
        records: Flat projected Gaussians.
        colors: Flat colours, `channels` numbers a Gaussian.
        channels: Number of channels.
        background: Empty for black.
        lists: Members of the tiles.
        image, depths, alphas: Flat pictures, written.
    """
    for _ in prange(threads):
        _blend_tiles(todo, width, height, records, colors, channels, background, lists, image, depths, alphas)


@njit
def _open_gradients(
    x0, y0, width, height, channels, background, image, depths, alphas, g_image, g_depths, g_alphas, state
):
    """Upstream gradients of one tile, as gradients of each pixel's blending weights.

    With D = Σ w z / Σ w and the background behind, dL/dw = g_colors·color + g_z z + g_1. Planes of the state:
    light left, what is to come of Σ w dL/dw, g_1, g_z, g_colors. Gives the rows that have any gradient.
    """
    live = np.int64(0)
    for row in range(min(TILE_HEIGHT, height - y0)):
        some = False
        for lane in range(min(TILE_WIDTH, width - x0)):
            pixel = (y0 + row) * width + x0 + lane
            at = row * LANES + lane
            alpha = alphas[pixel]
            g_depth = g_depths[pixel] / alpha if alpha > 0 else np.float32(0)
            g_one = g_alphas[pixel]
            to_come = np.float32(0)
            some |= g_one != 0 or g_depth != 0
            for c in range(channels):
                g_color = g_image[pixel * channels + c]
                color = image[pixel * channels + c]
                if len(background) > 0:
                    color -= (np.float32(1) - alpha) * background[c]
                    g_one -= g_color * background[c]
                to_come += g_color * color
                state[(4 + c) * _PLANE + at] = g_color
                some |= g_color != 0
            state[_PLANE + at] = to_come + g_one * alpha
            state[2 * _PLANE + at] = g_one - g_depth * depths[pixel]
            state[3 * _PLANE + at] = g_depth
        if some:
            live |= np.int64(1) << row
    return live


@njit
def _blend_tile_backward(
    tile, width, height, records, colors, channels, lists, state, weights, live, gradients
):
    x0, y0, inside = _open_tile(tile, width, height, state)
    live &= inside
    stride = entry_stride(channels)
    x = lane_numbers() + (x0 + np.float32(0.5))
    for k in range(lists.starts[tile], lists.starts[tile + 1]):
        e = np.int64(lists.members[k])
        out = e * stride
        entry = lists.entries[e]
        rows = entry & live
        if rows == 0:
            for j in range(0, stride, LANES):
                store(gradients, out + j, splat(0.0))
            continue
        i = entry >> 32
        r = i * RECORD
        dx = x - records[r + CENTRE_X]
        constant = records[r + PEAK] + records[r + QUAD_XX] * dx * dx
        slope = records[r + QUAD_XY] * dx
        first_y = np.float32(y0) + np.float32(0.5) - records[r + CENTRE_Y]
        yy = records[r + QUAD_YY]
        depth = splat(records[r + DEPTH])
        g0, g1, g2, g_depth = splat(0.0), splat(0.0), splat(0.0), splat(0.0)
        left = rows
        while left != 0:
            row = lowest_bit(left)
            left &= left - 1
            at = row * LANES
            dy = first_y + np.float32(row)
            power = constant + dy * (slope + yy * dy)
            alpha = select(power >= FAINTEST, exp2(lesser(power, splat(STRONGEST))), splat(0.0))
            light = load(state, at)
            behind = light - light * alpha
            lit = behind > MIN_TRANSMITTANCE
            weight = select(lit, light * alpha, splat(0.0))
            store(state, at, select(lit, behind, splat(0.0)))
            store(weights, at, weight)
            per_weight = load(state, 2 * _PLANE + at) + depth * load(state, 3 * _PLANE + at)
            for c in range(channels):
                per_weight += load(state, (4 + c) * _PLANE + at) * colors[i * channels + c]
            share = weight * per_weight
            to_come = load(state, _PLANE + at) - share
            store(state, _PLANE + at, to_come)
            g = share - to_come * alpha / (1.0 - alpha)
            g = select(lit & (power < STRONGEST), g, splat(0.0))
            g0 += g
            g1 += g * dy
            g2 += g * (dy * dy)
            g_depth += weight * load(state, 3 * _PLANE + at)
            if not any_lane(lit):
                live &= ~(np.int64(1) << row)
        gradients[out + SUM] = lane_sum(g0)
        gradients[out + SUM_X] = lane_sum(g0 * dx)
        gradients[out + SUM_Y] = lane_sum(g1)
        gradients[out + SUM_XX] = lane_sum(g0 * dx * dx)
        gradients[out + SUM_XY] = lane_sum(g1 * dx)
        gradients[out + SUM_YY] = lane_sum(g2)
        gradients[out + SUM_DEPTH] = lane_sum(g_depth)
        for c in range(channels):
            total = splat(0.0)
            left = rows
            while left != 0:
                at = lowest_bit(left) * LANES
                left &= left - 1
                total += load(weights, at) * load(state, (4 + c) * _PLANE + at)
            gradients[out + SUM_COLORS + c] = lane_sum(total)


@njit
def _blend_tiles_backward(
    todo,
    width,
    height,
    records,
    colors,
    channels,
    background,
    lists,
    image,
    depths,
    alphas,
    g_image,
    g_depths,
    g_alphas,
    gradients,
):
    state = aligned((4 + channels) * _PLANE)
    weights = aligned(_PLANE)
    state[:] = 0  # lanes beyond the picture's edge stay 0
    tiles_x = -(-width // TILE_WIDTH)
    tiles = len(lists.starts) - 1
    while True:
        tile = fetch_add(todo, 0, 1)
        if tile >= tiles:
            break
        x0, y0 = tile % tiles_x * TILE_WIDTH, tile // tiles_x * TILE_HEIGHT
        live = _open_gradients(
            x0,
            y0,
            width,
            height,
            channels,
            background,
            image,
            depths,
            alphas,
            g_image,
            g_depths,
            g_alphas,
            state,
        )
        _blend_tile_backward(
            tile, width, height, records, colors, channels, lists, state, weights, live, gradients
        )


@njit(parallel=True, cache=True)
def blend_backward(
    threads,
    todo,
    width,
    height,
    records,
    colors,
    channels,
    background,
    lists,
    image,
    depths,
    alphas,
    g_image,
    g_depths,
    g_alphas,
    gradients,
):
    """Gradient of `blend` for every entry.

    Args:
        threads, todo, width, height, records, colors, channels, background, lists: As in `blend`.
        image, depths, alphas: What `blend` wrote.
        g_image, g_depths, g_alphas: Gradients of those. Flat.
        gradients: `entry_stride(channels)` numbers an entry, written (only for members of tiles).
    """
    for _ in prange(threads):
        _blend_tiles_backward(
            todo,
            width,
            height,
            records,
            colors,
            channels,
            background,
            lists,
            image,
            depths,
            alphas,
            g_image,
            g_depths,
            g_alphas,
            gradients,
        )
