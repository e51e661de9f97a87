"""Boxes around points whose box is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gags.query.boxes import OrientedBox, oriented_box

SIDES = np.array([0.8, 0.4, 0.15])


def rotation(seed: int) -> np.ndarray:
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else -q


def cuboid(sides: np.ndarray, seed: int = 0, count: int = 2000) -> np.ndarray:
    """Points all through a cuboid around 0, its corners among them. [count + 8, 3]"""
    inner = np.random.default_rng(seed).uniform(-0.5, 0.5, (count, 3))
    corners = np.stack(np.meshgrid(*[(-0.5, 0.5)] * 3), axis=-1).reshape(-1, 3)
    return np.concatenate([inner, corners]) * sides


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([1e-3, 1.0, 1e3]))
def test_box_of_a_turned_cuboid_is_right_to_one_percent(seed, scale):
    R, offset = rotation(seed), scale * np.array([3.0, -2.0, 5.0])
    xyz = scale * cuboid(SIDES, seed) @ R + offset
    box = oriented_box(xyz, np.ones(len(xyz)))
    np.testing.assert_allclose(box.size, scale * SIDES, rtol=0.01)
    np.testing.assert_allclose(box.center, offset, atol=0.01 * scale * SIDES.min())
    np.testing.assert_allclose(np.abs(np.diag(box.axes @ R.T)), 1, atol=1e-3)
    np.testing.assert_allclose(box.axes @ box.axes.T, np.eye(3), atol=1e-6)
    assert np.linalg.det(box.axes) == pytest.approx(1)


def test_a_cube_along_the_world_axes_is_found_though_its_spread_has_no_direction():
    xyz = cuboid(np.ones(3))
    np.testing.assert_allclose(oriented_box(xyz, np.ones(len(xyz))).size, 1, rtol=0.01)


def test_outliers_and_faint_gaussians_bound_nothing():
    xyz = cuboid(SIDES)
    stray = np.array([[3.0, 0, 0], [0, 3.0, 0], [0, 0, 3.0]])
    faint = np.array([[0.7, 0, 0]])  # near enough to be no outlier
    weights = np.concatenate([np.full(len(xyz) + 3, 0.9), [0.05]])
    box = oriented_box(np.concatenate([xyz, stray, faint]), weights)
    np.testing.assert_allclose(box.size, SIDES, rtol=0.01)


def test_one_gaussian_and_a_flat_patch_have_boxes_too():
    point = oriented_box(np.array([[1.0, 2, 3]]), np.array([0.01]))
    np.testing.assert_allclose(point.center, [1, 2, 3])
    np.testing.assert_allclose(point.size, 0, atol=1e-9)
    patch = cuboid(np.array([2.0, 1.0, 0.0])) @ rotation(1)
    np.testing.assert_allclose(oriented_box(patch, np.ones(len(patch))).size, [2, 1, 0], atol=0.01)


def test_corners_bounds_and_inside():
    quarter = np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])  # the longest side lies along y
    box = OrientedBox(np.array([10.0, 0, 0]), np.array([4.0, 2.0, 1.0]), quarter)
    np.testing.assert_allclose(box.bounds, [[9, -2, -0.5], [11, 2, 0.5]])
    np.testing.assert_allclose(box.corners[0], [11, -2, -0.5])  # near along y and z; axis 1 points to −x
    np.testing.assert_allclose(box.corners[7], [9, 2, 0.5])
    inside = box.contains(np.array([[10.9, 1.9, 0.4], [11.1, 0, 0], [10, 2.1, 0]]))
    assert inside.tolist() == [True, False, False]
