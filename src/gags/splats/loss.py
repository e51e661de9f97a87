"""The photometric loss of 3DGS and its gradient with respect to the picture, in a few fused passes."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numba import njit, prange

# SSIM of Wang et al. 2004 for values in [0, 1], zeros outside the picture (as 3DGS trains).
C1 = 0.01**2
C2 = 0.03**2
RADIUS = 5
_taps = np.exp(-0.5 * (np.arange(-RADIUS, RADIUS + 1) / 1.5) ** 2)
WINDOW = (_taps / _taps.sum()).astype(np.float32)


@dataclass(frozen=True, eq=False)
class PhotometricLoss:
    """Loss of one picture.

    Attributes:
        value: (1 − λ) L1 + λ (1 − SSIM).
        psnr: Peak signal-to-noise ratio of the picture clamped to [0, 1], dB.
        gradient: d value / d picture. float32 [H, W, 3]
    """

    value: float
    psnr: float
    gradient: np.ndarray


def photometric_loss(picture: np.ndarray, photo: np.ndarray, lambda_dssim: float) -> PhotometricLoss:
    """L1 and D-SSIM between a rendered picture and a photo (Kerbl et al. 2023, Eq. 7).

    Args:
        picture: Rendered colours, not clamped. float32 [H, W, 3]
        photo: What the camera saw. uint8 [H, W, 3]
        lambda_dssim: λ, the weight of 1 − SSIM; L1 has 1 − λ.

    Returns:
        The loss, the PSNR and the gradient with respect to the picture.

    Raises:
        ValueError: If the shapes differ.
    """
    if picture.shape != photo.shape or picture.ndim != 3:
        raise ValueError(f"picture {picture.shape} and photo {photo.shape} must be the same [H, W, C]")
    rows, values = len(picture), picture[0].size
    x = np.ascontiguousarray(picture, dtype=np.float32)
    # 0: x, 1: y, 2: x² + y², 3: xy, and the same blurred
    moments = np.empty((4, *x.shape), np.float32)
    _moments(x.reshape(-1), photo.reshape(-1), moments.reshape(4, -1))
    means = _blur(moments).reshape(4, rows, values)
    slopes = np.empty((3, *x.shape), np.float32)
    sums = _slopes(moments.reshape(4, rows, values), means, slopes.reshape(3, rows, values))
    ssim, absolute, squared = sums.sum(axis=0) / x.size
    gradient = np.empty_like(x)
    weights = np.array([1 - lambda_dssim, -lambda_dssim], np.float32) / np.float32(x.size)
    _gradient(moments.reshape(4, -1), _blur(slopes).reshape(3, -1), weights, gradient.reshape(-1))
    value = (1 - lambda_dssim) * absolute + lambda_dssim * (1 - ssim)
    psnr = -10 * math.log10(max(squared, 1e-10))
    return PhotometricLoss(float(value), psnr, gradient)


def _blur(images: np.ndarray) -> np.ndarray:
    """The window's weighted mean around every pixel; symmetric, so it is its own adjoint. [M, H, W, C]"""
    blurred = np.empty_like(images)
    for image, target in zip(images, blurred, strict=True):
        cv2.sepFilter2D(image, -1, WINDOW, WINDOW, dst=target, borderType=cv2.BORDER_CONSTANT)
    return blurred


@njit(parallel=True, fastmath=True, cache=True)
def _moments(x, photo, moments):  # pragma: no cover - compiled
    """x, y, x² + y² and xy of every value."""
    scale = np.float32(1 / 255)
    for i in prange(x.shape[0]):
        y = np.float32(photo[i]) * scale
        moments[0, i] = x[i]
        moments[1, i] = y
        moments[2, i] = x[i] * x[i] + y * y
        moments[3, i] = x[i] * y


@njit(parallel=True, fastmath=True, cache=True)
def _slopes(moments, means, slopes):  # pragma: no cover - compiled
    """Sums of SSIM, |x − y| and (x − y)² a row; dSSIM/d(E x), d(E x²) and d(E xy) a value into `slopes`."""
    height, n = moments.shape[1:]
    sums = np.zeros((height, 3), np.float64)
    c1, c2 = np.float32(C1), np.float32(C2)
    zero, one, two = np.float32(0), np.float32(1), np.float32(2)
    for row in prange(height):
        total, total_absolute, total_squared = zero, zero, zero
        for j in range(n):
            u, v = means[0, row, j], means[1, row, j]
            a1 = two * u * v + c1
            a2 = two * (means[3, row, j] - u * v) + c2
            b1 = u * u + v * v + c1
            b2 = means[2, row, j] - u * u - v * v + c2
            inverse1, inverse2 = one / b1, one / b2
            inverse = inverse1 * inverse2
            value = a1 * a2 * inverse
            slopes[0, row, j] = two * (v * (a2 - a1) * inverse + value * u * (inverse2 - inverse1))
            slopes[1, row, j] = -value * inverse2
            slopes[2, row, j] = two * a1 * inverse
            x, y = moments[0, row, j], moments[1, row, j]
            clamped = min(max(x, zero), one) - y
            total += value
            total_absolute += abs(x - y)
            total_squared += clamped * clamped
        sums[row, 0], sums[row, 1], sums[row, 2] = total, total_absolute, total_squared
    return sums


@njit(parallel=True, fastmath=True, cache=True)
def _gradient(moments, slopes, weights, gradient):  # pragma: no cover - compiled
    """d loss / dx from the blurred slopes; weights of L1 and SSIM."""
    two = np.float32(2)
    for i in prange(gradient.shape[0]):
        x, y = moments[0, i], moments[1, i]
        sign = np.float32(x > y) - np.float32(x < y)
        ssim_slope = slopes[0, i] + two * x * slopes[1, i] + y * slopes[2, i]
        gradient[i] = weights[0] * sign + weights[1] * ssim_slope
