"""The frozen protocol against a slow, literal implementation."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gags.query import lerf_ovs
from gags.query.answers import fill_uncovered


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


def random_map(height: int, width: int, seed: int) -> np.ndarray:
    """Smooth hills with noise, in [0, 1]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    hills = sum(
        rng.random() * np.exp(-((x - rng.random() * width) ** 2 + (y - rng.random() * height) ** 2) / 300)
        for _ in range(4)
    )
    return np.clip(0.3 + 0.4 * hills + 0.05 * rng.random((height, width)), 0, 1).astype(np.float32)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 99))
def test_means_are_those_of_arrays_at_every_size(height: int, width: int, seed: int) -> None:
    values = random_map(height, width, seed)
    found = lerf_ovs.smooth_tensor(torch.from_numpy(values)).numpy()
    np.testing.assert_allclose(found, lerf_ovs.smooth(values), atol=2e-6)


@pytest.mark.parametrize("seed", range(8))
def test_peak_and_mask_are_those_of_arrays(seed: int) -> None:
    values = random_map(97, 130, seed)
    there = torch.from_numpy(values)
    assert int(lerf_ovs.smooth_tensor(there).argmax()) == int(lerf_ovs.smooth(values).argmax())
    mask, threshold = lerf_ovs.cut_by(there, lerf_ovs.smooth_tensor, lerf_ovs.majority_tensor)
    expected, known_threshold = lerf_ovs.cut(values)
    assert threshold == pytest.approx(known_threshold, abs=1e-6)
    assert 0 < expected.sum() < expected.size
    assert (mask.numpy() != expected).mean() < 1e-3  # values at the threshold may fall either way


def test_votes_are_exact() -> None:
    mask = np.random.default_rng(0).random((40, 57)) < 0.5
    expected = lerf_ovs.majority(mask)
    np.testing.assert_array_equal(lerf_ovs.majority_tensor(torch.from_numpy(mask)).numpy(), expected)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
@pytest.mark.parametrize(("height", "width"), [(40, 57), (3, 9), (1, 8), (8, 1), (1, 1), (2, 2)])
def test_last_row_and_column_do_not_vote_in_the_inner_vote(share: float, height: int, width: int) -> None:
    mask = np.random.default_rng(height).random((height, width)) < share
    expected = np.zeros_like(mask)
    for i in range(height):
        for j in range(width):
            window = mask[max(0, i - 3) : min(i + 4, height - 1), max(0, j - 3) : min(j + 4, width - 1)]
            expected[i, j] = window.sum() > window.size - window.sum()
    np.testing.assert_array_equal(lerf_ovs.majority_inner(mask), expected)
    found = lerf_ovs.majority_inner_tensor(torch.from_numpy(mask)).numpy()
    np.testing.assert_array_equal(found, expected)
    if share == 0.5 and height == 40:
        assert (expected != lerf_ovs.majority(mask)).any()


def test_cut_takes_the_vote_it_is_told() -> None:
    values = np.zeros((60, 80), np.float32)
    values[-3:] = 1  # row 58 has 3 of its 5 rows, but without the last row only 2 of 4
    tensor = torch.from_numpy(values)
    inner, threshold = lerf_ovs.cut(values, "inner")
    assert threshold == lerf_ovs.cut(values)[1]
    np.testing.assert_array_equal(lerf_ovs.cut(tensor, "inner")[0].numpy(), inner)
    whole = lerf_ovs.cut(values, "whole")[0]
    assert whole[58].all()
    assert not inner[58].any()
    assert inner[59].all()  # 2 of 3
    np.testing.assert_array_equal(whole, lerf_ovs.mask(values))
    there, _ = lerf_ovs.cut_by(tensor, lerf_ovs.smooth_tensor, lerf_ovs.majority_inner_tensor)
    np.testing.assert_array_equal(there.numpy(), inner)


def test_the_first_of_equal_levels_is_taken() -> None:
    values = random_map(40, 50, 2)
    for rule in (lerf_ovs.level_for_mask, lerf_ovs.level_for_peak):
        assert rule([values, values, values]) == 0
        assert rule([0.5 * values, values, values]) == 1
        assert rule([torch.from_numpy(each) for each in (values, 0.5 * values, 1.5 * values)]) == 2


def test_tensors_on_the_cpu_go_the_way_of_arrays() -> None:
    values = random_map(60, 80, 1)
    tensor = torch.from_numpy(values)
    assert lerf_ovs.peak(tensor) == lerf_ovs.peak(values)
    np.testing.assert_array_equal(lerf_ovs.mask(tensor).numpy(), lerf_ovs.mask(values))
    np.testing.assert_array_equal(lerf_ovs.smooth(tensor).numpy(), lerf_ovs.smooth(values))


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ([True, True, True], [0.5, 0.2, 0.7]),
        ([True, False, True], [0.5, 0.5, 0.7]),
        ([False, False, False], [0.5, 0.2, 0.7]),
    ],
)
def test_unknown_pixels_take_the_least_of_the_known(known: list[bool], expected: list[float]) -> None:
    filled = fill_uncovered(torch.tensor([[0.5, 0.2, 0.7]]), torch.tensor([known]))
    assert filled[0].tolist() == pytest.approx(expected)


@pytest.mark.gpu
def test_a_gpu_s_map_stays_there() -> None:
    values = random_map(540, 960, 3)
    there = torch.from_numpy(values).cuda()
    mask, threshold = lerf_ovs.cut(there)
    assert mask.is_cuda
    assert threshold == pytest.approx(lerf_ovs.cut(values)[1], abs=1e-6)
    assert (mask.cpu().numpy() != lerf_ovs.mask(values)).mean() < 1e-3
    assert lerf_ovs.peak(there) == lerf_ovs.peak(values)
