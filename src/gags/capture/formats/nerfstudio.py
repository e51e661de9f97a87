"""Reader of nerfstudio captures: `transforms.json`, photos beside it, sparse points in a PLY.

Poses there are camera-to-world with OpenGL axes (+y up, looking along −z); here they become world-to-camera
with OpenCV axes. Blender's data sets have a file a split instead: `transforms_train.json` and others.
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gags.capture.folders import (
    FULL_SIZE,
    files_of,
    is_copy,
    is_photo_folder,
    photo_folder,
    photos_by_name,
)
from gags.capture.formats.base import (
    Format,
    Points,
    Pose,
    Source,
    finite_points,
    no_points,
    opengl_viewmat,
)
from gags.capture.lens import Lens, panorama_lens
from gags.capture.names import is_inside, resolve, say_others, with_slashes
from gags.capture.photos import SUFFIXES, photo_size, photos_in
from gags.errors import CaptureError
from gags.files import is_file
from gags.files.ply import PlyError, read_vertices
from gags.files.text import read_json
from gags.progress import SILENT, Reporter

_PINHOLES = ("PINHOLE", "SIMPLE_PINHOLE", "OPENCV", "SIMPLE_RADIAL", "RADIAL", "FULL_OPENCV", "PERSPECTIVE")
_FISHEYES = ("OPENCV_FISHEYE", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "SIMPLE_FISHEYE", "FISHEYE")
_PANORAMA = "EQUIRECTANGULAR"
_RADIUS = "fisheye_crop_radius"  # px about the middle of the photo, beyond which it shows nothing
_INTRINSICS = ("w", "h", "fl_x", "fl_y", "cx", "cy", "camera_angle_x", "camera_angle_y", _RADIUS)
_DISTORTION = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
MAIN_FILE = "transforms.json"
# Of Blender's splits, the first is trained on. One of the others is held out, and a third is not read.
_TRAIN_FILE = "transforms_train.json"
_HELD_OUT_FILES = ("transforms_test.json", "transforms_val.json")


def transforms_file(root: Path) -> Path | None:
    """The `transforms.json` of a capture, or `transforms_train.json`, or None."""
    return next((root / name for name in (MAIN_FILE, _TRAIN_FILE) if (root / name).is_file()), None)


def read_nerfstudio(root: Path, progress: Reporter = SILENT, *, images: str | None = None) -> Source:
    """Read a capture in nerfstudio's layout; see `Reader`.

    Views are called as `file_path` says, whichever folder their photos are read from.

    Raises:
        CaptureError: If files are missing or damaged, keys lack, or a camera model is unknown.
    """
    path, transforms = _transforms(root, progress)
    frames = transforms["frames"]
    given = [_file_path(path, frame) for frame in frames]
    files = _photo_files(root, given, progress)
    copies = _copies(root, path, files, images, progress)
    folder, read_from = (_common_folder(each, root) for each in (files, copies))
    names = [_name(file, folder) for file in files]
    poses, broken = [], {}
    for name, file, copy, frame in zip(names, files, copies, frames, strict=True):
        where = f"{path}, frame {name}"
        try:
            lens = _lens(transforms | frame, file, copy, where)
            poses.append(Pose(name, copy, _viewmat(frame, where), lens))
        except CaptureError as error:
            broken[name] = str(error)
    parents = {copy.parent for copy in copies}
    there = [photo for parent in parents for photo in photos_in(parent, deep=False)]
    own = {name: (name, copy) for name, copy in zip(names, copies, strict=True)}
    photos = photos_by_name(own, there, read_from)
    points, points_rgb = _points(root, transforms)
    test_names = _test_names(transforms, dict(zip(given, names, strict=True)))
    folder_of_copies = _photos_of(root, copies)
    masks = _masks(root, names, [transforms | frame for frame in frames])
    return Source(poses, photos, points, points_rgb, test_names, folder_of_copies, broken, masks)


def read_points(root: Path) -> Points:
    """The sparse points alone: float32 [P, 3], and their colours, uint8 [P, 3]."""
    return _points(root, _transforms(root)[1])


NERFSTUDIO = Format(
    name="nerfstudio",
    title="transforms.json",
    layout="transforms.json",
    find=transforms_file,
    read=read_nerfstudio,
    points=read_points,
    main_files=(MAIN_FILE, _TRAIN_FILE),
)


def _transforms(root: Path, progress: Reporter = SILENT) -> tuple[Path, dict[str, Any]]:
    """The file of a capture and what it says; of Blender's splits, as one file with its frames would."""
    path = transforms_file(root) or root / MAIN_FILE
    transforms = _load(path)
    if path.name == MAIN_FILE:
        return path, transforms
    frames = [_alone(transforms, frame) for frame in transforms["frames"]]
    there = [root / name for name in _HELD_OUT_FILES if (root / name).is_file()]
    test: list[dict[str, Any]] = []
    if there:
        others = _load(there[0])
        test = [_alone(others, frame) for frame in others["frames"]]
    unread = f"; {there[1].name} is not read" if len(there) > 1 else ""
    held_out = f", and holding out the photos of {there[0].name}{unread}" if there else ""
    progress.say(f"reading {path}{held_out}")
    whole = {"frames": frames + test, "ply_file_path": transforms.get("ply_file_path")}
    return path, whole | ({"test_filenames": [frame.get("file_path") for frame in test]} if test else {})


def _alone(transforms: dict[str, Any], frame: dict[str, Any]) -> dict[str, Any]:
    """A frame with all that its file says of it."""
    return {key: value for key, value in transforms.items() if key != "frames"} | frame


def _load(path: Path) -> dict[str, Any]:
    """The object of a file, of which `frames` is a list of objects."""
    try:
        transforms = read_json(path)
    except (OSError, ValueError) as error:
        raise CaptureError(f"{path} is not JSON ({error}); write the capture again") from error
    if not isinstance(transforms, dict):
        raise CaptureError(f"{path} is not a JSON object with `frames`; write the capture again")
    frames = transforms.get("frames")
    if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
        raise CaptureError(f"{path} has no list `frames`; write the capture again")
    return transforms


def _file_path(path: Path, frame: dict[str, Any]) -> str:
    file_path = frame.get("file_path")
    if not isinstance(file_path, str) or not file_path or "\0" in file_path:
        raise CaptureError(f"{path} has a frame without `file_path`; write the capture again")
    return file_path


def _photo_files(root: Path, given: Sequence[str], progress: Reporter) -> list[Path]:
    """The photos of all frames; those that are nowhere are where `file_path` says."""
    exact = {name: _exact(root, name) for name in given}
    missing = [name for name, file in exact.items() if file is None]
    if not missing:
        return [file for name in given if (file := exact[name]) is not None]
    taken = {file for file in exact.values() if file is not None}
    photos = [file for file in photos_in(root, deep=True) if file not in taken]
    known = {file.relative_to(root).as_posix(): file for file in photos}
    known = {name: file for name, file in known.items() if not is_copy(root / name.split("/")[0])}
    # What lay in images/ is in its copies if these are there: `_copies` finds it.
    in_copies = not (root / FULL_SIZE).is_dir() and photo_folder(root, None) is not None
    elsewhere = [with_slashes(name) for name in missing if not (in_copies and _in_images(name))]
    found = resolve(elsewhere, known)
    other = say_others(found)
    if other is not None:
        progress.say(f"{root}: {other}")
    files = []
    for name in given:
        file = known.get(found.get(with_slashes(name), ""))
        files.append(exact[name] or (Path(os.path.normpath(file)) if file else _tried(root, name)))
    return files


def _exact(root: Path, name: str) -> Path | None:
    """The photo where `file_path` says, which may lack its suffix."""
    file = Path(os.path.normpath(root / with_slashes(name)))
    if is_file(file):
        return file
    for suffix in SUFFIXES:
        for candidate in (suffix, suffix.upper()):
            if is_file(whole := file.with_name(file.name + candidate)):
                return whole
    return None


def _in_images(name: str) -> bool:
    return with_slashes(name).split("/")[0] == FULL_SIZE


def _tried(root: Path, name: str) -> Path:
    """Where a photo should be; one of another machine, in the folder of photos of this capture."""
    parts = with_slashes(name).split("/")
    places = [index for index, part in enumerate(parts[:-1]) if is_photo_folder(part)]
    if not is_inside(name) and places and ".." not in parts:
        parts = [FULL_SIZE, *parts[places[-1] + 1 :]]
        return Path(os.path.normpath(root.joinpath(*parts)))
    return Path(os.path.normpath(root / "/".join(parts)))


def _common_folder(files: list[Path], root: Path) -> Path:
    """The folder of all photos, without those that are missing and were of another machine."""
    home = Path(os.path.normpath(root))
    ours = [file for file in files if file.is_relative_to(home) or is_file(file)]
    return Path(os.path.commonpath([file.parent for file in ours])) if ours else root


def _name(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix() if file.is_relative_to(folder) else file.name


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
    copies = files_of(names, chosen, progress)
    return [copies[name][1] for name in names]


def _masks(root: Path, names: Sequence[str], frames: Sequence[dict[str, Any]]) -> dict[str, Path]:
    """Where `mask_path` says that the masks of photos are, by the photos' names."""
    given = {name: frame.get("mask_path") for name, frame in zip(names, frames, strict=True)}
    return {
        name: Path(os.path.normpath(root / with_slashes(mask)))
        for name, mask in given.items()
        if isinstance(mask, str) and mask and "\0" not in mask
    }


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
    if model not in (*_PINHOLES, *_FISHEYES, _PANORAMA):
        raise CaptureError(
            f"{where}: camera model {model} is not read (only pinhole cameras with OpenCV distortion, "
            f"{_FISHEYES[0]} and {_PANORAMA}); undistort the photos first"
        )
    try:
        given = {
            key: float(values[key]) for key in (*_DISTORTION, *_INTRINSICS) if values.get(key) is not None
        }
    except (TypeError, ValueError) as error:
        raise CaptureError(f"{where}: an intrinsic is not a number ({error}); correct it") from error
    if not all(map(math.isfinite, given.values())):
        raise CaptureError(f"{where}: an intrinsic is not finite; correct it")
    width, height = _size(given, photo, copy, where)
    if model == _PANORAMA:
        return panorama_lens(width, height)
    fx = given.get("fl_x") or _focal(given.get("camera_angle_x"), width)
    fy = given.get("fl_y") or _focal(given.get("camera_angle_y"), height) or fx
    fx = fx or fy
    if fx is None or fy is None or min(fx, fy, width, height) <= 0:
        raise CaptureError(f"{where}: no focal length; give `fl_x` in pixels or `camera_angle_x` in radians")
    cx, cy = given.get("cx", width / 2), given.get("cy", height / 2)
    if model in _FISHEYES or values.get("is_fisheye"):  # the second is instant-ngp's
        bends = tuple(given.get(key, 0.0) for key in ("k1", "k2", "k3", "k4"))
        radius = given.get(_RADIUS)
        return Lens(
            width, height, fx=fx, fy=fy, cx=cx, cy=cy, distortion=bends, projection="fisheye", radius=radius
        )
    distortion, radial8 = _distortion(given, model)
    return Lens(width, height, fx=fx, fy=fy, cx=cx, cy=cy, distortion=distortion, radial8=radial8)


def _size(given: dict[str, float], photo: Path, copy: Path, where: str) -> tuple[int, int]:
    """Width and height that the intrinsics of a photo belong to; arguments as for `_lens`."""
    if "w" in given and "h" in given:
        width, height = round(given["w"]), round(given["h"])
    elif is_file(photo):
        width, height = photo_size(photo)
    elif is_file(copy) and not {"fl_x", "fl_y", "cx", "cy"} & set(given):
        width, height = photo_size(copy)  # an angle of view is the same at every size
    elif is_file(copy):
        raise CaptureError(
            f"{where}: has no `w` and `h`, and {photo} is not there, so it is unknown to which size the "
            "intrinsics belong; add `w` and `h`"
        )
    else:
        raise CaptureError(
            f"photo {photo} is not there; put it back, or remove its frame from transforms.json"
        )
    if min(width, height) <= 0:
        raise CaptureError(f"{where}: `w` and `h` are {width} and {height}; correct them")
    return width, height


def _distortion(given: dict[str, float], model: str) -> tuple[tuple[float, ...], float]:
    """OpenCV's coefficients, and that of r⁸.

    k4 of nerfstudio is the fourth coefficient of a polynomial, 1 + k1 r² + k2 r⁴ + k3 r⁶ + k4 r⁸
    (nerfstudio, `camera_utils._compute_residual_and_jacobian`). In OpenCV's rational model, to which k5 and
    k6 belong, it is the first one of the denominator.
    """
    rational = model == "FULL_OPENCV" or given.get("k5") or given.get("k6")
    kept = _DISTORTION if rational else _DISTORTION[:5]
    distortion = tuple(given.get(key, 0.0) if key in kept else 0.0 for key in _DISTORTION)
    radial8 = 0.0 if rational else given.get("k4", 0.0)
    return distortion if any(distortion) else (), radial8


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


def _test_names(transforms: dict[str, Any], names: dict[str, str]) -> list[str] | None:
    """Names of the frames that the newer `test_filenames` holds out, None where the key is missing.

    Args:
        transforms: The file.
        names: Of the frames, by their `file_path`.
    """
    listed_names = transforms.get("test_filenames")
    if not isinstance(listed_names, list):
        return None
    by_path = {with_slashes(path): name for path, name in names.items()}
    wanted = {with_slashes(str(name)) for name in listed_names}
    found = resolve(sorted(wanted), by_path)
    held_out = {by_path[path] for path in found.values()}
    return [name for name in names.values() if name in held_out]
