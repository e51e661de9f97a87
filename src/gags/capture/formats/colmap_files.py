"""The three files of a COLMAP model, binary or text: cameras, photos with poses, points.

Rigs and frames, which COLMAP 4 writes beside them, are in `colmap_rigs.py`.

They are parsed here and not by pycolmap, which takes a `cameras.bin` with 30 % of its bytes for a whole one,
has not returned from an empty `points3D.bin` after 20 s, and refuses a model from which a photo was removed
(version 4.2.1; `benchmarks/damaged_colmap.py`). Tracks are not needed.
"""

import math
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from gags.capture.camera import rotations
from gags.capture.lens import Lens, panorama_lens
from gags.capture.projections import EQUIRECTANGULAR, PERSPECTIVE
from gags.errors import CaptureError
from gags.files.text import read_text

# Models by COLMAP's number: name, number of parameters, of which are focal lengths, and the projection.
_MODELS = {
    0: ("SIMPLE_PINHOLE", 3, 1, PERSPECTIVE),
    1: ("PINHOLE", 4, 2, PERSPECTIVE),
    2: ("SIMPLE_RADIAL", 4, 1, PERSPECTIVE),
    3: ("RADIAL", 5, 1, PERSPECTIVE),
    4: ("OPENCV", 8, 2, PERSPECTIVE),
    5: ("OPENCV_FISHEYE", 8, 2, "fisheye"),
    6: ("FULL_OPENCV", 12, 2, PERSPECTIVE),
    7: ("FOV", 5, 2, "field-of-view"),
    8: ("SIMPLE_RADIAL_FISHEYE", 4, 1, "fisheye"),
    9: ("RADIAL_FISHEYE", 5, 1, "fisheye"),
    10: ("THIN_PRISM_FISHEYE", 12, 2, "thin-prism-fisheye"),
    11: ("RAD_TAN_THIN_PRISM_FISHEYE", 16, 2, "rad-tan-thin-prism-fisheye"),
    12: ("SIMPLE_DIVISION", 4, 1, "division"),
    13: ("DIVISION", 5, 2, "division"),
    14: ("SIMPLE_FISHEYE", 3, 1, "fisheye"),
    15: ("FISHEYE", 4, 2, "fisheye"),
    16: ("EUCM", 6, 2, "unified"),
    17: ("EQUIRECTANGULAR", 2, 0, EQUIRECTANGULAR),
}
_BY_NAME = {name: (count, focals, projection) for name, count, focals, projection in _MODELS.values()}
# Bytes that one record takes at least: how many there can be follows from the length of a file.
LEAST_IMAGE_BYTES = 64 + 1 + 8
_MOST_REASON = 200  # letters of a message that may quote the file

T = TypeVar("T")


class PosedImage(NamedTuple):
    """One photo of a model.

    Attributes:
        name: As the model calls it; bytes that are no UTF-8 as `surrogateescape` keeps them.
        camera_id: Number of its camera.
        viewmat: World-to-camera transform, float64 [4, 4]; None if the file holds no rotation.
        image_id: Its number.
    """

    name: str
    camera_id: int
    viewmat: np.ndarray | None
    image_id: int


def is_model(folder: Path) -> bool:
    """Whether a folder holds the cameras of a COLMAP model."""
    return model_file(folder, "cameras") is not None


def is_whole_model(folder: Path) -> bool:
    """Whether a folder holds cameras and photos of a COLMAP model."""
    return is_model(folder) and model_file(folder, "images") is not None


def count_images(model: Path) -> int:
    """How many photos a model has, without reading them all if it is binary; 0 if it is damaged."""
    path = model_file(model, "images")
    try:
        if path is None:
            return 0
        if path.suffix == ".txt":
            return len(_images_text(read_text(path).splitlines()))
        with open(path, "rb") as file:
            (count,) = struct.unpack("<Q", file.read(8))
        return count if count * LEAST_IMAGE_BYTES <= path.stat().st_size else 0
    except (struct.error, ValueError, OSError):
        return 0


def read_cameras(model: Path) -> dict[int, Lens]:
    """Cameras of a model by number.

    Raises:
        CaptureError: If the file is missing or damaged, or a camera model is unknown.
    """
    return parse_file(model, "cameras", _cameras_binary, _cameras_text)


def read_images(model: Path) -> list[PosedImage]:
    """Photos of a model, in the order of the file.

    Raises:
        CaptureError: If the file is missing or damaged.
    """
    return parse_file(model, "images", _images_binary, _images_text)


def read_points_table(model: Path) -> np.ndarray | None:
    """Number, x, y, z, r, g, b of every point in the order of the file, float64 [P, 7]; None without a file.

    Raises:
        CaptureError: If the file is damaged.
    """
    return (
        None
        if model_file(model, "points3D") is None
        else parse_file(model, "points3D", _points_binary, _points_text)
    )


def model_file(model: Path, name: str) -> Path | None:
    """A file of a model: the binary file of this name if there is one, else the text."""
    paths = (model / f"{name}.{suffix}" for suffix in ("bin", "txt"))
    return next((path for path in paths if path.is_file()), None)


def parse_file(
    model: Path,
    name: str,
    binary: Callable[[bytes], T],
    text: Callable[[list[str]], T],
) -> T:
    """Read one of the model's files, binary if there is one, and turn whatever is wrong into one error."""
    path = model_file(model, name)
    if path is None:
        raise CaptureError(f"{model} has no {name}.bin or {name}.txt; copy the whole COLMAP model")
    try:
        return binary(path.read_bytes()) if path.suffix == ".bin" else text(read_text(path).splitlines())
    except (struct.error, OverflowError, ValueError, OSError) as error:
        early = isinstance(error, struct.error | OverflowError)  # overflow: a length read from junk
        reason = "it ends too early" if early else str(error)[:_MOST_REASON]
        raise CaptureError(f"{path} is damaged: {reason}; copy or export the COLMAP model again") from error


def lens_of_model(model: str, width: int, height: int, params: Sequence[float]) -> Lens:
    """The lens that COLMAP calls by a model and its parameters.

    Raises:
        CaptureError: If there is no such model.
        ValueError: If the parameters are too few, too many, or those of no camera.
    """
    if model not in _BY_NAME:
        raise CaptureError(
            f"camera model {model} is unknown (known: {', '.join(_BY_NAME)}); "
            "undistort the photos with `colmap image_undistorter` first"
        )
    count, focals, projection = _BY_NAME[model]
    if len(params) != count:
        raise ValueError(f"{model} takes {count} parameters, not {len(params)}")
    if not np.isfinite(params).all() or min(width, height, *params[:focals]) <= 0:
        raise ValueError(f"{model} {width}×{height} with parameters {tuple(params)} is no camera")
    if projection == EQUIRECTANGULAR:  # its parameters are width and height again
        return panorama_lens(width, height)
    fx, fy = params[0], params[focals - 1]
    cx, cy, *bends = params[focals:]
    distortion = tuple(bends)
    nonsense = (projection == "unified" and not (0 <= bends[0] <= 1 and bends[1] > 0)) or (
        projection == "field-of-view" and not abs(bends[0]) < np.pi
    )
    if nonsense:
        raise ValueError(f"{model} with parameters {tuple(params)} is no camera")
    return Lens(width, height, fx=fx, fy=fy, cx=cx, cy=cy, distortion=distortion, projection=projection)


def viewmat_of(quat_wxyz: tuple[float, ...], translation: tuple[float, ...]) -> np.ndarray | None:
    """A rotation and translation as a matrix, float64 [4, 4]; None if they are none."""
    w, x, y, z = map(float, quat_wxyz)
    # Hashes of captures hold the rotation, so this is the same to the digit on every processor: NumPy's norm
    # rounds otherwise where it multiplies and adds in one step, and `sum` where it compensates.
    norm = math.sqrt(w * w + x * x + y * y + z * z)
    if not 0 < norm < np.inf or not np.isfinite(translation).all():
        return None
    viewmat = np.eye(4)
    viewmat[:3, :3] = rotations(np.array(quat_wxyz) / norm)
    viewmat[:3, 3] = translation
    return viewmat


def record_count(data: bytes) -> tuple[int, int]:
    """Number of records in a binary file, and where the first begins."""
    return struct.unpack_from("<Q", data)[0], 8


def check_end(data: bytes, offset: int) -> None:
    """Make sure that the records of a binary file end where it ends.

    Raises:
        ValueError: If they do not.
    """
    if offset != len(data):
        raise ValueError(f"{len(data) - offset} bytes follow its last record")


def _cameras_binary(data: bytes) -> dict[int, Lens]:
    cameras = {}
    count, offset = record_count(data)
    for _ in range(count):
        camera_id, model_id, width, height = struct.unpack_from("<iiQQ", data, offset)
        model, parameters, *_ = _MODELS.get(model_id, (f"number {model_id}", 0, 0, ""))
        params = struct.unpack_from(f"<{parameters}d", data, offset + 24)
        offset += 24 + 8 * parameters
        cameras[camera_id] = lens_of_model(model, width, height, params)
    check_end(data, offset)
    return cameras


def _images_binary(data: bytes) -> list[PosedImage]:
    images = []
    count, offset = record_count(data)
    for _ in range(count):
        image_id, *pose, camera_id = struct.unpack_from("<I7di", data, offset)
        offset += 64
        end = data.find(b"\0", offset)
        if end < 0:
            raise struct.error
        name = data[offset:end].decode("utf-8", "surrogateescape")
        (points,) = struct.unpack_from("<Q", data, end + 1)
        offset = end + 9 + 24 * points
        viewmat = viewmat_of(tuple(pose[:4]), tuple(pose[4:]))
        images.append(PosedImage(name, camera_id, viewmat, image_id))
    check_end(data, offset)
    return images


# One point up to its track, which follows as pairs of int32.
_POINT = np.dtype(
    [("id", "<u8"), ("xyz", "<f8", 3), ("rgb", "u1", 3), ("error", "<f8"), ("track_length", "<u8")]
)


def _points_binary(data: bytes) -> np.ndarray:
    """Number, x, y, z, r, g, b of every point. float64 [P, 7]"""
    starts = []
    count, offset = record_count(data)
    for _ in range(count):
        starts.append(offset)
        (track,) = struct.unpack_from("<Q", data, offset + _POINT.itemsize - 8)
        offset += _POINT.itemsize + 8 * track
    check_end(data, offset)
    octets = np.frombuffer(data, np.uint8)
    rows = octets[np.array(starts, dtype=np.int64)[:, None] + np.arange(_POINT.itemsize)]
    points = rows.view(_POINT)[:, 0]
    return np.concatenate([points["id"][:, None].astype(np.float64), points["xyz"], points["rgb"]], axis=1)


def data_lines(lines: list[str]) -> Iterator[list[str]]:
    """The words of every line of a text file that is no comment."""
    return (line.split() for line in lines if line.strip() and not line.lstrip().startswith("#"))


def _cameras_text(lines: list[str]) -> dict[int, Lens]:
    return {
        int(camera_id): lens_of_model(model, int(width), int(height), tuple(map(float, params)))
        for camera_id, model, width, height, *params in data_lines(lines)
    }


def _images_text(lines: list[str]) -> list[PosedImage]:
    """A line a photo, its pose, and a second one of its 2D points, often empty or missing."""
    images: list[PosedImage] = []
    just_posed = False
    for line in lines:
        if line.lstrip().startswith("#"):
            continue
        words = line.split(maxsplit=9)
        if just_posed and _is_points2d(line):
            just_posed = False
        elif len(words) == 10:
            pose = tuple(map(float, words[1:8]))
            viewmat = viewmat_of(pose[:4], pose[4:])
            number = int(words[0]) if words[0].isdigit() else -1
            images.append(PosedImage(words[9].strip(), int(words[8]), viewmat, number))
            just_posed = True
        elif words and just_posed:
            raise ValueError(f"the line after photo {images[-1].name} is not a list of X Y POINT3D_ID")
        elif words:
            raise ValueError(f"`{line[:60]}` is not IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME")
    return images


def _is_points2d(line: str) -> bool:
    """Whether a line can be 2D points. The line of a pose ends in a name, which has a suffix or letters."""
    words = line.split()
    return not words or (len(words) % 3 == 0 and _is_number(words[-1]))


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _points_text(lines: list[str]) -> np.ndarray:
    """Number, x, y, z, r, g, b of every point. float64 [P, 7]"""
    rows = []
    for words in data_lines(lines):
        if len(words) < 7:  # an error and a track follow, which Gaussians do not need
            raise ValueError(f"`{' '.join(words)[:60]}` is not POINT3D_ID X Y Z R G B")
        rows.append(tuple(map(float, words[:7])))
    return np.array(rows, dtype=np.float64).reshape(-1, 7)
