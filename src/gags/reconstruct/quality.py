"""How close rendered pictures come to the photos: PSNR and SSIM, as the 3DGS literature measures them.

`ssim` is the fast twin of `losses.ssim`: on the CPU OpenCV filters along rows and columns, and the gradient
is written out.
"""

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gags.capture import Capture, View
from gags.gaussians import Gaussians, render
from gags.progress import SILENT, Reporter
from gags.reconstruct.losses import SSIM_C1, SSIM_C2, WINDOW_RADIUS, WINDOW_SIGMA
from gags.render.cuda_view import to_device

TRAIN_PHOTOS = 8  # looked at to see how much worse held-out photos are


def held_out_quality(gaussians: Gaussians, capture: Capture, progress: Reporter = SILENT) -> dict[str, Any]:
    """PSNR and SSIM of renders against photos, for `metrics.json`.

    Args:
        gaussians: Trained Gaussians.
        capture: Photos; those held out count, a few training photos are looked at for comparison.
        progress: Receives the progress.

    Returns:
        `psnr` (dB) and `ssim`, means over the held-out photos (absent if none were held out); `train_psnr`
        and `train_ssim`, means over some training photos; `psnr_of_photo`, PSNR of every held-out photo by
        name. Pixels that masks ignore are left out of all of them.
    """
    sample = capture.train[:: max(1, len(capture.train) // TRAIN_PHOTOS)][:TRAIN_PHOTOS]
    scores: dict[str, list[tuple[float, float]]] = {"test": [], "train": []}
    with progress.stage("Checking quality", len(capture.test) + len(sample), "photos") as bar:
        for split, views in (("test", capture.test), ("train", sample)):
            for view in views:
                picture = render(gaussians, view.camera).colors.clamp(0, 1)
                scores[split].append(likeness(picture, view))
                bar.advance(note=f"PSNR {scores[split][-1][0]:.1f} dB in {view.name}")
    figures: dict[str, Any] = {}
    for split, prefix in (("test", ""), ("train", "train_")):
        if scores[split]:
            figures[f"{prefix}psnr"], figures[f"{prefix}ssim"] = map(float, np.mean(scores[split], axis=0))
    figures["psnr_of_photo"] = {
        view.name: round(score[0], 3) for view, score in zip(capture.test, scores["test"], strict=True)
    }
    return figures


def likeness(picture: Tensor, view: View) -> tuple[float, float]:
    """PSNR (dB) and SSIM of a picture [H, W, 3] in [0, 1] against a photo, over the pixels that count."""
    photo = torch.from_numpy(view.image()).to(picture.device).float() / 255
    kept = view.kept()
    if kept is None or not kept.any():  # of a photo that was shrunk to next to nothing, all pixels
        return float(psnr(picture, photo)), float(ssim(picture, photo))
    there = torch.from_numpy(kept).to(picture.device)
    return float(psnr(picture[there], photo[there])), ssim_of_kept(picture, photo, there)


def psnr(image: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, for values in [0, 1].

    Args:
        image: Picture. [..., C]
        target: What it should be. [..., C]

    Returns:
        −10 log₁₀ of the mean squared difference over all values, infinite for equal pictures. []

    Raises:
        ValueError: If the shapes differ.
    """
    _check(image, target)
    return -10 * torch.log10(torch.mean((image - target) ** 2))


@torch.no_grad()
def ssim_of_kept(image: Tensor, target: Tensor, kept: Tensor) -> float:
    """`ssim` over the pixels that count: at the others the target is what the picture is, and is left out.

    Args:
        image: Picture. [H, W, C]
        target: What it should be. [H, W, C]
        kept: Which pixels count, at least one. bool [H, W]
    """
    x, y = image, torch.where(kept[..., None], target, image)
    mean_x, mean_y = _filter(x), _filter(y)
    product, square = mean_x * mean_y, mean_x**2 + mean_y**2
    covariance, variances = _filter(x * y) - product, _filter(x * x + y * y) - square
    similarity = (2 * product + SSIM_C1) * (2 * covariance + SSIM_C2)
    similarity = similarity / ((square + SSIM_C1) * (variances + SSIM_C2))
    return float(similarity[kept].mean())


def ssim(image: Tensor, target: Tensor) -> Tensor:
    """Structural similarity of values in [0, 1] (Wang et al. 2004; Gaussian window of 11×11, σ = 1.5).

    Beyond the border both pictures count as black, as in 3DGS. Differentiable; on the CPU in float32 or
    float64 it is fast enough for every step of a training.

    Args:
        image: Picture. [H, W, C]
        target: What it should be. [H, W, C]

    Returns:
        Mean over pixels and channels, 1 for equal pictures. []

    Raises:
        ValueError: If the shapes differ or are not [H, W, C].
    """
    _check(image, target)
    if image.ndim != 3:
        raise ValueError(f"pictures must be [H, W, C], not {list(image.shape)}")
    return _Ssim.apply(image, target)


def _check(image: Tensor, target: Tensor) -> None:
    if image.shape != target.shape:
        raise ValueError(
            f"pictures must have the same shape, not {list(image.shape)} and {list(target.shape)}"
        )


def _window() -> np.ndarray:
    taps = np.exp(-0.5 * (np.arange(-WINDOW_RADIUS, WINDOW_RADIUS + 1) / WINDOW_SIGMA) ** 2)
    return taps / taps.sum()


class _Ssim(torch.autograd.Function):
    """SSIM with the gradient written out: autograd would keep and pass twice as many maps.

    With E the mean over the window, p = E x · E y and q = (E x)² + (E y)², one pixel's similarity is
    S = (2p + C₁)(2(E xy − p) + C₂) / ((q + C₁)(E(x² + y²) − q + C₂)), and E is its own adjoint.
    """

    @staticmethod
    def forward(ctx, x: Tensor, y: Tensor) -> Tensor:
        mean_x, mean_y = _filter(x), _filter(y)
        product = mean_x * mean_y
        square = (mean_x * mean_x).addcmul_(mean_y, mean_y)
        a2 = _filter(x * y).sub_(product).mul_(2).add_(SSIM_C2)
        b2 = _filter((x * x).addcmul_(y, y)).sub_(square).add_(SSIM_C2)
        a1, b1 = product.mul_(2).add_(SSIM_C1), square.add_(SSIM_C1)
        inverse = (b1 * b2).reciprocal_()
        similarity = (a1 * a2).mul_(inverse)
        mean = similarity.mean()
        if any(ctx.needs_input_grad):
            g_product = (a2 - a1).mul_(inverse).mul_(2)
            g_square = (b1 - b2).mul_(inverse).mul_(similarity).mul_(2)
            ctx.save_for_backward(
                x,
                y,
                (mean_y * g_product).addcmul_(mean_x, g_square),
                (mean_x * g_product).addcmul_(mean_y, g_square),
                similarity.div_(b2).mul_(-2),
                a1.mul_(inverse).mul_(2),
            )
        return mean

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx, gradient: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        x, y, g_mean_x, g_mean_y, g_squares, g_xy = ctx.saved_tensors
        scale = gradient / x.numel()
        squares, xy = _filter(g_squares), _filter(g_xy)
        needs_x, needs_y = ctx.needs_input_grad
        return (
            _filter(g_mean_x).addcmul_(x, squares).addcmul_(y, xy).mul_(scale) if needs_x else None,
            _filter(g_mean_y).addcmul_(y, squares).addcmul_(x, xy).mul_(scale) if needs_y else None,
        )


def _filter(image: Tensor) -> Tensor:
    """Filter along rows and columns, zeros outside. [H, W, C] → [H, W, C]"""
    if image.device.type == "cpu" and image.dtype in (torch.float32, torch.float64):
        window = _window()
        array = np.ascontiguousarray(image.detach().numpy())
        blurred = cv2.sepFilter2D(array, -1, window, window, borderType=cv2.BORDER_CONSTANT)
        return torch.from_numpy(blurred.reshape(array.shape))
    return filter_planes(image.permute(2, 0, 1)).permute(1, 2, 0)


def filter_planes(planes: Tensor) -> Tensor:
    """The same by PyTorch, for GPUs. [..., H, W] → [..., H, W]"""
    taps = _taps(planes.device, planes.dtype)
    alone = planes.reshape(-1, 1, *planes.shape[-2:])
    alone = _convolved(alone, taps.view(1, 1, 1, -1), (0, WINDOW_RADIUS))
    return _convolved(alone, taps.view(1, 1, -1, 1), (WINDOW_RADIUS, 0)).reshape(planes.shape)


def _convolved(planes: Tensor, taps: Tensor, padding: tuple[int, int]) -> Tensor:
    """Planes [P, 1, H, W] convolved with one window [1, 1, h, w], in full float32. [P, 1, H, W]

    TF32, which GPUs convolve with by default, has 10 bits: variances would drown in its rounding. `conv2d`
    calls this operator with the precision that flags of the whole process ask for; here it is an argument.
    """
    return torch._convolution(  # pyright: ignore[reportPrivateImportUsage]
        planes,
        taps,
        bias=None,
        stride=(1, 1),
        padding=padding,
        dilation=(1, 1),
        transposed=False,
        output_padding=(0, 0),
        groups=1,
        benchmark=False,
        deterministic=False,
        cudnn_enabled=True,
        allow_tf32=False,
    )


@lru_cache
@torch.inference_mode(False)  # what is kept may be used in training later
def _taps(device: torch.device, dtype: torch.dtype) -> Tensor:
    """The window along one axis, sent to a device once. [11]"""
    return to_device(_window(), device).to(dtype)
