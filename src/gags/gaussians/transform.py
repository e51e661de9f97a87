"""Gaussians moved, turned, scaled and mirrored as a whole: centres, sizes, rotations and harmonics."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from gags.gaussians.gaussians import Gaussians
from gags.render.reference import rotation_matrices, sh_basis

_DIRECTIONS = 64  # that fix the 16 coefficients of degree 3
_SAME = 1e-5  # relative; singular values closer than this are one scale


def transformed(gaussians: Gaussians, matrix: np.ndarray) -> Gaussians:
    """Gaussians under an affine map x → A x + t.

    A rotation with one scale keeps every value's precision. Another A (skewed, stretched, mirrored) changes
    the covariances, A Σ Aᵀ, whose axes are found anew. Colours turn with the rotation that is nearest to A.

    Args:
        gaussians: The N Gaussians.
        matrix: The map. [4, 4]

    Raises:
        ValueError: If A has no inverse, or is not finite.
    """
    A = np.asarray(matrix, np.float64)[:3, :3]
    if np.array_equal(matrix, np.eye(4)):
        return gaussians
    U, stretch, Vt = np.linalg.svd(A)
    if not np.isfinite(matrix).all() or stretch[-1] <= 1e-12 * stretch[0]:
        raise ValueError("a transform that cannot be undone")
    R = U @ Vt
    like = gaussians.means
    A_, t = (torch.as_tensor(part, dtype=torch.float64, device=like.device) for part in (A, matrix[:3, 3]))
    means = (like.double() @ A_.T + t).to(like.dtype)
    if stretch[0] - stretch[-1] <= _SAME * stretch[0] and np.linalg.det(A) > 0:
        turn = quaternions(torch.as_tensor(R[None], device=like.device))
        quats = _product(turn, gaussians.quats.double()).to(like.dtype)
        log_scales = gaussians.log_scales + float(np.log(stretch.mean()))
    else:
        quats, log_scales = _reshaped(gaussians, A_)
    sh = _turned(gaussians.sh, torch.as_tensor(R, device=like.device))
    return replace(gaussians, means=means, quats=quats, log_scales=log_scales, sh=sh)


def quaternions(rotations: Tensor) -> Tensor:
    """Unit quaternions wxyz of rotation matrices (Bar-Itzhack 2000, the eigenvector of the largest
    eigenvalue).

    Args:
        rotations: Proper rotations. [..., 3, 3]

    Returns:
        [..., 4]
    """
    m = [[rotations[..., i, j] for j in range(3)] for i in range(3)]
    x, y, z = m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1]
    xy, xz, yz = m[0][1] + m[1][0], m[0][2] + m[2][0], m[1][2] + m[2][1]
    rows = [
        [m[0][0] + m[1][1] + m[2][2], x, y, z],
        [x, m[0][0] - m[1][1] - m[2][2], xy, xz],
        [y, xy, m[1][1] - m[0][0] - m[2][2], yz],
        [z, xz, yz, m[2][2] - m[0][0] - m[1][1]],
    ]
    return torch.linalg.eigh(torch.stack([torch.stack(row, -1) for row in rows], -2))[1][..., -1]


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Quaternion products wxyz: the rotation b, then a. [..., 4]"""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    parts = [
        aw * bw - ax * bx - ay * by - az * bz,
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
    ]
    return torch.stack(parts, -1)


def _reshaped(gaussians: Gaussians, A: Tensor) -> tuple[Tensor, Tensor]:
    """Rotations and log-scales of the covariances A Σ Aᵀ, from the singular values of A R S."""
    axes = rotation_matrices(gaussians.quats.double()) * gaussians.scales.double()[:, None]
    U, stretch, _ = torch.linalg.svd(A @ axes)
    U = U * torch.linalg.det(U)[:, None, None]  # an axis points either way; all three turned is a rotation
    quats = normalize(quaternions(U), dim=-1)
    return quats.to(gaussians.quats.dtype), stretch.log().to(gaussians.log_scales.dtype)


def _turned(sh: Tensor, R: Tensor) -> Tensor:
    """Harmonics whose colours have turned by R: Y(d) · sh' = Y(Rᵀ d) · sh in all directions d. [N, K, 3]"""
    if sh.shape[1] == 1:
        return sh
    degree = round(sh.shape[1] ** 0.5) - 1
    row = torch.arange(_DIRECTIONS, device=sh.device, dtype=torch.float64) + 0.5
    height, angle = 1 - 2 * row / _DIRECTIONS, np.pi * (1 + 5**0.5) * row  # a spiral over the sphere
    flat = (1 - height**2).sqrt()
    d = torch.stack([flat * angle.cos(), flat * angle.sin(), height], 1)
    D = torch.linalg.lstsq(sh_basis(d, degree), sh_basis(d @ R, degree)).solution
    return torch.einsum("kj,njc->nkc", D, sh.double()).to(sh.dtype)
