"""Convex hulls, certified by their own faces, and outliers by hand."""

import numpy as np
import pytest

from gags.compare.hull import hull_planes, inliers, inside_hull

CUBE = np.array(np.meshgrid([0, 1], [0, 1], [0, 1])).reshape(3, -1).T.astype(float)


def test_a_cube():
    rng = np.random.default_rng(0)
    planes = hull_planes(np.concatenate([CUBE, rng.uniform(0.1, 0.9, (50, 3))]))
    sides = {tuple(np.round(plane, 9) + 0.0) for plane in planes}
    assert sides == {(1, 0, 0, 1), (-1, 0, 0, 0), (0, 1, 0, 1), (0, -1, 0, 0), (0, 0, 1, 1), (0, 0, -1, 0)}
    asked = np.array([[0.5, 0.5, 0.5], [1, 1, 1], [1.01, 0.5, 0.5], [0.5, -0.01, 0.5], [0, 0.5, 1]])
    assert inside_hull(asked, CUBE).tolist() == [True, True, False, False, True]


@pytest.mark.parametrize("kind", ["ball", "sphere", "grid"])
def test_faces_hold_all_points_and_every_outer_point_is_above_one(kind):
    rng = np.random.default_rng(1)
    points = rng.normal(size=(400, 3))
    if kind == "sphere":
        points /= np.linalg.norm(points, axis=1, keepdims=True)
    if kind == "grid":
        points = np.array(np.meshgrid(*[range(6)] * 3)).reshape(3, -1).T.astype(float)
    planes = hull_planes(points)
    above = points @ planes[:, :3].T - planes[:, 3]
    assert above.max() < 1e-6
    assert ((np.abs(above) < 1e-6).sum(axis=0) >= 3).all()  # each plane is held by three points
    shares = rng.dirichlet(np.ones(len(points)) * 0.05, 300)
    assert inside_hull(shares @ points, points).all()
    # The farthest point in a direction bounds the hull: what goes beyond is outside.
    directions = rng.normal(size=(300, 3))
    farthest = points[(points @ directions.T).argmax(axis=0)]
    beyond = farthest + 1e-3 * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    assert not inside_hull(beyond, points).any()


@pytest.mark.parametrize(
    "points",
    [
        np.zeros((0, 3)),
        CUBE[:3],
        np.tile(CUBE[:1], (9, 1)),
        CUBE[0] + np.arange(9)[:, None] * CUBE[7],
        np.c_[np.random.default_rng(0).random((20, 2)), np.zeros(20)],
    ],
)
def test_flat_sets_hold_nothing(points):
    assert len(hull_planes(points)) == 0
    assert not inside_hull(CUBE, points).any()


def test_outliers_lie_beyond_the_quartiles_by_more_than_their_distance():
    # On x: quartiles 2 and 6, so from −2 to 10 all is well.
    points = np.zeros((9, 3))
    points[:, 0] = [0, 1, 2, 3, 4, 5, 6, 10, 11]
    assert np.quantile(points[:, 0], [0.25, 0.75]).tolist() == [2, 6]
    assert inliers(points).tolist() == [True] * 8 + [False]
