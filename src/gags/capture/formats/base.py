"""What a format is: how its captures are found and read; and what the readers share."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from gags.capture.lens import Lens
from gags.errors import CaptureError
from gags.progress import SILENT, Reporter

# Of the posed photos, more than this share must be usable. With fewer, the folder is the wrong one, or a copy
# that is not complete.
LEAST_USABLE_SHARE = 0.5

Points = tuple[np.ndarray, np.ndarray]  # coordinates, float32 [P, 3], and colours, uint8 [P, 3]


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
    """A capture as a reader found it, before photos are checked and views are chosen.

    Attributes:
        poses: The posed photos, in any order.
        photos: All photos that lie where the posed ones do, by name, posed or not.
        points: Sparse points in world coordinates. float32 [P, 3]
        points_rgb: Their colours. uint8 [P, 3]
        test_names: The views that the capture's own files hold out; None if they do not say.
        folder: Folder of the photos, where there may be several (`gags.capture.folders`).
        broken: Photos that cannot be used, or whose pose or camera cannot, and why, by name; they are not
            among `poses`.
        masks: Masks that the capture's own files name, there or not, by name of the photo.
    """

    poses: list[Pose]
    photos: dict[str, Path]
    points: np.ndarray
    points_rgb: np.ndarray
    test_names: list[str] | None = None
    folder: Path | None = None
    broken: dict[str, str] = field(default_factory=dict)
    masks: dict[str, Path] = field(default_factory=dict)


class Reader(Protocol):
    """Reads poses, photos and sparse points of a capture."""

    def __call__(self, root: Path, progress: Reporter = SILENT, *, images: str | None = None) -> Source:
        """Read the capture in a folder.

        Args:
            root: The folder.
            progress: Told what was chosen where there is a choice.
            images: Folder to take the photos from instead of the usual one; see `gags.capture.folders`.

        Raises:
            CaptureError: If something is missing or damaged, or the format has no choice of folders.
        """
        ...


@dataclass(frozen=True)
class Format:
    """One way to lay out posed photos in a folder.

    Attributes:
        name: What `capture.json` calls it.
        title: What people call it, after "the": "COLMAP model".
        layout: What a folder of this format holds, with the names of its files.
        find: The file or folder by which a capture of this format is recognised; None if the folder holds
            none.
        read: Reads poses, photos and sparse points.
        points: Reads the sparse points alone; the same points in the same order as `read`.
        in_order: Whether the photos follow each other as the frames of a recording do.
        main_files: Files that people may give instead of their folder.
        packed_suffix: Suffix of the zip file that such captures come in, which has to be unpacked first.
    """

    name: str
    title: str
    layout: str
    find: Callable[[Path], Path | None]
    read: Reader
    points: Callable[[Path], Points]
    in_order: bool = False
    main_files: tuple[str, ...] = ()
    packed_suffix: str | None = None


def no_points() -> Points:
    """What a reader returns where there are no sparse points."""
    return finite_points(np.zeros((0, 3)), np.zeros((0, 3)))


def finite_points(xyz: np.ndarray, rgb: np.ndarray) -> Points:
    """Points as float32 [P, 3] and colours as uint8 [P, 3]; those with infinite coordinates are dropped."""
    with np.errstate(over="ignore"):  # what is too large for float32 is infinite, and dropped
        xyz = np.asarray(xyz, dtype=np.float32).reshape(-1, 3)
    rgb = np.nan_to_num(np.asarray(rgb)).clip(0, 255).astype(np.uint8).reshape(-1, 3)
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
    odd = np.abs(R).max() > 2 or not np.allclose(R @ R.T, np.eye(3), atol=1e-2)  # of 1e300, no square
    if odd or np.linalg.det(R) < 0:
        raise CaptureError(f"{where} holds no rotation (scaled or mirrored); correct the pose")
    u, _, vt = np.linalg.svd(R)
    R_world_camera = u @ vt @ np.diag([1.0, -1.0, -1.0])
    viewmat = np.eye(4)
    viewmat[:3, :3] = R_world_camera.T
    viewmat[:3, 3] = -R_world_camera.T @ pose[:3, 3]
    return viewmat
