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

from gags.capture.folders import FULL_SIZE, files_of, is_photo_folder, photo_folder, photos_by_name
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


def read_nerfstudio(root: Path, progress: Reporter = SILENT, *, images: str | None = None) -> Source:
    """Read a capture in nerfstudio's layout; see `Reader`.

    Views are called as `file_path` says, whichever folder their photos are read from.

    Raises:
        CaptureError: If files are missing or damaged, keys lack, or a camera model is not supported.
    """
    path = root / "transforms.json"
    transforms = _load(path)
    frames = transforms.get("frames")
    if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
        raise CaptureError(f"{path} has no list `frames`; write the capture again")
    files = [_photo(root, path, frame) for frame in frames]
    copies = _copies(root, path, files, images, progress)
    folder, read_from = (_common_folder(each, root) for each in (files, copies))
    poses = []
    for file, copy, frame in zip(files, copies, frames, strict=True):
        name = file.relative_to(folder).as_posix()
        where = f"{path}, frame {name}"
        poses.append(Pose(name, copy, _viewmat(frame, where), _lens(transforms | frame, file, copy, where)))
    parents = {copy.parent for copy in copies}
    there = [photo for parent in parents for photo in photos_in(parent, deep=False)]
    photos = photos_by_name({pose.name: pose.path for pose in poses}, there, read_from)
    points, points_rgb = _points(root, transforms)
    test_names = _test_names(files, folder, transforms, root)
    return Source(poses, photos, points, points_rgb, test_names, _photos_of(root, copies))


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


def _common_folder(files: list[Path], root: Path) -> Path:
    return Path(os.path.commonpath([file.parent for file in files])) if files else root


def _photos_of(root: Path, files: list[Path]) -> Path | None:
    """`images` or `images_4` in a capture, if all photos lie in or below that folder."""
    root = Path(os.path.normpath(root))
    parts = [file.relative_to(root).parts if file.is_relative_to(root) else () for file in files]
    places = {names[0] if len(names) > 1 and is_photo_folder(names[0]) else "" for names in parts}
    place = places.pop() if len(places) == 1 else ""
    return root / place if place else None


def _copies(root: Path, path: Path, files: list[Path], images: str | None, progress: Reporter) -> list[Path]:
    """The photos to read: those of `file_path`, or the same ones in another folder beside."""
    given = _photos_of(root, files)
    if images is None and (given is None or given.name != FULL_SIZE or given.is_dir()):
        return files
    if given is None:
        raise CaptureError(
            f"--images {images} replaces the folder images/ in `file_path`, but not all photos of {path} lie "
            "there; leave it out"
        )
    chosen = photo_folder(root, images, progress)
    if chosen is None:
        return files
    names = [file.relative_to(given).as_posix() for file in files]
    copies = files_of(names, chosen)
    return [copies[name] for name in names]


def _viewmat(frame: dict[str, Any], where: str) -> np.ndarray:
    if "transform_matrix" not in frame:
        raise CaptureError(f"{where}: has no `transform_matrix`; write the capture again")
    return opengl_viewmat(frame["transform_matrix"], f"{where}: `transform_matrix`")


def _lens(values: dict[str, Any], photo: Path, copy: Path, where: str) -> Lens:
    """Intrinsics from the keys of a frame over those of the whole file.

    Args:
        values: The keys.
        photo: The photo that they belong to.
        copy: The photo that is read, perhaps a smaller copy.
        where: What it is called, for messages.
    """
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
    elif copy.is_file() and not {"fl_x", "fl_y", "cx", "cy"} & set(given):
        width, height = photo_size(copy)  # an angle of view is the same at every size
    elif copy.is_file():
        raise CaptureError(
            f"{where}: has no `w` and `h`, and {photo} is not there, so it is unknown to which size the "
            "intrinsics belong; add `w` and `h`"
        )
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
