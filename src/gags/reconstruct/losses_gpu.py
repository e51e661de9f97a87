"""The gradients of the losses of training, for Gaussians on a GPU (truth: `losses`).

None of these waits for the GPU: what is computed stays there. Each operation starts a kernel, which takes
longer to start than to run on a small picture; so the gradients are written out, and what is filtered alike
is filtered together.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gags.capture.camera import Camera
from gags.reconstruct.losses import HIDDEN, SSIM_C1, SSIM_C2
from gags.reconstruct.quality import filter_planes
from gags.render.cuda_view import to_device


@torch.no_grad()
def photometric_gradient(
    picture: Tensor, photo: Tensor, lambda_dssim: float, kept: Tensor | None = None
) -> Tensor:
    """Gradient of `losses.photometric_loss` with respect to the picture.

    Args:
        picture: Rendered colours, not clamped. float32 [H, W, 3]
        photo: What the camera saw. uint8 [H, W, 3]
        lambda_dssim: λ, the weight of 1 − SSIM; L1 has 1 − λ.
        kept: Which pixels count, see `losses.photometric_loss`; None for all. bool [H, W]

    Returns:
        float32 [H, W, 3]
    """
    x, y = picture.permute(2, 0, 1), photo.permute(2, 0, 1) / 255
    if kept is not None:
        still = x.clamp(0, 1)
        x, y = torch.where(kept, x, still), torch.where(kept, y, still)
    of_ssim = _ssim_gradient(x, y)
    of_l1 = (x - y).sign_().mul_((1 - lambda_dssim) / x.numel())
    gradient = of_l1.add_(of_ssim, alpha=-lambda_dssim / x.numel())
    gradient = gradient if kept is None else gradient.mul_(kept)
    return gradient.permute(1, 2, 0).contiguous()


def _ssim_gradient(x: Tensor, y: Tensor) -> Tensor:
    """Gradient of the sum of SSIM over pixels with respect to x. [3, H, W] each

    With E the mean over the window, p = E x · E y and q = (E x)² + (E y)², half of each factor of
    S = (2p + C₁)(2(E xy − p) + C₂) / ((q + C₁)(E(x² + y²) − q + C₂)) is computed; E is its own adjoint.
    """
    filtered = filter_planes(torch.stack([x, y, torch.addcmul(x * x, y, y), x * y]))
    mean_x, mean_y, squares, xy = filtered.unbind()
    product = mean_x * mean_y
    square = torch.addcmul(mean_x * mean_x, mean_y, mean_y)
    a1, a2 = product + SSIM_C1 / 2, xy.sub_(product).add_(SSIM_C2 / 2)
    b1, b2 = square + SSIM_C1, squares.sub_(square).add_(SSIM_C2)
    quarter = (b1 * b2).reciprocal_().mul_(4)
    similarity = a1 * a2 * quarter
    g_product = (a2 - a1).mul_(quarter)
    g_square = (b1 - b2).mul_(similarity).mul_(quarter).div_(2)  # S (1 / b2 − 1 / b1), twice
    g_mean = torch.addcmul(mean_y * g_product, mean_x, g_square)
    of_maps = filter_planes(torch.stack([g_mean, similarity.div_(b2).mul_(-2), a1.mul_(quarter)]))
    return of_maps[0].addcmul_(x, of_maps[1]).addcmul_(y, of_maps[2])


@torch.no_grad()
def psnr(picture: Tensor, photo: Tensor, kept: Tensor | None = None) -> Tensor:
    """PSNR of a picture clamped to [0, 1] in dB, over the pixels that count.

    Args:
        picture: float32 [H, W, 3]
        photo: uint8 [H, W, 3]
        kept: None for all. bool [H, W]

    Returns:
        []
    """
    squared = (picture.clamp(0, 1) - photo / 255).square()
    if kept is None:
        squared = squared.mean()
    else:
        squared = squared.mean(dim=-1).mul_(kept).sum() / kept.sum().clamp(min=1)
    return -10 * torch.log10(squared.clamp(min=1e-10))


@dataclass(frozen=True, eq=False)
class DepthTargets:
    """The G sparse points that a view has in its picture, on the device of the Gaussians.

    Attributes:
        places: Row · width + column of each. int64 [G]
        inverse: 1 / z. float32 [G]
    """

    places: Tensor
    inverse: Tensor

    @staticmethod
    def of(
        camera: Camera, points: np.ndarray, device: torch.device, kept: np.ndarray | None = None
    ) -> "DepthTargets":
        """Those of sparse points [P, 3] in world units, at pixels that are kept, if it is said which are.

        They are sent without waiting for the device.
        """
        xy, z = camera.project(points.astype(np.float64))
        columns, rows = np.floor(xy).T
        inside = (z > 0) & (columns >= 0) & (columns < camera.width) & (rows >= 0) & (rows < camera.height)
        if kept is not None:
            inside[inside] = kept[rows[inside].astype(np.int64), columns[inside].astype(np.int64)]
        places = (rows[inside] * camera.width + columns[inside]).astype(np.int64)
        inverse = (1 / z[inside]).astype(np.float32)
        return DepthTargets(to_device(places, device), to_device(inverse, device))


@torch.no_grad()
def sparse_depth_gradient(depths: Tensor, targets: DepthTargets, weight: float) -> Tensor:
    """Gradient of `losses.sparse_depth_loss` with respect to the depths, times a weight.

    Args:
        depths: Rendered depth D, 0 where nothing was hit. float32 [H, W]
        targets: Sparse points of the view.
        weight: Of the loss.

    Returns:
        float32 [H, W]
    """
    gradient = torch.zeros_like(depths)
    ratio = depths.reshape(-1)[targets.places].mul_(targets.inverse)
    # Nearer than HIDDEN, something may hide the point; then nothing pulls.
    pull = (ratio - 1).sign_().mul_(ratio > HIDDEN).mul_(targets.inverse)
    share = weight / max(1, len(targets.places))
    gradient.view(-1).index_add_(0, targets.places, pull, alpha=share)
    return gradient
