"""Front-to-back blending of tiles; one vector is one row of a tile."""

import numpy as np
from numba import njit, prange

from gags.render.kernels.layout import (
    CENTRE_X,
    CENTRE_Y,
    FAINTEST,
    FEATURES,
    GROUP,
    PEAK,
    QUAD_XX,
    QUAD_XY,
    QUAD_YY,
    TILE_HEIGHT,
    TILE_WIDTH,
    groups_of,
    record_stride,
)
from gags.render.types import MAX_ALPHA, MIN_TRANSMITTANCE
from gags.simd.memory import fetch_add, load, load_splat, prefetch, store, store_every, store_triples
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

AHEAD = 6  # members whose records are fetched from memory ahead of time
STRONGEST = float(np.log2(MAX_ALPHA))

# What is kept of a row of pixels while its tile is walked, one vector each. Light is what still gets through,
# −light once the pixel is finished.
LIGHT, BLENDED = range(2)  # then the blended features


@njit
def aligned(size):
    """float32 memory that starts at a cache line."""
    memory = np.empty(size + 16, np.float32)
    skip = (-memory.ctypes.data % 64) // 4
    return memory[skip : skip + size]


@njit
def corner(tile, width):
    """Column and row of the first pixel of a tile."""
    tiles_x = -(-width // TILE_WIDTH)
    return tile % tiles_x * TILE_WIDTH, tile // tiles_x * TILE_HEIGHT


@njit
def _paste(tile, picture, x0, y0, columns, rows, width, channels):
    """Write a tile of whole width into the part of it that a flat picture has, at its right edge."""
    for row in range(rows):
        for j in range(columns * channels):
            picture[((y0 + row) * width + x0) * channels + j] = tile[row * TILE_WIDTH * channels + j]


@njit
def first_light(columns):
    """Light 1 inside the picture; pixels beyond its edge are finished from the start."""
    return select(lane_numbers() < columns, splat(1.0), splat(-1.0))


@njit
def number_rows():
    """One vector a row, so that nothing has to be spread over the lanes while blending."""
    numbers = np.empty(TILE_HEIGHT * LANES, np.float32)
    for row in range(TILE_HEIGHT):
        store(numbers, row * LANES, splat(row))
    return numbers


@njit
def falloff(r, x, y0, records):
    """One Gaussian in one tile: log2 α = constant + dy (slope + yy dy) with dy = first_y + row; and dx."""
    dx = x - load_splat(records, r + CENTRE_X)
    constant = load_splat(records, r + PEAK) + load_splat(records, r + QUAD_XX) * dx * dx
    slope = load_splat(records, r + QUAD_XY) * dx
    first_y = (y0 + np.float32(0.5)) - load_splat(records, r + CENTRE_Y)
    return constant, slope, load_splat(records, r + QUAD_YY), first_y, dx


@njit
def load_group(array, at):
    """One group of features, each in all lanes."""
    return (
        load_splat(array, at),
        load_splat(array, at + 1),
        load_splat(array, at + 2),
        load_splat(array, at + 3),
    )


@njit
def load_rows(array, at):
    """A group of features that differ from lane to lane."""
    return (
        load(array, at),
        load(array, at + LANES),
        load(array, at + 2 * LANES),
        load(array, at + 3 * LANES),
    )


@njit
def store_rows(array, at, rows):
    store(array, at, rows[0])
    store(array, at + LANES, rows[1])
    store(array, at + 2 * LANES, rows[2])
    store(array, at + 3 * LANES, rows[3])


@njit
def plus(sums, weight, features):
    """A group of sums, each with one weighted feature more."""
    return (
        sums[0] + weight * features[0],
        sums[1] + weight * features[1],
        sums[2] + weight * features[2],
        sums[3] + weight * features[3],
    )


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
        prefetch(records, (lists.members[min(k + AHEAD, last)] >> 32) * stride)
        rows = lists.members[k] & live
        if rows == 0:
            continue
        r = (lists.members[k] >> 32) * stride
        constant, slope, yy, first_y, _ = falloff(r, x, y0, records)
        features = load_group(records, r + FEATURES)
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
            store_rows(state, place, plus(load_rows(state, place), weight, features))
            for g in range(1, groups):
                more = load_group(records, r + FEATURES + GROUP * g)
                place = at + (BLENDED + GROUP * g) * LANES
                store_rows(state, place, plus(load_rows(state, place), weight, more))
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
            red, green, blue, _ = load_rows(state, at)
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
        x0, y0 = corner(tile, width)
        columns, rows = min(TILE_WIDTH, width - x0), min(TILE_HEIGHT, height - y0)
        for at in range(0, TILE_HEIGHT * row_size, LANES):
            store(state, at, splat(0.0))
        for at in range(LIGHT, TILE_HEIGHT * row_size, row_size):
            store(state, at, first_light(columns))
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
    row_numbers = number_rows()
    for _ in prange(threads):
        _blend_tiles(
            *(todo, width, height, records, channels, background, lists, row_numbers),
            *(image, depths, alphas),
        )
