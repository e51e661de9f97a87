"""Projection of Gaussians to the screen, 16 at a time, and its gradient (formulas: `reference.project`)."""

import numpy as np
from numba import njit, prange
from numba.extending import register_jitable

from gags.capture.camera import Camera
from gags.render._simd import (
    LANES,
    any_lane,
    ceiling,
    floor,
    gather,
    larger,
    lesser,
    load,
    load_every,
    log2,
    root,
    scatter,
    select,
    splat,
    store,
)
from gags.render.types import EPS2D, MIN_ALPHA, NEAR_PLANE

# What blending needs of one Gaussian lies in one piece, its record. With dx, dy from the centre to the pixel,
# log2 α = peak + xx dx² + xy dx dy + yy dy². Then the features: colours, depth, zeros up to a whole group.
CENTRE_X, CENTRE_Y, QUAD_XX, QUAD_XY, QUAD_YY, PEAK, FEATURES = range(7)
GROUP = 4  # features that are blended together
# The outline in which a Gaussian is drawn, one plane a quantity: screen radius, depth, half width and height,
# the outline y = tilt dx ± bulge √(half width² − dx²), dx of its top, first and last column of tiles, and the
# number of tiles in its box.
RADIUS, DEPTH, HALF_X, HALF_Y, TILT, BULGE, TOP, FIRST_TILE, LAST_TILE, ROOM, OUTLINE = range(11)

TILE_WIDTH = LANES  # one vector holds a row of a tile
TILE_HEIGHT = 32  # the rows a Gaussian touches are the bits of half an int64
LOG2E = 1.4426950408889634
FAINTEST = float(np.log2(MIN_ALPHA))  # log2 of the least alpha drawn
_LARGEST_RADIUS = 1e9  # px; beyond, the arithmetic is not to be trusted
_SLACK, _SLACK_SHARE = (
    0.01,
    1e-3,
)  # px, and share of its size, by which an outline is widened against rounding


@register_jitable
def groups_of(channels: int) -> int:
    """Groups of features that hold the colour channels and the depth."""
    return channels // GROUP + 1


@register_jitable
def record_stride(channels: int) -> int:
    """Numbers between two records; whole cache lines."""
    return -(-(FEATURES + GROUP * groups_of(channels)) // LANES) * LANES


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
def _screen_factors(start, rows, means, quats, scales, view):
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
def _covariances(mx, my):
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
def slack(half_side):
    """How far an outline of that size is widened against rounding, px."""
    return _SLACK + _SLACK_SHARE * half_side


@njit
def _box(centre, half, side):
    """First and last pixel of an image side with their centres inside a widened interval."""
    half += slack(half)
    first = larger(ceiling(centre - half - 0.5), splat(0.0))
    return first, lesser(floor(centre + half - 0.5), splat(side - 1.0))


@njit
def _project_block(
    start, rows, means, quats, scales, opacities, offsets, view, channels, records, outlines, padded
):
    (x, y, z), _, _, _, _, _, _, _, _, _, mx, my = _screen_factors(start, rows, means, quats, scales, view)
    xx, xy, yy, determinant = _covariances(mx, my)
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
    store(outlines, RADIUS * padded + start, select(shown, radius, splat(0.0)))
    if not any_lane(shown):
        return
    first_x, last_x = _box(u, half_x, view[16])
    first_y, last_y = _box(v, half_y, view[17])
    tile_x0, tile_x1 = floor(first_x * (1.0 / TILE_WIDTH)), floor(last_x * (1.0 / TILE_WIDTH))
    tile_y0, tile_y1 = floor(first_y * (1.0 / TILE_HEIGHT)), floor(last_y * (1.0 / TILE_HEIGHT))
    seen = shown & (first_x <= last_x) & (first_y <= last_y)
    inverse_xx, inverse_det = 1.0 / xx, 1.0 / determinant
    store(outlines, DEPTH * padded + start, z)
    store(outlines, HALF_X * padded + start, half_x)
    store(outlines, HALF_Y * padded + start, half_y)
    store(outlines, TILT * padded + start, xy * inverse_xx)
    store(outlines, BULGE * padded + start, root(determinant) * inverse_xx)
    store(outlines, TOP * padded + start, -1.0 * xy * half_y / yy)
    store(outlines, FIRST_TILE * padded + start, tile_x0)
    store(outlines, LAST_TILE * padded + start, select(seen, tile_x1, tile_x0 - 1.0))
    room = (tile_x1 - tile_x0 + 1.0) * (tile_y1 - tile_y0 + 1.0)
    store(outlines, ROOM * padded + start, select(seen, room, splat(0.0)))
    stride = record_stride(channels)
    scatter(records, rows, start, stride, CENTRE_X, u)
    scatter(records, rows, start, stride, CENTRE_Y, v)
    scatter(records, rows, start, stride, QUAD_XX, yy * inverse_det * (-0.5 * LOG2E))
    scatter(records, rows, start, stride, QUAD_XY, xy * inverse_det * LOG2E)
    scatter(records, rows, start, stride, QUAD_YY, xx * inverse_det * (-0.5 * LOG2E))
    scatter(records, rows, start, stride, PEAK, peak)
    scatter(records, rows, start, stride, FEATURES + channels, z)
    for c in range(channels + 1, GROUP * groups_of(channels)):
        scatter(records, rows, start, stride, FEATURES + c, splat(0.0))


@njit(parallel=True, cache=True)
def project(rows, means, quats, scales, opacities, offsets, view, channels, records, outlines):
    """Fill the records (but for the colours) and outlines of Gaussians; radius 0 if not in the picture.

    Args:
        rows: 0, 1, … N - 1, padded with N - 1 to whole blocks of 16. int32
        means, quats, scales, opacities, offsets: Flat float32 arrays; no offsets if that one is empty.
        view: From `pack_camera`.
        channels: Number of colour channels.
        records: Flat, `record_stride(channels)` numbers a Gaussian, written for those in the picture.
        outlines: Flat, OUTLINE planes of the length of `rows`, written for those in the picture.
    """
    for block in prange(len(rows) // LANES):
        _project_block(
            *(block * LANES, rows, means, quats, scales, opacities, offsets, view),
            *(channels, records, outlines, len(rows)),
        )


@njit(parallel=True, cache=True)
def fill_colors(shown, colors, channels, records):
    """Copy the colours of the Gaussians named by `shown` (flat) into their records."""
    stride = record_stride(channels)
    for rank in prange(len(shown)):
        i = np.int64(shown[rank])
        for c in range(channels):
            records[i * stride + FEATURES + c] = colors[i * channels + c]


# The gradient of one slot (a Gaussian in a tile): sums over its pixels of g = dL/d ln α, alone and times
# products of dx and dy; then the gradients of the features.
SUM, SUM_X, SUM_Y, SUM_XX, SUM_XY, SUM_YY, SUM_FEATURES = range(7)


@register_jitable
def sums_stride(channels: int) -> int:
    """Numbers between the gradients of two slots; whole cache lines."""
    return -(-(SUM_FEATURES + GROUP * groups_of(channels)) // LANES) * LANES


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
    (x, y, z), (free_x, free_y), q, inverse_length, jx, jy, r, ax, ay, s, mx, my = _screen_factors(
        start, shown, means, quats, scales, view
    )
    xx, xy, yy, determinant = _covariances(mx, my)
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
