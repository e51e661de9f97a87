"""Reader of nerfstudio captures: `transforms.json`, photos beside it, sparse points in a PLY.

Poses there are camera-to-world with OpenGL axes (+y up, looking along −z); here they become world-to-camera
with OpenCV axes.
"""

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from gags.capture.formats.base import (
    Format,
    Points,
    Pose,
    Source,
    finite_points,
    no_points,
    opengl_viewmat,
)
from gags.capture.lens import Lens
from gags.capture.photos import SUFFIXES, photo_size, photos_in
from gags.errors import CaptureError
from gags.files.ply import PlyError, read_vertices
from gags.progress import SILENT, Reporter

_PINHOLES = ("PINHOLE", "SIMPLE_PINHOLE", "OPENCV", "SIMPLE_RADIAL", "RADIAL", "FULL_OPENCV", "PERSPECTIVE")
_INTRINSICS = ("w", "h", "fl_x", "fl_y", "cx", "cy", "camera_angle_x", "camera_angle_y")
_DISTORTION = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")


def transforms_file(root: Path) -> Path | None:
    """The `transforms.json` of a capture, or None."""
    path = root / "transforms.json"
    return path if path.is_file() else None


def read_nerfstudio(root: Path, progress: Reporter = SILENT) -> Source:
    """Read a capture in nerfstudio's layout.

    Raises:
        CaptureError: If files are missing or damaged, keys lack, or a camera model is not supported.
    """
    path = root / "transforms.json"
    transforms = _load(path)
    frames = transforms.get("frames")
    if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
        raise CaptureError(f"{path} has no list `frames`; write the capture again")
    files = [_photo(root, path, frame) for frame in frames]
    folder = Path(os.path.commonpath([file.parent for file in files])) if files else root
    poses = []
    for file, frame in zip(files, frames, strict=True):
        name = file.relative_to(folder).as_posix()
        where = f"{path}, frame {name}"
        poses.append(Pose(name, file, _viewmat(frame, where), _lens(transforms | frame, file, where)))
    photos = {
        photo.relative_to(folder).as_posix(): photo
        for parent in {file.parent for file in files}
        for photo in photos_in(parent, deep=False)
    }
    points, points_rgb = _points(root, transforms)
    return Source(poses, photos, points, points_rgb, _test_names(files, folder, transforms, root))


def read_points(root: Path) -> Points:
    """The sparse points alone: float32 [P, 3], and their colours, uint8 [P, 3]."""
    return _points(root, _load(root / "transforms.json"))


NERFSTUDIO = Format(
    name="nerfstudio",
    title="transforms.json",
    layout="transforms.json",
    find=transforms_file,
    read=read_nerfstudio,
    points=read_points,
    main_file="transforms.json",
)


def _load(path: Path) -> dict[str, Any]:
    try:
        transforms = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CaptureError(f"{path} is not JSON ({error}); write the capture again") from error
    if not isinstance(transforms, dict):
        raise CaptureError(f"{path} is not a JSON object with `frames`; write the capture again")
    return transforms


def _photo(root: Path, path: Path, frame: dict[str, Any]) -> Path:
    """The photo of a frame; `file_path` may lack its suffix."""
    file_path = frame.get("file_path")
    if not isinstance(file_path, str) or not file_path:
        raise CaptureError(f"{path} has a frame without `file_path`; write the capture again")
    file = Path(os.path.normpath(root / file_path.replace("\\", "/")))
    if not file.is_file():
        for suffix in SUFFIXES:
            for candidate in (suffix, suffix.upper()):
                if (whole := file.with_name(file.name + candidate)).is_file():
                    return whole
    return file


def _viewmat(frame: dict[str, Any], where: str) -> np.ndarray:
    if "transform_matrix" not in frame:
        raise CaptureError(f"{where}: has no `transform_matrix`; write the capture again")
    return opengl_viewmat(frame["transform_matrix"], f"{where}: `transform_matrix`")


def _lens(values: dict[str, Any], photo: Path, where: str) -> Lens:
    """Intrinsics from the keys of a frame over those of the whole file."""
    model = str(values.get("camera_model", "OPENCV")).upper()
    if model not in _PINHOLES or values.get("is_fisheye"):
        model = model if model not in _PINHOLES else "fisheye"
        raise CaptureError(
            f"{where}: camera model {model} is not supported (only pinhole cameras with OpenCV distortion); "
            "undistort the photos first"
        )
    try:
        given = {
            key: float(values[key]) for key in (*_DISTORTION, *_INTRINSICS) if values.get(key) is not None
        }
    except (TypeError, ValueError) as error:
        raise CaptureError(f"{where}: an intrinsic is not a number ({error}); correct it") from error
    if not all(map(math.isfinite, given.values())):
        raise CaptureError(f"{where}: an intrinsic is not finite; correct it")
    if "w" in given and "h" in given:
        width, height = round(given["w"]), round(given["h"])
    elif photo.is_file():
        width, height = photo_size(photo)
    else:
        raise CaptureError(
            f"photo {photo} is not there; put it back, or remove its frame from transforms.json"
        )
    fx = given.get("fl_x") or _focal(given.get("camera_angle_x"), width)
    fy = given.get("fl_y") or _focal(given.get("camera_angle_y"), height) or fx
    fx = fx or fy
    if fx is None or fy is None or min(fx, fy, width, height) <= 0:
        raise CaptureError(f"{where}: no focal length; give `fl_x` in pixels or `camera_angle_x` in radians")
    distortion = tuple(given.get(key, 0.0) for key in _DISTORTION)
    cx, cy = given.get("cx", width / 2), given.get("cy", height / 2)
    distortion = distortion if any(distortion) else ()
    return Lens(width, height, fx=fx, fy=fy, cx=cx, cy=cy, distortion=distortion)


def _focal(angle: float | None, side: int) -> float | None:
    """Focal length in pixels from the field of view across a side."""
    return 0.5 * side / math.tan(0.5 * angle) if angle is not None and 0 < angle < math.pi else None


def _points(root: Path, transforms: dict[str, Any]) -> Points:
    if not transforms.get("ply_file_path"):
        return no_points()
    path = root / str(transforms["ply_file_path"])
    try:
        vertices = read_vertices(path)
    except FileNotFoundError as error:
        raise CaptureError(
            f"{path}, the `ply_file_path` of transforms.json, is not there; put it back"
        ) from error
    except (PlyError, OSError) as error:
        raise CaptureError(f"{path} cannot be read as points: it {error}; write it again") from error
    names = vertices.dtype.names or ()
    if not {"x", "y", "z"} <= set(names):
        raise CaptureError(f"{path} has no x, y, z; `ply_file_path` must name a point cloud")
    xyz = np.stack([vertices[axis] for axis in "xyz"], axis=-1)
    rgb = np.full(xyz.shape, 128, dtype=np.uint8)  # grey, where the file has no colours
    if {"red", "green", "blue"} <= set(names):
        rgb = np.stack([vertices[channel] for channel in ("red", "green", "blue")], axis=-1)
        if rgb.dtype.kind == "f":
            rgb = np.nan_to_num(rgb * 255).round().clip(0, 255)
    return finite_points(xyz, rgb)


def _test_names(files: list[Path], folder: Path, transforms: dict[str, Any], root: Path) -> list[str] | None:
    """Names of the frames that the newer `test_filenames` holds out, None where the key is missing."""
    names = transforms.get("test_filenames")
    if not isinstance(names, list):
        return None
    held_out = {Path(os.path.normpath(root / str(name))) for name in names}
    return [file.relative_to(folder).as_posix() for file in files if file in held_out]
