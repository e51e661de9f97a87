"""Reader of COLMAP models: `images/`, or a copy of it, beside `sparse/0` (or `sparse`), binary or text.

The three files are parsed here and not by pycolmap, which takes a `cameras.bin` with 30 % of its bytes for a
whole one, has not returned from an empty `points3D.bin` after 20 s, and refuses a model from which a photo
was removed (version 4.2.1; `benchmarks/damaged_colmap.py`). Tracks, rigs and frames are not needed.
"""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np

from gags.capture.camera import rotations
from gags.capture.folders import files_of, photo_folder, photos_by_name
from gags.capture.formats.base import Format, Points, Pose, Source, finite_points, no_points
from gags.capture.lens import Lens
from gags.capture.photos import photos_in
from gags.errors import CaptureError
from gags.progress import SILENT, Reporter

# Models by COLMAP's number: name, number of parameters, whether it is a pinhole with OpenCV distortion.
_MODELS = {
    0: ("SIMPLE_PINHOLE", 3, True),
    1: ("PINHOLE", 4, True),
    2: ("SIMPLE_RADIAL", 4, True),
    3: ("RADIAL", 5, True),
    4: ("OPENCV", 8, True),
    5: ("OPENCV_FISHEYE", 8, False),
    6: ("FULL_OPENCV", 12, True),
    7: ("FOV", 5, False),
    8: ("SIMPLE_RADIAL_FISHEYE", 4, False),
    9: ("RADIAL_FISHEYE", 5, False),
    10: ("THIN_PRISM_FISHEYE", 12, False),
}
_SUPPORTED = [name for name, _, supported in _MODELS.values() if supported]
_PARAMETERS = {name: count for name, count, _ in _MODELS.values()}

T = TypeVar("T")


def model_folder(root: Path) -> Path | None:
    """The folder that holds the COLMAP model of a capture: `sparse/0`, `sparse`, or None."""
    for folder in (root / "sparse" / "0", root / "sparse"):
        if any((folder / f"cameras.{suffix}").is_file() for suffix in ("bin", "txt")):
            return folder
    return None


def read_colmap(root: Path, progress: Reporter = SILENT, *, images: str | None = None) -> Source:
    """Read a capture laid out as COLMAP and 3DGS do; see `Reader`.

    Raises:
        CaptureError: If files are missing or damaged, or a camera model is not supported.
    """
    model = model_folder(root)
    if model is None:
        raise CaptureError(f"{root} has no COLMAP model: sparse/0/cameras.bin (or .txt) is not there")
    others = [f.name for f in sorted(root.glob("sparse/*")) if f.is_dir() and f != model]
    if model.name == "0" and others:
        progress.say(f"{root / 'sparse'} holds {len(others) + 1} models; reading sparse/0")
    folder = photo_folder(root, images, progress)
    if folder is None:
        raise CaptureError(f"{root} has a COLMAP model but no folder images/; put its photos there")

    cameras = _parse(model, "cameras", _cameras_binary, _cameras_text)
    posed = _parse(model, "images", _images_binary, _images_text)
    files = files_of([name for name, _, _ in posed], folder)
    poses = []
    for name, camera_id, viewmat in posed:
        if camera_id not in cameras:
            raise CaptureError(
                f"{model}: photo {name} belongs to camera {camera_id}, which is not in the model"
            )
        poses.append(Pose(name, files[name], viewmat, cameras[camera_id]))
    photos = photos_by_name(files, photos_in(folder, deep=True), folder)
    points, points_rgb = read_points(root)
    return Source(poses, photos, points, points_rgb, folder=folder)


def read_points(root: Path) -> Points:
    """The sparse points of a model alone, none if it has no file of them.

    Returns:
        Points, float32 [P, 3], and colours, uint8 [P, 3], in the order of COLMAP's point numbers.
    """
    model = model_folder(root)
    if model is None or not any((model / f"points3D.{suffix}").is_file() for suffix in ("bin", "txt")):
        return no_points()
    table = _parse(model, "points3D", _points_binary, _points_text)
    table = table[np.argsort(table[:, 0], kind="stable")]
    return finite_points(table[:, 1:4], table[:, 4:7])


COLMAP = Format(
    name="colmap",
    title="COLMAP model",
    layout="a COLMAP model (images/ and sparse/0/cameras.bin or .txt)",
    find=model_folder,
    read=read_colmap,
    points=read_points,
)


def _parse(
    model: Path,
    name: str,
    binary: Callable[[bytes], T],
    text: Callable[[list[str]], T],
) -> T:
    """Read one of the model's files, binary if there is one, and turn whatever is wrong into one error."""
    path = model / f"{name}.bin"
    if not path.is_file():
        path = model / f"{name}.txt"
    try:
        if path.suffix == ".bin":
            return binary(path.read_bytes())
        return text(path.read_text(encoding="utf-8").splitlines())
    except FileNotFoundError as error:
        raise CaptureError(f"{model} has no {name}.bin or {name}.txt; copy the whole COLMAP model") from error
    except (struct.error, OverflowError, ValueError, OSError) as error:
        early = isinstance(error, struct.error | OverflowError)  # overflow: a length read from junk
        reason = "it ends too early" if early else str(error)
        raise CaptureError(f"{path} is damaged: {reason}; copy or export the COLMAP model again") from error


def _lens(model: str, width: int, height: int, params: tuple[float, ...]) -> Lens:
    if model not in _SUPPORTED:
        raise CaptureError(
            f"camera model {model} is not supported (only {', '.join(_SUPPORTED)}); "
            "undistort the photos with `colmap image_undistorter` first"
        )
    if len(params) != _PARAMETERS[model]:
        raise ValueError(f"{model} takes {_PARAMETERS[model]} parameters, not {len(params)}")
    focals = 1 if model in ("SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL") else 2
    if not np.isfinite(params).all() or min(width, height, *params[:focals]) <= 0:
        raise ValueError(f"{model} {width}×{height} with parameters {params} is no camera")
    if focals == 1:
        f, cx, cy, *distortion = params
        return Lens(width, height, fx=f, fy=f, cx=cx, cy=cy, distortion=tuple(distortion))
    fx, fy, cx, cy, *distortion = params
    return Lens(width, height, fx=fx, fy=fy, cx=cx, cy=cy, distortion=tuple(distortion))


def _viewmat(quat_wxyz: tuple[float, ...], translation: tuple[float, ...]) -> np.ndarray:
    norm = float(np.linalg.norm(quat_wxyz))
    if not 0 < norm < np.inf or not np.isfinite(translation).all():
        raise ValueError(f"pose {quat_wxyz} {translation} is not a rotation and a translation")
    viewmat = np.eye(4)
    viewmat[:3, :3] = rotations(np.array(quat_wxyz) / norm)
    viewmat[:3, 3] = translation
    return viewmat


def _records(data: bytes) -> tuple[int, int]:
    """Number of records in a binary file, and where the first begins."""
    return struct.unpack_from("<Q", data)[0], 8


def _check_end(data: bytes, offset: int) -> None:
    if offset != len(data):
        raise ValueError(f"{len(data) - offset} bytes follow its last record")


def _cameras_binary(data: bytes) -> dict[int, Lens]:
    cameras = {}
    count, offset = _records(data)
    for _ in range(count):
        camera_id, model_id, width, height = struct.unpack_from("<iiQQ", data, offset)
        model, parameters, _ = _MODELS.get(model_id, (f"number {model_id}", 0, False))
        params = struct.unpack_from(f"<{parameters}d", data, offset + 24)
        offset += 24 + 8 * parameters
        cameras[camera_id] = _lens(model, width, height, params)
    _check_end(data, offset)
    return cameras


def _images_binary(data: bytes) -> list[tuple[str, int, np.ndarray]]:
    images = []
    count, offset = _records(data)
    for _ in range(count):
        _, *pose, camera_id = struct.unpack_from("<I7di", data, offset)
        offset += 64
        end = data.find(b"\0", offset)
        if end < 0:
            raise struct.error
        name = data[offset:end].decode("utf-8")
        (points,) = struct.unpack_from("<Q", data, end + 1)
        offset = end + 9 + 24 * points
        images.append((name, camera_id, _viewmat(tuple(pose[:4]), tuple(pose[4:]))))
    _check_end(data, offset)
    return images


# One point up to its track, which follows as pairs of int32.
_POINT = np.dtype(
    [("id", "<u8"), ("xyz", "<f8", 3), ("rgb", "u1", 3), ("error", "<f8"), ("track_length", "<u8")]
)


def _points_binary(data: bytes) -> np.ndarray:
    """Number, x, y, z, r, g, b of every point. float64 [P, 7]"""
    starts = []
    count, offset = _records(data)
    for _ in range(count):
        starts.append(offset)
        (track,) = struct.unpack_from("<Q", data, offset + _POINT.itemsize - 8)
        offset += _POINT.itemsize + 8 * track
    _check_end(data, offset)
    octets = np.frombuffer(data, np.uint8)
    rows = octets[np.array(starts, dtype=np.int64)[:, None] + np.arange(_POINT.itemsize)]
    points = rows.view(_POINT)[:, 0]
    return np.concatenate([points["id"][:, None].astype(np.float64), points["xyz"], points["rgb"]], axis=1)


def _data_lines(lines: list[str]) -> Iterator[list[str]]:
    return (line.split() for line in lines if line.strip() and not line.lstrip().startswith("#"))


def _cameras_text(lines: list[str]) -> dict[int, Lens]:
    return {
        int(camera_id): _lens(model, int(width), int(height), tuple(map(float, params)))
        for camera_id, model, width, height, *params in _data_lines(lines)
    }


def _images_text(lines: list[str]) -> list[tuple[str, int, np.ndarray]]:
    """Two lines a photo: its pose, and its 2D points (often empty), which are skipped."""
    images = []
    rest = iter(lines)
    for line in rest:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        words = line.split(maxsplit=9)
        if len(words) < 10:
            raise ValueError(f"`{line[:60]}` is not IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME")
        name, pose = words[9].strip(), tuple(map(float, words[1:8]))
        if len(next(rest, "").split()) % 3:
            raise ValueError(f"the line after photo {name} is not a list of X Y POINT3D_ID")
        images.append((name, int(words[8]), _viewmat(pose[:4], pose[4:])))
    return images


def _points_text(lines: list[str]) -> np.ndarray:
    """Number, x, y, z, r, g, b of every point. float64 [P, 7]"""
    rows = []
    for words in _data_lines(lines):
        if len(words) < 8:
            raise ValueError(f"`{' '.join(words)[:60]}` is not POINT3D_ID X Y Z R G B ERROR TRACK")
        rows.append(tuple(map(float, words[:7])))
    return np.array(rows, dtype=np.float64).reshape(-1, 7)
