import math

import numpy as np
import pytest
import torch
from tests.helpers.scenes import coloured_balls, orbit_camera

from gags.errors import CaptureError
from gags.gaussians import Gaussians
from gags.reconstruct import density
from gags.reconstruct.density import (
    Densifier,
    floating,
    floating_torch,
    nearest_depths,
    split,
    strongest_weights,
)
from gags.reconstruct.settings import ReconstructSettings
from gags.reconstruct.state import TrainingState, join

SETTINGS = ReconstructSettings(
    steps=1000,
    densify_from=100,
    densify_every=100,
    densify_until=0.5,
    max_gaussians=100,
    densify_gradient=1.0,
)


def test_split_halves_lie_along_the_longest_axis():
    half = math.sqrt(0.5)
    gaussians = Gaussians(
        means=torch.tensor([[1.0, 2, 3], [0, 0, 0]]),
        quats=torch.tensor([[half, 0, 0, half], [1, 0, 0, 0]]),  # local x points along world y
        log_scales=torch.tensor([[0.0, -2, -3], [-1, -1, -1]]),
        logit_opacities=torch.tensor([0.3, 0.4]),
        sh=torch.tensor([[[1.0, 2, 3]], [[4, 5, 6]]]),
    )
    state = TrainingState.begin(gaussians)
    state.first.means += 7

    split(state, torch.tensor([0]))

    assert len(state) == 3
    first, untouched, second = state.gaussians.means
    torch.testing.assert_close((first + second) / 2, torch.tensor([1.0, 2, 3]))
    torch.testing.assert_close((first - second)[[0, 2]], torch.zeros(2), atol=1e-6, rtol=0)
    assert (first - second)[1].abs() == pytest.approx(1.0)  # half a standard deviation to either side
    assert untouched.tolist() == [0, 0, 0]
    assert (state.gaussians.log_scales[[0, 2]] < torch.tensor([0.0, -2, -3])).all()
    torch.testing.assert_close(state.gaussians.log_scales[0], state.gaussians.log_scales[2])
    assert state.gaussians.sh[2].tolist() == [[1, 2, 3]]
    assert state.first.means.tolist() == [[7, 7, 7], [7, 7, 7], [0, 0, 0]]


def test_budget_rises_to_the_cap_and_stays():
    densifier = Densifier(SETTINGS, initial_count=20)
    counts = [densifier.budget(step) for step in (0, 100, 200, 300, 400, 500, 900)]
    assert counts == [20, 40, 60, 80, 100, 100, 100]
    assert [step for step in range(1000) if densifier.due(step)] == [100, 200, 300, 400, 500]


def test_more_points_than_the_cap_are_kept_and_none_added():
    densifier = Densifier(SETTINGS, initial_count=150)
    assert densifier.budget(500) == 150


def _state(count: int) -> TrainingState:
    state = TrainingState.begin(coloured_balls(count))
    state.step = 100
    state.seen += 2
    return state


def test_revise_splits_the_largest_gradients_within_the_budget():
    state = _state(30)
    state.gradient_sum = torch.arange(30.0)  # means 0 … 14.5
    before = state.gaussians.means.clone()
    Densifier(SETTINGS, initial_count=20).revise(state)
    assert len(state) == 40
    moved = (state.gaussians.means[:30] != before).any(dim=1)
    assert moved.nonzero()[:, 0].tolist() == list(range(20, 30))
    assert not state.gradient_sum.any()
    assert len(state.seen) == len(state.gradient_sum) == 40


def test_revise_leaves_small_gradients_alone():
    state = _state(20)
    state.gradient_sum[[3, 7]] = torch.tensor([1.9, 2.1])  # means 0.95 and 1.05 against a threshold of 1
    Densifier(SETTINGS, initial_count=20).revise(state)
    assert len(state) == 21


def test_revise_prunes_transparent_gaussians():
    state = _state(20)
    state.gaussians.logit_opacities[[0, 5]] = -9
    left = state.gaussians.means[[i for i in range(20) if i not in (0, 5)]].clone()
    Densifier(SETTINGS, initial_count=20).revise(state)
    assert torch.equal(state.gaussians.means, left)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (
            lambda state: state.gaussians.logit_opacities.fill_(-9),
            "step 7: no Gaussian is left, all are trans",
        ),
        (lambda state: state.gaussians.logit_opacities.fill_(float("nan")), "no Gaussian is left"),
    ],
)
def test_pruning_everything_is_told(spoil, told):
    state = _state(20)
    state.step = 7
    spoil(state)
    with pytest.raises(CaptureError, match=told):
        Densifier(SETTINGS, initial_count=20).revise(state)


def test_strongest_weight_sees_what_hides_behind():
    one = coloured_balls(1)
    one.log_scales[:] = math.log(0.3)
    one.logit_opacities[:] = 20.0  # opaque, clamped at 0.999
    front, behind, outside = (one[torch.tensor([0])] for _ in range(3))
    front.means = torch.tensor([[1.0, 0, 0.35]])
    behind.means = torch.tensor([[0.0, 0, 0]])
    behind.log_scales = front.log_scales - 2
    outside.means = torch.tensor([[9.0, 9, 9]])
    gaussians = join(join(front, behind), outside)
    weights = strongest_weights(gaussians, [orbit_camera(0.0)])
    assert weights[0] == pytest.approx(0.999, abs=0.01)
    assert weights[1] < 0.01
    assert weights[2] == 0
    # From the other side the small one is in front.
    assert strongest_weights(gaussians, [orbit_camera(0.0), orbit_camera(np.pi)])[1] > 0.7


def test_nearest_depth_ignores_what_is_out_of_view_and_stray_points():
    camera = orbit_camera(0.0, radius=2.0, height=0.0)  # at (2, 0, 0), looking along -x
    points = np.zeros((1000, 3))  # depth 2
    points[:5, 0] = 1.8  # five stray points of depth 0.2 are less than 1 %
    points[5:400] = (1.9, 1.0, 0)  # of depth 0.1, beside the picture
    assert nearest_depths(points, [camera]) == pytest.approx([2.0])
    away = orbit_camera(0.0, radius=-2.0, height=0.0)
    away.viewmat[2, 3] = -9
    assert nearest_depths(points, [camera, away])[1] == 0


def test_floaters_hover_in_view_before_the_nearest_points():
    camera = orbit_camera(0.0, radius=2.0, height=0.0)  # pictures reach to 0.5 depth to either side
    means = torch.tensor(
        [
            [1.1, 0, 0],  # depth 0.9, less than half of 2
            [0.9, 0, 0],  # depth 1.1
            [1.5, 0.3, 0],  # depth 0.5, 0.05 beyond the edge: within the margin of 15 % of 0.5
            [1.5, 0.4, 0],  # 0.15 beyond the edge
            [1.5, 0, -0.3],  # beyond the lower edge of 0.1875 by more than 15 % of 0.375
            [2.5, 0, 0],  # behind the camera
        ]
    )
    assert floating(means, [camera], [2.0]).tolist() == [True, False, True, False, False, False]
    assert not floating(means, [camera], [0.0]).any()


def test_floaters_by_kernel_and_by_torch_agree(monkeypatch):
    rng = torch.Generator().manual_seed(0)
    cameras = [orbit_camera(angle) for angle in (0.0, 1.0, 2.0)]
    means = 4 * torch.rand(5000, 3, generator=rng) - 2
    expected = floating_torch(means, cameras, [2.0, 3.0, 1.0])
    assert 10 < expected.sum() < 4000
    assert torch.equal(floating(means, cameras, [2.0, 3.0, 1.0]), expected)
    monkeypatch.setattr(density, "PAIRS_AT_ONCE", 5000)  # one camera at a time
    assert torch.equal(floating_torch(means, cameras, [2.0, 3.0, 1.0]), expected)
    assert not floating_torch(means, [], []).any()
