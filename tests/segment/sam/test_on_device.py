"""Masks that stay on a GPU: the same numbers as those of the kernels, and little that leaves the GPU."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gags.segment import suppress
from gags.segment.sam import on_device
from gags.segment.sam.on_device import DeviceMasks, cut, measure, measure_resized
from gags.segment.segmenter import PromptedMasks


def some_logits(seed: int, count: int = 12, height: int = 21, width: int = 32) -> np.ndarray:
    """Smooth blobs of any size, some empty, some that fill everything, one of a single cell."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(count, height, width)).astype(np.float32)
    smooth = np.stack([cv2.GaussianBlur(part, (0, 0), rng.uniform(0.5, 6)) for part in noise])
    logits = smooth / smooth.std((1, 2), keepdims=True) * 4 + rng.uniform(-9, 9, (count, 1, 1))
    logits[0] = -3
    logits[-1] = 5
    if count > 2:
        logits[1] = -3
        logits[1, rng.integers(height), rng.integers(width)] = 2
    return logits.astype(np.float32)


@given(seed=st.integers(0, 2**32 - 1), offset=st.sampled_from([0.0, 0.1, 1.0, 2.5]))
@settings(deadline=None, max_examples=60)
def test_measures_on_the_grid_are_those_of_the_kernel(seed: int, offset: float) -> None:
    logits = some_logits(seed)
    for found, expected in zip(
        measure(torch.from_numpy(logits), offset), suppress.measure(logits, offset), strict=True
    ):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


@given(
    seed=st.integers(0, 2**32 - 1),
    extent=st.sampled_from([(32.0, 21.0), (31.3, 20.4), (32.0, 20.01)]),
    size=st.sampled_from([(97, 61), (20, 13), (32, 21), (200, 140)]),
)
@settings(deadline=None, max_examples=60)
def test_measures_at_the_photos_size_are_those_of_the_kernel(
    seed: int, extent: tuple[float, float], size: tuple[int, int]
) -> None:
    """To the last digit: on a CPU, both compute every pixel in the same order."""
    logits = some_logits(seed)
    wanted = np.random.default_rng(seed).random(len(logits)) < 0.7
    expected = suppress.measure_resized(logits, wanted, 1.0, extent, *size)
    found = measure_resized(
        torch.from_numpy(logits), wanted, offset=1.0, extent=extent, width=size[0], height=size[1]
    )
    for part, other in zip(found, expected, strict=True):
        assert part.dtype == other.dtype
        np.testing.assert_array_equal(part, other)


def test_some_masks_at_a_time_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.from_numpy(some_logits(0))
    options = {"offset": 1.0, "extent": (32.0, 21.0), "width": 97, "height": 61}
    together = measure_resized(logits, np.ones(12, bool), **options)
    sizes: list[int] = []
    resize = on_device._resized
    monkeypatch.setattr(
        on_device, "_resized", lambda part, *args: sizes.append(len(part)) or resize(part, *args)
    )
    monkeypatch.setattr(on_device, "RESIZED_BYTES", on_device.COPIES * 4 * 97 * 61 * 5)
    apart = measure_resized(logits, np.ones(12, bool), **options)
    assert sizes == [5, 5, 2]
    for part, other in zip(apart, together, strict=True):
        np.testing.assert_array_equal(part, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_half_precision_is_measured_in_single(dtype: torch.dtype) -> None:
    """An offset that half precision has no number for must not be rounded to one."""
    logits = torch.from_numpy(some_logits(3)).to(dtype)
    for offset in (0.1, 1.0):
        found, expected = measure(logits, offset), suppress.measure(logits.float().numpy(), offset)
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 6))
@settings(deadline=None, max_examples=40)
def test_windows_are_cut_as_from_an_array(seed: int, count: int) -> None:
    """Also empty ones, and those at the edge of the grid."""
    rng = np.random.default_rng(seed)
    logits = some_logits(seed)
    rows = rng.integers(0, len(logits), count)
    first = rng.integers(0, (32, 21), (count, 2))
    windows = np.concatenate([first, rng.integers(first, (33, 22), (count, 2))], 1)
    found = cut(torch.from_numpy(logits), rows, windows)
    assert len(found) == count
    for part, row, (x1, y1, x2, y2) in zip(found, rows, windows, strict=True):
        assert part.dtype == np.float16
        np.testing.assert_array_equal(part, logits[row, y1:y2, x1:x2].astype(np.float16))


def test_a_window_is_the_box_and_a_cell_around_it() -> None:
    logits = some_logits(0)
    masks = PromptedMasks(logits, *(np.zeros(12) for _ in range(3)), (31.5, 20.2))
    corners, cut_out = masks.cut(np.array([4, 7]), np.array([[3, 5, 9, 6], [0, 10, 32, 21]]))
    assert corners.tolist() == [[2, 4], [0, 9]]
    np.testing.assert_array_equal(cut_out[0], logits[4, 4:7, 2:10].astype(np.float16))
    np.testing.assert_array_equal(cut_out[1], logits[7, 9:21, 0:32].astype(np.float16))


def test_masks_on_a_device_are_prompted_masks() -> None:
    """Whoever asks for all logits gets them, in single precision; nobody else makes them leave."""
    logits = some_logits(1)
    told = np.ones(12, np.float32), np.zeros(12, np.int8), np.arange(12, dtype=np.int32)
    masks = DeviceMasks(torch.from_numpy(logits).half(), *told, (31.5, 20.5))
    plain = PromptedMasks(logits.astype(np.float16).astype(np.float32), *told, (31.5, 20.5))
    rows, boxes = np.array([2, 11, 2]), np.array([[1, 2, 30, 9], [0, 0, 32, 21], [0, 0, 0, 0]])
    cells = np.random.default_rng(0).integers(0, (32, 21), (9, 2))
    size = {"offset": 1.0, "width": 97, "height": 61}
    for found, expected in (
        (masks.measure(1.0), plain.measure(1.0)),
        (masks.measure_resized(told[2] % 2 == 0, **size), plain.measure_resized(told[2] % 2 == 0, **size)),
        (masks.cut(rows, boxes)[1], plain.cut(rows, boxes)[1]),
        (masks.cut(rows, boxes)[0], plain.cut(rows, boxes)[0]),
        (masks.holds(rows, cells), plain.holds(rows, cells)),
    ):
        for part, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(part, other)
    assert masks.holds(rows, cells).shape == (3, 9)
    assert 0 < masks.holds(rows, cells)[0].sum() < 9
    assert "logits" not in vars(masks)
    assert masks.logits.dtype == np.float32
    np.testing.assert_array_equal(masks.logits, plain.logits)
    assert (masks.extent, masks.ious[0], masks.prompts[3]) == ((31.5, 20.5), 1, 3)


def test_no_masks() -> None:
    nothing = torch.empty(0, 21, 32)
    for found in (
        measure(nothing, 1.0),
        measure_resized(nothing, np.zeros(0, bool), offset=1.0, extent=(32, 21), width=9, height=9),
    ):
        assert found[0].shape == (0,)
        assert found[1].shape == (0, 4)
    assert cut(nothing, np.zeros(0, int), np.zeros((0, 4), int)) == []


@pytest.mark.gpu
def test_a_gpu_measures_as_the_kernels_do() -> None:
    logits = some_logits(5, count=40, height=192, width=256)
    there = torch.from_numpy(logits).cuda()
    found, expected = measure(there, 1.0), suppress.measure(logits, 1.0)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])
    wanted = np.ones(40, bool)
    found = measure_resized(there, wanted, offset=1.0, extent=(256.0, 192.0), width=1440, height=1080)
    expected = suppress.measure_resized(logits, wanted, 1.0, (256.0, 192.0), 1440, 1080)
    np.testing.assert_allclose(found[0], expected[0], atol=1e-5)  # pixels at the threshold, by rounding
    assert np.abs(found[1] - expected[1]).max() <= 1
    windows = np.tile([[3, 5, 100, 90]], (40, 1))
    rows = np.arange(40)
    for part, row in zip(cut(there, rows, windows), rows, strict=True):
        np.testing.assert_array_equal(part, logits[row, 5:90, 3:100].astype(np.float16))
