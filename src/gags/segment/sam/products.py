"""Products of small matrices over a block of positions, with vectors by hand: LLVM's own take twice the time.

All arrays are float32 and contiguous; two rows at a time meet four vectors, so that eight sums stay in
registers.
"""

import numpy as np

from gags.simd.cache import kernel
from gags.simd.memory import native_load, native_load_broadcast, store
from gags.simd.vectors import NATIVE_LANES, Vector

FAST = {"fastmath": True, "error_model": "numpy", "nogil": True}
BLOCK = 256  # positions at a time


@kernel(**FAST)
def _four(array: np.ndarray, at: int, step: int = NATIVE_LANES) -> tuple[Vector, Vector, Vector, Vector]:
    """Four vectors, so many numbers apart."""
    return (
        native_load(array, at),
        native_load(array, at + step),
        native_load(array, at + 2 * step),
        native_load(array, at + 3 * step),
    )


@kernel(**FAST)
def _keep(array: np.ndarray, at: int, a: Vector, b: Vector, c: Vector, d: Vector) -> None:
    """Store four vectors, one after the other."""
    store(array, at, a)
    store(array, at + NATIVE_LANES, b)
    store(array, at + 2 * NATIVE_LANES, c)
    store(array, at + 3 * NATIVE_LANES, d)


@kernel(**FAST)
def _add_to_two_rows(
    out: np.ndarray, o: int, left: np.ndarray, p: int, first: int, inner: int, right: np.ndarray, r: int
) -> None:
    """A strip of two rows of `add_products`; places in the flat arrays, first column of `left`."""
    below = o + BLOCK
    a, b, c, d = _four(out, o)
    e, f, g, h = _four(out, below)
    for k in range(first, inner):
        w, x, y, z = _four(right, r + k * BLOCK)
        value = native_load_broadcast(left, p + k)
        a, b, c, d = a + value * w, b + value * x, c + value * y, d + value * z
        value = native_load_broadcast(left, p + inner + k)
        e, f, g, h = e + value * w, f + value * x, g + value * y, h + value * z
    _keep(out, o, a, b, c, d)
    _keep(out, below, e, f, g, h)


@kernel(**FAST)
def _add_to_row(
    out: np.ndarray, o: int, left: np.ndarray, p: int, inner: int, right: np.ndarray, r: int
) -> None:
    """A strip of one row of `add_products`."""
    a, b, c, d = _four(out, o)
    for k in range(inner):
        w, x, y, z = _four(right, r + k * BLOCK)
        value = native_load_broadcast(left, p + k)
        a, b, c, d = a + value * w, b + value * x, c + value * y, d + value * z
    _keep(out, o, a, b, c, d)


@kernel(**FAST)
def add_products(
    out: np.ndarray, left: np.ndarray, right: np.ndarray, start: int = 0, upper: bool = False
) -> None:
    """out += left · right.

    Args:
        out: [M, 256]
        left: [M, K]
        right: [K, 256], after other numbers
        start: Place of its first number.
        upper: Of `left`, what lies left of the diagonal is zero.
    """
    rows, inner = left.shape
    for i in range(0, BLOCK, 4 * NATIVE_LANES):
        for m in range(0, rows - 1, 2):
            first = m if upper else 0
            _add_to_two_rows(out, BLOCK * m + i, left, inner * m, first, inner, right, start + i)
        if rows % 2:
            last = rows - 1
            _add_to_row(out, BLOCK * last + i, left, inner * last, inner, right, start + i)


@kernel(**FAST)
def _sum_two_rows(
    out: np.ndarray, o: int, inner: int, left: np.ndarray, p: int, right: np.ndarray, r: int
) -> None:
    """Four sums of each of two rows of `add_sums`; places in the flat arrays."""
    below = o + inner * NATIVE_LANES
    a, b, c, d = _four(out, o)
    e, f, g, h = _four(out, below)
    for i in range(0, BLOCK, NATIVE_LANES):
        w, x, y, z = _four(right, r + i, BLOCK)
        value = native_load(left, p + i)
        a, b, c, d = a + value * w, b + value * x, c + value * y, d + value * z
        value = native_load(left, p + BLOCK + i)
        e, f, g, h = e + value * w, f + value * x, g + value * y, h + value * z
    _keep(out, o, a, b, c, d)
    _keep(out, below, e, f, g, h)


@kernel(**FAST)
def _sum_row(out: np.ndarray, o: int, left: np.ndarray, p: int, right: np.ndarray, r: int) -> None:
    """Four sums of one row of `add_sums`."""
    a, b, c, d = _four(out, o)
    for i in range(0, BLOCK, NATIVE_LANES):
        w, x, y, z = _four(right, r + i, BLOCK)
        value = native_load(left, p + i)
        a, b, c, d = a + value * w, b + value * x, c + value * y, d + value * z
    _keep(out, o, a, b, c, d)


@kernel(**FAST)
def add_sums(out: np.ndarray, left: np.ndarray, right: np.ndarray, start: int = 0) -> None:
    """out += left · rightᵀ, each sum in as many parts as a vector has lanes.

    Args:
        out: [M, K, lanes], K a multiple of 4
        left: [M, 256]
        right: [K, 256], after other numbers
        start: Place of its first number.
    """
    rows, inner, lanes = out.shape
    for k in range(0, inner, 4):  # four rows of `right` stay in the first-level cache
        place = start + k * BLOCK
        for m in range(0, rows - 1, 2):
            _sum_two_rows(out, (m * inner + k) * lanes, inner, left, BLOCK * m, right, place)
        if rows % 2:
            last = rows - 1
            _sum_row(out, (last * inner + k) * lanes, left, BLOCK * last, right, place)
