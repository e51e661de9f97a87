import numpy as np
import pytest

from gags.render.kernels import layout
from gags.render.kernels.layout import Scratch, aligned


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint8])
@pytest.mark.parametrize("size", [0, 1, 16, 1001])
def test_memory_starts_at_a_cache_line(size, dtype):
    array = aligned(size, dtype)
    assert array.shape == (size,)
    assert array.dtype == dtype
    assert array.ctypes.data % 64 == 0 or size == 0
    array[:] = 1  # all of it can be written
    assert array.sum() == size


def test_what_is_taken_again_is_the_same_memory():
    scratch = Scratch()
    first = scratch.take("a", 100)
    first[:] = np.arange(100)
    again = scratch.take("a", 80)
    assert np.shares_memory(first, again)
    assert again.tolist() == list(range(80))
    assert not np.shares_memory(first, scratch.take("b", 100))


def test_more_is_taken_anew_with_some_room():
    scratch = Scratch()
    small = scratch.take("a", 100, np.int32)
    large = scratch.take("a", 1000, np.int32)
    assert not np.shares_memory(small, large)
    assert len(large) == 1000
    assert np.shares_memory(large, scratch.take("a", 1200, np.int32))  # a quarter more was reserved
    assert np.shares_memory(large, scratch.take("a", 600, np.int64))


def test_what_is_very_large_is_not_kept(monkeypatch):
    monkeypatch.setattr(layout, "_MOST_KEPT", 1000)
    scratch = Scratch()
    large = scratch.take("a", 1000)
    assert len(large) == 1000
    assert not np.shares_memory(large, scratch.take("a", 1000))
