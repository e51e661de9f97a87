"""Spherical harmonics as colours, 16 Gaussians at a time, and their gradient (`reference.sh_colors`)."""

import numpy as np
from numba import njit, prange

from gags.render.kernels.layout import BLOCKS_A_TURN, FIRST_FEATURE, record_stride
from gags.simd.cache import kernel
from gags.simd.memory import fetch_add, gather, load, scatter, store
from gags.simd.vectors import LANES, Vector, broadcast, maximum, select, sqrt

# Factors of the basis functions of degree 0 to 3, in the order and with the signs of 3DGS files.
_C0 = 0.28209479177387814
_C1 = 0.4886025119029199
_C2 = (1.0925484305920792, 0.31539156525252005, 0.5462742152960396)
_C3 = (0.5900435899266435, 2.890611442640554, 0.4570457994644658, 0.3731763325901154, 1.445305721320277)
_MOST = 16  # coefficients of degree 3
_RECORD = record_stride(3)


@njit
def _directions(start, rows, means, position) -> tuple[Vector, Vector, Vector, Vector]:
    """Unit vectors from the camera to 16 Gaussians, and 1 / distance."""
    x = gather(means, rows, start, 3, 0) - position[0]
    y = gather(means, rows, start, 3, 1) - position[1]
    z = gather(means, rows, start, 3, 2) - position[2]
    inverse = 1.0 / maximum(sqrt(x * x + y * y + z * z), broadcast(1e-12))
    return x * inverse, y * inverse, z * inverse, inverse


@njit
def _write_basis(x, y, z, degree, basis) -> None:
    """The basis functions of 16 directions, one vector after the other."""
    store(basis, 0, broadcast(_C0))
    if degree >= 1:
        store(basis, 1 * LANES, -_C1 * y)
        store(basis, 2 * LANES, _C1 * z)
        store(basis, 3 * LANES, -_C1 * x)
    if degree >= 2:
        store(basis, 4 * LANES, _C2[0] * x * y)
        store(basis, 5 * LANES, -_C2[0] * y * z)
        store(basis, 6 * LANES, _C2[1] * (2.0 * z * z - x * x - y * y))
        store(basis, 7 * LANES, -_C2[0] * x * z)
        store(basis, 8 * LANES, _C2[2] * (x * x - y * y))
    if degree >= 3:
        store(basis, 9 * LANES, -_C3[0] * y * (3.0 * x * x - y * y))
        store(basis, 10 * LANES, _C3[1] * x * y * z)
        store(basis, 11 * LANES, -_C3[2] * y * (4.0 * z * z - x * x - y * y))
        store(basis, 12 * LANES, _C3[3] * z * (2.0 * z * z - 3.0 * x * x - 3.0 * y * y))
        store(basis, 13 * LANES, -_C3[2] * x * (4.0 * z * z - x * x - y * y))
        store(basis, 14 * LANES, _C3[4] * z * (x * x - y * y))
        store(basis, 15 * LANES, -_C3[0] * x * (x * x - 3.0 * y * y))


@njit
def _direction_backward(x, y, z, degree, g) -> tuple[Vector, Vector, Vector]:
    """Gradient of a direction from the gradients of the basis functions (one vector after the other)."""
    gx, gy, gz = -_C1 * load(g, 3 * LANES), -_C1 * load(g, LANES), _C1 * load(g, 2 * LANES)
    if degree >= 2:
        a, b, c = _C2[0] * load(g, 4 * LANES), -_C2[0] * load(g, 5 * LANES), _C2[1] * load(g, 6 * LANES)
        d, e = -_C2[0] * load(g, 7 * LANES), _C2[2] * load(g, 8 * LANES)
        gx += a * y - 2.0 * c * x + d * z + 2.0 * e * x
        gy += a * x + b * z - 2.0 * c * y - 2.0 * e * y
        gz += b * y + 4.0 * c * z + d * x
    if degree >= 3:
        a, b, c = -_C3[0] * load(g, 9 * LANES), _C3[1] * load(g, 10 * LANES), -_C3[2] * load(g, 11 * LANES)
        d, e = _C3[3] * load(g, 12 * LANES), -_C3[2] * load(g, 13 * LANES)
        f, h = _C3[4] * load(g, 14 * LANES), -_C3[0] * load(g, 15 * LANES)
        xx, yy, zz = x * x, y * y, z * z
        gx += 6.0 * a * x * y + b * y * z - 2.0 * c * x * y - 6.0 * d * x * z
        gx += e * (4.0 * zz - 3.0 * xx - yy) + 2.0 * f * x * z + 3.0 * h * (xx - yy)
        gy += 3.0 * a * (xx - yy) + b * x * z + c * (4.0 * zz - xx - 3.0 * yy) - 6.0 * d * y * z
        gy += -2.0 * e * x * y - 2.0 * f * y * z - 6.0 * h * x * y
        gz += (
            b * x * y
            + 8.0 * c * y * z
            + d * (6.0 * zz - 3.0 * xx - 3.0 * yy)
            + 8.0 * e * x * z
            + f * (xx - yy)
        )
    return gx, gy, gz


@njit
def _color_block(start, rows, means, position, sh, coefficients, degree, basis, records) -> None:
    x, y, z, _ = _directions(start, rows, means, position)
    _write_basis(x, y, z, degree, basis)
    for c in range(3):
        color = broadcast(0.5)
        for k in range((degree + 1) ** 2):
            color += load(basis, k * LANES) * gather(sh, rows, start, 3 * coefficients, 3 * k + c)
        scatter(records, rows, start, _RECORD, FIRST_FEATURE + c, maximum(color, broadcast(0.0)))


@njit
def _color_blocks(todo, rows, means, position, sh, coefficients, degree, records) -> None:
    """What one thread does: take the next blocks that nobody has taken, until none is left."""
    blocks, basis = len(rows) // LANES, np.empty(_MOST * LANES, np.float32)
    while True:
        first = fetch_add(todo, 0, BLOCKS_A_TURN)
        if first >= blocks:
            break
        for block in range(first, min(first + BLOCKS_A_TURN, blocks)):
            _color_block(block * LANES, rows, means, position, sh, coefficients, degree, basis, records)


@kernel(parallel=True)
def sh_colors(threads, todo, rows, means, position, sh, coefficients, degree, records) -> None:
    """Colours of the Gaussians named by `rows`, not below 0.

    Args:
        threads: How many threads share the Gaussians.
        todo: Next block nobody has taken, starts as 0. int64 [1]
        rows: Gaussian indices, padded to whole blocks of 16. int32 [M]
        means: Flat [N · 3]
        position: Of the camera. [3]
        sh: Flat [N · coefficients · 3]
        coefficients: Coefficients stored of each Gaussian and colour.
        degree: Degree to use.
        records: Of the Gaussians, colours written.
    """
    for _ in prange(threads):
        _color_blocks(todo, rows, means, position, sh, coefficients, degree, records)


@njit
def _color_block_backward(
    start, rows, means, position, sh, coefficients, degree, records, basis, g_basis, g_colors, g_sh, g_means
) -> None:
    x, y, z, inverse = _directions(start, rows, means, position)
    _write_basis(x, y, z, degree, basis)
    g_basis[:] = 0
    # dL/d coefficient = Y_k(direction) dL/d color, 0 where the colour was held at 0; dL/dY_k is a sum over
    # the three colours.
    for c in range(3):
        shown = gather(records, rows, start, _RECORD, FIRST_FEATURE + c) > 0.0
        g_color = select(shown, gather(g_colors, rows, start, 3, c), broadcast(0.0))
        for k in range((degree + 1) ** 2):
            stride, offset = 3 * coefficients, 3 * k + c
            scatter(g_sh, rows, start, stride, offset, load(basis, k * LANES) * g_color)
            so_far = load(g_basis, k * LANES)
            store(g_basis, k * LANES, so_far + g_color * gather(sh, rows, start, stride, offset))
    # Through Y_k to the direction, and through its normalisation to the mean.
    if degree > 0:
        gx, gy, gz = _direction_backward(x, y, z, degree, g_basis)
        along = gx * x + gy * y + gz * z
        old_x, old_y = gather(g_means, rows, start, 3, 0), gather(g_means, rows, start, 3, 1)
        old_z = gather(g_means, rows, start, 3, 2)
        scatter(g_means, rows, start, 3, 0, old_x + (gx - x * along) * inverse)
        scatter(g_means, rows, start, 3, 1, old_y + (gy - y * along) * inverse)
        scatter(g_means, rows, start, 3, 2, old_z + (gz - z * along) * inverse)


@njit
def _color_blocks_backward(
    todo, rows, means, position, sh, coefficients, degree, records, g_colors, g_sh, g_means
) -> None:
    """What one thread does: take the next blocks that nobody has taken, until none is left."""
    blocks = len(rows) // LANES
    basis, g_basis = np.empty((2, _MOST * LANES), np.float32)
    while True:
        first = fetch_add(todo, 0, BLOCKS_A_TURN)
        if first >= blocks:
            break
        for start in range(first * LANES, min(first + BLOCKS_A_TURN, blocks) * LANES, LANES):
            _color_block_backward(
                start, rows, means, position, sh, coefficients, degree, records, basis, g_basis, g_colors,
                g_sh, g_means,
            )  # fmt: skip


@kernel(parallel=True)
def sh_colors_backward(
    threads, todo, rows, means, position, sh, coefficients, degree, records, g_colors, g_sh, g_means
) -> None:
    """Gradient of `sh_colors`; written into `g_sh`, added to `g_means` (both flat)."""
    for _ in prange(threads):
        _color_blocks_backward(
            todo, rows, means, position, sh, coefficients, degree, records, g_colors, g_sh, g_means
        )
