"""The gradient of blending."""

import numpy as np
from numba import njit, prange

from gags.render.kernels.blend import (
    AHEAD,
    LIGHT,
    STRONGEST,
    aligned,
    corner,
    falloff,
    first_light,
    load_group,
    load_rows,
    number_rows,
    plus,
    store_rows,
)
from gags.render.kernels.layout import (
    FAINTEST,
    FEATURES,
    GROUP,
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
    sums_stride,
)
from gags.render.types import MIN_TRANSMITTANCE
from gags.simd.memory import fetch_add, load, load_every, load_triples, prefetch, row_sums, store
from gags.simd.vectors import (
    LANES,
    any_lane,
    exp2,
    lane_numbers,
    lesser,
    lowest_bit,
    minus_size,
    rarely,
    select,
    splat,
)

# The gradient also keeps what is to come of Σ w dL/dw, and the gradients of the weights and of the features.
TO_COME, G_WEIGHT, G_FEATURES = range(1, 4)


@njit
def _crop(picture, x0, y0, columns, rows, width, channels):
    """A tile at the right edge of a flat picture, as a picture of the width of a whole tile."""
    tile = np.zeros(TILE_HEIGHT * TILE_WIDTH * channels, np.float32)
    for row in range(rows):
        for j in range(columns * channels):
            tile[row * TILE_WIDTH * channels + j] = picture[((y0 + row) * width + x0) * channels + j]
    return tile


@njit
def _dot(a, b):
    return (a[0] * b[0] + a[1] * b[1]) + (a[2] * b[2] + a[3] * b[3])


@njit
def _open_gradients(
    x0, y0, rows, width, channels, background, image, depths, alphas, g_image, g_depths, g_alphas, state
):
    """Upstream gradients of one tile of whole width, as gradients of each pixel's blending weights.

    With D = Σ w z / Σ w and the background behind, dL/dw = g_weight + Σ g_feature feature, the depth being
    one of the features. Gives the rows that have any gradient.
    """
    groups = groups_of(channels)
    row_size = (G_FEATURES + GROUP * groups) * LANES
    live = np.int64(0)
    for row in range(rows):
        pixel = (y0 + row) * width + x0
        at = row * row_size + G_FEATURES * LANES
        if channels == 3:
            red, green, blue = load_triples(g_image, pixel * 3)
            store(state, at, red)
            store(state, at + LANES, green)
            store(state, at + 2 * LANES, blue)
            r, g, b = load_triples(image, pixel * 3)
            to_come = red * r + green * g + blue * b
            some = minus_size(red) + minus_size(green) + minus_size(blue)
        else:
            to_come, some = splat(0.0), splat(0.0)
            for c in range(channels):
                g_color = load_every(g_image, pixel * channels + c, channels)
                store(state, at + c * LANES, g_color)
                to_come += g_color * load_every(image, pixel * channels + c, channels)
                some += minus_size(g_color)
        alpha, g_alpha = load(alphas, pixel), load(g_alphas, pixel)
        g_depth = select(alpha > 0.0, load(g_depths, pixel) / alpha, splat(0.0))
        some += minus_size(g_depth) + minus_size(g_alpha)
        if len(background) > 0:
            behind = splat(0.0)
            for c in range(channels):
                behind += load(state, at + c * LANES) * background[c]
            to_come -= (1.0 - alpha) * behind
            g_alpha -= behind
        store(state, at + channels * LANES, g_depth)
        for c in range(channels + 1, GROUP * groups):
            store(state, at + c * LANES, splat(0.0))
        at = row * row_size
        store(state, at + TO_COME * LANES, to_come + g_alpha * alpha)
        store(state, at + G_WEIGHT * LANES, g_alpha - g_depth * load(depths, pixel))
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
    stride, out_stride = record_stride(channels), sums_stride(channels)
    x = lane_numbers() + (x0 + np.float32(0.5))
    last = lists.starts[tile + 1] - 1
    for k in range(lists.starts[tile], last + 1):
        ahead = min(k + AHEAD, last)
        prefetch(records, (lists.members[ahead] >> 32) * stride)
        prefetch(gradients, np.int64(lists.slots[ahead]) * out_stride)
        out = np.int64(lists.slots[k]) * out_stride
        rows = lists.members[k] & live
        if rows == 0:
            for j in range(0, out_stride, LANES):
                store(gradients, out + j, splat(0.0))
            continue
        r = (lists.members[k] >> 32) * stride
        constant, slope, yy, first_y, dx = falloff(r, x, y0, records)
        features = load_group(records, r + FEATURES)
        sum_0, sum_y, sum_yy = splat(0.0), splat(0.0), splat(0.0)
        g_features = (splat(0.0), splat(0.0), splat(0.0), splat(0.0))
        left = rows
        while left != 0:
            row = lowest_bit(left)
            left &= left - 1
            at = row * row_size
            dy = first_y + load(row_numbers, row * LANES)
            power = constant + dy * (slope + yy * dy)
            alpha = select(power >= FAINTEST, exp2(lesser(power, splat(STRONGEST))), splat(0.0))
            light = load(state, at)
            absorbed = light * alpha
            behind = light - absorbed
            lit = behind > MIN_TRANSMITTANCE
            weight = select(lit, absorbed, splat(0.0))
            store(state, at, select(lit, behind, minus_size(light)))
            upstream = load_rows(state, at + G_FEATURES * LANES)
            g_features = plus(g_features, weight, upstream)
            g_weight = load(state, at + G_WEIGHT * LANES) + _dot(upstream, features)
            if groups > 1:
                store(weights, row * LANES, weight)
                for g in range(1, groups):
                    upstream = load_rows(state, at + (G_FEATURES + GROUP * g) * LANES)
                    g_weight += _dot(upstream, load_group(records, r + FEATURES + GROUP * g))
            part = weight * g_weight
            to_come = load(state, at + TO_COME * LANES) - part
            store(state, at + TO_COME * LANES, to_come)
            g_log_alpha = part - to_come * (alpha / (1.0 - alpha))
            g_log_alpha = select(lit & (power < STRONGEST), g_log_alpha, splat(0.0))
            sum_0 += g_log_alpha
            g_log_alpha *= dy
            sum_y += g_log_alpha
            sum_yy += g_log_alpha * dy
            if not any_lane(lit):
                rarely()
                live &= ~(np.int64(1) << row)
        store(sums, SUM * LANES, sum_0)
        store(sums, SUM_X * LANES, sum_0 * dx)
        store(sums, SUM_Y * LANES, sum_y)
        store(sums, SUM_XX * LANES, sum_0 * dx * dx)
        store(sums, SUM_XY * LANES, sum_y * dx)
        store(sums, SUM_YY * LANES, sum_yy)
        store_rows(sums, SUM_FEATURES * LANES, g_features)
        for g in range(1, groups):
            g_features = (splat(0.0), splat(0.0), splat(0.0), splat(0.0))
            left = rows
            while left != 0:
                row = lowest_bit(left)
                left &= left - 1
                upstream = load_rows(state, row * row_size + (G_FEATURES + GROUP * g) * LANES)
                g_features = plus(g_features, load(weights, row * LANES), upstream)
            store_rows(sums, (SUM_FEATURES + GROUP * g) * LANES, g_features)
        for j in range(0, out_stride, LANES):
            store(gradients, out + j, row_sums(sums, j * LANES))


@njit
def _blend_tiles_backward(
    todo, width, height, records, channels, background, lists, row_numbers,
    image, depths, alphas, g_image, g_depths, g_alphas, gradients,
):  # fmt: skip
    row_size = (G_FEATURES + GROUP * groups_of(channels)) * LANES
    state = aligned(TILE_HEIGHT * row_size)
    weights = aligned(TILE_HEIGHT * LANES)
    sums = aligned(sums_stride(channels) * LANES)
    sums[:] = 0
    tiles = len(lists.starts) - 1
    while True:
        tile = fetch_add(todo, 0, 1)
        if tile >= tiles:
            break
        x0, y0 = corner(tile, width)
        columns, rows = min(TILE_WIDTH, width - x0), min(TILE_HEIGHT, height - y0)
        for at in range(LIGHT, TILE_HEIGHT * row_size, row_size):
            store(state, at, first_light(columns))
        if columns == TILE_WIDTH:
            live = _open_gradients(
                *(x0, y0, rows, width, channels, background),
                *(image, depths, alphas, g_image, g_depths, g_alphas, state),
            )
        else:
            where = (x0, y0, columns, rows, width)
            live = _open_gradients(
                *(0, 0, rows, TILE_WIDTH, channels, background),
                *(_crop(image, *where, channels), _crop(depths, *where, 1), _crop(alphas, *where, 1)),
                *(_crop(g_image, *where, channels), _crop(g_depths, *where, 1), _crop(g_alphas, *where, 1)),
                state,
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
        gradients: `sums_stride(channels)` numbers a slot, written for every member.
    """
    row_numbers = number_rows()
    for _ in prange(threads):
        _blend_tiles_backward(
            *(todo, width, height, records, channels, background, lists, row_numbers),
            *(image, depths, alphas, g_image, g_depths, g_alphas, gradients),
        )
