"""What a reader makes of a capture on disk, before photos are checked and views are chosen."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gags.capture.lens import Lens


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
        format: "colmap" or "nerfstudio".
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
