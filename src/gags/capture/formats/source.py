"""What a reader makes of a capture on disk, before photos are checked and views are chosen."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gags.capture.lens import Lens
from gags.errors import CaptureError


@dataclass(frozen=True, eq=False)
class Pose:
    """One posed photo as the capture's files describe it.

    Attributes:
        name: File name of the photo relative to the images folder, with forward slashes.
        path: The photo.
        viewmat: World-to-camera transform, OpenCV axes. float64 [4, 4]
        lens: The camera that took it.
    """

    name: str
    path: Path
    viewmat: np.ndarray
    lens: Lens


@dataclass(eq=False)
class Source:
    """A capture as one of the readers found it.

    Attributes:
        format: "colmap", "nerfstudio", "polycam" or "record3d".
        poses: The posed photos, in any order.
        photos: All photos that lie where the posed ones do, by name, posed or not.
        points: Sparse points in world coordinates. float32 [P, 3]
        points_rgb: Their colours. uint8 [P, 3]
        test_names: The test split the capture's own files ask for, if they do.
    """

    format: str
    poses: list[Pose]
    photos: dict[str, Path]
    points: np.ndarray
    points_rgb: np.ndarray
    test_names: list[str] | None = field(default=None)


def finite_points(xyz: np.ndarray, rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points as float32 [P, 3] and colours as uint8 [P, 3]; those with infinite coordinates are dropped."""
    xyz = np.asarray(xyz, dtype=np.float32).reshape(-1, 3)
    rgb = np.asarray(rgb, dtype=np.uint8).reshape(-1, 3)
    finite = np.isfinite(xyz).all(axis=1)
    return xyz[finite], rgb[finite]


def opengl_viewmat(camera_to_world: Any, where: str) -> np.ndarray:
    """World-to-camera transform with OpenCV axes from a camera-to-world one with OpenGL's.

    OpenGL's cameras have +y up and look along −z.

    Args:
        camera_to_world: Numbers. [4, 4] or [3, 4]
        where: What it is called, for messages.

    Returns:
        float64 [4, 4]; the rotation is made exact, since files often carry few digits.

    Raises:
        CaptureError: If it is no rotation and translation.
    """
    try:
        pose = np.array(camera_to_world, dtype=np.float64)
    except (TypeError, ValueError):
        pose = np.zeros(0)
    if pose.shape not in ((4, 4), (3, 4)) or not np.isfinite(pose).all():
        raise CaptureError(f"{where} is not 4×4 numbers; write the capture again")
    R = pose[:3, :3]
    if not np.allclose(R @ R.T, np.eye(3), atol=1e-2) or np.linalg.det(R) < 0:
        raise CaptureError(f"{where} holds no rotation (scaled or mirrored); correct the pose")
    u, _, vt = np.linalg.svd(R)
    R_world_camera = u @ vt @ np.diag([1.0, -1.0, -1.0])
    viewmat = np.eye(4)
    viewmat[:3, :3] = R_world_camera.T
    viewmat[:3, 3] = -R_world_camera.T @ pose[:3, 3]
    return viewmat
