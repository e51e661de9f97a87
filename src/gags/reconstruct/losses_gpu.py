"""The arithmetic of a training step in PyTorch, for Gaussians on a GPU.

Each function has a twin for the CPU, a kernel of its own (`loss`, `depth`, `adam`, `density`), against which
it is tested. None of these waits for the GPU: what is computed stays there.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from gags.capture.camera import Camera
from gags.gaussians import Gaussians, blend_weights
from gags.reconstruct.adam import BETA1, BETA2, EPSILON
from gags.reconstruct.density import FLOATER_SHARE, VIEW_MARGIN, WEIGHTS_KEPT
from gags.reconstruct.depth import HIDDEN
from gags.reconstruct.quality import ssim


def photometric_loss(picture: Tensor, photo: Tensor, lambda_dssim: float) -> tuple[Tensor, Tensor]:
    """L1 and D-SSIM between a rendered picture and a photo (Kerbl et al. 2023, Eq. 7).

    Args:
        picture: Rendered colours, not clamped. float32 [H, W, 3]
        photo: What the camera saw. uint8 [H, W, 3]
        lambda_dssim: λ, the weight of 1 − SSIM; L1 has 1 − λ.

    Returns:
        PSNR of the picture clamped to [0, 1] in dB [], and the slope of the loss at the picture [H, W, 3].
    """
    x, y = picture.detach().requires_grad_(), photo.to(picture) / 255
    with torch.enable_grad():
        loss = (1 - lambda_dssim) * (x - y).abs().mean() + lambda_dssim * (1 - ssim(x, y))
        (slope,) = torch.autograd.grad(loss, x)
    squared = (picture.detach().clamp(0, 1) - y).square().mean()
    return -10 * torch.log10(squared.clamp(min=1e-10)), slope


def sparse_depth_slope(depths: Tensor, camera: Camera, points: Tensor) -> Tensor:
    """Slope of the mean of |D − z| / z over the sparse points in view; see `depth.sparse_depth_loss`.

    Args:
        depths: Rendered depth D, 0 where nothing was hit. float32 [H, W]
        camera: The view, of the size of `depths`.
        points: Sparse points in world units. [P, 3]

    Returns:
        float32 [H, W]
    """
    viewmat, K = (torch.as_tensor(matrix).to(points) for matrix in (camera.viewmat, camera.K))
    xyz = points @ viewmat[:3, :3].T + viewmat[:3, 3]
    z = xyz[:, 2]
    xy = xyz[:, :2] / z.clamp(min=1e-9)[:, None] * K.diagonal()[:2] + K[:2, 2]
    columns, rows = xy.floor().unbind(dim=1)
    inside = (z > 0) & (columns >= 0) & (columns < camera.width) & (rows >= 0) & (rows < camera.height)
    at = torch.where(inside, rows * camera.width + columns, 0).long()
    ratio = depths.detach().reshape(-1)[at] / z
    judged = inside & (ratio > HIDDEN)
    slopes = torch.where(judged, (ratio - 1).sign() / (z * inside.sum().clamp(min=1)), 0).to(depths.dtype)
    return torch.zeros_like(depths).reshape(-1).index_add_(0, at, slopes).reshape(depths.shape)


@torch.no_grad()
def adam_step(
    values: Tensor,
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    rates: np.ndarray,
    visible: Tensor,
    step: int,
) -> None:
    """One Adam step in place; rows not in view are left alone. Arguments as `adam.adam_step`, on the GPU."""
    mask = visible.to(values.dtype).reshape(-1, *[1] * (values.ndim - 1))
    first.lerp_(gradient, (1 - BETA1) * mask)
    second.lerp_(gradient.square(), (1 - BETA2) * mask)
    correction1, correction2 = 1 / (1 - BETA1 ** (step + 1)), 1 / (1 - BETA2 ** (step + 1))
    rate = torch.from_numpy(rates.astype(np.float32)).to(values.device).reshape(values.shape[1:])
    change = first * correction1 / ((second * correction2).sqrt() + EPSILON)
    values.sub_(rate * mask * change)


def floating(means: Tensor, cameras: Sequence[Camera], nearest: Sequence[float]) -> Tensor:
    """Which centres hover right before a camera, see `density.floating`. bool [N]"""
    found = torch.zeros(len(means), dtype=torch.bool, device=means.device)
    for camera, limit in zip(cameras, nearest, strict=True):
        view = torch.from_numpy(camera.K @ camera.viewmat[:3]).to(means)
        x, y, depth = (means @ view[:, :3].T + view[:, 3]).unbind(dim=1)
        low, high = -VIEW_MARGIN * depth, (1 + VIEW_MARGIN) * depth
        x, y = x / camera.width, y / camera.height
        near = (depth > 0) & (depth < FLOATER_SHARE * limit)
        found |= near & (x > low) & (x < high) & (y > low) & (y < high)
    return found


def strongest_weights(gaussians: Gaussians, cameras: Iterable[Camera]) -> Tensor:
    """Largest blending weight of every Gaussian over some views; see `density.strongest_weights`. [N]"""
    g, device = gaussians, gaussians.means.device
    strongest = torch.zeros(len(g), device=device)
    for camera in cameras:
        number = torch.arange(camera.width * camera.height, device=device)
        pixels = torch.stack([number % camera.width, number // camera.width], dim=1)
        seen = blend_weights(g, camera, pixels, top_k=WEIGHTS_KEPT)
        # Padding has weight 0, which is the maximum of none.
        indices = seen.indices.reshape(-1).long().clamp(min=0)
        strongest.scatter_reduce_(0, indices, seen.weights.reshape(-1), "amax")
    return strongest
