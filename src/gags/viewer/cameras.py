"""Cameras of the viewer: where it starts, what is up, and the browser's camera as one to render with."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gags.capture.camera import Camera

MIDDLE = 0.2  # of the picture's sides, in whose middle the distance of what is looked at is taken
CANDIDATES = 60  # photos that are tried as the first view; more look alike


@dataclass(frozen=True, eq=False)
class Pose:
    """A browser's camera that shows what a photo shows.

    Attributes:
        position: World units. [3]
        look_at: What it looks at and turns around. [3]
        up: [3]
        fov: Vertical field of view in radians.
    """

    position: np.ndarray
    look_at: np.ndarray
    up: np.ndarray
    fov: float


def up_direction(cameras: Sequence[Camera]) -> np.ndarray:
    """The direction that is up in most photos, of length 1. [3]"""
    up = np.mean([-camera.viewmat[1, :3] for camera in cameras], axis=0)
    length = float(np.linalg.norm(up))
    return up / length if length > 1e-6 else -cameras[0].viewmat[1, :3]


def field_of_view(camera: Camera) -> float:
    """Vertical field of view in radians."""
    return float(2 * np.arctan(camera.height / (2 * camera.K[1, 1])))


def pose_of(camera: Camera, means: np.ndarray, up: np.ndarray) -> Pose:
    """The browser's camera for a photo.

    Args:
        camera: Of the photo.
        means: Centres of the solid Gaussians; those in the middle say how far away what it shows is. [N, 3]
        up: Up in the scene. [3]
    """
    (x, y), depth = camera.project(means)[0].T, camera.project(means)[1]
    half = MIDDLE / 2 * np.array([camera.width, camera.height])
    central = (depth > 0) & (abs(x - camera.width / 2) < half[0]) & (abs(y - camera.height / 2) < half[1])
    ahead = depth[central] if central.any() else depth[depth > 0]
    distance = float(np.median(ahead)) if len(ahead) else 1.0
    position = camera.position
    return Pose(position, position + distance * camera.viewmat[2, :3], up, field_of_view(camera))


def first_view(cameras: Sequence[Camera], means: np.ndarray) -> int:
    """The photo that shows most of the solid Gaussians; row of `cameras`. means: [N, 3]"""
    tried = range(0, len(cameras), -(-len(cameras) // CANDIDATES))
    return max(tried, key=lambda row: _count_inside(cameras[row], means))


def _count_inside(camera: Camera, means: np.ndarray) -> int:
    (x, y), depth = camera.project(means)[0].T, camera.project(means)[1]
    inside = (depth > 0) & (x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height)
    return int(inside.sum())


def browser_camera(
    R_world_camera: np.ndarray, position: np.ndarray, fov: float, width: int, height: int
) -> Camera:
    """The camera of a browser as one to render with.

    Args:
        R_world_camera: Its axes (right, down, forward) as columns. [3, 3]
        position: World units. [3]
        fov: Vertical field of view in radians.
        width: Of the canvas in pixels.
        height: Of the canvas in pixels.
    """
    focal = height / (2 * np.tan(fov / 2))
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
    viewmat = np.eye(4)
    viewmat[:3, :3] = np.asarray(R_world_camera).T
    viewmat[:3, 3] = -viewmat[:3, :3] @ np.asarray(position)
    return Camera(viewmat, K, width, height)


def quaternion(R: np.ndarray) -> np.ndarray:
    """The wxyz quaternion of a rotation. [3, 3] → [4]"""
    # The eigenvector of the largest eigenvalue of a symmetric matrix (Bar-Itzhack 2000).
    (a, b, c), (d, e, f), (g, h, i) = R
    K = np.array(
        [
            [a + e + i, h - f, c - g, d - b],
            [h - f, a - e - i, b + d, c + g],
            [c - g, b + d, e - a - i, f + h],
            [d - b, c + g, f + h, i - a - e],
        ]
    )
    return np.linalg.eigh(K)[1][:, -1]
