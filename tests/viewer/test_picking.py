"""What a ray through the picture hits, against the rasteriser and by hand."""

import numpy as np
import pytest
import torch

from gags.capture.camera import Camera
from gags.render import blend_weights
from gags.things.things import Things
from gags.viewer.picking import Ellipsoids, RayHits, rotation_matrices, things_hit


def _balls(depths, opacities, scale=0.1):
    count = len(depths)
    means = np.zeros((count, 3))
    means[:, 2] = depths
    return Ellipsoids(
        means, np.tile(np.eye(3), (count, 1, 1)), np.full((count, 3), scale), np.array(opacities)
    )


def test_weights_are_those_of_the_rasteriser():
    rng = np.random.default_rng(3)
    count = 12
    means = np.concatenate(
        [rng.normal(0, 0.05, (count, 2)), 4 + 0.5 * rng.permutation(count)[:, None]], axis=1
    )
    quats, scales = rng.normal(size=(count, 4)), rng.uniform(0.03, 0.08, (count, 3))
    opacities = rng.uniform(0.2, 0.6, count)
    K = np.array([[2000.0, 0, 8], [0, 2000, 8], [0, 0, 1]])
    camera = Camera(np.eye(4), K, 16, 16)
    pixel = np.array([11, 5])
    g = [torch.from_numpy(values).float() for values in (means, quats, scales, opacities)]
    truth = blend_weights(*g, camera, torch.from_numpy(pixel)[None], top_k=count, backend="reference")
    expected = np.zeros(count)
    kept = truth.indices[0] >= 0
    expected[truth.indices[0][kept]] = truth.weights[0][kept]
    ray = camera.unproject(pixel + 0.5, np.array(1.0))
    hits = Ellipsoids(means, rotation_matrices(quats), scales, opacities).along(np.zeros(3), 7 * ray)
    found = np.zeros(count)
    found[hits.rows] = hits.weights
    np.testing.assert_allclose(found, expected, atol=0.02)
    assert (np.diff(hits.distances) > 0).all()
    assert kept.sum() >= 5


def test_the_front_hides_the_back_and_what_is_behind_is_not_hit():
    balls = _balls([5.0, 2.0, -3.0], [1.0, 0.75, 1.0])
    hits = balls.along(np.zeros(3), np.array([0, 0, 2.0]))
    assert hits.rows.tolist() == [1, 0]
    np.testing.assert_allclose(hits.weights, [0.75, 0.25 * 0.999])
    np.testing.assert_allclose(hits.distances, [2, 5])
    assert hits.first == 1
    assert hits.hit_anything


def test_a_veil_in_front_is_not_the_first():
    hits = _balls([1.0, 2.0], [0.1, 0.95]).along(np.zeros(3), np.array([0, 0, 1.0]))
    assert hits.first == 1


def test_deleted_gaussians_and_misses_are_not_hit():
    balls = _balls([2.0, 4.0], [0.9, 0.9])
    hits = balls.along(np.zeros(3), np.array([0, 0, 1.0]), np.array([False, True]))
    assert hits.rows.tolist() == [1]
    missed = balls.along(np.zeros(3), np.array([1.0, 0, 0]))
    assert len(missed.rows) == 0
    assert not missed.hit_anything


def test_alpha_falls_with_the_distance_from_the_ray():
    balls = _balls([2.0], [0.8])
    hits = balls.along(np.array([0.1, 0, 0]), np.array([0, 0, 1.0]))  # one standard deviation away
    np.testing.assert_allclose(hits.weights, 0.8 * np.exp(-0.5))


def test_rotations_of_quaternions():
    half = np.sqrt(0.5)
    quarter_about_z = rotation_matrices(np.array([[half, 0, 0, half], [2.0, 0, 0, 0]]))
    np.testing.assert_allclose(quarter_about_z[0] @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(quarter_about_z[1], np.eye(3))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [([0, 1], [0, 1]), ([2], [0]), ([3, 4], [2]), ([5], []), ([1, 3, 4], [2])],
)
def test_things_along_a_ray_come_whole_first(rows, expected):
    things = Things.build(
        np.array([0, 1, 2, 0, 1, 3, 4]),
        np.array([0, 0, 0, 1, 1, 2, 2]),
        [np.arange(9), np.arange(6), np.arange(3)],
    )
    things.parents[1] = 0
    hits = RayHits(np.array(rows), np.full(len(rows), 0.3), np.arange(len(rows)) + 1.0)
    assert things_hit(things, hits) == expected
