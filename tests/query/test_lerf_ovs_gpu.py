"""The protocol on a GPU's maps, in PyTorch, beside that of arrays; here on the CPU."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gags.query import lerf_ovs, lerf_ovs_gpu
from gags.query.answers import fill_uncovered


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
    found = lerf_ovs_gpu.smooth(torch.from_numpy(values)).numpy()
    np.testing.assert_allclose(found, lerf_ovs.smooth(values), atol=2e-6)


@pytest.mark.parametrize("seed", range(8))
def test_peak_and_mask_are_those_of_arrays(seed: int) -> None:
    values = random_map(97, 130, seed)
    assert lerf_ovs_gpu.peak(torch.from_numpy(values)) == lerf_ovs.peak(values)
    mask, threshold = lerf_ovs_gpu.cut(torch.from_numpy(values))
    expected, known_threshold = lerf_ovs.cut(values)
    assert threshold == pytest.approx(known_threshold, abs=1e-6)
    assert 0 < expected.sum() < expected.size
    assert (mask.numpy() != expected).mean() < 1e-3  # values at the threshold may fall either way


def test_votes_are_exact() -> None:
    mask = np.random.default_rng(0).random((40, 57)) < 0.5
    expected = lerf_ovs.majority(mask)
    np.testing.assert_array_equal(lerf_ovs_gpu.majority(torch.from_numpy(mask)).numpy(), expected)


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
