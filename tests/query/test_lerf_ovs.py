"""The frozen protocol against a slow, literal implementation."""

import numpy as np
import pytest

from gags.query import lerf_ovs


def slow_mean(values: np.ndarray, size: int) -> np.ndarray:
    """Mean over size × size px, the window reaching size // 2 up and left; mirrored, edge once."""
    before, after = size // 2, size - 1 - size // 2
    padded = np.pad(values.astype(np.float64), (before, after), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size))
    return windows.mean(axis=(2, 3))


@pytest.fixture
def relevancy() -> np.ndarray:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:80, :110]
    bump = np.exp(-((x - 70) ** 2 + (y - 30) ** 2) / 500)
    return (0.3 + 0.5 * bump + 0.05 * rng.random((80, 110))).astype(np.float32)


def test_smoothing_is_a_30_px_mean(relevancy):
    np.testing.assert_allclose(lerf_ovs.smooth(relevancy), slow_mean(relevancy, 30), atol=1e-5)


def test_peak_is_the_maximum_of_the_smoothed_map(relevancy):
    relevancy[5, 5] = 1.0  # a single bright pixel is no peak
    row, column = np.unravel_index(slow_mean(relevancy, 30).argmax(), relevancy.shape)
    assert lerf_ovs.peak(relevancy) == (column, row)
    assert abs(column - 70) <= 2
    assert abs(row - 30) <= 2


def test_mask_follows_the_formula(relevancy):
    blended = 0.5 * (relevancy + slow_mean(relevancy, 30))
    above = blended - blended.min()
    chosen = np.clip(2 * above / (above.max() + 1e-9) - 1, 0, 1) > 0.4
    expected = np.zeros_like(chosen)
    for row in range(80):
        for column in range(110):
            window = chosen[max(0, row - 3) : row + 4, max(0, column - 3) : column + 4]
            expected[row, column] = 2 * window.sum() > window.size
    np.testing.assert_array_equal(lerf_ovs.mask(relevancy), expected)
    assert expected.sum() > 100


def test_threshold_is_the_value_the_smoothed_map_is_cut_at(relevancy):
    blended = 0.5 * (relevancy + slow_mean(relevancy, 30))
    mask, threshold = lerf_ovs.cut(relevancy)
    low, high = blended.min(), blended.max()
    assert threshold == pytest.approx(low + 0.7 * (high - low), abs=1e-5)
    np.testing.assert_array_equal(mask, lerf_ovs.mask(relevancy))


def test_a_flat_map_has_an_empty_mask():
    assert not lerf_ovs.mask(np.full((40, 40), 0.5, np.float32)).any()
