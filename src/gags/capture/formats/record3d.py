"""Reader of Record3D recordings (record3d.app): an unpacked `.r3d`, `metadata` beside `rgb/` or `rgbd/`.

Poses there are camera-to-world in ARKit's frame: +y up, metres, the camera looking along −z, as x, y, z, w
quaternions and positions. The frame stays as it is. There are no sparse points: depth is stored in a
compression of Apple's that this reader does not know.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

from gags.capture.camera import rotations
from gags.capture.folders import refuse_choice
from gags.capture.formats.base import Format, Points, Pose, Source, no_points, opengl_viewmat
from gags.capture.lens import Lens, plain_lens
from gags.capture.photos import photos_in
from gags.errors import CaptureError
from gags.files.text import read_json
from gags.progress import SILENT, Reporter

MOST_FRAMES = 300  # of a recording at 30 or 60 frames a second; frames between show the same


def metadata_file(root: Path) -> Path | None:
    """The metadata of a recording, or None."""
    for name in ("metadata.json", "metadata"):
        if (root / name).is_file() and _photo_folder(root) is not None:
            return root / name
    return None


def read_record3d(root: Path, progress: Reporter = SILENT, *, images: str | None = None) -> Source:
    """Read a recording of Record3D; of long ones, `MOST_FRAMES` evenly spaced frames. See `Reader`.

    Raises:
        CaptureError: If files are missing or damaged.
    """
    refuse_choice(images, root, RECORD3D.layout)
    path, folder = metadata_file(root), _photo_folder(root)
    if path is None or folder is None:
        raise CaptureError(f"{root} has no metadata beside rgb/ or rgbd/; unpack the .r3d again")
    files = {file.stem: file for file in photos_in(folder, deep=False)}
    metadata, poses7 = _load(path)
    kept = np.unique(np.linspace(0, len(poses7) - 1, min(len(poses7), MOST_FRAMES)).round().astype(int))
    if len(kept) < len(poses7):
        progress.say(f"{root} has {len(poses7)} frames; reading {len(kept)} of them, evenly spaced")
    poses, broken = [], {}
    for index in map(int, kept):
        photo = files.get(str(index), folder / f"{index}.jpg")
        where = f"{path}, pose {index}"
        try:
            viewmat, lens = _viewmat(poses7[index], where), _lens(metadata, index, where)
            poses.append(Pose(photo.name, photo, viewmat, lens))
        except CaptureError as error:
            broken[photo.name] = str(error)
    photos = {pose.name: pose.path for pose in poses if pose.path.is_file()}
    points, points_rgb = no_points()
    return Source(poses, photos, points, points_rgb, broken=broken)


def read_points(root: Path) -> Points:
    """No points: a recording holds none that can be read."""
    return no_points()


RECORD3D = Format(
    name="record3d",
    title="recording of Record3D",
    layout="a recording of Record3D (metadata and rgb/)",
    find=metadata_file,
    read=read_record3d,
    points=read_points,
    in_order=True,
    packed_suffix=".r3d",
)


def _photo_folder(root: Path) -> Path | None:
    return next((root / name for name in ("rgb", "rgbd") if (root / name).is_dir()), None)


def _load(path: Path) -> tuple[dict[str, Any], np.ndarray]:
    """The metadata, and the poses as x, y, z, w quaternion and position. float64 [N, 7]"""
    try:
        metadata = read_json(path)
        poses = np.array(metadata["poses"], dtype=np.float64)
    except (OSError, ValueError, ArithmeticError, TypeError, LookupError) as error:
        raise CaptureError(f"{path} is no metadata of Record3D ({error!r}); unpack the .r3d again") from error
    if poses.ndim != 2 or poses.shape[1] != 7 or not len(poses):
        raise CaptureError(f"{path}: `poses` is not a list of 7 numbers each; unpack the .r3d again")
    return metadata, poses


def _viewmat(pose: np.ndarray, where: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        norm = float(np.linalg.norm(pose[:4]))  # to the digit: hashes of captures hold the rotation
    if not 0 < norm < math.inf:
        raise CaptureError(f"{where}: is no rotation; record again")
    R = rotations(pose[[3, 0, 1, 2]] / norm)
    return opengl_viewmat(np.concatenate([R, pose[4:, None]], axis=1), where)


def _lens(metadata: dict[str, Any], index: int, where: str) -> Lens:
    """Intrinsics of one frame if the recording has them, else of all; `K` is stored column by column."""
    try:
        width, height = int(metadata["w"]), int(metadata["h"])
        each = metadata.get("perFrameIntrinsicCoeffs")
        if each and index < len(each):
            fx, fy, cx, cy = map(float, each[index])
        else:
            K = np.array(metadata["K"], dtype=np.float64).reshape(3, 3).T
            fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise CaptureError(f"{where}: has no intrinsics ({error!r}); unpack the .r3d again") from error
    fx, fy, cx, cy = float(fx), float(fy), float(cx), float(cy)
    return plain_lens(width, height, fx=fx, fy=fy, cx=cx, cy=cy, where=where)
