"""The gradient of projection, 16 Gaussians at a time."""

import numpy as np
from numba import njit, prange

from gags.render.kernels.layout import SUM, SUM_FEATURES, SUM_X, SUM_XX, SUM_XY, SUM_Y, SUM_YY, sums_stride
from gags.render.kernels.project import covariances, screen_factors
from gags.simd.memory import gather, load, load_every, scatter, store
from gags.simd.vectors import LANES, select, splat


@njit
def _sum_slots(start, spans, slot_gradients, stride, sums):
    """Add up the slots of 16 Gaussians, one row of `sums` each."""
    for lane in range(LANES):
        rank = min(start + lane, len(spans) - 1)
        for j in range(0, stride, LANES):
            total = splat(0.0)
            for slot in range(spans[rank, 0], spans[rank, 1]):
                total += load(slot_gradients, slot * stride + j)
            store(sums, lane * stride + j, total)


@njit
def _dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@njit
def _rotation_backward(q, inverse_length, g):
    """Gradient of a quaternion of any length from that of its rotation matrix (nine numbers)."""
    w, x, y, z = q
    gw = 2.0 * (x * (g[7] - g[5]) + y * (g[2] - g[6]) + z * (g[3] - g[1]))
    gx = 2.0 * (y * (g[1] + g[3]) + z * (g[2] + g[6]) + w * (g[7] - g[5]) - 2.0 * x * (g[4] + g[8]))
    gy = 2.0 * (x * (g[1] + g[3]) + z * (g[5] + g[7]) + w * (g[2] - g[6]) - 2.0 * y * (g[0] + g[8]))
    gz = 2.0 * (x * (g[2] + g[6]) + y * (g[5] + g[7]) + w * (g[3] - g[1]) - 2.0 * z * (g[0] + g[4]))
    along = gw * w + gx * x + gy * y + gz * z
    return (
        (gw - w * along) * inverse_length,
        (gx - x * along) * inverse_length,
        (gy - y * along) * inverse_length,
        (gz - z * along) * inverse_length,
    )


@njit
def _project_block_backward(
    start,
    shown,
    means,
    quats,
    scales,
    opacities,
    view,
    sums,
    channels,
    g_means,
    g_quats,
    g_scales,
    g_opacities,
    g_offsets,
):
    """Gradients of 16 Gaussians from the sums over their pixels (rows of `sums`)."""
    (x, y, z), (free_x, free_y), q, inverse_length, jx, jy, r, ax, ay, s, mx, my = screen_factors(
        start, shown, means, quats, scales, view
    )
    xx, xy, yy, determinant = covariances(mx, my)
    inverse_det = 1.0 / determinant
    stride = sums_stride(channels)
    total, g_z = load_every(sums, SUM, stride), load_every(sums, SUM_FEATURES + channels, stride)
    sum_x, sum_y = load_every(sums, SUM_X, stride), load_every(sums, SUM_Y, stride)
    sum_xx, sum_xy = load_every(sums, SUM_XX, stride), load_every(sums, SUM_XY, stride)
    sum_yy = load_every(sums, SUM_YY, stride)

    scatter(g_opacities, shown, start, 1, 0, total / gather(opacities, shown, start, 1, 0))
    a, b, c = yy * inverse_det, -1.0 * xy * inverse_det, xx * inverse_det
    g_u, g_v = a * sum_x + b * sum_y, b * sum_x + c * sum_y
    if len(g_offsets) > 0:
        scatter(g_offsets, shown, start, 2, 0, g_u)
        scatter(g_offsets, shown, start, 2, 1, g_v)

    # ln α = … - ½ dᵀ Σ⁻¹ d, so dL/dΣ = ½ Σ⁻¹ (Σ g d dᵀ) Σ⁻¹; and Σ = M Mᵀ gives dL/dM = 2 dL/dΣ M.
    kx, ky = a * sum_xx + b * sum_xy, a * sum_xy + b * sum_yy
    lx, ly = b * sum_xx + c * sum_xy, b * sum_xy + c * sum_yy
    h_xx, h_xy, h_yy = kx * a + ky * b, kx * b + ky * c, lx * b + ly * c
    g_mx = (h_xx * mx[0] + h_xy * my[0], h_xx * mx[1] + h_xy * my[1], h_xx * mx[2] + h_xy * my[2])
    g_my = (h_xy * mx[0] + h_yy * my[0], h_xy * mx[1] + h_yy * my[1], h_xy * mx[2] + h_yy * my[2])
    for axis in range(3):
        scatter(g_scales, shown, start, 3, axis, g_mx[axis] * ax[axis] + g_my[axis] * ay[axis])
    # M = J W R S
    g_mx = (g_mx[0] * s[0], g_mx[1] * s[1], g_mx[2] * s[2])
    g_my = (g_my[0] * s[0], g_my[1] * s[1], g_my[2] * s[2])
    g_r = (
        jx[0] * g_mx[0] + jy[0] * g_my[0],
        jx[0] * g_mx[1] + jy[0] * g_my[1],
        jx[0] * g_mx[2] + jy[0] * g_my[2],
        jx[1] * g_mx[0] + jy[1] * g_my[0],
        jx[1] * g_mx[1] + jy[1] * g_my[1],
        jx[1] * g_mx[2] + jy[1] * g_my[2],
        jx[2] * g_mx[0] + jy[2] * g_my[0],
        jx[2] * g_mx[1] + jy[2] * g_my[1],
        jx[2] * g_mx[2] + jy[2] * g_my[2],
    )
    g_q = _rotation_backward(q, inverse_length, g_r)
    for part in range(4):
        scatter(g_quats, shown, start, 4, part, g_q[part])

    g_jx = (_dot(g_mx, (r[0], r[1], r[2])), _dot(g_mx, (r[3], r[4], r[5])), _dot(g_mx, (r[6], r[7], r[8])))
    g_jy = (_dot(g_my, (r[0], r[1], r[2])), _dot(g_my, (r[3], r[4], r[5])), _dot(g_my, (r[6], r[7], r[8])))
    inverse_z = 1.0 / z
    forward = (splat(view[6]), splat(view[7]), splat(view[8]))
    fx, fy = view[12] * inverse_z, view[13] * inverse_z
    g_slope_x = select(free_x, -1.0 * fx * _dot(g_jx, forward), splat(0.0)) + view[12] * g_u
    g_slope_y = select(free_y, -1.0 * fy * _dot(g_jy, forward), splat(0.0)) + view[13] * g_v
    g_z -= inverse_z * (_dot(g_jx, jx) + _dot(g_jy, jy))
    g_x, g_y = g_slope_x * inverse_z, g_slope_y * inverse_z
    g_z -= inverse_z * (x * g_x + y * g_y)
    for axis in range(3):
        g_mean = view[axis] * g_x + view[3 + axis] * g_y + view[6 + axis] * g_z
        scatter(g_means, shown, start, 3, axis, g_mean)


@njit(parallel=True, cache=True)
def project_backward(
    shown, spans, slot_gradients, channels,
    means, quats, scales, opacities, view,
    g_means, g_quats, g_scales, g_opacities, g_offsets, g_colors,
):  # fmt: skip
    """Gradients of the Gaussians in the picture from those of their slots.

    Args:
        shown, spans: From `TileLists`.
        slot_gradients: From `blend_backward`, `sums_stride(channels)` numbers a slot.
        channels: Number of colour channels.
        means, quats, scales, opacities, view: As in `project`.
        g_means, g_quats, g_scales, g_opacities, g_offsets, g_colors: Flat, written where a Gaussian is in the
            picture; `g_offsets` may be empty.
    """
    stride = sums_stride(channels)
    for block in prange(len(shown) // LANES):
        start = block * LANES
        sums = np.empty(LANES * stride, np.float32)
        _sum_slots(start, spans, slot_gradients, stride, sums)
        _project_block_backward(
            *(start, shown, means, quats, scales, opacities, view, sums, channels),
            *(g_means, g_quats, g_scales, g_opacities, g_offsets),
        )
        for lane in range(LANES):
            for c in range(channels):
                g_colors[shown[start + lane] * channels + c] = sums[lane * stride + SUM_FEATURES + c]
