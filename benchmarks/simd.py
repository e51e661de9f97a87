"""What SIMD by hand gains over plain loops: two kernels beside the same loops without vectors.

    python benchmarks/simd.py [--repeats 40]

The plain twins do the same work in the same order, written the way LLVM vectorises best, with `fastmath` so
that it may. Calls of both alternate in one process, so that other work on the machine slows both alike.
"""

import statistics
import time
from collections.abc import Callable

import numba
import numpy as np
import tyro
from numba import njit, prange

from gags.reconstruct import losses_cpu
from gags.reconstruct.losses import SSIM_C1, SSIM_C2
from gags.reconstruct.losses_cpu import TAPS, WINDOW, photometric_loss
from gags.render import cpu
from gags.render.kernels.blend import blend, corner
from gags.render.kernels.layout import (
    CENTRE_X,
    CENTRE_Y,
    FIRST_FEATURE,
    LOG2_MAX_ALPHA,
    LOG2_MIN_ALPHA,
    PEAK,
    QUAD_XX,
    QUAD_XY,
    QUAD_YY,
    TILE_HEIGHT,
    TILE_WIDTH,
    Pictures,
    record_stride,
    rows_of_tile,
)
from gags.render.types import MIN_TRANSMITTANCE

from rasterize import made_up_scene, processor  # isort: skip


def main(repeats: int = 40) -> None:
    """Print the table.

    Args:
        repeats: Timed calls of each kernel.
    """
    print(f"{processor()}, {numba.get_num_threads()} threads, {repeats} calls of each, alternating\n")
    print("| kernel | plain loops ms | SIMD ms | times faster |")
    print("|---|---:|---:|---:|")
    for name, (plain, simd) in {"blending 648×420": blending(), "loss and gradient 648×420": loss()}.items():
        times: dict[Callable[[], object], list[float]] = {plain: [], simd: []}
        for turn in range(repeats + 2):
            for job in (plain, simd):
                start = time.perf_counter()
                job()
                times[job] += [1000 * (time.perf_counter() - start)] * (turn > 1)
        slow, fast = statistics.median(times[plain]), statistics.median(times[simd])
        ratios = [a / b for a, b in zip(times[plain], times[simd], strict=True)]
        print(f"| {name} | {slow:.1f} | {fast:.1f} | {statistics.median(ratios):.1f} |")


def blending() -> tuple[Callable[[], object], Callable[[], object]]:
    """Blending of the scene of `rasterize.py`, plain and by the kernel, projected and sorted beforehand."""
    geometry, colors, camera = made_up_scene()
    seen = cpu._see(
        cpu._geometry(*geometry, None),
        camera,
        colors.numpy().reshape(-1),
        channels=3,
        wanted_tiles=np.empty(0, np.bool_),
    )
    size = camera.height * camera.width
    slow, fast = (
        Pictures(np.empty(3 * size, np.float32), np.empty(size, np.float32), np.empty(size, np.float32))
        for _ in range(2)
    )

    def plain() -> None:
        plain_blend(camera.width, camera.height, seen.records, seen.lists, slow)

    def simd() -> None:
        blend(
            threads=numba.get_num_threads(),
            todo=np.zeros(1, np.int64),
            width=camera.width,
            height=camera.height,
            records=seen.records,
            channels=3,
            background=np.empty(0, np.float32),
            lists=seen.lists,
            pictures=fast,
        )

    plain()
    simd()
    for ours, theirs in zip(fast, slow, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)
    return plain, simd


@njit(parallel=True, fastmath=True)
def plain_blend(width, height, records, lists, pictures) -> None:
    """`kernels.blend` for three channels and a black background, one number at a time."""
    for tile in prange(len(lists.starts) - 1):
        plain_blend_tile(tile, width, height, records, lists, pictures)


@njit(fastmath=True)
def plain_blend_tile(tile, width, height, records, lists, pictures) -> None:
    """One tile of it."""
    stride = record_stride(3)
    log2_min, log2_max = np.float32(LOG2_MIN_ALPHA), np.float32(LOG2_MAX_ALPHA)
    x0, y0 = corner(tile, width)
    columns, rows = min(TILE_WIDTH, width - x0), min(TILE_HEIGHT, height - y0)
    T = np.ones((TILE_HEIGHT, TILE_WIDTH), np.float32)
    done = np.zeros((TILE_HEIGHT, TILE_WIDTH), np.bool_)
    sums = np.zeros((4, TILE_HEIGHT, TILE_WIDTH), np.float32)
    live = (np.int64(1) << rows) - 1
    for k in range(lists.starts[tile], lists.starts[tile + 1]):
        touched = rows_of_tile(lists.members, k) & live
        r = lists.members[k, 0] * stride
        for row in range(rows):
            if not touched >> row & 1:
                continue
            dy = np.float32(y0 + row) + np.float32(0.5) - records[r + CENTRE_Y]
            left = False
            for column in range(columns):
                dx = np.float32(x0 + column) + np.float32(0.5) - records[r + CENTRE_X]
                power = records[r + PEAK] + records[r + QUAD_XX] * dx * dx
                power += dy * (records[r + QUAD_XY] * dx + records[r + QUAD_YY] * dy)
                alpha = np.float32(2) ** min(power, log2_max) if power >= log2_min else np.float32(0)
                weight = T[row, column] * alpha
                behind = T[row, column] - weight
                if done[row, column] or behind <= np.float32(MIN_TRANSMITTANCE):
                    done[row, column] = True
                    continue
                left = True
                T[row, column] = behind
                for c in range(4):
                    sums[c, row, column] += weight * records[r + FIRST_FEATURE + c]
            if not left:
                live &= ~(np.int64(1) << row)
        if live == 0:
            break
    for row in range(rows):
        for column in range(columns):
            pixel = (y0 + row) * width + x0 + column
            alpha = np.float32(1) - T[row, column]
            for c in range(3):
                pictures.image[3 * pixel + c] = sums[c, row, column]
            pictures.alphas[pixel] = alpha
            pictures.depths[pixel] = sums[3, row, column] / alpha if alpha > 0 else np.float32(0)


def loss() -> tuple[Callable[[], object], Callable[[], object]]:
    """The photometric loss with its gradient, plain and by the kernels."""
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (420, 648, 3), dtype=np.uint8)
    picture = (photo / 255 + rng.normal(0, 0.1, photo.shape)).astype(np.float32)
    gradient = np.empty(picture.shape, np.float32)

    def plain() -> float:
        return plain_loss(picture, photo, np.float32(0.2), WINDOW, gradient)

    def simd() -> losses_cpu.PhotometricLoss:
        return photometric_loss(picture, photo, 0.2)

    value, found = plain(), simd()
    assert abs(value - found.value) < 1e-4
    np.testing.assert_allclose(gradient, found.gradient, atol=1e-3 * np.abs(found.gradient).max())
    return plain, simd


@njit(parallel=True, fastmath=True)
def plain_loss(picture, photo, lambda_dssim, window, gradient) -> float:
    """`losses_cpu` with the loops over a row inside those over the window, which LLVM vectorises."""
    height, width, _ = picture.shape
    length, radius = 3 * width, TAPS // 2
    pad = 3 * radius
    x, y = np.empty((height, length), np.float32), np.empty((height, length), np.float32)
    for row in prange(height):
        x[row] = picture[row].reshape(-1)
        for j in range(length):
            y[row, j] = np.float32(photo[row, j // 3, j % 3]) * np.float32(1 / 255)
    derivatives = np.empty((3, height, length), np.float32)
    sums = np.zeros((height, 3), np.float64)
    for row in prange(height):
        down, blurred = np.zeros((4, length + 2 * pad), np.float32), np.zeros((4, length), np.float32)
        for k in range(max(0, radius - row), min(TAPS, height + radius - row)):
            for j in range(length):
                a, b = x[row + k - radius, j], y[row + k - radius, j]
                down[0, pad + j] += window[k] * a
                down[1, pad + j] += window[k] * b
                down[2, pad + j] += window[k] * (a * a + b * b)
                down[3, pad + j] += window[k] * a * b
        for k in range(TAPS):
            for part in range(4):
                for j in range(length):
                    blurred[part, j] += window[k] * down[part, j + 3 * k]
        similarity, absolute = np.float32(0), np.float32(0)
        for j in range(length):
            u, v, s, p = blurred[0, j], blurred[1, j], blurred[2, j], blurred[3, j]
            a1 = u * v * np.float32(2) + np.float32(SSIM_C1)
            a2 = (p - u * v) * np.float32(2) + np.float32(SSIM_C2)
            b1 = u * u + v * v + np.float32(SSIM_C1)
            b2 = s - u * u - v * v + np.float32(SSIM_C2)
            inverse1, inverse2 = np.float32(1) / b1, np.float32(1) / b2
            inverse = inverse1 * inverse2
            value = a1 * a2 * inverse
            of_x = (v * (a2 - a1) * inverse + value * u * (inverse2 - inverse1)) * np.float32(2)
            derivatives[0, row, j] = of_x
            derivatives[1, row, j] = -value * inverse2
            derivatives[2, row, j] = a1 * inverse * np.float32(2)
            similarity += value
            absolute += abs(x[row, j] - y[row, j])
        sums[row, 0], sums[row, 1] = similarity, absolute
    count = np.float32(height * length)
    for row in prange(height):
        down, blurred = np.zeros((3, length + 2 * pad), np.float32), np.zeros((3, length), np.float32)
        for k in range(max(0, radius - row), min(TAPS, height + radius - row)):
            for part in range(3):
                for j in range(length):
                    down[part, pad + j] += window[k] * derivatives[part, row + k - radius, j]
        for k in range(TAPS):
            for part in range(3):
                for j in range(length):
                    blurred[part, j] += window[k] * down[part, j + 3 * k]
        for j in range(length):
            a, b = x[row, j], y[row, j]
            sign = np.float32(a > b) - np.float32(a < b)
            of_ssim = blurred[0, j] + np.float32(2) * a * blurred[1, j] + b * blurred[2, j]
            gradient[row, j // 3, j % 3] = ((1 - lambda_dssim) * sign - lambda_dssim * of_ssim) / count
    total = sums.sum(axis=0) / count
    return (1 - lambda_dssim) * total[1] + lambda_dssim * (1 - total[0])


if __name__ == "__main__":
    tyro.cli(main)
