"""Projection of Gaussians to the screen, 16 at a time (formulas: `reference.project`)."""

from typing import NamedTuple

import numpy as np
from numba import njit, prange

from gags.capture.camera import Camera
from gags.render.kernels.layout import (
    BLOCKS_A_TURN,
    BULGE,
    CENTRE_X,
    CENTRE_Y,
    FEATURE_GROUP,
    FIRST_FEATURE,
    FIRST_TILE,
    HALF_X,
    HALF_Y,
    LAST_TILE,
    LOG2_MIN_ALPHA,
    LOG2E,
    OUTLINE,
    OUTLINE_X,
    OUTLINE_Y,
    PEAK,
    PLANE_DEPTH,
    PLANE_RADIUS,
    PLANE_SLOTS,
    QUAD_XX,
    QUAD_XY,
    QUAD_YY,
    TILE_HEIGHT,
    TILE_WIDTH,
    TILT,
    TOP,
    Geometry,
    groups_of,
    record_stride,
    slack,
)
from gags.render.types import EPS2D, NEAR_PLANE
from gags.simd.cache import kernel
from gags.simd.memory import fetch_add, gather, scatter, store
from gags.simd.vectors import (
    LANES,
    Vector,
    any_lane,
    broadcast,
    ceil,
    floor,
    log2,
    maximum,
    minimum,
    select,
    sqrt,
)

_LARGEST_RADIUS = 1e9  # px; a larger one is the result of numbers that overflowed

# The camera as the kernels take it, the "view": 0 to 8 the rotation row by row, 9 to 11 the translation, then
# these. Beyond the bounds of x / z and y / z the Jacobian does not change any more.
FOCAL_X, FOCAL_Y, PRINCIPAL_X, PRINCIPAL_Y, IMAGE_WIDTH, IMAGE_HEIGHT = range(12, 18)
MIN_TAN_X, MAX_TAN_X, MIN_TAN_Y, MAX_TAN_Y = range(18, 22)


def pack_camera(camera: Camera) -> np.ndarray:
    """A camera as the kernels read it: rotation, translation and what is named above. float32 [22]"""
    K, size = camera.K, (camera.width, camera.height)
    limits = []
    for axis in range(2):
        focal, centre, side = K[axis, axis], K[axis, 2], size[axis]
        margin = 0.3 * 0.5 * side / focal
        limits += [-centre / focal - margin, (side - centre) / focal + margin]
    numbers = [*camera.viewmat[:3, :3].ravel(), *camera.viewmat[:3, 3]]
    numbers += [K[0, 0], K[1, 1], K[0, 2], K[1, 2], *size, *limits]
    return np.array(numbers, np.float32)


class ScreenFactors(NamedTuple):
    """What projection and its gradient share, of 16 Gaussians: every number is a vector.

    With W the rotation of the camera, R and S rotation and scales of the Gaussian and J the Jacobian of the
    projection, Σ' = M Mᵀ + EPS2D I where M = J W R S.

    Attributes:
        xyz: Position in the camera.
        free: Whether x / z and y / z lie within the bounds of the Jacobian (masks).
        quat: Unit quaternion wxyz.
        inverse_length: 1 / length of the quaternion given.
        jw_x, jw_y: The two rows of J W.
        R: The rotation, row by row.
        jwr_x, jwr_y: The two rows of J W R.
        scales: The diagonal of S.
        m_x, m_y: The two rows of M.
    """

    xyz: tuple[Vector, Vector, Vector]
    free: tuple[Vector, Vector]
    quat: tuple[Vector, Vector, Vector, Vector]
    inverse_length: Vector
    jw_x: tuple[Vector, Vector, Vector]
    jw_y: tuple[Vector, Vector, Vector]
    R: tuple[Vector, Vector, Vector, Vector, Vector, Vector, Vector, Vector, Vector]
    jwr_x: tuple[Vector, Vector, Vector]
    jwr_y: tuple[Vector, Vector, Vector]
    scales: tuple[Vector, Vector, Vector]
    m_x: tuple[Vector, Vector, Vector]
    m_y: tuple[Vector, Vector, Vector]


@njit
def screen_factors(start, rows, geometry, view) -> ScreenFactors:
    """Everything that projection and its gradient share, for the 16 Gaussians `rows[start]` and following."""
    means, quats, scales = geometry.means, geometry.quats, geometry.scales
    # Position in the camera, and the tangents x / z and y / z, held within the bounds of the Jacobian.
    wx, wy, wz = (
        gather(means, rows, start, 3, 0),
        gather(means, rows, start, 3, 1),
        gather(means, rows, start, 3, 2),
    )
    x = view[0] * wx + view[1] * wy + view[2] * wz + view[9]
    y = view[3] * wx + view[4] * wy + view[5] * wz + view[10]
    z = view[6] * wx + view[7] * wy + view[8] * wz + view[11]
    inverse_z = 1.0 / z
    tan_x, tan_y = x * inverse_z, y * inverse_z
    free_x = (tan_x >= view[MIN_TAN_X]) & (tan_x <= view[MAX_TAN_X])
    free_y = (tan_y >= view[MIN_TAN_Y]) & (tan_y <= view[MAX_TAN_Y])
    tan_x = minimum(maximum(tan_x, broadcast(view[MIN_TAN_X])), broadcast(view[MAX_TAN_X]))
    tan_y = minimum(maximum(tan_y, broadcast(view[MIN_TAN_Y])), broadcast(view[MAX_TAN_Y]))

    # R, the rotation of the Gaussian, from its quaternion.
    qw, qx, qy, qz = (
        gather(quats, rows, start, 4, 0),
        gather(quats, rows, start, 4, 1),
        gather(quats, rows, start, 4, 2),
        gather(quats, rows, start, 4, 3),
    )
    inverse_length = 1.0 / maximum(sqrt(qw * qw + qx * qx + qy * qy + qz * qz), broadcast(1e-12))
    qw, qx, qy, qz = qw * inverse_length, qx * inverse_length, qy * inverse_length, qz * inverse_length
    R = (
        1.0 - 2.0 * (qy * qy + qz * qz),
        2.0 * (qx * qy - qw * qz),
        2.0 * (qx * qz + qw * qy),
        2.0 * (qx * qy + qw * qz),
        1.0 - 2.0 * (qx * qx + qz * qz),
        2.0 * (qy * qz - qw * qx),
        2.0 * (qx * qz - qw * qy),
        2.0 * (qy * qz + qw * qx),
        1.0 - 2.0 * (qx * qx + qy * qy),
    )
    # J W: row x of J is f_x / z (1, 0, -x / z), row y is f_y / z (0, 1, -y / z).
    fx_z, fy_z = view[FOCAL_X] * inverse_z, view[FOCAL_Y] * inverse_z
    jw_x = (
        fx_z * (view[0] - tan_x * view[6]),
        fx_z * (view[1] - tan_x * view[7]),
        fx_z * (view[2] - tan_x * view[8]),
    )
    jw_y = (
        fy_z * (view[3] - tan_y * view[6]),
        fy_z * (view[4] - tan_y * view[7]),
        fy_z * (view[5] - tan_y * view[8]),
    )
    # J W R, then M = J W R S.
    s = (
        gather(scales, rows, start, 3, 0),
        gather(scales, rows, start, 3, 1),
        gather(scales, rows, start, 3, 2),
    )
    jwr_x = (
        jw_x[0] * R[0] + jw_x[1] * R[3] + jw_x[2] * R[6],
        jw_x[0] * R[1] + jw_x[1] * R[4] + jw_x[2] * R[7],
        jw_x[0] * R[2] + jw_x[1] * R[5] + jw_x[2] * R[8],
    )
    jwr_y = (
        jw_y[0] * R[0] + jw_y[1] * R[3] + jw_y[2] * R[6],
        jw_y[0] * R[1] + jw_y[1] * R[4] + jw_y[2] * R[7],
        jw_y[0] * R[2] + jw_y[1] * R[5] + jw_y[2] * R[8],
    )
    m_x = (jwr_x[0] * s[0], jwr_x[1] * s[1], jwr_x[2] * s[2])
    m_y = (jwr_y[0] * s[0], jwr_y[1] * s[1], jwr_y[2] * s[2])
    return ScreenFactors(
        (x, y, z),
        (free_x, free_y),
        (qw, qx, qy, qz),
        inverse_length,
        jw_x,
        jw_y,
        R,
        jwr_x,
        jwr_y,
        s,
        m_x,
        m_y,
    )


@njit
def covariances(m_x, m_y) -> tuple[Vector, Vector, Vector, Vector]:
    """Σ' (xx, xy, yy) from the two rows of M, low-pass filter added, and its determinant.

    The determinant is a sum of squares (Cauchy-Binet), so nothing cancels for long thin Gaussians.
    """
    xx = m_x[0] * m_x[0] + m_x[1] * m_x[1] + m_x[2] * m_x[2]
    xy = m_x[0] * m_y[0] + m_x[1] * m_y[1] + m_x[2] * m_y[2]
    yy = m_y[0] * m_y[0] + m_y[1] * m_y[1] + m_y[2] * m_y[2]
    cx = m_x[1] * m_y[2] - m_x[2] * m_y[1]
    cy = m_x[2] * m_y[0] - m_x[0] * m_y[2]
    cz = m_x[0] * m_y[1] - m_x[1] * m_y[0]
    determinant = cx * cx + cy * cy + cz * cz + EPS2D * (xx + yy) + EPS2D * EPS2D
    return xx + EPS2D, xy, yy + EPS2D, determinant


@njit
def _box(centre, half, side) -> tuple[Vector, Vector]:
    """First and last pixel of an image side whose centres lie inside a widened interval."""
    half += slack(half)
    first = maximum(ceil(centre - half - 0.5), broadcast(0.0))
    return first, minimum(floor(centre + half - 0.5), broadcast(side - 1.0))


@njit
def _project_block(
    start, rows, geometry, view, colors, channels, records, outlines, planes, padded
) -> None:  # fmt: skip
    """Project the 16 Gaussians `rows[start]` and following."""
    factors = screen_factors(start, rows, geometry, view)
    x, y, z = factors.xyz
    xx, xy, yy, determinant = covariances(factors.m_x, factors.m_y)
    # mean2d = (u, v)
    u = view[FOCAL_X] * x / z + view[PRINCIPAL_X]
    v = view[FOCAL_Y] * y / z + view[PRINCIPAL_Y]
    if len(geometry.offsets) > 0:
        u += gather(geometry.offsets, rows, start, 2, 0)
        v += gather(geometry.offsets, rows, start, 2, 1)
    # The ellipse in which α = o exp(-½ dᵀ Σ'⁻¹ d) is at least MIN_ALPHA reaches √(2 ln (o / MIN_ALPHA))
    # sigmas far. Its box gives the screen radius, and whether the Gaussian is in the picture at all.
    peak = log2(maximum(gather(geometry.opacities, rows, start, 1, 0), broadcast(1e-30)))
    reach = sqrt((minimum(peak, broadcast(0.0)) - LOG2_MIN_ALPHA) * (2.0 / LOG2E))
    half_x, half_y = reach * sqrt(xx), reach * sqrt(yy)
    box_x, box_y = ceil(half_x), ceil(half_y)
    radius = maximum(box_x, box_y)
    shown = (z >= NEAR_PLANE) & (peak > LOG2_MIN_ALPHA) & (determinant > 0.0) & (radius < _LARGEST_RADIUS)
    shown = shown & (u + box_x > 0.0) & (u - box_x < view[IMAGE_WIDTH])
    shown = shown & (v + box_y > 0.0) & (v - box_y < view[IMAGE_HEIGHT])
    store(planes, PLANE_RADIUS * padded + start, select(shown, radius, broadcast(0.0)))
    if not any_lane(shown):
        return
    # The tiles of the box are as many slots as the Gaussian can need.
    first_x, last_x = _box(u, half_x, view[IMAGE_WIDTH])
    first_y, last_y = _box(v, half_y, view[IMAGE_HEIGHT])
    tile_x0, tile_x1 = floor(first_x * (1.0 / TILE_WIDTH)), floor(last_x * (1.0 / TILE_WIDTH))
    tile_y0, tile_y1 = floor(first_y * (1.0 / TILE_HEIGHT)), floor(last_y * (1.0 / TILE_HEIGHT))
    seen = shown & (first_x <= last_x) & (first_y <= last_y)
    inverse_xx, inverse_det = 1.0 / xx, 1.0 / determinant
    slots = (tile_x1 - tile_x0 + 1.0) * (tile_y1 - tile_y0 + 1.0)
    store(planes, PLANE_DEPTH * padded + start, z)
    store(planes, PLANE_SLOTS * padded + start, select(seen, slots, broadcast(0.0)))

    scatter(outlines, rows, start, OUTLINE, OUTLINE_X, u)
    scatter(outlines, rows, start, OUTLINE, OUTLINE_Y, v)
    scatter(outlines, rows, start, OUTLINE, HALF_X, half_x)
    scatter(outlines, rows, start, OUTLINE, HALF_Y, half_y)
    scatter(outlines, rows, start, OUTLINE, TILT, xy * inverse_xx)
    scatter(outlines, rows, start, OUTLINE, BULGE, sqrt(determinant) * inverse_xx)
    scatter(outlines, rows, start, OUTLINE, TOP, -1.0 * xy * half_y / yy)
    scatter(outlines, rows, start, OUTLINE, FIRST_TILE, tile_x0)
    scatter(outlines, rows, start, OUTLINE, LAST_TILE, select(seen, tile_x1, tile_x0 - 1.0))

    # The record: mean2d, the conic Σ'⁻¹ = (yy, -xy, xx) / det Σ' times what makes log2 α of it, the features.
    stride = record_stride(channels)
    scatter(records, rows, start, stride, CENTRE_X, u)
    scatter(records, rows, start, stride, CENTRE_Y, v)
    scatter(records, rows, start, stride, QUAD_XX, yy * inverse_det * (-0.5 * LOG2E))
    scatter(records, rows, start, stride, QUAD_XY, xy * inverse_det * LOG2E)
    scatter(records, rows, start, stride, QUAD_YY, xx * inverse_det * (-0.5 * LOG2E))
    scatter(records, rows, start, stride, PEAK, peak)
    if len(colors) > 0:
        for c in range(channels):
            scatter(records, rows, start, stride, FIRST_FEATURE + c, gather(colors, rows, start, channels, c))
    scatter(records, rows, start, stride, FIRST_FEATURE + channels, z)
    for c in range(channels + 1, FEATURE_GROUP * groups_of(channels)):
        scatter(records, rows, start, stride, FIRST_FEATURE + c, broadcast(0.0))


@kernel(parallel=True)
def project(
    threads, todo, rows, geometry: Geometry, view, colors, channels, records, outlines, planes
) -> None:
    """Fill the records, outlines and planes of Gaussians; the radius is 0 if one is not in the picture.

    Args:
        threads: How many threads share the Gaussians.
        todo: Next block nobody has taken, starts as 0. int64 [1]
        rows: 0, 1, … N - 1, padded with N - 1 to whole blocks of 16. int32
        geometry: The Gaussians.
        view: From `pack_camera`.
        colors: Flat colours, or empty if the records get them from elsewhere.
        channels: Number of colour channels.
        records: Flat, `record_stride(channels)` numbers a Gaussian, written for those in the picture.
        outlines: Flat, OUTLINE numbers a Gaussian, written for those in the picture.
        planes: Flat, PLANES times the length of `rows`, written for those in the picture.
    """
    padded = len(rows)
    blocks = padded // LANES
    for _ in prange(threads):
        while True:
            first = fetch_add(todo, 0, BLOCKS_A_TURN)
            if first >= blocks:
                break
            for start in range(first * LANES, min(first + BLOCKS_A_TURN, blocks) * LANES, LANES):
                _project_block(
                    start, rows, geometry, view, colors, channels, records, outlines, planes, padded
                )
