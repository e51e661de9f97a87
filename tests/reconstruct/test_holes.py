import math

import numpy as np
import pytest
import torch
from tests.helpers.scenes import HEIGHT, WIDTH, orbit_camera

from gags.gaussians import Gaussians, render
from gags.reconstruct.holes import fill_holes
from gags.reconstruct.state import TrainingState


def wall(left_of: float) -> Gaussians:
    """A dense wall through the origin, seen from +x, that covers world y < `left_of`."""
    y, z = torch.meshgrid(torch.linspace(-1.5, 1.5, 61), torch.linspace(-1.5, 1.5, 61), indexing="ij")
    means = torch.stack([torch.zeros_like(y), y, z], dim=-1).reshape(-1, 3)
    means = means[means[:, 1] < left_of]
    count = len(means)
    quats = torch.zeros(count, 4)
    quats[:, 0] = 1
    return Gaussians(
        means,
        quats,
        torch.full((count, 3), math.log(0.04)),
        torch.full((count,), 3.0),
        torch.zeros(count, 4, 3),
    )


def test_a_hole_is_filled_at_the_depth_beside_it_in_the_photos_colour():
    camera = orbit_camera(0.0, radius=2.0, height=0.0)
    state = TrainingState.begin(wall(left_of=0.0))
    photo = np.full((HEIGHT, WIDTH, 3), (255, 128, 0), np.uint8)
    holes = int((render(state.gaussians, camera).alphas < 0.5).sum())
    assert holes == pytest.approx(WIDTH * HEIGHT / 2, rel=0.1)

    added = fill_holes(state, [(photo, camera)], opacity=0.9)

    assert added == holes == len(state) - len(wall(0.0))
    assert len(state.first) == len(state.seen) == len(state)
    new = state.gaussians[torch.arange(len(state) - added, len(state))]
    assert new.means[:, 0].abs().max() < 0.05  # the plane of the wall
    rendering = render(state.gaussians, camera)
    assert rendering.alphas.min() > 0.5
    on_the_filled_side = rendering.colors[:, -WIDTH // 3 :] / rendering.alphas[:, -WIDTH // 3 :, None]
    expected = torch.tensor([1.0, 128 / 255, 0]).expand_as(on_the_filled_side)
    torch.testing.assert_close(on_the_filled_side, expected, atol=0.02, rtol=0)


def test_what_one_view_filled_is_not_filled_again():
    camera = orbit_camera(0.0, radius=2.0, height=0.0)
    photo = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    once, twice = TrainingState.begin(wall(0.0)), TrainingState.begin(wall(0.0))
    assert fill_holes(twice, [(photo, camera)] * 2, opacity=0.9) == fill_holes(
        once, [(photo, camera)], opacity=0.9
    )


def test_a_view_of_nothing_is_left_alone():
    state = TrainingState.begin(wall(0.0))
    away = orbit_camera(0.0, radius=-2.0, height=0.0)
    away.viewmat[2, 3] = -9  # the wall is behind the camera
    assert fill_holes(state, [(np.zeros((HEIGHT, WIDTH, 3), np.uint8), away)], opacity=0.9) == 0
