"""The losses of training in plain PyTorch, against which `losses_cpu` and `losses_gpu` are tested.

Written to be read, and differentiable by autograd, in any floating-point type. Training itself takes the
kernels, which compute the same values and gradients in less time and memory.
"""

import torch
from torch import Tensor

from gags.capture.camera import Camera

# SSIM of Wang et al. 2004 for values in [0, 1], as 3DGS trains and as the literature measures it.
SSIM_C1 = 0.01**2
SSIM_C2 = 0.03**2
WINDOW_RADIUS = 5
WINDOW_SIGMA = 1.5
HIDDEN = 0.9  # a render nearer than this share of a point's depth shows something that hides the point


def photometric_loss(
    picture: Tensor, photo: Tensor, lambda_dssim: float, kept: Tensor | None = None
) -> Tensor:
    """L1 and D-SSIM between a rendered picture and a photo (Kerbl et al. 2023, Eq. 7).

    Where the photo is to be ignored, both get the clamped colours of the picture, as constants. To leave out
    these pixels of the SSIM map instead would not do: its windows reach 5 px beyond the border of what is
    ignored, and so would its colours. The mean stays that over all pixels, so that a pixel weighs the same in
    whichever photo it is.

    Args:
        picture: Rendered colours, not clamped. [H, W, 3]
        photo: What the camera saw, in [0, 1]. [H, W, 3]
        lambda_dssim: λ, the weight of 1 − SSIM.
        kept: Which pixels count; None for all. bool [H, W]

    Returns:
        (1 − λ) L1 + λ (1 − SSIM). []
    """
    if kept is not None:
        still = picture.detach().clamp(0, 1)
        picture = torch.where(kept[..., None], picture, still)
        photo = torch.where(kept[..., None], photo, still)
    return (1 - lambda_dssim) * (picture - photo).abs().mean() + lambda_dssim * (1 - ssim(picture, photo))


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004, Eq. 13), zeros beyond the border of both pictures.

    Args:
        x, y: Pictures with values in [0, 1]. [H, W, C]

    Returns:
        Mean over pixels and channels. []
    """
    mean_x, mean_y = blur(x), blur(y)
    variance_x = blur(x * x) - mean_x**2
    variance_y = blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + SSIM_C1) / (mean_x**2 + mean_y**2 + SSIM_C1)
    structure = (2 * covariance + SSIM_C2) / (variance_x + variance_y + SSIM_C2)
    return (luminance * structure).mean()


def blur(picture: Tensor) -> Tensor:
    """Mean under a Gaussian window of 11×11, σ = 1.5. [H, W, C] → [H, W, C]"""
    offsets = torch.arange(-WINDOW_RADIUS, WINDOW_RADIUS + 1, dtype=torch.float64)
    window = torch.exp(-0.5 * (offsets / WINDOW_SIGMA) ** 2)
    window = (window[:, None] * window / window.sum() ** 2).to(picture)
    planes = picture.permute(2, 0, 1)[:, None]
    blurred = torch.nn.functional.conv2d(planes, window[None, None], padding=WINDOW_RADIUS)
    return blurred[:, 0].permute(1, 2, 0)


def sparse_depth_loss(depths: Tensor, camera: Camera, points: Tensor, kept: Tensor | None = None) -> Tensor:
    """How far rendered depth is from the depth of the sparse points, at their pixels.

    They lie on surfaces, and no ray passes a surface unstopped. Whether a view sees a point is not known.
    Where the render is clearly nearer, something may hide the point, so it counts as 0; where the render is
    farther, the ray passed through a surface, which is always wrong.

    Args:
        depths: Rendered depth D, 0 where nothing was hit. [H, W]
        camera: The view, of the size of `depths`.
        points: Sparse points in world units. [P, 3]
        kept: Which pixels count; points at others are taken for points out of view. None for all. bool [H, W]

    Returns:
        Mean of |D − z| / z over the points in view, those hidden counting as 0; 0 if none is in view. []
    """
    viewmat, K = (torch.as_tensor(matrix).to(points) for matrix in (camera.viewmat, camera.K))
    xyz = points @ viewmat[:3, :3].T + viewmat[:3, 3]
    xyz = xyz[xyz[:, 2] > 0]
    columns, rows = (xyz[:, :2] / xyz[:, 2:] * K.diagonal()[:2] + K[:2, 2]).floor().long().unbind(1)
    inside = (columns >= 0) & (columns < camera.width) & (rows >= 0) & (rows < camera.height)
    if kept is not None:
        inside[inside.clone()] = kept[rows[inside], columns[inside]]
    if not inside.any():
        return 0 * depths.sum()
    ratio = depths[rows[inside], columns[inside]] / xyz[inside, 2]
    return torch.where(ratio > HIDDEN, (ratio - 1).abs(), 0.0).mean()
