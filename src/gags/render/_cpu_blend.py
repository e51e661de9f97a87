"""Front-to-back blending of tiles, and its gradient; one vector is one row of a tile."""

import numpy as np
from numba import njit, prange

from gags.render._cpu_layout import (
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
    sums_stride,
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
    load_splat,
    load_triples,
    lowest_bit,
    minus_size,
    prefetch,
    rarely,
    row_sums,
    select,
    splat,
    store,
    store_every,
    store_triples,
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
def _crop(picture, x0, y0, columns, rows, width, channels):
    """A tile at the right edge of a flat picture, as a picture of the width of a whole tile."""
    tile = np.zeros(TILE_HEIGHT * TILE_WIDTH * channels, np.float32)
    for row in range(rows):
        for j in range(columns * channels):
            tile[row * TILE_WIDTH * channels + j] = picture[((y0 + row) * width + x0) * channels + j]
    return tile


@njit
def _paste(tile, picture, x0, y0, columns, rows, width, channels):
    """Put back what `_crop` cuts out."""
    for row in range(rows):
        for j in range(columns * channels):
            picture[((y0 + row) * width + x0) * channels + j] = tile[row * TILE_WIDTH * channels + j]


@njit
def _first_light(columns):
    """Light 1 inside the picture; pixels beyond its edge are finished from the start."""
    return select(lane_numbers() < columns, splat(1.0), splat(-1.0))


@njit
def _row_numbers():
    """One vector a row, so that nothing has to be spread over the lanes while blending."""
    numbers = np.empty(TILE_HEIGHT * LANES, np.float32)
    for row in range(TILE_HEIGHT):
        store(numbers, row * LANES, splat(row))
    return numbers


@njit
def _falloff(r, x, y0, records):
    """One Gaussian in one tile: log2 α = constant + dy (slope + yy dy) with dy = first_y + row; and dx."""
    dx = x - load_splat(records, r + CENTRE_X)
    constant = load_splat(records, r + PEAK) + load_splat(records, r + QUAD_XX) * dx * dx
    slope = load_splat(records, r + QUAD_XY) * dx
    first_y = (y0 + np.float32(0.5)) - load_splat(records, r + CENTRE_Y)
    return constant, slope, load_splat(records, r + QUAD_YY), first_y, dx


@njit
def _load_group(array, at):
    """One group of features, each in all lanes."""
    return (
        load_splat(array, at),
        load_splat(array, at + 1),
        load_splat(array, at + 2),
        load_splat(array, at + 3),
    )


@njit
def _load_rows(array, at):
    """A group of features that differ from lane to lane."""
    return (
        load(array, at),
        load(array, at + LANES),
        load(array, at + 2 * LANES),
        load(array, at + 3 * LANES),
    )


@njit
def _store_rows(array, at, rows):
    store(array, at, rows[0])
    store(array, at + LANES, rows[1])
    store(array, at + 2 * LANES, rows[2])
    store(array, at + 3 * LANES, rows[3])


@njit
def _plus(sums, weight, features):
    """A group of sums, each with one weighted feature more."""
    return (
        sums[0] + weight * features[0],
        sums[1] + weight * features[1],
        sums[2] + weight * features[2],
        sums[3] + weight * features[3],
    )


@njit
def _dot(a, b):
    return (a[0] * b[0] + a[1] * b[1]) + (a[2] * b[2] + a[3] * b[3])


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
        constant, slope, yy, first_y, _ = _falloff(r, x, y0, records)
        features = _load_group(records, r + FEATURES)
        while rows != 0:
            row = lowest_bit(rows)
            rows &= rows - 1
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
            place = at + BLENDED * LANES
            _store_rows(state, place, _plus(_load_rows(state, place), weight, features))
            for g in range(1, groups):
                more = _load_group(records, r + FEATURES + GROUP * g)
                place = at + (BLENDED + GROUP * g) * LANES
                _store_rows(state, place, _plus(_load_rows(state, place), weight, more))
            if not any_lane(lit):
                rarely()
                live &= ~(np.int64(1) << row)
        if live == 0:
            break


@njit
def _close_tile(x0, y0, rows_inside, width, channels, background, state, image, depths, alphas):
    """Write the pictures of one tile of whole width."""
    row_size = (BLENDED + GROUP * groups_of(channels)) * LANES
    for row in range(rows_inside):
        at = row * row_size
        pixel = (y0 + row) * width + x0
        through = -1.0 * minus_size(load(state, at))
        alpha = 1.0 - through
        depth = load(state, at + (BLENDED + channels) * LANES)
        store(alphas, pixel, alpha)
        store(depths, pixel, select(alpha > 0.0, depth / alpha, splat(0.0)))
        at += BLENDED * LANES
        if len(background) > 0:
            for c in range(channels):
                store(state, at + c * LANES, load(state, at + c * LANES) + through * background[c])
        if channels == 3:
            red, green, blue, _ = _load_rows(state, at)
            store_triples(image, pixel * 3, red, green, blue)
        else:
            for c in range(channels):
                store_every(image, pixel * channels + c, channels, load(state, at + c * LANES))


@njit
def _blend_tiles(
    todo, width, height, records, channels, background, lists, row_numbers, image, depths, alphas
):
    row_size = (BLENDED + GROUP * groups_of(channels)) * LANES
    state = aligned(TILE_HEIGHT * row_size)
    tiles = len(lists.starts) - 1
    while True:
        tile = fetch_add(todo, 0, 1)
        if tile >= tiles:
            break
        x0, y0 = _corner(tile, width)
        columns, rows = min(TILE_WIDTH, width - x0), min(TILE_HEIGHT, height - y0)
        for at in range(0, TILE_HEIGHT * row_size, LANES):
            store(state, at, splat(0.0))
        for at in range(LIGHT, TILE_HEIGHT * row_size, row_size):
            store(state, at, _first_light(columns))
        _blend_tile(x0, y0, rows, records, channels, lists, tile, row_numbers, state)
        if columns == TILE_WIDTH:
            _close_tile(x0, y0, rows, width, channels, background, state, image, depths, alphas)
        else:
            plane = TILE_HEIGHT * TILE_WIDTH
            tile_image, tile_depths = np.empty(plane * channels, np.float32), np.empty(plane, np.float32)
            tile_alphas = np.empty(plane, np.float32)
            tile_pictures = (tile_image, tile_depths, tile_alphas)
            _close_tile(0, 0, rows, TILE_WIDTH, channels, background, state, *tile_pictures)
            _paste(tile_image, image, x0, y0, columns, rows, width, channels)
            _paste(tile_depths, depths, x0, y0, columns, rows, width, 1)
            _paste(tile_alphas, alphas, x0, y0, columns, rows, width, 1)


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
    row_numbers = _row_numbers()
    for _ in prange(threads):
        _blend_tiles(
            *(todo, width, height, records, channels, background, lists, row_numbers),
            *(image, depths, alphas),
        )


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
        constant, slope, yy, first_y, dx = _falloff(r, x, y0, records)
        features = _load_group(records, r + FEATURES)
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
            upstream = _load_rows(state, at + G_FEATURES * LANES)
            g_features = _plus(g_features, weight, upstream)
            g_weight = load(state, at + G_WEIGHT * LANES) + _dot(upstream, features)
            if groups > 1:
                store(weights, row * LANES, weight)
                for g in range(1, groups):
                    upstream = _load_rows(state, at + (G_FEATURES + GROUP * g) * LANES)
                    g_weight += _dot(upstream, _load_group(records, r + FEATURES + GROUP * g))
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
        _store_rows(sums, SUM_FEATURES * LANES, g_features)
        for g in range(1, groups):
            g_features = (splat(0.0), splat(0.0), splat(0.0), splat(0.0))
            left = rows
            while left != 0:
                row = lowest_bit(left)
                left &= left - 1
                upstream = _load_rows(state, row * row_size + (G_FEATURES + GROUP * g) * LANES)
                g_features = _plus(g_features, load(weights, row * LANES), upstream)
            _store_rows(sums, (SUM_FEATURES + GROUP * g) * LANES, g_features)
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
        x0, y0 = _corner(tile, width)
        columns, rows = min(TILE_WIDTH, width - x0), min(TILE_HEIGHT, height - y0)
        for at in range(LIGHT, TILE_HEIGHT * row_size, row_size):
            store(state, at, _first_light(columns))
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
    row_numbers = _row_numbers()
    for _ in prange(threads):
        _blend_tiles_backward(
            *(todo, width, height, records, channels, background, lists, row_numbers),
            *(image, depths, alphas, g_image, g_depths, g_alphas, gradients),
        )
