"""The gradient of projection, 16 Gaussians at a time."""

import numpy as np
from numba import njit, prange

from gags.render.kernels.layout import (
    BLOCKS_A_TURN,
    SUM,
    SUM_FEATURES,
    SUM_X,
    SUM_XX,
    SUM_XY,
    SUM_Y,
    SUM_YY,
    Geometry,
    sums_stride,
)
from gags.render.kernels.project import FOCAL_X, FOCAL_Y, covariances, screen_factors
from gags.simd.cache import kernel
from gags.simd.memory import fetch_add, gather, load, load_strided, scatter, store
from gags.simd.vectors import LANES, Vector, broadcast, select


@njit
def _sum_slots(start, spans, slot_gradients, stride, sums) -> None:
    """Add up the slots of 16 Gaussians, one row of `sums` each."""
    for lane in range(LANES):
        rank = min(start + lane, len(spans) - 1)
        for j in range(0, stride, LANES):
            total = broadcast(0.0)
            for slot in range(spans[rank, 0], spans[rank, 1]):
                total += load(slot_gradients, slot * stride + j)
            store(sums, lane * stride + j, total)


@njit
def _dot(a, b) -> Vector:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@njit
def _rotation_backward(q, inverse_length, g) -> tuple[Vector, Vector, Vector, Vector]:
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
    start, shown, geometry, view, sums, channels, g_means, g_quats, g_scales, g_opacities, g_offsets
) -> None:
    """Gradients of 16 Gaussians from the sums over their pixels (rows of `sums`)."""
    factors = screen_factors(start, shown, geometry, view)
    x, y, z = factors.xyz
    free_x, free_y = factors.free
    jw_x, jw_y, R = factors.jw_x, factors.jw_y, factors.R
    jwr_x, jwr_y, s = factors.jwr_x, factors.jwr_y, factors.scales
    m_x, m_y = factors.m_x, factors.m_y
    xx, xy, yy, determinant = covariances(m_x, m_y)
    inverse_det = 1.0 / determinant
    stride = sums_stride(channels)
    total, g_z = load_strided(sums, SUM, stride), load_strided(sums, SUM_FEATURES + channels, stride)
    sum_x, sum_y = load_strided(sums, SUM_X, stride), load_strided(sums, SUM_Y, stride)
    sum_xx, sum_xy = load_strided(sums, SUM_XX, stride), load_strided(sums, SUM_XY, stride)
    sum_yy = load_strided(sums, SUM_YY, stride)

    # With g = dL/d ln α: dL/do = Σ g / o; dL/d mean2d = Σ'⁻¹ Σ g d, which is also the gradient of an offset.
    scatter(g_opacities, shown, start, 1, 0, total / gather(geometry.opacities, shown, start, 1, 0))
    a, b, c = yy * inverse_det, -1.0 * xy * inverse_det, xx * inverse_det  # the conic
    g_u, g_v = a * sum_x + b * sum_y, b * sum_x + c * sum_y
    if len(g_offsets) > 0:
        scatter(g_offsets, shown, start, 2, 0, g_u)
        scatter(g_offsets, shown, start, 2, 1, g_v)

    # ln α = … - ½ dᵀ Σ'⁻¹ d, so H = 2 dL/dΣ' = Σ'⁻¹ (Σ g d dᵀ) Σ'⁻¹; and Σ' = M Mᵀ gives dL/dM = H M.
    kx, ky = a * sum_xx + b * sum_xy, a * sum_xy + b * sum_yy
    lx, ly = b * sum_xx + c * sum_xy, b * sum_xy + c * sum_yy
    h_xx, h_xy, h_yy = kx * a + ky * b, kx * b + ky * c, lx * b + ly * c
    g_mx = (h_xx * m_x[0] + h_xy * m_y[0], h_xx * m_x[1] + h_xy * m_y[1], h_xx * m_x[2] + h_xy * m_y[2])
    g_my = (h_xy * m_x[0] + h_yy * m_y[0], h_xy * m_x[1] + h_yy * m_y[1], h_xy * m_x[2] + h_yy * m_y[2])
    for axis in range(3):
        scatter(g_scales, shown, start, 3, axis, g_mx[axis] * jwr_x[axis] + g_my[axis] * jwr_y[axis])

    # M = J W R S, so dL/dR = (J W)ᵀ dL/dM S and dL/d(J W) = dL/dM S Rᵀ.
    g_mx = (g_mx[0] * s[0], g_mx[1] * s[1], g_mx[2] * s[2])
    g_my = (g_my[0] * s[0], g_my[1] * s[1], g_my[2] * s[2])
    g_R = (
        jw_x[0] * g_mx[0] + jw_y[0] * g_my[0],
        jw_x[0] * g_mx[1] + jw_y[0] * g_my[1],
        jw_x[0] * g_mx[2] + jw_y[0] * g_my[2],
        jw_x[1] * g_mx[0] + jw_y[1] * g_my[0],
        jw_x[1] * g_mx[1] + jw_y[1] * g_my[1],
        jw_x[1] * g_mx[2] + jw_y[1] * g_my[2],
        jw_x[2] * g_mx[0] + jw_y[2] * g_my[0],
        jw_x[2] * g_mx[1] + jw_y[2] * g_my[1],
        jw_x[2] * g_mx[2] + jw_y[2] * g_my[2],
    )
    g_q = _rotation_backward(factors.quat, factors.inverse_length, g_R)
    for part in range(4):
        scatter(g_quats, shown, start, 4, part, g_q[part])
    g_jwx = (_dot(g_mx, (R[0], R[1], R[2])), _dot(g_mx, (R[3], R[4], R[5])), _dot(g_mx, (R[6], R[7], R[8])))
    g_jwy = (_dot(g_my, (R[0], R[1], R[2])), _dot(g_my, (R[3], R[4], R[5])), _dot(g_my, (R[6], R[7], R[8])))

    # The position in the camera moves J by x / z, y / z (where not at their bounds) and 1 / z, and mean2d.
    inverse_z = 1.0 / z
    forward = (broadcast(view[6]), broadcast(view[7]), broadcast(view[8]))
    fx_z, fy_z = view[FOCAL_X] * inverse_z, view[FOCAL_Y] * inverse_z
    g_tan_x = select(free_x, -1.0 * fx_z * _dot(g_jwx, forward), broadcast(0.0)) + view[FOCAL_X] * g_u
    g_tan_y = select(free_y, -1.0 * fy_z * _dot(g_jwy, forward), broadcast(0.0)) + view[FOCAL_Y] * g_v
    g_z -= inverse_z * (_dot(g_jwx, jw_x) + _dot(g_jwy, jw_y))
    g_x, g_y = g_tan_x * inverse_z, g_tan_y * inverse_z
    g_z -= inverse_z * (x * g_x + y * g_y)
    for axis in range(3):
        g_mean = view[axis] * g_x + view[3 + axis] * g_y + view[6 + axis] * g_z
        scatter(g_means, shown, start, 3, axis, g_mean)


@njit
def _project_blocks_backward(
    todo, shown, spans, slot_gradients, channels, geometry, view, g_means, g_quats, g_scales, g_opacities,
    g_offsets, g_colors,
) -> None:  # fmt: skip
    """What one thread does: take the next blocks that nobody has taken, until none is left."""
    stride, blocks = sums_stride(channels), len(shown) // LANES
    sums = np.empty(LANES * stride, np.float32)
    while True:
        first = fetch_add(todo, 0, BLOCKS_A_TURN)
        if first >= blocks:
            break
        for start in range(first * LANES, min(first + BLOCKS_A_TURN, blocks) * LANES, LANES):
            _sum_slots(start, spans, slot_gradients, stride, sums)
            _project_block_backward(
                start,
                shown,
                geometry,
                view,
                sums,
                channels,
                g_means,
                g_quats,
                g_scales,
                g_opacities,
                g_offsets,
            )
            for lane in range(LANES):
                for c in range(channels):
                    g_colors[shown[start + lane] * channels + c] = sums[lane * stride + SUM_FEATURES + c]


@kernel(parallel=True)
def project_backward(
    threads, todo, shown, spans, slot_gradients, channels, geometry: Geometry, view, g_geometry: Geometry,
    g_colors,
) -> None:  # fmt: skip
    """Gradients of the Gaussians in the picture from those of their slots.

    Args:
        threads, todo: As in `project`.
        shown, spans: From `TileLists`.
        slot_gradients: From `blend_backward`, `sums_stride(channels)` numbers a slot.
        channels: Number of colour channels.
        geometry, view: As in `project`.
        g_geometry, g_colors: Gradients, written where a Gaussian is in the picture; those of the offsets only
            if they are not empty.
    """
    for _ in prange(threads):
        # The gradients one by one: given as a namedtuple, LLVM fuses other multiplications and additions.
        _project_blocks_backward(
            todo, shown, spans, slot_gradients, channels, geometry, view, g_geometry.means, g_geometry.quats,
            g_geometry.scales, g_geometry.opacities, g_geometry.offsets, g_colors,
        )  # fmt: skip
