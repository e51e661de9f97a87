from pathlib import Path

import numpy as np
import pytest
import torch
from tests.helpers.scenes import orbit_camera

from gags.capture import Capture, View
from gags.errors import CaptureError
from gags.reconstruct.start import gaussians_at_points, neighbour_distances, scene_extent


def test_neighbour_distances_match_brute_force():
    points = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
    distances = np.linalg.norm(points[:, None].astype(np.float64) - points[None], axis=-1)
    expected = np.sort(distances, axis=1)[:, 1:4].mean(axis=1)
    np.testing.assert_allclose(neighbour_distances(points), expected, rtol=1e-4)


@pytest.mark.parametrize(("count", "expected"), [(1, 1.0), (2, 2.0)])
def test_a_handful_of_points_is_enough(count, expected):
    points = np.array([[0, 0, 0], [2, 0, 0]], np.float32)[:count]
    np.testing.assert_allclose(neighbour_distances(points), expected)


def test_gaussians_start_at_the_points_with_their_colours():
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 50]], np.float32)
    colours = np.array([[255, 0, 128]] * 4, np.uint8)
    gaussians = gaussians_at_points(points, colours, opacity=0.2, extent=10.0)
    np.testing.assert_array_equal(gaussians.means.numpy(), points)
    assert gaussians.opacities.numpy() == pytest.approx(0.2)
    # Colour is 0.5 + 0.2821 · DC, the constant harmonic.
    rgb = 0.5 + 0.28209479 * gaussians.sh[:, 0]
    torch.testing.assert_close(rgb, torch.tensor([[1.0, 0.0, 128 / 255]]).expand(4, 3))
    nearest = (1 + 1 + 50) / 3
    assert gaussians.scales[0].tolist() == pytest.approx([min(nearest, 1.0)] * 3)  # bounded: extent / 10
    assert gaussians.scales[3].tolist() == pytest.approx([1.0] * 3)


def test_extent_is_the_median_depth():
    camera = orbit_camera(0.0, radius=2.0, height=0.0)
    points = np.array([[0.5, 0, 0], [0, 0, 0], [-1, 0, 0], [9, 0, 0]], np.float32)  # depths 1.5, 2, 3, -7
    view = View("a.png", Path("a.png"), camera, "train")
    assert scene_extent(Capture(Path("x"), [view], points, np.zeros((4, 3), np.uint8))) == pytest.approx(2.0)


def test_points_behind_every_camera_are_an_error():
    view = View("a.png", Path("a.png"), orbit_camera(0.0), "train")
    points = np.array([[9, 0, 3]], np.float32)
    with pytest.raises(CaptureError, match="in front of"):
        scene_extent(Capture(Path("x"), [view], points, np.zeros((1, 3), np.uint8)))
