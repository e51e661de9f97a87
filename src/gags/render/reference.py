"""The truth the other backends are tested against: 3D Gaussian splatting in plain PyTorch.

Every Gaussian is evaluated at every pixel, autograd gives the gradients, and the dtype of the inputs is kept
(float64 for finite differences). Memory and time grow with N·H·W: for tests and small scenes only.
Conventions are those of gsplat's classic mode (Kerbl et al. 2023, EWA splatting of Zwicker et al. 2001).
"""

import torch
from torch import Tensor

from gags.capture.camera import Camera
from gags.render.types import (
    EPS2D,
    MAX_ALPHA,
    MIN_ALPHA,
    MIN_TRANSMITTANCE,
    NEAR_PLANE,
    BlendWeights,
    Rendering,
)

_PAIRS_PER_BLOCK = 1 << 22  # Gaussian-pixel pairs held at once


def rasterize(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    camera: Camera,
    sh_degree: int | None,
    background: Tensor | None,
    means2d_offset: Tensor | None,
) -> Rendering:
    """Render Gaussians into one view; see `gags.render.rasterize`."""
    # What is not in the picture is left out before anything is differentiated, so that no NaN gets through.
    radii = screen_radii(means, quats, scales, opacities, camera, means2d_offset)
    shown = radii.nonzero()[:, 0]
    if sh_degree is None:
        shown_colors = colors[shown]
    else:
        position = torch.as_tensor(camera.position, dtype=means.dtype, device=means.device)
        shown_colors = sh_colors(colors[shown], means[shown] - position, sh_degree)
    offset = None if means2d_offset is None else means2d_offset[shown]
    means2d, covariances, depths = project(means[shown], quats[shown], scales[shown], camera, offset)

    pixels = _all_pixels(camera, means)
    blocks = []
    for block in pixels.split(max(1, _PAIRS_PER_BLOCK // max(1, len(shown)))):
        weights, order = _weights(means2d, covariances, depths, opacities[shown], block)
        blended = weights @ shown_colors[order]
        alphas = weights.sum(1)
        ray_depths = (weights @ depths[order]) / torch.where(alphas > 0, alphas, 1.0)
        if background is not None:
            blended = blended + (1 - alphas[:, None]) * background
        blocks.append((blended, ray_depths, alphas))
    blended, ray_depths, alphas = (torch.cat(parts) for parts in zip(*blocks, strict=True))
    height, width = camera.height, camera.width
    return Rendering(
        blended.reshape(height, width, -1),
        ray_depths.reshape(height, width),
        alphas.reshape(height, width),
        radii,
    )


@torch.no_grad()
def blend_weights(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    camera: Camera,
    pixels: Tensor,
    top_k: int,
) -> BlendWeights:
    """The Gaussians that make up chosen pixels; see `gags.render.blend_weights`."""
    shown = screen_radii(means, quats, scales, opacities, camera, None).nonzero()[:, 0]
    means2d, covariances, depths = project(means[shown], quats[shown], scales[shown], camera, None)
    size = (len(pixels), top_k)
    indices = torch.full(size, -1, dtype=torch.int32, device=means.device)
    kept = torch.zeros(size, dtype=torch.float32, device=means.device)
    alphas = torch.zeros(len(pixels), dtype=torch.float32, device=means.device)
    if len(shown) == 0:
        return BlendWeights(indices, kept, alphas)
    rows = torch.arange(len(pixels), device=means.device)
    for block in rows.split(max(1, _PAIRS_PER_BLOCK // len(shown))):
        centres = pixels[block].to(means.dtype) + 0.5
        weights, order = _weights(means2d, covariances, depths, opacities[shown], centres)
        alphas[block] = weights.sum(1).float()
        best, place = weights.sort(dim=1, descending=True, stable=True)
        k = min(top_k, len(shown))
        kept[block, :k] = best[:, :k].float()
        found = shown[order][place[:, :k]]
        indices[block, :k] = torch.where(best[:, :k] > 0, found, -1).int()
    return BlendWeights(indices, kept, alphas)


@torch.no_grad()
def largest_weights(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    camera: Camera,
    places: Tensor | None = None,
) -> Tensor:
    """Each Gaussian's largest blending weight in one view; see `gags.render.largest_weights`."""
    shown = screen_radii(means, quats, scales, opacities, camera, None).nonzero()[:, 0]
    means2d, covariances, depths = project(means[shown], quats[shown], scales[shown], camera, None)
    largest = torch.zeros(len(means), dtype=torch.float32, device=means.device)
    pixels = _all_pixels(camera, means) if places is None else _all_pixels(camera, means)[places]
    for block in pixels.split(max(1, _PAIRS_PER_BLOCK // max(1, len(shown)))) if len(pixels) else ():
        weights, order = _weights(means2d, covariances, depths, opacities[shown], block)
        rows = shown[order]
        largest[rows] = torch.maximum(largest[rows], weights.amax(0).float())
    return largest


@torch.no_grad()
def screen_radii(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    camera: Camera,
    means2d_offset: Tensor | None,
) -> Tensor:
    """Half the larger side of the box in which a Gaussian's alpha reaches 1/255, rounded up.

    Args:
        means, quats, scales, opacities: The Gaussians. [N, 3], [N, 4], [N, 3], [N]
        camera: The view.
        means2d_offset: Added to the projected centres, px. [N, 2]

    Returns:
        Radii in px; 0 if the Gaussian is nearer than the near plane, too faint, outside the image or not
        finite. int32 [N]
    """
    means2d, covariances, depths = project(means, quats, scales, camera, means2d_offset)
    reach = (2 * (opacities.clamp_max(1.0) / MIN_ALPHA).log()).sqrt()  # in sigmas; NaN if too faint
    half_sides = (reach[:, None] * covariances.diagonal(dim1=1, dim2=2).sqrt()).ceil()
    size = means2d.new_tensor([camera.width, camera.height])
    inside = ((means2d + half_sides > 0) & (means2d - half_sides < size)).all(1)
    finite = torch.isfinite(torch.cat([means2d, covariances.flatten(1), half_sides], 1)).all(1)
    shown = inside & finite & (depths >= NEAR_PLANE) & (torch.linalg.det(covariances) > 0)
    radii = torch.where(shown, half_sides.amax(1), 0.0)
    return radii.clamp_max(1e9).int()


def project(
    means: Tensor, quats: Tensor, scales: Tensor, camera: Camera, means2d_offset: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Project Gaussians to the screen by the affine approximation of EWA splatting.

    Args:
        means, quats, scales: The Gaussians. [N, 3], [N, 4], [N, 3]
        camera: The view.
        means2d_offset: Added to the projected centres, px. [N, 2]

    Returns:
        Centres in px [N, 2], covariances in px² with the low-pass filter added [N, 2, 2], depths along the
        optical axis [N].
    """
    viewmat = torch.as_tensor(camera.viewmat, dtype=means.dtype, device=means.device)
    K = camera.K
    xyz = means @ viewmat[:3, :3].T + viewmat[:3, 3]
    x, y, z = xyz.unbind(1)
    means2d = torch.stack([K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2]], 1)
    if means2d_offset is not None:
        means2d = means2d + means2d_offset

    # J is not evaluated further out than 15 % of the image beyond its edges: the approximation gets too bad.
    tangents = []
    for tangent, focal, centre, side in (
        (x / z, K[0, 0], K[0, 2], camera.width),
        (y / z, K[1, 1], K[1, 2], camera.height),
    ):
        margin = 0.3 * 0.5 * side / focal
        tangents.append(tangent.clamp(-(centre / focal) - margin, (side - centre) / focal + margin))
    zero = torch.zeros_like(z)
    J = torch.stack(
        [K[0, 0] / z, zero, -K[0, 0] * tangents[0] / z, zero, K[1, 1] / z, -K[1, 1] * tangents[1] / z], 1
    ).reshape(-1, 2, 3)
    # Σ' = J W Σ Wᵀ Jᵀ = M Mᵀ with Σ = R S Sᵀ Rᵀ (Kerbl et al. 2023, Eq. 5 and 6)
    M = J @ viewmat[:3, :3] @ rotation_matrices(quats) * scales[:, None, :]
    covariances = M @ M.mT + EPS2D * torch.eye(2, dtype=means.dtype, device=means.device)
    return means2d, covariances, z


def rotation_matrices(quats: Tensor) -> Tensor:
    """Rotation matrices of quaternions wxyz of any length. [N, 4] -> [N, 3, 3]"""
    w, x, y, z = torch.nn.functional.normalize(quats, dim=1).unbind(1)
    return torch.stack(
        [
            1 - 2 * (y * y + z * z),
            2 * (x * y - w * z),
            2 * (x * z + w * y),
            2 * (x * y + w * z),
            1 - 2 * (x * x + z * z),
            2 * (y * z - w * x),
            2 * (x * z - w * y),
            2 * (y * z + w * x),
            1 - 2 * (x * x + y * y),
        ],
        1,
    ).reshape(-1, 3, 3)


def sh_colors(sh: Tensor, directions: Tensor, degree: int) -> Tensor:
    """Colours that spherical harmonics take in given directions, in the basis and offset of 3DGS files.

    Args:
        sh: Coefficients, DC first. [N, K >= (degree + 1)², 3]
        directions: From the camera to the Gaussians, of any length. [N, 3]
        degree: 0 to 3.

    Returns:
        Colours, not below 0. [N, 3]
    """
    basis = sh_basis(directions, degree)
    colors = torch.einsum("nk,nkc->nc", basis, sh[:, : basis.shape[1]])
    return (colors + 0.5).clamp_min(0)


def sh_basis(directions: Tensor, degree: int) -> Tensor:
    """Values of the real spherical harmonics in given directions, with the signs of 3DGS files.

    Args:
        directions: Of any length. [N, 3]
        degree: 0 to 3.

    Returns:
        One column a coefficient. [N, (degree + 1)²]
    """
    x, y, z = torch.nn.functional.normalize(directions, dim=1).unbind(1)
    basis = [torch.full_like(x, 0.28209479177387814)]
    if degree >= 1:
        basis += [c * v for c, v in zip((-1, 1, -1), (y, z, x), strict=True)]
        basis[1:] = [0.4886025119029199 * v for v in basis[1:]]
    if degree >= 2:
        basis += [
            1.0925484305920792 * x * y,
            -1.0925484305920792 * y * z,
            0.31539156525252005 * (2 * z * z - x * x - y * y),
            -1.0925484305920792 * x * z,
            0.5462742152960396 * (x * x - y * y),
        ]
    if degree >= 3:
        basis += [
            -0.5900435899266435 * y * (3 * x * x - y * y),
            2.890611442640554 * x * y * z,
            -0.4570457994644658 * y * (4 * z * z - x * x - y * y),
            0.3731763325901154 * z * (2 * z * z - 3 * x * x - 3 * y * y),
            -0.4570457994644658 * x * (4 * z * z - x * x - y * y),
            1.445305721320277 * z * (x * x - y * y),
            -0.5900435899266435 * x * (x * x - 3 * y * y),
        ]
    return torch.stack(basis, 1)


def _all_pixels(camera: Camera, like: Tensor) -> Tensor:
    """Centres of all pixels, row by row. [H·W, 2]"""
    y, x = torch.meshgrid(
        torch.arange(camera.height, dtype=like.dtype, device=like.device),
        torch.arange(camera.width, dtype=like.dtype, device=like.device),
        indexing="ij",
    )
    return torch.stack([x, y], -1).reshape(-1, 2) + 0.5


def _weights(
    means2d: Tensor, covariances: Tensor, depths: Tensor, opacities: Tensor, pixels: Tensor
) -> tuple[Tensor, Tensor]:
    """Blending weights w = αT of every Gaussian at every pixel, front to back.

    Args:
        means2d, covariances, depths, opacities: Projected Gaussians. [M, 2], [M, 2, 2], [M], [M]
        pixels: Pixel centres. [P, 2]

    Returns:
        Weights [P, M] with columns sorted by depth, and the order of the columns [M].
    """
    order = torch.argsort(depths, stable=True)
    offsets = pixels[:, None] - means2d[order]
    conics = torch.linalg.inv(covariances[order])
    sigmas = 0.5 * torch.einsum("pmi,mij,pmj->pm", offsets, conics, offsets)
    alphas = (opacities[order] * torch.exp(-sigmas)).clamp_max(MAX_ALPHA)
    alphas = torch.where(alphas >= MIN_ALPHA, alphas, 0.0)
    T_behind = torch.cumprod(1 - alphas, 1)  # transmittance behind each Gaussian
    T = torch.cat([torch.ones_like(T_behind[:, :1]), T_behind[:, :-1]], 1)[:, : len(order)]
    return torch.where(T_behind > MIN_TRANSMITTANCE, alphas * T, 0.0), order
