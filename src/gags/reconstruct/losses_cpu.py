"""The losses of training with their gradients, for Gaussians on the CPU (truth: `losses`).

The photometric loss takes two passes over the rows of the picture: SSIM and its derivatives by the blurred
values, then these blurred back to the values.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import get_num_threads, prange

from gags.capture.camera import Camera
from gags.reconstruct.losses import HIDDEN, SSIM_C1, SSIM_C2, WINDOW_RADIUS, WINDOW_SIGMA
from gags.simd.cache import kernel
from gags.simd.memory import fetch_add, load, load_broadcast, store
from gags.simd.vectors import LANES, broadcast, lane_indices, maximum, minimum, neg_abs, select

CHANNELS = 3
TAPS = 2 * WINDOW_RADIUS + 1
_taps = np.exp(-0.5 * (np.arange(-WINDOW_RADIUS, WINDOW_RADIUS + 1) / WINDOW_SIGMA) ** 2)
WINDOW = (_taps / _taps.sum()).astype(np.float32)
BANDS_A_THREAD = 4  # so that a thread that other work holds up does not hold up the rest
MARGIN = LANES  # zeros before a row; the window reaches 5 pixels of 3 numbers beyond its ends


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


def photometric_loss(
    picture: np.ndarray, photo: np.ndarray, lambda_dssim: float, kept: np.ndarray | None = None
) -> PhotometricLoss:
    """L1 and D-SSIM between a rendered picture and a photo (Kerbl et al. 2023, Eq. 7).

    Args:
        picture: Rendered colours, not clamped. float32 [H, W, 3]
        photo: What the camera saw. uint8 [H, W, 3]
        lambda_dssim: λ, the weight of 1 − SSIM; L1 has 1 − λ.
        kept: Which pixels count, see `losses.photometric_loss`; None for all. bool [H, W]

    Returns:
        The loss, the PSNR over the pixels that count, and the gradient with respect to the picture.

    Raises:
        ValueError: If the shapes differ or are not [H, W, 3].
    """
    if kept is not None and kept.shape != picture.shape[:2]:
        raise ValueError(f"kept {kept.shape} must be as large as the picture {picture.shape}")
    if picture.shape != photo.shape or picture.ndim != 3 or picture.shape[2] != CHANNELS:
        raise ValueError(f"picture {picture.shape} and photo {photo.shape} must be the same [H, W, 3]")
    height, count = len(picture), picture.size
    length = picture.shape[1] * CHANNELS
    stride = -(-length // LANES) * LANES
    x, y = np.empty((2, height * stride + LANES), np.float32)
    by_blurred = np.empty((3, height * stride + LANES), np.float32)
    _rows(picture.reshape(height, length), photo.reshape(height, length), stride, x, y)
    if kept is not None:
        _hold_still(kept, stride, x, y)
    threads = get_num_threads()
    g_mean, g_square, g_product = by_blurred
    both: dict[str, Any] = {
        "threads": threads,
        "bands": np.linspace(0, height, threads * BANDS_A_THREAD + 1).astype(np.int64),
        "x": x,
        "y": y,
        "height": height,
        "length": length,
        "stride": stride,
        "window": WINDOW,
        "g_mean": g_mean,
        "g_square": g_square,
        "g_product": g_product,
    }
    sums = _ssim(todo=np.zeros(1, np.int64), **both)
    ssim, absolute, squared = sums.sum(axis=0) / count
    weights = np.array([1 - lambda_dssim, -lambda_dssim], np.float32) / np.float32(count)
    gradient = np.empty(picture.shape, np.float32)
    _gradient(todo=np.zeros(1, np.int64), weights=weights, gradient=gradient.reshape(-1), **both)
    value = (1 - lambda_dssim) * absolute + lambda_dssim * (1 - ssim)
    if kept is not None:
        gradient[~kept] = 0
        squared *= kept.size / max(1, np.count_nonzero(kept))
    psnr = -10 * math.log10(max(squared, 1e-10))
    return PhotometricLoss(float(value), psnr, gradient)


@dataclass(frozen=True, eq=False)
class DepthLoss:
    """How far rendered depth is from the sparse points of one view.

    Attributes:
        value: Mean of |D − z| / z over the points in view, those hidden counting as 0.
        gradient: d value / d D. float32 [H, W]
    """

    value: float
    gradient: np.ndarray


def sparse_depth_loss(
    depths: np.ndarray, camera: Camera, points: np.ndarray, kept: np.ndarray | None = None
) -> DepthLoss:
    """Distance of rendered depth from the sparse points; see `losses.sparse_depth_loss`.

    Args:
        depths: Rendered depth D, 0 where nothing was hit. float32 [H, W]
        camera: The view, of the size of `depths`.
        points: Sparse points in world units. [P, 3]
        kept: Which pixels count; None for all. bool [H, W]

    Returns:
        The loss and its gradient.
    """
    xy, z = camera.project(points)
    columns, rows = np.floor(np.nan_to_num(xy, nan=-1.0, posinf=-1.0, neginf=-1.0)).T
    inside = (z > 0) & (columns >= 0) & (columns < camera.width) & (rows >= 0) & (rows < camera.height)
    if kept is not None:
        inside[inside] = kept[rows[inside].astype(int), columns[inside].astype(int)]
    gradient = np.zeros_like(depths)
    count = int(inside.sum())
    if not count:
        return DepthLoss(0.0, gradient)
    at, z = (rows[inside].astype(int), columns[inside].astype(int)), z[inside]
    ratio = depths[at] / z
    judged = ratio > HIDDEN
    np.add.at(gradient, at, np.where(judged, np.sign(ratio - 1) / (z * count), 0).astype(depths.dtype))
    return DepthLoss(float(np.abs(ratio - 1)[judged].sum() / count), gradient)


@kernel(parallel=True)
def _rows(picture, photo, stride, x, y) -> None:  # pragma: no cover - compiled
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


@kernel(parallel=True)
def _hold_still(kept, stride, x, y) -> None:  # pragma: no cover - compiled
    """Where a pixel does not count, both pictures get the clamped colour of the first."""
    for row in prange(kept.shape[0]):
        for column in range(kept.shape[1]):
            if not kept[row, column]:
                at = row * stride + column * CHANNELS
                for j in range(at, at + CHANNELS):
                    x[j] = min(max(x[j], np.float32(0)), np.float32(1))
                    y[j] = x[j]


@kernel(parallel=True)
def _ssim(
    threads, todo, bands, x, y, height, length, stride, window, g_mean, g_square, g_product
) -> np.ndarray:  # pragma: no cover - compiled
    """Sums over each row of SSIM, |x − y| and (x − y)² [H, 3]; and, written, what the gradient needs.

    With E the mean under the window, SSIM = a1 a2 / (b1 b2) of p = E x · E y and q = (E x)² + (E y)²:
    a1 = 2p + C1, a2 = 2 (E xy − p) + C2, b1 = q + C1, b2 = E(x² + y²) − q + C2. Every number has its place
    in a row: neighbours of one colour are CHANNELS apart.

    Args:
        threads: How many threads share the bands.
        todo: One zero: the next band that nobody has taken.
        bands: Rows at which the bands begin and end.
        x, y: Picture and photo, `stride` numbers a row.
        height, length, stride: Rows, numbers in one, and from one to the next.
        window: The 11 weights of the window, along one axis.
        g_mean, g_square, g_product: dSSIM/d(E x), dSSIM/d(E x²) and dSSIM/d(E xy) of every value, written.
    """
    sums = np.zeros((height, 3), np.float64)
    for _ in prange(threads):
        size = stride + 2 * MARGIN
        mean_x, mean_y = np.zeros(size, np.float32), np.zeros(size, np.float32)
        squares, products = np.zeros(size, np.float32), np.zeros(size, np.float32)
        totals = np.empty(3 * LANES, np.float32)
        while True:
            band = fetch_add(todo, 0, 1)
            if band >= len(bands) - 1:
                break
            for row in range(bands[band], bands[band + 1]):
                first, last = max(0, WINDOW_RADIUS - row), min(TAPS, height + WINDOW_RADIUS - row)
                # Down the columns: x, y, x² + y² and xy under the window, of every value of the row.
                for j in range(0, stride, LANES):
                    u, v, s, p = broadcast(0.0), broadcast(0.0), broadcast(0.0), broadcast(0.0)
                    for k in range(first, last):
                        at = (row + k - WINDOW_RADIUS) * stride + j
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
                # Along the row: u = E x, v = E y, s = E(x² + y²), p = E xy; then SSIM and its derivatives.
                total, total_absolute, total_squared = broadcast(0.0), broadcast(0.0), broadcast(0.0)
                for j in range(0, stride, LANES):
                    u, v, s, p = broadcast(0.0), broadcast(0.0), broadcast(0.0), broadcast(0.0)
                    for k in range(TAPS):
                        at = MARGIN + j + (k - WINDOW_RADIUS) * CHANNELS
                        u += load(mean_x, at) * load_broadcast(window, k)
                        v += load(mean_y, at) * load_broadcast(window, k)
                        s += load(squares, at) * load_broadcast(window, k)
                        p += load(products, at) * load_broadcast(window, k)
                    a1 = u * v * 2.0 + SSIM_C1
                    a2 = (p - u * v) * 2.0 + SSIM_C2
                    b1 = u * u + v * v + SSIM_C1
                    b2 = s - u * u - v * v + SSIM_C2
                    inverse1, inverse2 = 1.0 / b1, 1.0 / b2
                    inverse = inverse1 * inverse2
                    value = a1 * a2 * inverse
                    inside = lane_indices() < np.float32(length - j)
                    at = row * stride + j
                    by_mean = (v * (a2 - a1) * inverse + value * u * (inverse2 - inverse1)) * 2.0
                    store(g_mean, at, select(inside, by_mean, broadcast(0.0)))
                    store(g_square, at, select(inside, value * inverse2 * -1.0, broadcast(0.0)))
                    store(g_product, at, select(inside, a1 * inverse * 2.0, broadcast(0.0)))
                    # L1, and the squared difference of what a screen would show.
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


@kernel(parallel=True)
def _gradient(
    threads, todo, bands, x, y, height, length, stride, window, g_mean, g_square, g_product, weights, gradient
) -> None:  # pragma: no cover - compiled
    """dL/dx from the derivatives by E x, E x² and E xy.

    The window is symmetric, so E is its own adjoint: dSSIM/dx = E g_mean + 2 x E g_square + y E g_product.

    Args:
        threads, todo, bands, x, y, height, length, stride, window: As in `_ssim`.
        g_mean, g_square, g_product: What `_ssim` wrote.
        weights: Of the sign of x − y and of dSSIM/dx.
        gradient: dL/dx, `length` numbers a row, written.
    """
    for _ in prange(threads):
        size = stride + 2 * MARGIN
        back_mean, back_square = np.zeros(size, np.float32), np.zeros(size, np.float32)
        back_product, edge = np.zeros(size, np.float32), np.empty(LANES, np.float32)
        while True:
            band = fetch_add(todo, 0, 1)
            if band >= len(bands) - 1:
                break
            for row in range(bands[band], bands[band + 1]):
                first, last = max(0, WINDOW_RADIUS - row), min(TAPS, height + WINDOW_RADIUS - row)
                # E of the three derivatives, as in `_ssim`: down the columns first.
                for j in range(0, stride, LANES):
                    u, s, p = broadcast(0.0), broadcast(0.0), broadcast(0.0)
                    for k in range(first, last):
                        at = (row + k - WINDOW_RADIUS) * stride + j
                        u += load(g_mean, at) * load_broadcast(window, k)
                        s += load(g_square, at) * load_broadcast(window, k)
                        p += load(g_product, at) * load_broadcast(window, k)
                    store(back_mean, MARGIN + j, u)
                    store(back_square, MARGIN + j, s)
                    store(back_product, MARGIN + j, p)
                # Then along the row; and (1 − λ) sign(x − y) − λ dSSIM/dx, over the number of values.
                for j in range(0, stride, LANES):
                    u, s, p = broadcast(0.0), broadcast(0.0), broadcast(0.0)
                    for k in range(TAPS):
                        at = MARGIN + j + (k - WINDOW_RADIUS) * CHANNELS
                        u += load(back_mean, at) * load_broadcast(window, k)
                        s += load(back_square, at) * load_broadcast(window, k)
                        p += load(back_product, at) * load_broadcast(window, k)
                    a, b = load(x, row * stride + j), load(y, row * stride + j)
                    one, zero = broadcast(1.0), broadcast(0.0)
                    sign = select(a > b, one, zero) - select(a < b, one, zero)
                    g_x = sign * weights[0] + (u + a * s * 2.0 + b * p) * weights[1]
                    if j + LANES <= length:
                        store(gradient, row * length + j, g_x)
                    else:
                        store(edge, 0, g_x)
                        for lane in range(length - j):
                            gradient[row * length + j + lane] = edge[lane]
