"""Loads and stores of vectors beside NumPy's indexing."""

import numpy as np
from numba import njit, prange

from gags.simd.memory import (
    exp2_by_table,
    fetch_add,
    gather,
    horizontal_sums,
    load,
    load_broadcast,
    load_strided,
    native_load,
    native_load_broadcast,
    native_load_strided,
    native_load_triples,
    prefetch,
    scatter,
    store,
    store_strided,
    store_triples,
)
from gags.simd.vectors import EXP2_NUMBERS, LANES, NATIVE_LANES, exp2, native_broadcast

NUMBERS = np.random.default_rng(0).normal(size=400).astype(np.float32)


@njit
def loads(array, out):
    store(out, 0, load(array, 3))
    store(out, LANES, load_broadcast(array, 7))
    store(out, 2 * LANES, load_strided(array, 5, 11))


def test_loads():
    out = np.empty((3, LANES), np.float32)
    loads(NUMBERS, out.reshape(-1))
    x = NUMBERS
    np.testing.assert_array_equal(out, [x[3:19], np.full(LANES, x[7]), x[5 : 5 + 11 * LANES : 11]])


@njit
def native_loads(array, out):
    store(out, 0, native_load(array, 3))
    store(out, NATIVE_LANES, native_load_broadcast(array, 7))
    store(out, 2 * NATIVE_LANES, native_load_strided(array, 5, 11))
    a, b, c = native_load_triples(array, 2)
    store(out, 3 * NATIVE_LANES, a)
    store(out, 4 * NATIVE_LANES, b)
    store(out, 5 * NATIVE_LANES, c)


def test_native_loads():
    out = np.empty((6, NATIVE_LANES), np.float32)
    native_loads(NUMBERS, out.reshape(-1))
    x, n = NUMBERS, NATIVE_LANES
    expected = [x[3 : 3 + n], np.full(n, x[7]), x[5 : 5 + 11 * n : 11]]
    expected += [x[k : k + 3 * n : 3] for k in (2, 3, 4)]
    np.testing.assert_array_equal(out, expected)


@njit
def powers_both_ways(array, table, out):
    for k in range(len(EXP2_NUMBERS)):
        store(table, k * NATIVE_LANES, native_broadcast(EXP2_NUMBERS[k]))
    store(out, 0, exp2(native_load(array, 0)))
    store(out, NATIVE_LANES, exp2_by_table(native_load(array, 0), table, 0))


def test_exp2_is_the_same_with_constants_from_memory():
    x = np.random.default_rng(0).uniform(-126, 127, NATIVE_LANES).astype(np.float32)
    out = np.empty((2, NATIVE_LANES), np.float32)
    powers_both_ways(x, np.empty(len(EXP2_NUMBERS) * NATIVE_LANES, np.float32), out.reshape(-1))
    np.testing.assert_array_equal(out[0], out[1])
    np.testing.assert_allclose(out[0], np.exp2(x.astype(np.float64)), rtol=4e-7)


@njit
def stores(array, out):
    store_strided(out, 1, 7, load(array, 0))
    store_triples(out, 200, load(array, 16), load(array, 32), load(array, 48))
    store_triples(out, 300, native_load(array, 16), native_load(array, 32), native_load(array, 48))


def test_stores_touch_nothing_else():
    out = np.full(400, -9, np.float32)
    stores(NUMBERS, out)
    expected = np.full(400, -9, np.float32)
    expected[1 : 1 + 7 * LANES : 7] = NUMBERS[:LANES]
    expected[200:248] = NUMBERS[16:64].reshape(3, LANES).T.reshape(-1)
    expected[300 : 300 + 3 * NATIVE_LANES] = NUMBERS[16:64].reshape(3, 16)[:, :NATIVE_LANES].T.reshape(-1)
    np.testing.assert_array_equal(out, expected)


@njit
def by_rows(array, rows, start, stride, offset, out):
    scatter(out, rows, start, stride, offset, gather(array, rows, start, stride, offset))


def test_gather_and_scatter_by_rows():
    table = NUMBERS.reshape(100, 4)
    rows = np.random.default_rng(1).permutation(100).astype(np.int32)
    out = np.zeros_like(table)
    by_rows(NUMBERS, rows, 32, 4, 2, out.reshape(-1))
    expected = np.zeros_like(table)
    chosen = rows[32:48]
    expected[chosen, 2] = table[chosen, 2]
    np.testing.assert_array_equal(out, expected)


@njit
def sums(array, index, out):
    store(out, 0, horizontal_sums(array, index))


def test_horizontal_sums():
    out = np.empty(LANES, np.float32)
    sums(NUMBERS, 5, out)
    expected = NUMBERS[5 : 5 + LANES * LANES].astype(np.float64).reshape(LANES, LANES).sum(axis=1)
    np.testing.assert_allclose(out, expected, atol=1e-5)


@njit(parallel=True)
def take_all(todo, count, taken):
    for _ in prange(8):
        while True:
            number = fetch_add(todo, 0, 1)
            if number >= count:
                break
            taken[number] += 1


def test_threads_share_out_every_number_once():
    todo, taken = np.zeros(1, np.int64), np.zeros(50_000, np.int64)
    take_all(todo, len(taken), taken)
    assert (taken == 1).all()
    assert todo[0] >= len(taken)


@njit
def sum_with_prefetch(array):
    total = 0.0
    for i in range(len(array)):
        prefetch(array, i + 1000)  # beyond the end, too
        total += array[i]
    return total


def test_prefetch_changes_nothing():
    assert np.isclose(sum_with_prefetch(NUMBERS), NUMBERS.astype(np.float64).sum(), atol=1e-6)
