"""Where the viewer starts: up, what is looked at, a view without roll; with cameras whose truth is known."""

import numpy as np
import pytest
from tests.helpers.blobs import make_scene

from gags.capture.camera import Camera
from gags.errors import QueryError
from gags.viewer.first_view import field_of_view, first_view, looked_at, middle_of, parse_up, up_direction

K = np.array([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]])
TILT = np.array([[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]])  # of a world whose up is not an axis


def _camera(position, target, roll=0.0, up=(0, 0, 1.0)):
    """A camera that looks at a point, rolled by some radians."""
    position = np.asarray(position, float)
    forward = np.asarray(target, float) - position
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    right, down = np.cos(roll) * right + np.sin(roll) * down, np.cos(roll) * down - np.sin(roll) * right
    viewmat = np.eye(4)
    viewmat[:3, :3] = [right, down, forward]
    viewmat[:3, 3] = -viewmat[:3, :3] @ position
    return Camera(viewmat, K, 64, 48)


def _ring(count=12, start=0.0, turn=2 * np.pi, rolls=0.0, target=(0, 0, 0)):
    angles = start + turn * np.arange(count) / count
    rolls = np.broadcast_to(rolls, count)
    return [
        _camera([4 * np.cos(a), 4 * np.sin(a), 3], target, roll)
        for a, roll in zip(angles, rolls, strict=True)
    ]


def _degrees(one, other):
    return np.degrees(np.arccos(np.clip(one @ other, -1, 1)))


def test_photos_from_one_side_that_look_down_still_know_what_is_up():
    cameras = _ring(start=0.0, turn=np.pi / 2)
    mean = np.mean([-camera.viewmat[1, :3] for camera in cameras], axis=0)
    assert _degrees(mean / np.linalg.norm(mean), np.array([0, 0, 1.0])) > 25  # what a plain mean says
    assert _degrees(up_direction(cameras), np.array([0, 0, 1.0])) < 1.5


def test_a_few_photos_on_their_side_or_held_askew_do_not_tilt_the_scene():
    rolls = np.random.default_rng(0).normal(0, 0.05, 24)
    rolls[::6] = np.pi / 2
    assert _degrees(up_direction(_ring(24, rolls=rolls)), np.array([0, 0, 1.0])) < 2.5


def test_photos_that_all_look_the_same_way_give_their_own_up():
    cameras = [_camera([x, 0, 0], [x, 5, 0]) for x in np.linspace(-1, 1, 7)]
    assert _degrees(up_direction(cameras), np.array([0, 0, 1.0])) < 0.1


def test_a_floor_corrects_up_and_a_wall_does_not():
    rng = np.random.default_rng(1)
    cameras = [_camera([x, -5, 2], [x, 0, 1.4]) for x in np.linspace(-1, 1, 7)]  # all look down a little
    assert 4 < _degrees(up_direction(cameras), np.array([0, 0, 1.0])) < 9
    floor = np.concatenate(
        [rng.uniform([-2, -2, -0.01], [2, 2, 0.01], (3000, 3)), rng.uniform(-2, 2, (2000, 3))]
    )
    assert _degrees(up_direction(cameras, floor), np.array([0, 0, 1.0])) < 0.5
    wall = floor[:, [0, 2, 1]]
    np.testing.assert_array_equal(up_direction(cameras, wall), up_direction(cameras))


def test_what_all_photos_look_at_is_where_their_axes_meet():
    target = np.array([0.3, -0.2, 0.5])
    np.testing.assert_allclose(looked_at(_ring(target=target)), target, atol=1e-9)
    strays = [_camera([5, 5, 1], [9, 5, 1]), _camera([-5, 5, 1], [-9, 5, 2])]
    np.testing.assert_allclose(looked_at([*_ring(20, target=target), *strays]), target, atol=0.02)


def test_photos_that_look_outwards_or_all_one_way_look_at_nothing():
    outwards = [
        _camera([0.3 * np.cos(a), 0.3 * np.sin(a), 0], [9 * np.cos(a), 9 * np.sin(a), 0]) for a in range(6)
    ]
    assert looked_at(outwards) is None
    assert looked_at([_camera([x, 0, 0], [x, 5, 0]) for x in range(5)]) is None


@pytest.mark.parametrize("kind", ["ring", "one way", "one photo", "down"])
def test_the_start_is_upright_and_shows_what_it_looks_at(kind):
    toy = make_scene(12)
    means, opacities = toy.gaussians.means.numpy().astype(float), toy.gaussians.opacities.numpy()
    cameras = {
        "ring": toy.cameras,
        "one way": [_camera([x, -6, 2], [x, 0, 2]) for x in (-1, 0, 1.0)],
        "one photo": toy.cameras[:1],
        "down": [_camera([0, 0, 6], [0, 0, 0], up=(0, 1, 0))],
    }[kind]
    start = first_view(cameras, means, opacities)
    away = start.target - start.position
    right = np.cross(away, start.up)
    assert np.linalg.norm(right) > 0.1  # a camera without roll exists
    assert np.linalg.norm(start.up) == pytest.approx(1)
    assert start.fov_y == pytest.approx(2 * np.arctan(24 / 60))
    seen = _camera(start.position, start.target, up=start.up)
    (x, y), depth = seen.project(means)[0].T, seen.project(means)[1]
    assert ((depth > 0) & (x >= 0) & (x < 64) & (y >= 0) & (y < 48)).mean() > 0.5
    if kind == "ring":
        assert _degrees(start.up, np.array([0, 0, 1.0])) < 0.5
        np.testing.assert_allclose(start.target, looked_at(toy.cameras), atol=1e-9)


def test_everything_turns_with_the_world():
    toy = make_scene(12)
    means, opacities = toy.gaussians.means.numpy().astype(float), toy.gaussians.opacities.numpy()
    turned = []
    for camera in toy.cameras:
        viewmat = camera.viewmat.copy()
        viewmat[:3, :3] = viewmat[:3, :3] @ TILT.T
        turned.append(Camera(viewmat, camera.K, camera.width, camera.height))
    start, other = first_view(toy.cameras, means, opacities), first_view(turned, means @ TILT.T, opacities)
    np.testing.assert_allclose(other.target, TILT @ start.target, atol=1e-6)
    assert _degrees(other.up, TILT @ start.up) < 0.5


def test_up_that_is_given_is_kept():
    toy = make_scene(6)
    means, opacities = toy.gaussians.means.numpy().astype(float), toy.gaussians.opacities.numpy()
    np.testing.assert_allclose(
        first_view(toy.cameras, means, opacities, np.array([0, 3.0, 4])).up, [0, 0.6, 0.8]
    )


def test_up_is_written_as_an_axis_or_three_numbers():
    np.testing.assert_array_equal(parse_up("z"), [0, 0, 1])
    np.testing.assert_array_equal(parse_up("-Y"), [0, -1, 0])
    np.testing.assert_allclose(parse_up("0, 3, 4"), [0, 0.6, 0.8])
    for wrong in ("", "w", "--z", "0,0,0", "1,2", "nan,0,1", "a,b,c", "1e300,1e300,0"):
        with pytest.raises(QueryError, match="no direction"):
            parse_up(wrong)


def test_the_middle_of_a_photo_is_as_far_as_what_is_there():
    toy = make_scene(6)
    camera = toy.cameras[1]
    middle = middle_of(camera, toy.gaussians.means.numpy())
    np.testing.assert_allclose(camera.project(middle)[0], [32, 24], atol=1e-6)
    np.testing.assert_allclose(middle, [0, 0, 0], atol=0.5)  # the middle of the floor, 5 away
    assert np.linalg.norm(middle_of(camera, camera.position[None] * 2) - camera.position) == pytest.approx(1)
    assert field_of_view(camera) == pytest.approx(2 * np.arctan(24 / 60))
