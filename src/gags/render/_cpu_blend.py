"""Front-to-back blending of tiles, and its gradient; one vector is one row of a tile."""

import numpy as np
from numba import njit, prange

from gags.render._cpu_project import (
    CENTRE_X,
    CENTRE_Y,
    FAINTEST,
    FEATURES,
    GROUP,
    PEAK,
    QUAD_XX,
    QUAD_XY,
    QUAD_YY,
    SUM,
    SUM_FEATURES,
    SUM_X,
    SUM_XX,
    SUM_XY,
    SUM_Y,
    SUM_YY,
    TILE_HEIGHT,
    TILE_WIDTH,
    groups_of,
    record_stride,
    slot_stride,
)
from gags.render._simd import (
    LANES,
    any_lane,
    exp2,
    fetch_add,
    lane_numbers,
    lesser,
    load,
    load_every,
    lowest_bit,
    minus_size,
    prefetch,
    row_sums,
    select,
    splat,
    store,
    store_every,
)
from gags.render.types import MAX_ALPHA, MIN_TRANSMITTANCE

_AHEAD = 6  # members whose records are fetched from memory ahead of time
STRONGEST = float(np.log2(MAX_ALPHA))

# What is kept of a row of pixels while its tile is walked, one vector each. Light is what still gets through,
# −light once the pixel is finished.
LIGHT, BLENDED = range(2)  # then the blended features
# The gradient also keeps what is to come of Σ w dL/dw, and the gradients of the weights and of the features.
TO_COME, G_WEIGHT, G_FEATURES = range(1, 4)


@njit
def aligned(size):
    """float32 memory that starts at a cache line."""
    memory = np.empty(size + 16, np.float32)
    skip = (-memory.ctypes.data % 64) // 4
    return memory[skip : skip + size]


@njit
def _corner(tile, width):
    tiles_x = -(-width // TILE_WIDTH)
    return tile % tiles_x * TILE_WIDTH, tile // tiles_x * TILE_HEIGHT


@njit
def _first_light(x0, width):
    """Light 1 inside the picture; pixels beyond its edge are finished from the start."""
    return select(lane_numbers() + x0 < width, splat(1.0), splat(-1.0))


@njit
def _blend_tile(x0, y0, rows_inside, records, channels, lists, tile, row_numbers, state):
    """Walk the members of a tile front to back."""
    groups = groups_of(channels)
    row_size = (BLENDED + GROUP * groups) * LANES
    stride = record_stride(channels)
    live = (np.int64(1) << rows_inside) - 1
    x = lane_numbers() + (x0 + np.float32(0.5))
    last = lists.starts[tile + 1] - 1
    for k in range(lists.starts[tile], last + 1):
        prefetch(records, (lists.members[min(k + _AHEAD, last)] >> 32) * stride)
        rows = lists.members[k] & live
        if rows == 0:
            continue
        r = (lists.members[k] >> 32) * stride
        dx = x - records[r + CENTRE_X]
        constant = records[r + PEAK] + records[r + QUAD_XX] * dx * dx
        slope = records[r + QUAD_XY] * dx
        yy = splat(records[r + QUAD_YY])
        first_y = splat(y0 + np.float32(0.5) - records[r + CENTRE_Y])
        while rows != 0:
            row = lowest_bit(rows)
            rows &= rows - 1
            at = row * row_size
            dy = first_y + row_numbers[row]
            power = constant + dy * (slope + yy * dy)
            alpha = select(power >= FAINTEST, exp2(lesser(power, splat(STRONGEST))), splat(0.0))
            light = load(state, at)
            absorbed = light * alpha
            behind = light - absorbed
            lit = behind > MIN_TRANSMITTANCE
            weight = select(lit, absorbed, splat(0.0))
            store(state, at, select(lit, behind, minus_size(light)))
            for g in range(groups):
                f = r + FEATURES + GROUP * g
                place = at + (BLENDED + GROUP * g) * LANES
                a = load(state, place) + weight * records[f]
                b = load(state, place + LANES) + weight * records[f + 1]
                c = load(state, place + 2 * LANES) + weight * records[f + 2]
                d = load(state, place + 3 * LANES) + weight * records[f + 3]
                store(state, place, a)
                store(state, place + LANES, b)
                store(state, place + 2 * LANES, c)
                store(state, place + 3 * LANES, d)
            if not any_lane(lit):
                live &= ~(np.int64(1) << row)
        if live == 0:
            break


@njit
def _close_tile(x0, y0, rows_inside, width, channels, background, state, edge, image, depths, alphas):
    """Write the pictures of one tile."""
    row_size = (BLENDED + GROUP * groups_of(channels)) * LANES
    columns = min(TILE_WIDTH, width - x0)
    for row in range(rows_inside):
        at = row * row_size
        pixel = (y0 + row) * width + x0
        through = -1.0 * minus_size(load(state, at))
        alpha = 1.0 - through
        depth = load(state, at + (BLENDED + channels) * LANES)
        depth = select(alpha > 0.0, depth / alpha, splat(0.0))
        if columns == LANES:
            store(alphas, pixel, alpha)
            store(depths, pixel, depth)
        else:
            store(edge, 0, alpha)
            store(edge, LANES, depth)
            for lane in range(columns):
                alphas[pixel + lane] = edge[lane]
                depths[pixel + lane] = edge[LANES + lane]
        for c in range(channels):
            color = load(state, at + (BLENDED + c) * LANES)
            if len(background) > 0:
                color += through * background[c]
            if columns == LANES:
                store_every(image, pixel * channels + c, channels, color)
            else:
                store(edge, 0, color)
                for lane in range(columns):
                    image[(pixel + lane) * channels + c] = edge[lane]


@njit
def _blend_tiles(
    todo, width, height, records, channels, background, lists, row_numbers, image, depths, alphas
):
    row_size = (BLENDED + GROUP * groups_of(channels)) * LANES
    state = aligned(TILE_HEIGHT * row_size)
    edge = aligned(2 * LANES)
    tiles = len(lists.starts) - 1
    while True:
        tile = fetch_add(todo, 0, 1)
        if tile >= tiles:
            break
        x0, y0 = _corner(tile, width)
        rows_inside = min(TILE_HEIGHT, height - y0)
        for row in range(TILE_HEIGHT):
            store(state, row * row_size, _first_light(x0, width))
            for at in range(row * row_size + BLENDED * LANES, (row + 1) * row_size, LANES):
                store(state, at, splat(0.0))
        _blend_tile(x0, y0, rows_inside, records, channels, lists, tile, row_numbers, state)
        _close_tile(x0, y0, rows_inside, width, channels, background, state, edge, image, depths, alphas)


@njit(parallel=True, cache=True)
def blend(threads, todo, width, height, records, channels, background, lists, image, depths, alphas):
    """Blend every tile into the picture.

    Args:
        threads: How many threads share the tiles.
        todo: Next tile nobody has taken, starts as 0. int64 [1]
        width, height: Size of the picture.
        records: Projected Gaussians.
        channels: Number of colour channels.
        background: Empty for black.
        lists: Members of the tiles.
        image, depths, alphas: Flat pictures, written.
    """
    row_numbers = np.arange(TILE_HEIGHT).astype(np.float32)
    for _ in prange(threads):
        _blend_tiles(
            *(todo, width, height, records, channels, background, lists, row_numbers),
            *(image, depths, alphas),
        )


@njit
def _lanes(array, start, step, columns):
    """A row of `columns` numbers, zeros beyond."""
    if columns == LANES:
        return load_every(array, start, step)
    edge = np.zeros(LANES, np.float32)
    for lane in range(columns):
        edge[lane] = array[start + lane * step]
    return load(edge, 0)


@njit
def _open_gradients(
    x0, y0, width, height, channels, background, image, depths, alphas, g_image, g_depths, g_alphas, state
):
    """Upstream gradients of one tile, as gradients of each pixel's blending weights.

    With D = Σ w z / Σ w and the background behind, dL/dw = g_weight + Σ g_feature feature, the depth being
    one of the features. Gives the rows that have any gradient.
    """
    groups = groups_of(channels)
    row_size = (G_FEATURES + GROUP * groups) * LANES
    columns = min(TILE_WIDTH, width - x0)
    live = np.int64(0)
    for row in range(min(TILE_HEIGHT, height - y0)):
        at = row * row_size
        pixel = (y0 + row) * width + x0
        alpha = _lanes(alphas, pixel, 1, columns)
        g_depth = _lanes(g_depths, pixel, 1, columns)
        g_depth = select(alpha > 0.0, g_depth / alpha, splat(0.0))
        g_weight = _lanes(g_alphas, pixel, 1, columns)
        some = minus_size(g_depth) + minus_size(g_weight)
        to_come = splat(0.0)
        for c in range(channels):
            g_color = _lanes(g_image, pixel * channels + c, channels, columns)
            color = _lanes(image, pixel * channels + c, channels, columns)
            if len(background) > 0:
                color -= (1.0 - alpha) * background[c]
                g_weight -= g_color * background[c]
            to_come += g_color * color
            some += minus_size(g_color)
            store(state, at + (G_FEATURES + c) * LANES, g_color)
        store(state, at + (G_FEATURES + channels) * LANES, g_depth)
        for c in range(channels + 1, GROUP * groups):
            store(state, at + (G_FEATURES + c) * LANES, splat(0.0))
        store(state, at + LIGHT * LANES, _first_light(x0, width))
        store(state, at + TO_COME * LANES, to_come + g_weight * alpha)
        store(state, at + G_WEIGHT * LANES, g_weight - g_depth * _lanes(depths, pixel, 1, columns))
        if any_lane(some < 0.0):
            live |= np.int64(1) << row
    return live


@njit
def _blend_tile_backward(
    x0, y0, live, records, channels, lists, tile, row_numbers, state, weights, sums, gradients
):
    """Walk the members of a tile front to back again and write the gradient of each."""
    groups = groups_of(channels)
    row_size = (G_FEATURES + GROUP * groups) * LANES
    stride, out_stride = record_stride(channels), slot_stride(channels)
    x = lane_numbers() + (x0 + np.float32(0.5))
    last = lists.starts[tile + 1] - 1
    for k in range(lists.starts[tile], last + 1):
        ahead = min(k + _AHEAD, last)
        prefetch(records, (lists.members[ahead] >> 32) * stride)
        prefetch(gradients, np.int64(lists.slots[ahead]) * out_stride)
        out = np.int64(lists.slots[k]) * out_stride
        rows = lists.members[k] & live
        if rows == 0:
            for j in range(0, out_stride, LANES):
                store(gradients, out + j, splat(0.0))
            continue
        r = (lists.members[k] >> 32) * stride
        dx = x - records[r + CENTRE_X]
        constant = records[r + PEAK] + records[r + QUAD_XX] * dx * dx
        slope = records[r + QUAD_XY] * dx
        yy = splat(records[r + QUAD_YY])
        first_y = splat(y0 + np.float32(0.5) - records[r + CENTRE_Y])
        sum_0, sum_y, sum_yy = splat(0.0), splat(0.0), splat(0.0)
        left = rows
        while left != 0:
            row = lowest_bit(left)
            left &= left - 1
            at = row * row_size
            dy = first_y + row_numbers[row]
            power = constant + dy * (slope + yy * dy)
            alpha = select(power >= FAINTEST, exp2(lesser(power, splat(STRONGEST))), splat(0.0))
            light = load(state, at)
            absorbed = light * alpha
            behind = light - absorbed
            lit = behind > MIN_TRANSMITTANCE
            weight = select(lit, absorbed, splat(0.0))
            store(state, at, select(lit, behind, minus_size(light)))
            store(weights, row * LANES, weight)
            g_weight = load(state, at + G_WEIGHT * LANES)
            for g in range(groups):
                f = r + FEATURES + GROUP * g
                place = at + (G_FEATURES + GROUP * g) * LANES
                g_weight += load(state, place) * records[f]
                g_weight += load(state, place + LANES) * records[f + 1]
                g_weight += load(state, place + 2 * LANES) * records[f + 2]
                g_weight += load(state, place + 3 * LANES) * records[f + 3]
            part = weight * g_weight
            to_come = load(state, at + TO_COME * LANES) - part
            store(state, at + TO_COME * LANES, to_come)
            g_log_alpha = part - to_come * alpha / (1.0 - alpha)
            g_log_alpha = select(lit & (power < STRONGEST), g_log_alpha, splat(0.0))
            sum_0 += g_log_alpha
            sum_y += g_log_alpha * dy
            sum_yy += g_log_alpha * (dy * dy)
            if not any_lane(lit):
                live &= ~(np.int64(1) << row)
        store(sums, SUM * LANES, sum_0)
        store(sums, SUM_X * LANES, sum_0 * dx)
        store(sums, SUM_Y * LANES, sum_y)
        store(sums, SUM_XX * LANES, sum_0 * dx * dx)
        store(sums, SUM_XY * LANES, sum_y * dx)
        store(sums, SUM_YY * LANES, sum_yy)
        for g in range(groups):
            a, b, c, d = splat(0.0), splat(0.0), splat(0.0), splat(0.0)
            left = rows
            while left != 0:
                row = lowest_bit(left)
                left &= left - 1
                weight = load(weights, row * LANES)
                place = row * row_size + (G_FEATURES + GROUP * g) * LANES
                a += weight * load(state, place)
                b += weight * load(state, place + LANES)
                c += weight * load(state, place + 2 * LANES)
                d += weight * load(state, place + 3 * LANES)
            place = (SUM_FEATURES + GROUP * g) * LANES
            store(sums, place, a)
            store(sums, place + LANES, b)
            store(sums, place + 2 * LANES, c)
            store(sums, place + 3 * LANES, d)
        for j in range(0, out_stride, LANES):
            store(gradients, out + j, row_sums(sums, j * LANES))


@njit
def _blend_tiles_backward(
    todo, width, height, records, channels, background, lists, row_numbers,
    image, depths, alphas, g_image, g_depths, g_alphas, gradients,
):  # fmt: skip
    state = aligned(TILE_HEIGHT * (G_FEATURES + GROUP * groups_of(channels)) * LANES)
    weights = aligned(TILE_HEIGHT * LANES)
    sums = aligned(slot_stride(channels) * LANES)
    sums[:] = 0
    tiles = len(lists.starts) - 1
    while True:
        tile = fetch_add(todo, 0, 1)
        if tile >= tiles:
            break
        x0, y0 = _corner(tile, width)
        live = _open_gradients(
            *(x0, y0, width, height, channels, background, image, depths, alphas),
            *(g_image, g_depths, g_alphas, state),
        )
        _blend_tile_backward(
            x0, y0, live, records, channels, lists, tile, row_numbers, state, weights, sums, gradients
        )


@njit(parallel=True, cache=True)
def blend_backward(
    threads, todo, width, height, records, channels, background, lists,
    image, depths, alphas, g_image, g_depths, g_alphas, gradients,
):  # fmt: skip
    """Gradient of `blend` for every member of a tile.

    Args:
        threads, todo, width, height, records, channels, background, lists: As in `blend`.
        image, depths, alphas: What `blend` wrote.
        g_image, g_depths, g_alphas: Gradients of those. Flat.
        gradients: `slot_stride(channels)` numbers a slot, written for every member.
    """
    row_numbers = np.arange(TILE_HEIGHT).astype(np.float32)
    for _ in prange(threads):
        _blend_tiles_backward(
            *(todo, width, height, records, channels, background, lists, row_numbers),
            *(image, depths, alphas, g_image, g_depths, g_alphas, gradients),
        )
