"""Front-to-back blending of tiles; one vector is one row of a tile."""

import numpy as np
from numba import njit, prange

from gags.render.kernels.layout import (
    CENTRE_X,
    CENTRE_Y,
    FEATURE_GROUP,
    FIRST_FEATURE,
    LOG2_MAX_ALPHA,
    LOG2_MIN_ALPHA,
    PEAK,
    QUAD_XX,
    QUAD_XY,
    QUAD_YY,
    TILE_HEIGHT,
    TILE_WIDTH,
    Pictures,
    TileLists,
    groups_of,
    record_stride,
)
from gags.render.types import MIN_TRANSMITTANCE
from gags.simd.cache import kernel
from gags.simd.memory import fetch_add, load, load_broadcast, prefetch, store, store_strided, store_triples
from gags.simd.vectors import (
    LANES,
    Vector,
    any_lane,
    broadcast,
    exp2,
    lane_indices,
    minimum,
    neg_abs,
    select,
    trailing_zeros,
    unlikely,
)

MEMBERS_AHEAD = 6  # members whose records are fetched from memory ahead of time

# What is kept of a row of pixels while its tile is walked, one vector each: the transmittance T, which turns
# into -T once the pixel is finished, then the blended features.
TRANSMITTANCE, BLENDED = range(2)

Group = tuple[Vector, Vector, Vector, Vector]  # FEATURE_GROUP features


@njit
def aligned(size) -> np.ndarray:
    """float32 memory that starts at a cache line."""
    memory = np.empty(size + 16, np.float32)
    skip = (-memory.ctypes.data % 64) // 4
    return memory[skip : skip + size]


@njit
def corner(tile, width) -> tuple[int, int]:
    """Column and row of the first pixel of a tile."""
    tiles_x = -(-width // TILE_WIDTH)
    return tile % tiles_x * TILE_WIDTH, tile // tiles_x * TILE_HEIGHT


@njit
def _paste(tile, picture, x0, y0, columns, rows, width, channels) -> None:
    """Write a tile of whole width into the part of it that a flat picture has, at its right edge."""
    for row in range(rows):
        for j in range(columns * channels):
            picture[((y0 + row) * width + x0) * channels + j] = tile[row * TILE_WIDTH * channels + j]


@njit
def first_transmittance(columns) -> Vector:
    """1 inside the picture; pixels beyond its edge are finished from the start."""
    return select(lane_indices() < columns, broadcast(1.0), broadcast(-1.0))


@njit
def number_rows() -> np.ndarray:
    """The number of each row in all lanes, so that no number has to be broadcast while blending."""
    numbers = np.empty(TILE_HEIGHT * LANES, np.float32)
    for row in range(TILE_HEIGHT):
        store(numbers, row * LANES, broadcast(row))
    return numbers


@njit
def falloff(r, x, y0, records) -> tuple[Vector, Vector, Vector, Vector, Vector]:
    """One Gaussian in one tile: log2 α = constant + dy (linear + yy dy), where dy = first_y + row.

    Returns:
        constant, linear, yy, first_y; and dx.
    """
    dx = x - load_broadcast(records, r + CENTRE_X)
    constant = load_broadcast(records, r + PEAK) + load_broadcast(records, r + QUAD_XX) * dx * dx
    linear = load_broadcast(records, r + QUAD_XY) * dx
    first_y = (y0 + np.float32(0.5)) - load_broadcast(records, r + CENTRE_Y)
    return constant, linear, load_broadcast(records, r + QUAD_YY), first_y, dx


@njit
def alpha_of(power) -> Vector:
    """α = 2**power, at most MAX_ALPHA, and 0 where below MIN_ALPHA."""
    return select(power >= LOG2_MIN_ALPHA, exp2(minimum(power, broadcast(LOG2_MAX_ALPHA))), broadcast(0.0))


@njit
def load_group(array, at) -> Group:
    """One group of features, each in all lanes."""
    return (
        load_broadcast(array, at),
        load_broadcast(array, at + 1),
        load_broadcast(array, at + 2),
        load_broadcast(array, at + 3),
    )


@njit
def load_rows(array, at) -> Group:
    """A group of features that differ from lane to lane."""
    return (
        load(array, at),
        load(array, at + LANES),
        load(array, at + 2 * LANES),
        load(array, at + 3 * LANES),
    )


@njit
def store_rows(array, at, rows) -> None:
    """Write a group of features that differ from lane to lane."""
    store(array, at, rows[0])
    store(array, at + LANES, rows[1])
    store(array, at + 2 * LANES, rows[2])
    store(array, at + 3 * LANES, rows[3])


@njit
def plus(sums, weight, features) -> Group:
    """A group of sums, each with one weighted feature more."""
    return (
        sums[0] + weight * features[0],
        sums[1] + weight * features[1],
        sums[2] + weight * features[2],
        sums[3] + weight * features[3],
    )


@njit
def _blend_tile(x0, y0, rows_inside, records, channels, lists, tile, row_numbers, state) -> None:
    """Walk the members of a tile front to back and add w_i = α_i T_i times their features to `state`."""
    groups = groups_of(channels)
    row_size = (BLENDED + FEATURE_GROUP * groups) * LANES
    stride = record_stride(channels)
    live = (np.int64(1) << rows_inside) - 1  # rows with unfinished pixels, as bits
    x = lane_indices() + (x0 + np.float32(0.5))
    last = lists.starts[tile + 1] - 1
    for k in range(lists.starts[tile], last + 1):
        prefetch(records, (lists.members[min(k + MEMBERS_AHEAD, last)] >> 32) * stride)
        rows = lists.members[k] & live
        if rows == 0:
            continue
        r = (lists.members[k] >> 32) * stride
        constant, linear, yy, first_y, _ = falloff(r, x, y0, records)
        features = load_group(records, r + FIRST_FEATURE)
        while rows != 0:
            row = trailing_zeros(rows)
            rows &= rows - 1
            at = row * row_size
            dy = first_y + load(row_numbers, row * LANES)
            power = constant + dy * (linear + yy * dy)
            alpha = alpha_of(power)
            # w_i = α_i T_i and T_{i+1} = T_i - w_i; a pixel is finished by the first Gaussian behind which T
            # would fall to MIN_TRANSMITTANCE, and does not get that one any more.
            T = load(state, at)
            absorbed = T * alpha
            T_behind = T - absorbed
            unfinished = T_behind > MIN_TRANSMITTANCE
            weight = select(unfinished, absorbed, broadcast(0.0))
            store(state, at, select(unfinished, T_behind, neg_abs(T)))
            # Σ w_i feature_i, the first group of features from registers.
            place = at + BLENDED * LANES
            store_rows(state, place, plus(load_rows(state, place), weight, features))
            for g in range(1, groups):
                more = load_group(records, r + FIRST_FEATURE + FEATURE_GROUP * g)
                place = at + (BLENDED + FEATURE_GROUP * g) * LANES
                store_rows(state, place, plus(load_rows(state, place), weight, more))
            if not any_lane(unfinished):
                unlikely()
                live &= ~(np.int64(1) << row)
        if live == 0:
            break


@njit
def _close_tile(x0, y0, rows_inside, width, channels, background, state, pictures: Pictures) -> None:
    """Write the pictures of one tile of whole width: colours, expected depth and alpha = 1 - T."""
    row_size = (BLENDED + FEATURE_GROUP * groups_of(channels)) * LANES
    for row in range(rows_inside):
        at = row * row_size
        pixel = (y0 + row) * width + x0
        T = -1.0 * neg_abs(load(state, at))
        alpha = 1.0 - T
        depth = load(state, at + (BLENDED + channels) * LANES)
        store(pictures.alphas, pixel, alpha)
        store(pictures.depths, pixel, select(alpha > 0.0, depth / alpha, broadcast(0.0)))
        at += BLENDED * LANES
        if len(background) > 0:
            for c in range(channels):
                store(state, at + c * LANES, load(state, at + c * LANES) + T * background[c])
        if channels == 3:
            red, green, blue, _ = load_rows(state, at)
            store_triples(pictures.image, pixel * 3, red, green, blue)
        else:
            for c in range(channels):
                store_strided(pictures.image, pixel * channels + c, channels, load(state, at + c * LANES))


@njit
def _blend_tiles(
    todo, width, height, records, channels, background, lists, row_numbers, pictures: Pictures
) -> None:
    """What one thread does: take the next tile that nobody has taken, until none is left."""
    row_size = (BLENDED + FEATURE_GROUP * groups_of(channels)) * LANES
    state = aligned(TILE_HEIGHT * row_size)
    tiles = len(lists.starts) - 1
    while True:
        tile = fetch_add(todo, 0, 1)
        if tile >= tiles:
            break
        x0, y0 = corner(tile, width)
        columns, rows = min(TILE_WIDTH, width - x0), min(TILE_HEIGHT, height - y0)
        for at in range(0, TILE_HEIGHT * row_size, LANES):
            store(state, at, broadcast(0.0))
        for at in range(TRANSMITTANCE, TILE_HEIGHT * row_size, row_size):
            store(state, at, first_transmittance(columns))
        _blend_tile(x0, y0, rows, records, channels, lists, tile, row_numbers, state)
        if columns == TILE_WIDTH:
            _close_tile(x0, y0, rows, width, channels, background, state, pictures)
        else:
            # A tile at the right edge would write beyond the rows of the picture: through one of whole width.
            plane = TILE_HEIGHT * TILE_WIDTH
            part = Pictures(
                np.empty(plane * channels, np.float32),
                np.empty(plane, np.float32),
                np.empty(plane, np.float32),
            )
            _close_tile(0, 0, rows, TILE_WIDTH, channels, background, state, part)
            _paste(part.image, pictures.image, x0, y0, columns, rows, width, channels)
            _paste(part.depths, pictures.depths, x0, y0, columns, rows, width, 1)
            _paste(part.alphas, pictures.alphas, x0, y0, columns, rows, width, 1)


@kernel(parallel=True)
def blend(
    threads, todo, width, height, records, channels, background, lists: TileLists, pictures: Pictures
) -> None:
    """Blend every tile into the picture.

    Args:
        threads: How many threads share the tiles.
        todo: Next tile nobody has taken, starts as 0. int64 [1]
        width, height: Size of the picture.
        records: Projected Gaussians.
        channels: Number of colour channels.
        background: Empty for black.
        lists: Members of the tiles.
        pictures: Written.
    """
    row_numbers = number_rows()
    for _ in prange(threads):
        _blend_tiles(todo, width, height, records, channels, background, lists, row_numbers, pictures)
