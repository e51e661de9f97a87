"""The photometric loss of 3DGS and its gradient with respect to the picture, in two passes over the rows."""

import math
from dataclasses import dataclass

import numpy as np
from numba import get_num_threads, njit, prange

from gags.simd.memory import load, load_broadcast, store
from gags.simd.vectors import LANES, lane_indices, maximum, minimum, neg_abs, select, broadcast

# SSIM of Wang et al. 2004 for values in [0, 1], zeros outside the picture (as 3DGS trains).
C1 = 0.01**2
C2 = 0.03**2
RADIUS = 5
CHANNELS = 3
_taps = np.exp(-0.5 * (np.arange(-RADIUS, RADIUS + 1) / 1.5) ** 2)
WINDOW = (_taps / _taps.sum()).astype(np.float32)
MARGIN = LANES  # zeros before a row; the window reaches RADIUS · CHANNELS = 15 numbers beyond its ends


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
        ValueError: If the shapes differ or are not [H, W, 3].
    """
    if picture.shape != photo.shape or picture.ndim != 3 or picture.shape[2] != CHANNELS:
        raise ValueError(f"picture {picture.shape} and photo {photo.shape} must be the same [H, W, 3]")
    height, count = len(picture), picture.size
    length = picture.shape[1] * CHANNELS
    stride = -(-length // LANES) * LANES
    x, y = np.empty((2, height * stride + LANES), np.float32)
    slopes = np.empty((3, height * stride + LANES), np.float32)
    _rows(picture.reshape(height, length), photo.reshape(height, length), stride, x, y)
    bands = np.linspace(0, height, get_num_threads() + 1).astype(np.int64)
    sums = _ssim(bands, x, y, height, length, stride, WINDOW, slopes[0], slopes[1], slopes[2])
    ssim, absolute, squared = sums.sum(axis=0) / count
    weights = np.array([1 - lambda_dssim, -lambda_dssim], np.float32) / np.float32(count)
    gradient = np.empty(picture.shape, np.float32)
    _gradient(
        bands,
        x,
        y,
        height,
        length,
        stride,
        WINDOW,
        slopes[0],
        slopes[1],
        slopes[2],
        weights,
        gradient.reshape(-1),
    )
    value = (1 - lambda_dssim) * absolute + lambda_dssim * (1 - ssim)
    psnr = -10 * math.log10(max(squared, 1e-10))
    return PhotometricLoss(float(value), psnr, gradient)


@njit(parallel=True, cache=True)
def _rows(picture, photo, stride, x, y):  # pragma: no cover - compiled
    """Picture and photo as float32 rows that whole vectors fit, zeros at their ends."""
    length = picture.shape[1]
    scale = np.float32(1 / 255)
    for row in prange(picture.shape[0]):
        at = row * stride
        for j in range(length):
            x[at + j] = picture[row, j]
            y[at + j] = np.float32(photo[row, j]) * scale
        for j in range(length, stride):
            x[at + j] = np.float32(0)
            y[at + j] = np.float32(0)


@njit(parallel=True, cache=True)
def _ssim(bands, x, y, height, length, stride, window, slope_x, slope_xx, slope_xy):  # pragma: no cover
    """Sums a row of SSIM, |x − y| and (x − y)²; dSSIM/d(E x), d(E x²) and d(E xy) of every value."""
    sums = np.zeros((height, 3), np.float64)
    for band in prange(len(bands) - 1):
        size = stride + 2 * MARGIN
        mean_x, mean_y = np.zeros(size, np.float32), np.zeros(size, np.float32)
        squares, products = np.zeros(size, np.float32), np.zeros(size, np.float32)
        totals = np.empty(3 * LANES, np.float32)
        for row in range(bands[band], bands[band + 1]):
            first, last = max(0, RADIUS - row), min(2 * RADIUS + 1, height + RADIUS - row)
            for j in range(0, stride, LANES):
                u, v, s, p = broadcast(0.0), broadcast(0.0), broadcast(0.0), broadcast(0.0)
                for k in range(first, last):
                    at = (row + k - RADIUS) * stride + j
                    a, b = load(x, at), load(y, at)
                    wa, wb = a * load_broadcast(window, k), b * load_broadcast(window, k)
                    u += wa
                    v += wb
                    s += wa * a + wb * b
                    p += wa * b
                store(mean_x, MARGIN + j, u)
                store(mean_y, MARGIN + j, v)
                store(squares, MARGIN + j, s)
                store(products, MARGIN + j, p)
            total, total_absolute, total_squared = broadcast(0.0), broadcast(0.0), broadcast(0.0)
            for j in range(0, stride, LANES):
                u, v, s, p = broadcast(0.0), broadcast(0.0), broadcast(0.0), broadcast(0.0)
                for k in range(2 * RADIUS + 1):
                    at = MARGIN + j + (k - RADIUS) * CHANNELS
                    u += load(mean_x, at) * load_broadcast(window, k)
                    v += load(mean_y, at) * load_broadcast(window, k)
                    s += load(squares, at) * load_broadcast(window, k)
                    p += load(products, at) * load_broadcast(window, k)
                a1 = u * v * 2.0 + C1
                a2 = (p - u * v) * 2.0 + C2
                b1 = u * u + v * v + C1
                b2 = s - u * u - v * v + C2
                inverse1, inverse2 = 1.0 / b1, 1.0 / b2
                inverse = inverse1 * inverse2
                value = a1 * a2 * inverse
                inside = lane_indices() < np.float32(length - j)
                at = row * stride + j
                of_x = (v * (a2 - a1) * inverse + value * u * (inverse2 - inverse1)) * 2.0
                store(slope_x, at, select(inside, of_x, broadcast(0.0)))
                store(slope_xx, at, select(inside, value * inverse2 * -1.0, broadcast(0.0)))
                store(slope_xy, at, select(inside, a1 * inverse * 2.0, broadcast(0.0)))
                a, b = load(x, at), load(y, at)
                clamped = minimum(maximum(a, broadcast(0.0)), broadcast(1.0)) - b
                total += select(inside, value, broadcast(0.0))
                total_absolute -= neg_abs(a - b)
                total_squared += clamped * clamped
            store(totals, 0, total)
            store(totals, LANES, total_absolute)
            store(totals, 2 * LANES, total_squared)
            for part in range(3):
                sums[row, part] = totals[part * LANES : (part + 1) * LANES].sum()
    return sums


@njit(parallel=True, cache=True)
def _gradient(
    bands, x, y, height, length, stride, window, slope_x, slope_xx, slope_xy, weights, gradient
):  # pragma: no cover - compiled
    """d loss / dx: the window is symmetric, so blurring the slopes carries them back to the values."""
    for band in prange(len(bands) - 1):
        size = stride + 2 * MARGIN
        of_x, of_xx = np.zeros(size, np.float32), np.zeros(size, np.float32)
        of_xy, edge = np.zeros(size, np.float32), np.empty(LANES, np.float32)
        for row in range(bands[band], bands[band + 1]):
            first, last = max(0, RADIUS - row), min(2 * RADIUS + 1, height + RADIUS - row)
            for j in range(0, stride, LANES):
                u, s, p = broadcast(0.0), broadcast(0.0), broadcast(0.0)
                for k in range(first, last):
                    at = (row + k - RADIUS) * stride + j
                    u += load(slope_x, at) * load_broadcast(window, k)
                    s += load(slope_xx, at) * load_broadcast(window, k)
                    p += load(slope_xy, at) * load_broadcast(window, k)
                store(of_x, MARGIN + j, u)
                store(of_xx, MARGIN + j, s)
                store(of_xy, MARGIN + j, p)
            for j in range(0, stride, LANES):
                u, s, p = broadcast(0.0), broadcast(0.0), broadcast(0.0)
                for k in range(2 * RADIUS + 1):
                    at = MARGIN + j + (k - RADIUS) * CHANNELS
                    u += load(of_x, at) * load_broadcast(window, k)
                    s += load(of_xx, at) * load_broadcast(window, k)
                    p += load(of_xy, at) * load_broadcast(window, k)
                a, b = load(x, row * stride + j), load(y, row * stride + j)
                sign = select(a > b, broadcast(1.0), broadcast(0.0)) - select(a < b, broadcast(1.0), broadcast(0.0))
                slope = sign * weights[0] + (u + a * s * 2.0 + b * p) * weights[1]
                if j + LANES <= length:
                    store(gradient, row * length + j, slope)
                else:
                    store(edge, 0, slope)
                    for lane in range(length - j):
                        gradient[row * length + j + lane] = edge[lane]
