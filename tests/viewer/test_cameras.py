"""Cameras of the viewer against the cameras of a capture."""

import numpy as np
import pytest
from tests.helpers.blobs import make_scene

from gags.viewer.cameras import browser_camera, field_of_view, first_view, pose_of, quaternion, up_direction
from gags.viewer.picking import rotation_matrices


@pytest.fixture(scope="module")
def toy():
    return make_scene(6)


def test_up_is_against_gravity(toy):
    np.testing.assert_allclose(up_direction(toy.cameras), [0, 0, 1], atol=1e-9)


def test_a_photos_pose_looks_at_what_its_middle_shows(toy):
    camera = toy.cameras[1]
    pose = pose_of(camera, toy.gaussians.means.numpy(), np.array([0, 0, 1.0]))
    np.testing.assert_allclose(pose.position, camera.position)
    np.testing.assert_allclose(pose.look_at, [0, 0, 0], atol=0.5)  # the middle of the floor, 5 away
    xy, _ = camera.project(pose.look_at)
    np.testing.assert_allclose(xy, [32, 24], atol=1e-6)
    assert pose.fov == pytest.approx(2 * np.arctan(24 / 60))


def test_a_photo_of_nothing_still_has_a_pose(toy):
    behind = toy.cameras[0].position[None] * 2
    pose = pose_of(toy.cameras[0], behind, np.array([0, 0, 1.0]))
    assert np.linalg.norm(pose.look_at - pose.position) == pytest.approx(1)


def test_the_first_view_shows_most(toy):
    away = browser_camera(np.eye(3), np.array([0, 0, 50.0]), 1.0, 64, 48)
    assert first_view([away, toy.cameras[0], away], toy.gaussians.means.numpy()) == 1


def test_the_browsers_camera_is_the_photos_again(toy):
    camera = toy.cameras[2]
    wxyz = quaternion(camera.viewmat[:3, :3].T)
    rotation = rotation_matrices(wxyz[None])[0]
    again = browser_camera(rotation, camera.position, field_of_view(camera), 64, 48)
    np.testing.assert_allclose(again.viewmat, camera.viewmat, atol=1e-12)
    np.testing.assert_allclose(again.K, camera.K, atol=1e-9)


def test_quaternions_of_rotations():
    rng = np.random.default_rng(0)
    quats = rng.normal(size=(20, 4))
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    for quat, rotation in zip(quats, rotation_matrices(quats), strict=True):
        found = quaternion(rotation)
        assert abs(found @ quat) == pytest.approx(1)
