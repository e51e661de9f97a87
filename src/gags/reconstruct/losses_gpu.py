"""The losses of training with their gradients, for Gaussians on a GPU (truth: `losses`).

None of these waits for the GPU: what is computed stays there.
"""

import torch
from torch import Tensor

from gags.capture.camera import Camera
from gags.reconstruct.losses import HIDDEN
from gags.reconstruct.quality import ssim


def photometric_loss(picture: Tensor, photo: Tensor, lambda_dssim: float) -> tuple[Tensor, Tensor]:
    """L1 and D-SSIM between a rendered picture and a photo; see `losses.photometric_loss`.

    Args:
        picture: Rendered colours, not clamped. float32 [H, W, 3]
        photo: What the camera saw. uint8 [H, W, 3]
        lambda_dssim: λ, the weight of 1 − SSIM; L1 has 1 − λ.

    Returns:
        PSNR of the picture clamped to [0, 1] in dB [], and the gradient of the loss with respect to the
        picture [H, W, 3].
    """
    x, y = picture.detach().requires_grad_(), photo.to(picture) / 255
    with torch.enable_grad():
        loss = (1 - lambda_dssim) * (x - y).abs().mean() + lambda_dssim * (1 - ssim(x, y))
        (gradient,) = torch.autograd.grad(loss, x)
    squared = (picture.detach().clamp(0, 1) - y).square().mean()
    return -10 * torch.log10(squared.clamp(min=1e-10)), gradient


def sparse_depth_gradient(depths: Tensor, camera: Camera, points: Tensor) -> Tensor:
    """Gradient of `losses.sparse_depth_loss` with respect to the depths.

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
    parts = torch.where(judged, (ratio - 1).sign() / (z * inside.sum().clamp(min=1)), 0).to(depths.dtype)
    return torch.zeros_like(depths).reshape(-1).index_add_(0, at, parts).reshape(depths.shape)
