"""The gradient of blending."""

import numpy as np
from numba import njit, prange

from gags.render.kernels.blend import (
    MEMBERS_AHEAD,
    TRANSMITTANCE,
    aligned,
    alpha_of,
    corner,
    falloff,
    first_transmittance,
    load_group,
    load_rows,
    number_rows,
    plus,
    store_rows,
)
from gags.render.kernels.layout import (
    FEATURE_GROUP,
    FIRST_FEATURE,
    LOG2_MAX_ALPHA,
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
from gags.render.types import MIN_TRANSMITTANCE
from gags.simd.cache import kernel
from gags.simd.memory import fetch_add, horizontal_sums, load, load_strided, load_triples, prefetch, store
from gags.simd.vectors import (
    LANES,
    Vector,
    any_lane,
    broadcast,
    lane_indices,
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
def _open_gradients(x0, y0, rows, width, channels, background, pictures, g_pictures, state) -> np.int64:
    """Turn the gradients of one tile of whole width into those of each pixel's blending weights, in `state`.

    With C = Σ w c + (1 - A) b (b the background), D = Σ w z / A and A = Σ w, a Gaussian's dL/dw is
    g_A - g_C·b - g_D D / A, the same for all Gaussians of the pixel, plus g_C·c + g_D z / A. So the depth is
    one of the features, with the gradient g_D / A.

    Returns:
        The rows in which anything has a gradient, as bits.
    """
    groups = groups_of(channels)
    row_size = (G_FEATURES + FEATURE_GROUP * groups) * LANES
    live = np.int64(0)
    for row in range(rows):
        pixel = (y0 + row) * width + x0
        at = row * row_size + G_FEATURES * LANES
        # g_C, and g_C·C, which is Σ w g_C·c over all Gaussians and the background's part, subtracted below.
        if channels == 3:
            red, green, blue = load_triples(g_pictures.image, pixel * 3)
            store(state, at, red)
            store(state, at + LANES, green)
            store(state, at + 2 * LANES, blue)
            r, g, b = load_triples(pictures.image, pixel * 3)
            to_come = red * r + green * g + blue * b
            some = neg_abs(red) + neg_abs(green) + neg_abs(blue)
        else:
            to_come, some = broadcast(0.0), broadcast(0.0)
            for c in range(channels):
                g_color = load_strided(g_pictures.image, pixel * channels + c, channels)
                store(state, at + c * LANES, g_color)
                to_come += g_color * load_strided(pictures.image, pixel * channels + c, channels)
                some += neg_abs(g_color)
        # g_A and g_D / A; the depth adds nothing to the sum over all Gaussians, as Σ w (z - D) = 0.
        alpha, g_alpha = load(pictures.alphas, pixel), load(g_pictures.alphas, pixel)
        g_depth = select(alpha > 0.0, load(g_pictures.depths, pixel) / alpha, broadcast(0.0))
        some += neg_abs(g_depth) + neg_abs(g_alpha)
        if len(background) > 0:
            behind = broadcast(0.0)
            for c in range(channels):
                behind += load(state, at + c * LANES) * background[c]
            to_come -= (1.0 - alpha) * behind
            g_alpha -= behind
        store(state, at + channels * LANES, g_depth)
        for c in range(channels + 1, FEATURE_GROUP * groups):
            store(state, at + c * LANES, broadcast(0.0))
        at = row * row_size
        store(state, at + TO_COME * LANES, to_come + g_alpha * alpha)
        store(state, at + G_WEIGHT * LANES, g_alpha - g_depth * load(pictures.depths, pixel))
        if any_lane(some < 0.0):
            live |= np.int64(1) << row
    return live


@njit
def _blend_tile_backward(
    x0, y0, live, records, channels, lists, tile, row_numbers, state, weights, sums, gradients
) -> None:
    """Walk the members of a tile front to back again and write the gradient of each into its slot."""
    groups = groups_of(channels)
    row_size = (G_FEATURES + FEATURE_GROUP * groups) * LANES
    stride, out_stride = record_stride(channels), sums_stride(channels)
    x = lane_indices() + (x0 + np.float32(0.5))
    last = lists.starts[tile + 1] - 1
    for k in range(lists.starts[tile], last + 1):
        ahead = min(k + MEMBERS_AHEAD, last)
        prefetch(records, (lists.members[ahead] >> 32) * stride)
        prefetch(gradients, np.int64(lists.slots[ahead]) * out_stride)
        out = np.int64(lists.slots[k]) * out_stride
        rows = lists.members[k] & live
        if rows == 0:
            for j in range(0, out_stride, LANES):
                store(gradients, out + j, broadcast(0.0))
            continue
        r = (lists.members[k] >> 32) * stride
        constant, linear, yy, first_y, dx = falloff(r, x, y0, records)
        features = load_group(records, r + FIRST_FEATURE)
        # Sums over the rows of g = dL/d ln α_i, g dy, g dy² and w_i dL/d feature; dx is the same in all rows.
        sum_0, sum_y, sum_yy = broadcast(0.0), broadcast(0.0), broadcast(0.0)
        g_features = (broadcast(0.0), broadcast(0.0), broadcast(0.0), broadcast(0.0))
        left = rows
        while left != 0:
            row = trailing_zeros(left)
            left &= left - 1
            at = row * row_size
            # α_i, T_i and w_i exactly as `blend` computed them.
            dy = first_y + load(row_numbers, row * LANES)
            power = constant + dy * (linear + yy * dy)
            alpha = alpha_of(power)
            T = load(state, at)
            absorbed = T * alpha
            T_behind = T - absorbed
            unfinished = T_behind > MIN_TRANSMITTANCE
            weight = select(unfinished, absorbed, broadcast(0.0))
            store(state, at, select(unfinished, T_behind, neg_abs(T)))
            # dL/d feature_i = w_i times the pixel's gradient, and dL/dw_i of this Gaussian.
            upstream = load_rows(state, at + G_FEATURES * LANES)
            g_features = plus(g_features, weight, upstream)
            g_weight = load(state, at + G_WEIGHT * LANES) + _dot(upstream, features)
            if groups > 1:
                store(weights, row * LANES, weight)
                for g in range(1, groups):
                    upstream = load_rows(state, at + (G_FEATURES + FEATURE_GROUP * g) * LANES)
                    g_weight += _dot(upstream, load_group(records, r + FIRST_FEATURE + FEATURE_GROUP * g))
            # dL/d ln α_i = w_i dL/dw_i - α_i / (1 - α_i) Σ_{j behind i} w_j dL/dw_j: a larger α_i leaves less
            # T to all behind. 0 where α is clamped.
            part = weight * g_weight
            to_come = load(state, at + TO_COME * LANES) - part
            store(state, at + TO_COME * LANES, to_come)
            g_log_alpha = part - to_come * (alpha / (1.0 - alpha))
            g_log_alpha = select(unfinished & (power < LOG2_MAX_ALPHA), g_log_alpha, broadcast(0.0))
            sum_0 += g_log_alpha
            g_log_alpha *= dy
            sum_y += g_log_alpha
            sum_yy += g_log_alpha * dy
            if not any_lane(unfinished):
                unlikely()
                live &= ~(np.int64(1) << row)
        # One vector a number of the slot; then the sums over their lanes, 16 numbers at a time.
        store(sums, SUM * LANES, sum_0)
        store(sums, SUM_X * LANES, sum_0 * dx)
        store(sums, SUM_Y * LANES, sum_y)
        store(sums, SUM_XX * LANES, sum_0 * dx * dx)
        store(sums, SUM_XY * LANES, sum_y * dx)
        store(sums, SUM_YY * LANES, sum_yy)
        store_rows(sums, SUM_FEATURES * LANES, g_features)
        for g in range(1, groups):
            g_features = (broadcast(0.0), broadcast(0.0), broadcast(0.0), broadcast(0.0))
            left = rows
            while left != 0:
                row = trailing_zeros(left)
                left &= left - 1
                upstream = load_rows(state, row * row_size + (G_FEATURES + FEATURE_GROUP * g) * LANES)
                g_features = plus(g_features, load(weights, row * LANES), upstream)
            store_rows(sums, (SUM_FEATURES + FEATURE_GROUP * g) * LANES, g_features)
        for j in range(0, out_stride, LANES):
            store(gradients, out + j, horizontal_sums(sums, j * LANES))


@njit
def _blend_tiles_backward(
    todo, width, height, records, channels, background, lists, row_numbers, pictures, g_pictures, gradients
) -> None:
    """What one thread does: take the next tile that nobody has taken, until none is left."""
    row_size = (G_FEATURES + FEATURE_GROUP * groups_of(channels)) * LANES
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
        for at in range(TRANSMITTANCE, TILE_HEIGHT * row_size, row_size):
            store(state, at, first_transmittance(columns))
        if columns == TILE_WIDTH:
            live = _open_gradients(x0, y0, rows, width, channels, background, pictures, g_pictures, state)
        else:
            part = _crop_all(pictures, x0, y0, columns, rows, width, channels)
            g_part = _crop_all(g_pictures, x0, y0, columns, rows, width, channels)
            live = _open_gradients(0, 0, rows, TILE_WIDTH, channels, background, part, g_part, state)
        _blend_tile_backward(
            x0, y0, live, records, channels, lists, tile, row_numbers, state, weights, sums, gradients
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
    row_numbers = number_rows()
    for _ in prange(threads):
        _blend_tiles_backward(
            todo, width, height, records, channels, background, lists, row_numbers, pictures, g_pictures,
            gradients,
        )  # fmt: skip
