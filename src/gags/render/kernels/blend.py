"""Front-to-back blending of tiles; one vector is one row of a strip of a tile."""

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
    STRIP,
    STRIPS,
    TILE_HEIGHT,
    TILE_WIDTH,
    Pictures,
    TileLists,
    groups_of,
    record_stride,
)
from gags.render.types import MIN_TRANSMITTANCE
from gags.simd.cache import kernel
from gags.simd.memory import (
    exp2_by_table,
    fetch_add,
    native_load,
    native_load_broadcast,
    prefetch,
    store,
    store_strided,
    store_triples,
)
from gags.simd.vectors import (
    EXP2_NUMBERS,
    Vector,
    any_lane,
    exp2,
    minimum,
    native_broadcast,
    native_lane_indices,
    neg_abs,
    select,
    trailing_zeros,
    unlikely,
)

MEMBERS_AHEAD = 6  # members whose records are fetched from memory ahead of time

# What is kept of a row of pixels of a strip while its tile is walked, one vector each: the transmittance T,
# which turns into -T once the pixel is finished, then the blended features. Strips follow each other.
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
def open_strips(columns, row_size, state) -> None:
    """T = 1 in all rows of a tile; pixels beyond the edge of the picture are finished from the start."""
    for s in range(STRIPS):
        inside = native_lane_indices() < columns - s * STRIP
        first = select(inside, native_broadcast(1.0), native_broadcast(-1.0))
        for row in range(s * TILE_HEIGHT, (s + 1) * TILE_HEIGHT):
            store(state, row * row_size + TRANSMITTANCE, first)


# What blending computes with again and again, each number in all lanes of a vector: the rows of a tile, then
# constants. Read from memory, they take no registers.
_NUMBERS = (LOG2_MIN_ALPHA, LOG2_MAX_ALPHA, MIN_TRANSMITTANCE, 1.0, *EXP2_NUMBERS)
_AT_MIN_ALPHA, AT_MAX_ALPHA, AT_MIN_TRANSMITTANCE, AT_ONE, _AT_EXP2 = range(TILE_HEIGHT, TILE_HEIGHT + 5)


@njit
def make_table() -> np.ndarray:
    """The numbers of rows and the constants above."""
    table = np.empty((TILE_HEIGHT + len(_NUMBERS)) * STRIP, np.float32)
    for row in range(TILE_HEIGHT):
        store(table, row * STRIP, native_broadcast(row))
    for k in range(len(_NUMBERS)):
        store(table, (TILE_HEIGHT + k) * STRIP, native_broadcast(_NUMBERS[k]))
    return table


@njit
def falloff(r, x, y0, records) -> tuple[Vector, Vector, Vector, Vector, Vector]:
    """One Gaussian in one tile: log2 α = constant + dy (linear + yy dy), where dy = first_y + row.

    Returns:
        constant, linear, yy, first_y; and dx.
    """
    dx = x - native_load_broadcast(records, r + CENTRE_X)
    constant = (
        native_load_broadcast(records, r + PEAK) + native_load_broadcast(records, r + QUAD_XX) * dx * dx
    )
    linear = native_load_broadcast(records, r + QUAD_XY) * dx
    first_y = (np.float32(y0) + np.float32(0.5)) - native_load_broadcast(records, r + CENTRE_Y)
    return constant, linear, native_load_broadcast(records, r + QUAD_YY), first_y, dx


@njit
def alpha_of(power) -> Vector:
    """α = 2**power, at most MAX_ALPHA, and 0 where below MIN_ALPHA."""
    return select(power >= LOG2_MIN_ALPHA, exp2(minimum(power, LOG2_MAX_ALPHA)), 0.0)


@njit
def alpha_by_table(power, table) -> Vector:
    """The same with constants from the table."""
    some = power >= native_load(table, _AT_MIN_ALPHA * STRIP)
    power = minimum(power, native_load(table, AT_MAX_ALPHA * STRIP))
    return select(some, exp2_by_table(power, table, _AT_EXP2 * STRIP), 0.0)


@njit
def load_group(array, at) -> Group:
    """One group of features, each in all lanes."""
    return (
        native_load_broadcast(array, at),
        native_load_broadcast(array, at + 1),
        native_load_broadcast(array, at + 2),
        native_load_broadcast(array, at + 3),
    )


@njit
def load_rows(array, at) -> Group:
    """A group of features that differ from lane to lane."""
    return (
        native_load(array, at),
        native_load(array, at + STRIP),
        native_load(array, at + 2 * STRIP),
        native_load(array, at + 3 * STRIP),
    )


@njit
def store_rows(array, at, rows) -> None:
    """Write a group of features that differ from lane to lane."""
    store(array, at, rows[0])
    store(array, at + STRIP, rows[1])
    store(array, at + 2 * STRIP, rows[2])
    store(array, at + 3 * STRIP, rows[3])


@njit
def plus(sums, weight, features) -> Group:
    """A group of sums, each with one weighted feature more."""
    return (
        sums[0] + weight * features[0],
        sums[1] + weight * features[1],
        sums[2] + weight * features[2],
        sums[3] + weight * features[3],
    )


@njit(forceinline=True)
def _blend_tile(x0, y0, rows_inside, records, channels, groups, lists, tile, table, live, state) -> None:
    """Walk the members of a tile front to back and add w_i = α_i T_i times their features to `state`."""
    stride = record_stride(channels)
    live[:] = (np.int64(1) << rows_inside) - 1  # of every strip, the rows with unfinished pixels as bits
    last = lists.starts[tile + 1] - 1
    for k in range(lists.starts[tile], last + 1):
        prefetch(records, lists.members[min(k + MEMBERS_AHEAD, last), 0] * stride)
        unfinished_rows = np.int64(0)
        for s in range(STRIPS):
            rows = lists.members[k, 1 + s] & live[s]
            if rows != 0:
                r = lists.members[k, 0] * stride
                _blend_strip(x0, y0, s, rows, r, records, groups, table, live, state)
            unfinished_rows |= live[s]
        if unfinished_rows == 0:
            break


@njit(forceinline=True)
def _blend_strip(x0, y0, s, rows, r, records, groups, table, live, state) -> None:
    """Add one Gaussian to those rows of a strip that are given as bits."""
    row_size = (BLENDED + FEATURE_GROUP * groups) * STRIP
    x = native_lane_indices() + (np.float32(x0 + s * STRIP) + np.float32(0.5))
    constant, linear, yy, first_y, _ = falloff(r, x, y0, records)
    features = load_group(records, r + FIRST_FEATURE)
    while rows != 0:
        row = trailing_zeros(rows)
        rows &= rows - 1
        at = (s * TILE_HEIGHT + row) * row_size
        dy = first_y + native_load(table, row * STRIP)
        power = constant + dy * (linear + yy * dy)
        alpha = alpha_by_table(power, table)
        # w_i = α_i T_i and T_{i+1} = T_i - w_i; a pixel is finished by the first Gaussian behind which T
        # would fall to MIN_TRANSMITTANCE, and does not get that one any more.
        T = native_load(state, at)
        absorbed = T * alpha
        T_behind = T - absorbed
        unfinished = T_behind > native_load(table, AT_MIN_TRANSMITTANCE * STRIP)
        weight = select(unfinished, absorbed, 0.0)
        store(state, at, select(unfinished, T_behind, neg_abs(T)))
        if not any_lane(unfinished):
            unlikely()
            live[s] &= ~(np.int64(1) << row)
        # Σ w_i feature_i, the first group of features from registers.
        place = at + BLENDED * STRIP
        store_rows(state, place, plus(load_rows(state, place), weight, features))
        for g in range(1, groups):
            more = load_group(records, r + FIRST_FEATURE + FEATURE_GROUP * g)
            place = at + (BLENDED + FEATURE_GROUP * g) * STRIP
            store_rows(state, place, plus(load_rows(state, place), weight, more))


@njit
def _close_tile(x0, y0, rows_inside, width, channels, background, state, pictures: Pictures) -> None:
    """Write the pictures of one tile of whole width: colours, expected depth and alpha = 1 - T."""
    row_size = (BLENDED + FEATURE_GROUP * groups_of(channels)) * STRIP
    for strip_row in range(STRIPS * rows_inside):
        s, row = strip_row % STRIPS, strip_row // STRIPS
        at = (s * TILE_HEIGHT + row) * row_size
        pixel = (y0 + row) * width + x0 + s * STRIP
        T = -1.0 * neg_abs(native_load(state, at))
        alpha = 1.0 - T
        depth = native_load(state, at + (BLENDED + channels) * STRIP)
        store(pictures.alphas, pixel, alpha)
        store(pictures.depths, pixel, select(alpha > 0.0, depth / alpha, 0.0))
        at += BLENDED * STRIP
        if len(background) > 0:
            for c in range(channels):
                place = at + c * STRIP
                store(state, place, native_load(state, place) + T * background[c])
        if channels == 3:
            red, green, blue, _ = load_rows(state, at)
            store_triples(pictures.image, pixel * 3, red, green, blue)
        else:
            for c in range(channels):
                value = native_load(state, at + c * STRIP)
                store_strided(pictures.image, pixel * channels + c, channels, value)


@njit
def _blend_tiles(
    todo, width, height, records, channels, background, lists, table, pictures: Pictures
) -> None:
    """What one thread does: take the next tile that nobody has taken, until none is left."""
    row_size = (BLENDED + FEATURE_GROUP * groups_of(channels)) * STRIP
    state = aligned(STRIPS * TILE_HEIGHT * row_size)
    live = np.empty(STRIPS, np.int64)
    tiles = len(lists.starts) - 1
    while True:
        tile = fetch_add(todo, 0, 1)
        if tile >= tiles:
            break
        x0, y0 = corner(tile, width)
        columns, rows = min(TILE_WIDTH, width - x0), min(TILE_HEIGHT, height - y0)
        state[:] = 0
        open_strips(columns, row_size, state)
        if groups_of(channels) == 1:  # compiled apart: then nothing but one group needs registers
            _blend_tile(x0, y0, rows, records, channels, 1, lists, tile, table, live, state)
        else:
            groups = groups_of(channels)
            _blend_tile(x0, y0, rows, records, channels, groups, lists, tile, table, live, state)
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
    table = make_table()
    for _ in prange(threads):
        _blend_tiles(todo, width, height, records, channels, background, lists, table, pictures)
