"""d_min against plain Python and hand-made cases."""

import numpy as np
import pytest

from gags.capture.camera import Camera
from gags.segment.nearest import nearest_depths


def _camera(
    width: int, height: int, *, focal: float, position: tuple[float, float, float], yaw: float = 0.0
) -> Camera:
    c, s = np.cos(yaw), np.sin(yaw)
    viewmat = np.eye(4)
    viewmat[:3, :3] = [[c, 0, -s], [0, 1, 0], [s, 0, c]]
    viewmat[:3, 3] = -viewmat[:3, :3] @ np.array(position)
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
    return Camera(viewmat, K, width, height)


def _plane_and_wall(camera: Camera) -> np.ndarray:
    """Depth of a plane z = 3 with a wall z = 2 in front of its right part (x > 0.3). float32 [H, W]"""
    depth = np.zeros((camera.height, camera.width), np.float32)
    rotation = camera.viewmat[:3, :3]
    for row, column in np.ndindex(depth.shape):
        ray = rotation.T @ np.linalg.inv(camera.K) @ np.array([column + 0.5, row + 0.5, 1.0])
        if ray[2] <= 0:
            continue
        wall = (2 - camera.position[2]) / ray[2]
        if wall > 0 and camera.position[0] + wall * ray[0] > 0.3:
            depth[row, column] = wall
        elif (3 - camera.position[2]) / ray[2] > 0:
            depth[row, column] = (3 - camera.position[2]) / ray[2]
    return depth


def _brute_force(depths: list[np.ndarray], cameras: list[Camera]) -> list[np.ndarray]:
    """d_min pixel by pixel: back-project, project into every other view."""
    nearest = []
    for depth, camera in zip(depths, cameras, strict=True):
        least = depth.copy()
        for row, column in np.ndindex(depth.shape):
            if depth[row, column] == 0:
                continue
            point = camera.unproject(np.array([column + 0.5, row + 0.5]), depth[row, column])
            for other, seen in zip(cameras, depths, strict=True):
                (x, y), z = other.project(point)
                if z <= 0 or not (0 <= x < other.width and 0 <= y < other.height):
                    continue
                surface = seen[int(y), int(x)]
                if surface > 0 and abs(surface - z) <= 0.25 * surface:
                    least[row, column] = min(least[row, column], z)
        nearest.append(least)
    return nearest


def test_nearest_depths_of_a_scene_with_occlusion_match_plain_python():
    cameras = [
        _camera(24, 16, focal=20, position=(0.0, 0.0, 0.0)),
        _camera(20, 20, focal=25, position=(-0.4, 0.1, 1.2), yaw=0.15),
        _camera(24, 16, focal=20, position=(0.6, 0.0, -1.0), yaw=-0.3),
        _camera(16, 16, focal=20, position=(0.0, 0.0, 5.0)),  # behind everything, sees nothing
    ]
    depths = [_plane_and_wall(camera) for camera in cameras]
    depths[0][:3] = 0
    found = nearest_depths(depths, cameras)
    expected = _brute_force(depths, cameras)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    assert (found[0][:3] == 0).all()
    assert (found[0] < depths[0] - 0.1).any()  # the second camera is nearer to what the first one sees
    assert (found[3] == depths[3]).all()


def test_a_surface_hidden_from_the_near_camera_keeps_its_own_depth():
    far = _camera(8, 8, focal=8, position=(0, 0, 0))
    near = _camera(8, 8, focal=8, position=(0, 0, 1))
    surface, obstacle = np.full((8, 8), 4, np.float32), np.full((8, 8), 1, np.float32)
    hidden = nearest_depths([surface, obstacle], [far, near])
    np.testing.assert_allclose(hidden[0], 4)
    seen = nearest_depths([surface, surface - 1], [far, near])
    np.testing.assert_allclose(seen[0][3:5, 3:5], 3)


def test_sampled_depths_give_d_min_at_full_size():
    far = _camera(64, 48, focal=64, position=(0, 0, 0))
    near = _camera(64, 48, focal=64, position=(0, 0, 1))
    depths = [np.full((48, 64), 2, np.float32), np.full((48, 64), 1, np.float32)]
    found = nearest_depths(depths, [far, near], width=16)
    assert found[0].shape == (48, 64)
    np.testing.assert_allclose(found[0][13:35, 17:47], 1)  # what the near camera sees, in the far picture
    np.testing.assert_allclose(found[0][:12], 2)
    np.testing.assert_allclose(found[1], 1)


def test_as_many_depths_as_cameras_are_asked_for():
    with pytest.raises(ValueError, match="1 depths for 0 cameras"):
        nearest_depths([np.ones((2, 2), np.float32)], [])
