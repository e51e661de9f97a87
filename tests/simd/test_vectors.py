"""Every function on vectors beside NumPy, lane by lane."""

import numpy as np
import pytest
from numba import njit
from numba.core.errors import TypingError

from gags.simd.memory import load, native_load, store
from gags.simd.vectors import (
    LANES,
    NATIVE_LANES,
    any_lane,
    bits_between,
    broadcast,
    broadcast_bits,
    ceil,
    exp2,
    floor,
    lane_indices,
    log2,
    maximum,
    minimum,
    native_broadcast,
    native_lane_indices,
    native_lanes,
    neg_abs,
    select,
    sqrt,
    trailing_zeros,
    unlikely,
)

A = np.linspace(-3.7, 4.3, LANES, dtype=np.float32)
B = np.roll(A, 5)
B[3] = A[3]  # one lane where neither is larger


@njit
def arithmetic(a, b, out):
    x, y = load(a, 0), load(b, 0)
    store(out, 0, x + y)
    store(out, LANES, x - y)
    store(out, 2 * LANES, x * y)
    store(out, 3 * LANES, x / y)
    store(out, 4 * LANES, 2.0 - x)
    store(out, 5 * LANES, x * 3)
    total = broadcast(1.0)
    total += x
    total *= y
    total -= 0.5
    total /= 4.0
    store(out, 6 * LANES, total)


def test_arithmetic_also_with_plain_numbers():
    out = np.empty((7, LANES), np.float32)
    arithmetic(A, B, out.reshape(-1))
    expected = [A + B, A - B, A * B, A / B, 2 - A, A * 3, ((1 + A) * B - 0.5) / 4]
    np.testing.assert_allclose(out, expected, rtol=1e-6, atol=1e-6)


@njit
def comparisons(a, b, out):
    x, y = load(a, 0), load(b, 0)
    one, zero = broadcast(1.0), broadcast(0.0)
    store(out, 0, select(x > y, one, zero))
    store(out, LANES, select(x >= y, one, zero))
    store(out, 2 * LANES, select(x < y, one, zero))
    store(out, 3 * LANES, select(x <= y, one, zero))
    store(out, 4 * LANES, select((x > y) & (x > 0.0), one, zero))


def test_comparisons():
    out = np.empty((5, LANES), np.float32)
    comparisons(A, B, out.reshape(-1))
    np.testing.assert_array_equal(out, [A > B, A >= B, A < B, A <= B, (A > B) & (A > 0)])


def test_nothing_compares_with_nan():
    a = A.copy()
    a[7] = np.nan
    out = np.empty((5, LANES), np.float32)
    comparisons(a, B, out.reshape(-1))
    assert not out[:, 7].any()


@njit
def functions(a, b, out):
    x, y = load(a, 0), load(b, 0)
    store(out, 0, minimum(x, y))
    store(out, LANES, maximum(x, y))
    store(out, 2 * LANES, ceil(x))
    store(out, 3 * LANES, floor(x))
    store(out, 4 * LANES, neg_abs(x))
    store(out, 5 * LANES, sqrt(x * x))
    store(out, 6 * LANES, lane_indices())
    store(out, 7 * LANES, broadcast(2.5))


def test_functions():
    out = np.empty((8, LANES), np.float32)
    functions(A, B, out.reshape(-1))
    expected = [np.minimum(A, B), np.maximum(A, B), np.ceil(A), np.floor(A), -np.abs(A), np.abs(A)]
    expected += [np.arange(LANES), np.full(LANES, 2.5)]
    np.testing.assert_allclose(out, np.array(expected, np.float32), rtol=1e-7)


@njit
def powers(x, out):
    store(out, 0, exp2(load(x, 0)))


@njit
def logarithms(x, out):
    store(out, 0, log2(load(x, 0)))


def lane_by_lane(function, values: np.ndarray) -> np.ndarray:
    out = np.empty_like(values)
    for start in range(0, len(values), LANES):
        function(values[start : start + LANES], out[start : start + LANES])
    return out


def test_exp2_is_exact_to_a_few_units_of_the_last_place():
    x = np.random.default_rng(0).uniform(-126, 127, 64 * LANES).astype(np.float32)
    x[:5] = (-126, 127, 0, 0.5, -0.5)
    expected = np.exp2(x.astype(np.float64))
    np.testing.assert_allclose(lane_by_lane(powers, x), expected, rtol=4e-7)
    whole = np.arange(-126, 114, dtype=np.float32)
    np.testing.assert_array_equal(lane_by_lane(powers, whole), np.exp2(whole))


def test_log2_of_normal_numbers():
    rng = np.random.default_rng(1)
    x = np.exp2(rng.uniform(-126, 127, 64 * LANES)).astype(np.float32)
    x[:3] = (1.0, 0.5, np.float32(1) - np.float32(2**-24))
    expected = np.log2(x.astype(np.float64))
    np.testing.assert_allclose(lane_by_lane(logarithms, x), expected, rtol=3e-7, atol=2e-7)


@njit
def any_above(a, limit):
    return any_lane(load(a, 0) > limit)


@pytest.mark.parametrize(("limit", "expected"), [(A.max() - 0.1, True), (A.max(), False), (-10.0, True)])
def test_any_lane(limit, expected):
    assert any_above(A, limit) == expected


@njit
def bits_in_lanes(number, out):
    store(out, 0, broadcast_bits(np.int32(number)))


def test_integers_pass_through_lanes_unchanged():
    out = np.empty(LANES, np.float32)
    for number in (-1, 0, 7, 2_000_000_000):
        bits_in_lanes(number, out)
        assert (out.view(np.int32) == number).all()


@njit
def native_arithmetic(a, out):
    x = native_load(a, 0)
    store(out, 0, 2.0 * x - native_lane_indices())
    store(out, NATIVE_LANES, select(x > 0.0, maximum(x, native_broadcast(1.5)), 0.0))


def test_native_vectors_compute_as_the_others():
    out = np.empty((2, NATIVE_LANES), np.float32)
    native_arithmetic(A, out.reshape(-1))
    a = A[:NATIVE_LANES]
    expected = [2 * a - np.arange(NATIVE_LANES), np.where(a > 0, np.maximum(a, 1.5), 0)]
    np.testing.assert_allclose(out, expected, rtol=1e-6)


def test_lanes_of_a_register():
    assert native_lanes("+sse2,+avx2,-avx512f,+avx512fp16") == 8
    assert native_lanes("+avx2,+avx512f") == 16
    assert native_lanes("") == 8


@njit
def bits_of(first, last, out):
    store(out, 0, bits_between(load(first, 0), load(last, 0)))


def test_bits_from_one_number_to_another():
    first = np.array([0, 0, 0, 31, 5, 5, 6, 7, 30, 0, 12, 1, 40, 0, 2, 3], np.float32)
    last = np.array([31, 0, 30, 31, 9, 5, 5, 31, 31, -1, -300, 2, 31, 16, 1, 3], np.float32)
    out = np.empty(LANES, np.float32)
    bits_of(first, last, out)
    expected = [
        sum(1 << row for row in range(int(low), int(high) + 1)) for low, high in zip(first, last, strict=True)
    ]
    assert out.view(np.uint32).tolist() == expected


def test_vectors_of_two_widths_do_not_mix():
    @njit
    def wrong(a):
        return load(a, 0) + native_load(a, 0)

    if NATIVE_LANES != LANES:
        with pytest.raises(TypingError, match="No implementation"):
            wrong(A)


@njit
def positions(bits):
    found = []
    while bits != 0:
        found.append(trailing_zeros(bits))
        bits &= bits - 1
        if len(found) > 64:
            unlikely()
            break
    return found


def test_positions_of_set_bits():
    assert positions(np.int64(0b1001_0110)) == [1, 2, 4, 7]
    assert positions(np.int64(-(2**63))) == [63]


def test_a_vector_is_no_operand_of_other_types():
    @njit
    def wrong(a):
        return load(a, 0) + a

    with pytest.raises(TypingError, match="No implementation"):
        wrong(A)
