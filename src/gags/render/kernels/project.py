"""Projection of Gaussians to the screen, 16 at a time (formulas: `reference.project`)."""

import numpy as np
from numba import njit, prange

from gags.capture.camera import Camera
from gags.render.kernels.layout import (
    BULGE,
    CENTRE_X,
    CENTRE_Y,
    DEPTH,
    FAINTEST,
    FEATURES,
    FIRST_TILE,
    GROUP,
    HALF_X,
    HALF_Y,
    LAST_TILE,
    LOG2E,
    OUTLINE,
    OUTLINE_X,
    OUTLINE_Y,
    PEAK,
    QUAD_XX,
    QUAD_XY,
    QUAD_YY,
    RADIUS,
    ROOM,
    TILE_HEIGHT,
    TILE_WIDTH,
    TILT,
    TOP,
    groups_of,
    record_stride,
    slack,
)
from gags.render.types import EPS2D, NEAR_PLANE
from gags.simd.memory import gather, scatter, store
from gags.simd.vectors import LANES, any_lane, ceiling, floor, larger, lesser, log2, root, select, splat

_LARGEST_RADIUS = 1e9  # px; beyond, the arithmetic is not to be trusted


def pack_camera(camera: Camera) -> np.ndarray:
    """The numbers of a camera that the kernels read, in the order of `_unpack` below. float32 [22]"""
    K, size = camera.K, (camera.width, camera.height)
    limits = []
    for axis in range(2):
        focal, centre, side = K[axis, axis], K[axis, 2], size[axis]
        margin = 0.3 * 0.5 * side / focal
        limits += [-centre / focal - margin, (side - centre) / focal + margin]
    numbers = [*camera.viewmat[:3, :3].ravel(), *camera.viewmat[:3, 3]]
    numbers += [K[0, 0], K[1, 1], K[0, 2], K[1, 2], *size, *limits]
    return np.array(numbers, np.float32)


@njit
def screen_factors(start, rows, means, quats, scales, view):
    """Everything that projection and its gradient share, for 16 Gaussians.

    Returns the position in the camera, where the slopes x / z and y / z are not clamped, the unit quaternion
    and 1 / its length, the Jacobian times the camera's rotation (two rows), the rotation of the Gaussian
    (nine numbers), the product of these, the scales, and the product of these (two rows each).
    """
    wx, wy, wz = (
        gather(means, rows, start, 3, 0),
        gather(means, rows, start, 3, 1),
        gather(means, rows, start, 3, 2),
    )
    x = view[0] * wx + view[1] * wy + view[2] * wz + view[9]
    y = view[3] * wx + view[4] * wy + view[5] * wz + view[10]
    z = view[6] * wx + view[7] * wy + view[8] * wz + view[11]
    inverse_z = 1.0 / z
    slope_x, slope_y = x * inverse_z, y * inverse_z
    free_x = (slope_x >= view[18]) & (slope_x <= view[19])
    free_y = (slope_y >= view[20]) & (slope_y <= view[21])
    slope_x = lesser(larger(slope_x, splat(view[18])), splat(view[19]))
    slope_y = lesser(larger(slope_y, splat(view[20])), splat(view[21]))

    qw, qx, qy, qz = (
        gather(quats, rows, start, 4, 0),
        gather(quats, rows, start, 4, 1),
        gather(quats, rows, start, 4, 2),
        gather(quats, rows, start, 4, 3),
    )
    inverse_length = 1.0 / larger(root(qw * qw + qx * qx + qy * qy + qz * qz), splat(1e-12))
    qw, qx, qy, qz = qw * inverse_length, qx * inverse_length, qy * inverse_length, qz * inverse_length
    r = (
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
    px, py = view[12] * inverse_z, view[13] * inverse_z
    jx = (
        px * (view[0] - slope_x * view[6]),
        px * (view[1] - slope_x * view[7]),
        px * (view[2] - slope_x * view[8]),
    )
    jy = (
        py * (view[3] - slope_y * view[6]),
        py * (view[4] - slope_y * view[7]),
        py * (view[5] - slope_y * view[8]),
    )
    s = (
        gather(scales, rows, start, 3, 0),
        gather(scales, rows, start, 3, 1),
        gather(scales, rows, start, 3, 2),
    )
    ax = (
        jx[0] * r[0] + jx[1] * r[3] + jx[2] * r[6],
        jx[0] * r[1] + jx[1] * r[4] + jx[2] * r[7],
        jx[0] * r[2] + jx[1] * r[5] + jx[2] * r[8],
    )
    ay = (
        jy[0] * r[0] + jy[1] * r[3] + jy[2] * r[6],
        jy[0] * r[1] + jy[1] * r[4] + jy[2] * r[7],
        jy[0] * r[2] + jy[1] * r[5] + jy[2] * r[8],
    )
    mx = (ax[0] * s[0], ax[1] * s[1], ax[2] * s[2])
    my = (ay[0] * s[0], ay[1] * s[1], ay[2] * s[2])
    return (
        (x, y, z),
        (free_x, free_y),
        (qw, qx, qy, qz),
        inverse_length,
        jx,
        jy,
        r,
        ax,
        ay,
        s,
        mx,
        my,
    )


@njit
def covariances(mx, my):
    """Covariance (xx, xy, yy) of the two rows of a factor, low-pass filter added, and its determinant.

    The determinant is a sum of squares (Cauchy-Binet), so nothing cancels for long thin Gaussians.
    """
    xx = mx[0] * mx[0] + mx[1] * mx[1] + mx[2] * mx[2]
    xy = mx[0] * my[0] + mx[1] * my[1] + mx[2] * my[2]
    yy = my[0] * my[0] + my[1] * my[1] + my[2] * my[2]
    cx = mx[1] * my[2] - mx[2] * my[1]
    cy = mx[2] * my[0] - mx[0] * my[2]
    cz = mx[0] * my[1] - mx[1] * my[0]
    determinant = cx * cx + cy * cy + cz * cz + EPS2D * (xx + yy) + EPS2D * EPS2D
    return xx + EPS2D, xy, yy + EPS2D, determinant


@njit
def _box(centre, half, side):
    """First and last pixel of an image side with their centres inside a widened interval."""
    half += slack(half)
    first = larger(ceiling(centre - half - 0.5), splat(0.0))
    return first, lesser(floor(centre + half - 0.5), splat(side - 1.0))


@njit
def _project_block(
    start, rows, means, quats, scales, opacities, offsets, view,
    colors, channels, records, outlines, planes, padded,
):  # fmt: skip
    (x, y, z), _, _, _, _, _, _, _, _, _, mx, my = screen_factors(start, rows, means, quats, scales, view)
    xx, xy, yy, determinant = covariances(mx, my)
    u = view[12] * x / z + view[14]
    v = view[13] * y / z + view[15]
    if len(offsets) > 0:
        u += gather(offsets, rows, start, 2, 0)
        v += gather(offsets, rows, start, 2, 1)
    peak = log2(larger(gather(opacities, rows, start, 1, 0), splat(1e-30)))
    reach = root((lesser(peak, splat(0.0)) - FAINTEST) * (2.0 / LOG2E))
    half_x, half_y = reach * root(xx), reach * root(yy)
    box_x, box_y = ceiling(half_x), ceiling(half_y)
    radius = larger(box_x, box_y)
    shown = (z >= NEAR_PLANE) & (peak > FAINTEST) & (determinant > 0.0) & (radius < _LARGEST_RADIUS)
    shown = shown & (u + box_x > 0.0) & (u - box_x < view[16]) & (v + box_y > 0.0) & (v - box_y < view[17])
    store(planes, RADIUS * padded + start, select(shown, radius, splat(0.0)))
    if not any_lane(shown):
        return
    first_x, last_x = _box(u, half_x, view[16])
    first_y, last_y = _box(v, half_y, view[17])
    tile_x0, tile_x1 = floor(first_x * (1.0 / TILE_WIDTH)), floor(last_x * (1.0 / TILE_WIDTH))
    tile_y0, tile_y1 = floor(first_y * (1.0 / TILE_HEIGHT)), floor(last_y * (1.0 / TILE_HEIGHT))
    seen = shown & (first_x <= last_x) & (first_y <= last_y)
    inverse_xx, inverse_det = 1.0 / xx, 1.0 / determinant
    room = (tile_x1 - tile_x0 + 1.0) * (tile_y1 - tile_y0 + 1.0)
    store(planes, DEPTH * padded + start, z)
    store(planes, ROOM * padded + start, select(seen, room, splat(0.0)))

    scatter(outlines, rows, start, OUTLINE, OUTLINE_X, u)
    scatter(outlines, rows, start, OUTLINE, OUTLINE_Y, v)
    scatter(outlines, rows, start, OUTLINE, HALF_X, half_x)
    scatter(outlines, rows, start, OUTLINE, HALF_Y, half_y)
    scatter(outlines, rows, start, OUTLINE, TILT, xy * inverse_xx)
    scatter(outlines, rows, start, OUTLINE, BULGE, root(determinant) * inverse_xx)
    scatter(outlines, rows, start, OUTLINE, TOP, -1.0 * xy * half_y / yy)
    scatter(outlines, rows, start, OUTLINE, FIRST_TILE, tile_x0)
    scatter(outlines, rows, start, OUTLINE, LAST_TILE, select(seen, tile_x1, tile_x0 - 1.0))

    stride = record_stride(channels)
    scatter(records, rows, start, stride, CENTRE_X, u)
    scatter(records, rows, start, stride, CENTRE_Y, v)
    scatter(records, rows, start, stride, QUAD_XX, yy * inverse_det * (-0.5 * LOG2E))
    scatter(records, rows, start, stride, QUAD_XY, xy * inverse_det * LOG2E)
    scatter(records, rows, start, stride, QUAD_YY, xx * inverse_det * (-0.5 * LOG2E))
    scatter(records, rows, start, stride, PEAK, peak)
    if len(colors) > 0:
        for c in range(channels):
            scatter(records, rows, start, stride, FEATURES + c, gather(colors, rows, start, channels, c))
    scatter(records, rows, start, stride, FEATURES + channels, z)
    for c in range(channels + 1, GROUP * groups_of(channels)):
        scatter(records, rows, start, stride, FEATURES + c, splat(0.0))


@njit(parallel=True, cache=True)
def project(
    rows, means, quats, scales, opacities, offsets, view, colors, channels, records, outlines, planes
):  # fmt: skip
    """Fill the records, outlines and planes of Gaussians; the radius is 0 if one is not in the picture.

    Args:
        rows: 0, 1, … N - 1, padded with N - 1 to whole blocks of 16. int32
        means, quats, scales, opacities, offsets: Flat float32 arrays; no offsets if that one is empty.
        view: From `pack_camera`.
        colors: Flat colours, or empty if the records get them from elsewhere.
        channels: Number of colour channels.
        records: Flat, `record_stride(channels)` numbers a Gaussian, written for those in the picture.
        outlines: Flat, OUTLINE numbers a Gaussian, written for those in the picture.
        planes: Flat, PLANES times the length of `rows`, written for those in the picture.
    """
    for block in prange(len(rows) // LANES):
        _project_block(
            *(block * LANES, rows, means, quats, scales, opacities, offsets, view),
            *(colors, channels, records, outlines, planes, len(rows)),
        )
