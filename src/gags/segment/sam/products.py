"""Products of small matrices over a block of positions, with vectors by hand: LLVM's own take twice the time.

All arrays are float32 and contiguous; two rows at a time meet four vectors, so that eight sums stay in
registers.
"""

import numpy as np

from gags.simd.cache import kernel
from gags.simd.memory import native_load, native_load_broadcast, store
from gags.simd.vectors import NATIVE_LANES

FAST = {"fastmath": True, "error_model": "numpy", "nogil": True}
BLOCK = 256  # positions at a time


@kernel(**FAST)
def _add_to_two_rows(
    out: np.ndarray, o: int, left: np.ndarray, p: int, first: int, inner: int, right: np.ndarray, r: int
) -> None:
    """A strip of two rows of `add_products`; places in the flat arrays, first column of `left`."""
    below = o + BLOCK
    a, b = native_load(out, o), native_load(out, o + NATIVE_LANES)
    c, d = native_load(out, o + 2 * NATIVE_LANES), native_load(out, o + 3 * NATIVE_LANES)
    e, f = native_load(out, below), native_load(out, below + NATIVE_LANES)
    g, h = native_load(out, below + 2 * NATIVE_LANES), native_load(out, below + 3 * NATIVE_LANES)
    for k in range(first, inner):
        q = r + k * BLOCK
        w, x = native_load(right, q), native_load(right, q + NATIVE_LANES)
        y, z = native_load(right, q + 2 * NATIVE_LANES), native_load(right, q + 3 * NATIVE_LANES)
        value = native_load_broadcast(left, p + k)
        a, b, c, d = a + value * w, b + value * x, c + value * y, d + value * z
        value = native_load_broadcast(left, p + inner + k)
        e, f, g, h = e + value * w, f + value * x, g + value * y, h + value * z
    store(out, o, a)
    store(out, o + NATIVE_LANES, b)
    store(out, o + 2 * NATIVE_LANES, c)
    store(out, o + 3 * NATIVE_LANES, d)
    store(out, below, e)
    store(out, below + NATIVE_LANES, f)
    store(out, below + 2 * NATIVE_LANES, g)
    store(out, below + 3 * NATIVE_LANES, h)


@kernel(**FAST)
def _add_to_row(
    out: np.ndarray, o: int, left: np.ndarray, p: int, inner: int, right: np.ndarray, r: int
) -> None:
    """A strip of one row of `add_products`."""
    a, b = native_load(out, o), native_load(out, o + NATIVE_LANES)
    c, d = native_load(out, o + 2 * NATIVE_LANES), native_load(out, o + 3 * NATIVE_LANES)
    for k in range(inner):
        q = r + k * BLOCK
        value = native_load_broadcast(left, p + k)
        a = a + value * native_load(right, q)
        b = b + value * native_load(right, q + NATIVE_LANES)
        c = c + value * native_load(right, q + 2 * NATIVE_LANES)
        d = d + value * native_load(right, q + 3 * NATIVE_LANES)
    store(out, o, a)
    store(out, o + NATIVE_LANES, b)
    store(out, o + 2 * NATIVE_LANES, c)
    store(out, o + 3 * NATIVE_LANES, d)


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
    a, b = native_load(out, o), native_load(out, o + NATIVE_LANES)
    c, d = native_load(out, o + 2 * NATIVE_LANES), native_load(out, o + 3 * NATIVE_LANES)
    e, f = native_load(out, below), native_load(out, below + NATIVE_LANES)
    g, h = native_load(out, below + 2 * NATIVE_LANES), native_load(out, below + 3 * NATIVE_LANES)
    for i in range(0, BLOCK, NATIVE_LANES):
        q = r + i
        w, x = native_load(right, q), native_load(right, q + BLOCK)
        y, z = native_load(right, q + 2 * BLOCK), native_load(right, q + 3 * BLOCK)
        value = native_load(left, p + i)
        a, b, c, d = a + value * w, b + value * x, c + value * y, d + value * z
        value = native_load(left, p + BLOCK + i)
        e, f, g, h = e + value * w, f + value * x, g + value * y, h + value * z
    store(out, o, a)
    store(out, o + NATIVE_LANES, b)
    store(out, o + 2 * NATIVE_LANES, c)
    store(out, o + 3 * NATIVE_LANES, d)
    store(out, below, e)
    store(out, below + NATIVE_LANES, f)
    store(out, below + 2 * NATIVE_LANES, g)
    store(out, below + 3 * NATIVE_LANES, h)


@kernel(**FAST)
def _sum_row(out: np.ndarray, o: int, left: np.ndarray, p: int, right: np.ndarray, r: int) -> None:
    """Four sums of one row of `add_sums`."""
    a, b = native_load(out, o), native_load(out, o + NATIVE_LANES)
    c, d = native_load(out, o + 2 * NATIVE_LANES), native_load(out, o + 3 * NATIVE_LANES)
    for i in range(0, BLOCK, NATIVE_LANES):
        q = r + i
        value = native_load(left, p + i)
        a = a + value * native_load(right, q)
        b = b + value * native_load(right, q + BLOCK)
        c = c + value * native_load(right, q + 2 * BLOCK)
        d = d + value * native_load(right, q + 3 * BLOCK)
    store(out, o, a)
    store(out, o + NATIVE_LANES, b)
    store(out, o + 2 * NATIVE_LANES, c)
    store(out, o + 3 * NATIVE_LANES, d)


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
