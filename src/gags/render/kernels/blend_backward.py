"""The gradient of blending."""

import numpy as np
from numba import njit, prange

from gags.render.kernels.blend import (
    AT_MAX_ALPHA,
    AT_MIN_TRANSMITTANCE,
    AT_ONE,
    MEMBERS_AHEAD,
    aligned,
    alpha_by_table,
    corner,
    falloff,
    load_group,
    load_rows,
    make_table,
    open_strips,
    plus,
)
from gags.render.kernels.layout import (
    FEATURE_GROUP,
    FIRST_FEATURE,
    STRIP,
    STRIPS,
    SUM,
    SUM_FEATURES,
    SUM_X,
    SUM_XX,
    SUM_XY,
    SUM_Y,
    SUM_YY,
    TILE_HEIGHT,
    TILE_WIDTH,
    Pictures,
    TileLists,
    groups_of,
    record_stride,
    sums_stride,
)
from gags.simd.cache import kernel
from gags.simd.memory import (
    fetch_add,
    horizontal_sums,
    native_load,
    native_load_strided,
    native_load_triples,
    prefetch,
    store,
)
from gags.simd.vectors import (
    LANES,
    Vector,
    any_lane,
    broadcast,
    native_broadcast,
    native_lane_indices,
    neg_abs,
    select,
    trailing_zeros,
    unlikely,
)

# Beside T, the gradient keeps of a row of pixels: what is still to come of Σ_j w_j dL/dw_j (the sum over the
# Gaussians not walked yet), the part of dL/dw that no feature makes, and the gradients of the features.
TO_COME, G_WEIGHT, G_FEATURES = range(1, 4)


@njit
def _crop(picture, x0, y0, columns, rows, width, channels) -> np.ndarray:
    """A tile at the right edge of a flat picture, as a picture of the width of a whole tile."""
    tile = np.zeros(TILE_HEIGHT * TILE_WIDTH * channels, np.float32)
    for row in range(rows):
        for j in range(columns * channels):
            tile[row * TILE_WIDTH * channels + j] = picture[((y0 + row) * width + x0) * channels + j]
    return tile


@njit
def _crop_all(pictures, x0, y0, columns, rows, width, channels) -> Pictures:
    """The same of three pictures."""
    return Pictures(
        _crop(pictures.image, x0, y0, columns, rows, width, channels),
        _crop(pictures.depths, x0, y0, columns, rows, width, 1),
        _crop(pictures.alphas, x0, y0, columns, rows, width, 1),
    )


@njit
def _dot(a, b) -> Vector:
    return (a[0] * b[0] + a[1] * b[1]) + (a[2] * b[2] + a[3] * b[3])


@njit
def _open_gradients(x0, y0, rows, width, channels, background, pictures, g_pictures, live, state) -> None:
    """Turn the gradients of one tile of whole width into those of each pixel's blending weights, in `state`.

    With C = Σ w c + (1 - A) b (b the background), D = Σ w z / A and A = Σ w, a Gaussian's dL/dw is
    g_A - g_C·b - g_D D / A, the same for all Gaussians of the pixel, plus g_C·c + g_D z / A. So the depth is
    one of the features, with the gradient g_D / A.

    `live` becomes, of every strip, the rows in which anything has a gradient, as bits.
    """
    groups = groups_of(channels)
    row_size = (G_FEATURES + FEATURE_GROUP * groups) * STRIP
    live[:] = 0
    for strip_row in range(STRIPS * rows):
        s, row = strip_row % STRIPS, strip_row // STRIPS
        pixel = (y0 + row) * width + x0 + s * STRIP
        start = (s * TILE_HEIGHT + row) * row_size
        at = start + G_FEATURES * STRIP
        # g_C, and g_C·C, which is Σ w g_C·c over all Gaussians and the background's part, subtracted below.
        if channels == 3:
            red, green, blue = native_load_triples(g_pictures.image, pixel * 3)
            store(state, at, red)
            store(state, at + STRIP, green)
            store(state, at + 2 * STRIP, blue)
            r, g, b = native_load_triples(pictures.image, pixel * 3)
            to_come = red * r + green * g + blue * b
            some = neg_abs(red) + neg_abs(green) + neg_abs(blue)
        else:
            to_come, some = native_broadcast(0.0), native_broadcast(0.0)
            for c in range(channels):
                g_color = native_load_strided(g_pictures.image, pixel * channels + c, channels)
                store(state, at + c * STRIP, g_color)
                to_come += g_color * native_load_strided(pictures.image, pixel * channels + c, channels)
                some += neg_abs(g_color)
        # g_A and g_D / A; the depth adds nothing to the sum over all Gaussians, as Σ w (z - D) = 0.
        alpha, g_alpha = native_load(pictures.alphas, pixel), native_load(g_pictures.alphas, pixel)
        g_depth = select(alpha > 0.0, native_load(g_pictures.depths, pixel) / alpha, 0.0)
        some += neg_abs(g_depth) + neg_abs(g_alpha)
        if len(background) > 0:
            behind = native_broadcast(0.0)
            for c in range(channels):
                behind += native_load(state, at + c * STRIP) * background[c]
            to_come -= (1.0 - alpha) * behind
            g_alpha -= behind
        store(state, at + channels * STRIP, g_depth)
        for c in range(channels + 1, FEATURE_GROUP * groups):
            store(state, at + c * STRIP, native_broadcast(0.0))
        store(state, start + TO_COME * STRIP, to_come + g_alpha * alpha)
        store(state, start + G_WEIGHT * STRIP, g_alpha - g_depth * native_load(pictures.depths, pixel))
        if any_lane(some < 0.0):
            live[s] |= np.int64(1) << row


@njit(forceinline=True)
def _blend_tile_backward(
    x0, y0, records, channels, groups, lists, tile, table, live, state, weights, sums, gradients
) -> None:
    """Walk the members of a tile front to back again and write the gradient of each into its slot."""
    stride, out_stride = record_stride(channels), sums_stride(channels)
    last = lists.starts[tile + 1] - 1
    for k in range(lists.starts[tile], last + 1):
        ahead = min(k + MEMBERS_AHEAD, last)
        prefetch(records, lists.members[ahead, 0] * stride)
        prefetch(gradients, np.int64(lists.slots[ahead]) * out_stride)
        out = np.int64(lists.slots[k]) * out_stride
        touched = np.int64(0)
        for s in range(STRIPS):
            touched |= lists.members[k, 1 + s] & live[s]
        if touched == 0:
            for j in range(0, out_stride, LANES):
                store(gradients, out + j, broadcast(0.0))
            continue
        r = lists.members[k, 0] * stride
        for s in range(STRIPS):
            rows = lists.members[k, 1 + s] & live[s]
            _strip_backward(x0, y0, s, rows, r, records, groups, table, live, state, weights, sums)
        # Sums over the lanes of all strips, 16 numbers at a time.
        for j in range(0, out_stride, LANES):
            store(gradients, out + j, horizontal_sums(sums, j * LANES))


@njit(forceinline=True)
def _strip_backward(x0, y0, s, rows, r, records, groups, table, live, state, weights, sums) -> None:
    """The gradient of one Gaussian from those rows of a strip that are given as bits, lane by lane.

    `sums` gets the numbers of a slot, each in LANES lanes, of which the strip has its own.
    """
    row_size = (G_FEATURES + FEATURE_GROUP * groups) * STRIP
    x = native_lane_indices() + (np.float32(x0 + s * STRIP) + np.float32(0.5))
    constant, linear, yy, first_y, dx = falloff(r, x, y0, records)
    features = load_group(records, r + FIRST_FEATURE)
    # Sums over the rows of g = dL/d ln α_i, g dy, g dy² and w_i dL/d feature; dx is the same in all rows.
    zero = native_broadcast(0.0)
    sum_0, sum_y, sum_yy, g_features = zero, zero, zero, (zero, zero, zero, zero)
    left = rows
    while left != 0:
        row = trailing_zeros(left)
        left &= left - 1
        at = (s * TILE_HEIGHT + row) * row_size
        # α_i, T_i and w_i exactly as `blend` computed them.
        dy = first_y + native_load(table, row * STRIP)
        power = constant + dy * (linear + yy * dy)
        alpha = alpha_by_table(power, table)
        T = native_load(state, at)
        absorbed = T * alpha
        T_behind = T - absorbed
        unfinished = T_behind > native_load(table, AT_MIN_TRANSMITTANCE * STRIP)
        weight = select(unfinished, absorbed, 0.0)
        store(state, at, select(unfinished, T_behind, neg_abs(T)))
        if not any_lane(unfinished):
            unlikely()
            live[s] &= ~(np.int64(1) << row)
        # dL/d feature_i = w_i times the pixel's gradient, and dL/dw_i of this Gaussian.
        upstream = load_rows(state, at + G_FEATURES * STRIP)
        g_features = plus(g_features, weight, upstream)
        g_weight = native_load(state, at + G_WEIGHT * STRIP) + _dot(upstream, features)
        if groups > 1:
            store(weights, row * STRIP, weight)
            for g in range(1, groups):
                upstream = load_rows(state, at + (G_FEATURES + FEATURE_GROUP * g) * STRIP)
                g_weight += _dot(upstream, load_group(records, r + FIRST_FEATURE + FEATURE_GROUP * g))
        # dL/d ln α_i = w_i dL/dw_i - α_i / (1 - α_i) Σ_{j behind i} w_j dL/dw_j: a larger α_i leaves less
        # T to all behind. 0 where α is clamped.
        part = weight * g_weight
        to_come = native_load(state, at + TO_COME * STRIP) - part
        store(state, at + TO_COME * STRIP, to_come)
        g_log_alpha = part - to_come * (alpha / (native_load(table, AT_ONE * STRIP) - alpha))
        g_log_alpha = select(
            unfinished & (power < native_load(table, AT_MAX_ALPHA * STRIP)), g_log_alpha, 0.0
        )
        sum_0 += g_log_alpha
        g_log_alpha *= dy
        sum_y += g_log_alpha
        sum_yy += g_log_alpha * dy
    lane = s * STRIP
    store(sums, SUM * LANES + lane, sum_0)
    store(sums, SUM_X * LANES + lane, sum_0 * dx)
    store(sums, SUM_Y * LANES + lane, sum_y)
    store(sums, SUM_XX * LANES + lane, sum_0 * dx * dx)
    store(sums, SUM_XY * LANES + lane, sum_y * dx)
    store(sums, SUM_YY * LANES + lane, sum_yy)
    _store_sums(sums, SUM_FEATURES * LANES + lane, g_features)
    for g in range(1, groups):
        g_features = (zero, zero, zero, zero)
        left = rows
        while left != 0:
            row = trailing_zeros(left)
            left &= left - 1
            place = (s * TILE_HEIGHT + row) * row_size + (G_FEATURES + FEATURE_GROUP * g) * STRIP
            g_features = plus(g_features, native_load(weights, row * STRIP), load_rows(state, place))
        _store_sums(sums, (SUM_FEATURES + FEATURE_GROUP * g) * LANES + lane, g_features)


@njit
def _store_sums(sums, at, group) -> None:
    """Write a group of numbers into the lanes of one strip."""
    store(sums, at, group[0])
    store(sums, at + LANES, group[1])
    store(sums, at + 2 * LANES, group[2])
    store(sums, at + 3 * LANES, group[3])


@njit
def _blend_tiles_backward(
    todo, width, height, records, channels, background, lists, table, pictures, g_pictures, gradients
) -> None:
    """What one thread does: take the next tile that nobody has taken, until none is left."""
    row_size = (G_FEATURES + FEATURE_GROUP * groups_of(channels)) * STRIP
    state = aligned(STRIPS * TILE_HEIGHT * row_size)
    weights = aligned(TILE_HEIGHT * STRIP)
    live = np.empty(STRIPS, np.int64)
    sums = aligned(sums_stride(channels) * LANES)
    sums[:] = 0
    tiles = len(lists.starts) - 1
    while True:
        tile = fetch_add(todo, 0, 1)
        if tile >= tiles:
            break
        x0, y0 = corner(tile, width)
        columns, rows = min(TILE_WIDTH, width - x0), min(TILE_HEIGHT, height - y0)
        open_strips(columns, row_size, state)
        if columns == TILE_WIDTH:
            _open_gradients(x0, y0, rows, width, channels, background, pictures, g_pictures, live, state)
        else:
            part = _crop_all(pictures, x0, y0, columns, rows, width, channels)
            g_part = _crop_all(g_pictures, x0, y0, columns, rows, width, channels)
            _open_gradients(0, 0, rows, TILE_WIDTH, channels, background, part, g_part, live, state)
        if groups_of(channels) == 1:  # compiled apart: then nothing but one group needs registers
            _blend_tile_backward(
                x0, y0, records, channels, 1, lists, tile, table, live, state, weights, sums, gradients
            )
        else:
            groups = groups_of(channels)
            _blend_tile_backward(
                x0, y0, records, channels, groups, lists, tile, table, live, state, weights, sums, gradients
            )


@kernel(parallel=True)
def blend_backward(
    threads, todo, width, height, records, channels, background, lists: TileLists,
    pictures: Pictures, g_pictures: Pictures, gradients,
) -> None:  # fmt: skip
    """Gradient of `blend` for every member of a tile.

    Args:
        threads, todo, width, height, records, channels, background, lists: As in `blend`.
        pictures: What `blend` wrote.
        g_pictures: Gradients of these.
        gradients: `sums_stride(channels)` numbers a slot, written for every member.
    """
    table = make_table()
    for _ in prange(threads):
        _blend_tiles_backward(
            todo, width, height, records, channels, background, lists, table, pictures, g_pictures,
            gradients,
        )  # fmt: skip
