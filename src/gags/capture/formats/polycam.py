"""Reader of Polycam's raw data, as github.com/PolyCam/polyform describes it: images, cameras and depth maps.

Poses there are camera-to-world in ARKit's frame: +y up, metres, the camera looking along −z. Where Polycam
has corrected them (`corrected_cameras/`), the corrected ones are read. The frame stays as it is. Depth maps
become points.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gags.capture.folders import refuse_choice
from gags.capture.formats.base import (
    LEAST_USABLE_SHARE,
    Format,
    Points,
    Pose,
    Source,
    finite_points,
    opengl_viewmat,
)
from gags.capture.lens import Lens, plain_lens
from gags.capture.names import resolve
from gags.capture.photos import photo_size, photos_in, read_photo
from gags.errors import CaptureError
from gags.files.text import read_json
from gags.progress import SILENT, Reporter

MOST_POINTS = 50_000
METRES_PER_UNIT = 1e-3  # depth maps hold millimetres
MIN_CONFIDENCE = 127  # of 255: medium confidence of the LiDAR; depth below that is a guess
MAX_DEPTH_M = 5.0  # the range of the LiDAR
_MATRIX = [[f"t_{row}{column}" for column in range(4)] for row in range(3)]


def keyframes_folder(root: Path) -> Path | None:
    """The folder that holds Polycam's keyframes: `keyframes`, the folder itself, or None."""
    for folder in (root / "keyframes", root):
        if any(_camera_files(folder, kind) for kind in ("corrected_", "")):
            return folder
    return None


def read_polycam(root: Path, progress: Reporter = SILENT, *, images: str | None = None) -> Source:
    """Read raw data that Polycam exported; see `Reader`.

    Raises:
        CaptureError: If files are missing or damaged.
    """
    refuse_choice(images, root, POLYCAM.layout)
    folder = _folder(root)
    kind = _kind(folder, progress)
    photos = {path.name: path for path in photos_in(folder / f"{kind}images", deep=False)}
    cameras = _camera_files(folder, kind)
    found = resolve([file.stem for file in cameras], photos)
    poses, broken = [], {}
    for file in cameras:
        photo = folder / f"{kind}images" / found.get(file.stem, f"{file.stem}.jpg")
        try:
            viewmat, lens = _camera(file, folder / "cameras" / file.name, photo)
            poses.append(Pose(photo.name, photo, viewmat, lens))
        except CaptureError as error:
            broken[photo.name] = str(error)
    points, points_rgb = _points(folder, poses, progress)
    return Source(poses, photos, points, points_rgb, folder=folder / f"{kind}images", broken=broken)


def _camera_files(folder: Path, kind: str) -> list[Path]:
    """The files of cameras, without those that macOS hides beside them."""
    return sorted(file for file in (folder / f"{kind}cameras").glob("*.json") if file.name[0] != ".")


def _kind(folder: Path, progress: Reporter) -> str:
    """What is read: the corrected cameras with the corrected photos, or else both as they were taken."""
    shares = {}
    for kind in ("corrected_", ""):
        names = {path.stem for path in photos_in(folder / f"{kind}images", deep=False)}
        cameras = _camera_files(folder, kind)
        shares[kind] = sum(file.stem in names for file in cameras) / max(1, len(cameras))
    if not _camera_files(folder, "corrected_"):
        return ""
    if shares["corrected_"] > LEAST_USABLE_SHARE or shares[""] <= LEAST_USABLE_SHARE:
        return "corrected_"
    progress.warn(
        f"{folder}: most corrected photos are not there; reading the photos and poses as they were taken"
    )
    return ""


def read_points(root: Path) -> Points:
    """The points of the depth maps alone: float32 [P, 3], and their colours, uint8 [P, 3]."""
    source = read_polycam(root)
    return source.points, source.points_rgb


POLYCAM = Format(
    name="polycam",
    title="export of Polycam",
    layout="an export of Polycam (keyframes/)",
    find=keyframes_folder,
    read=read_polycam,
    points=read_points,
    in_order=True,
)


def _folder(root: Path) -> Path:
    folder = keyframes_folder(root)
    if folder is None:
        raise CaptureError(f"{root} has no keyframes/cameras; export the raw data from Polycam again")
    return folder


def _camera(file: Path, raw_file: Path, photo: Path) -> tuple[np.ndarray, Lens]:
    """World-to-camera transform and intrinsics of one photo.

    Newer exports leave the size out of corrected cameras: it is that of the raw camera, or of the photo.
    """
    try:
        values: dict[str, Any] = read_json(file)
        matrix = [[float(values[name]) for name in row] for row in _MATRIX]
        fx, fy, cx, cy = (float(values[name]) for name in ("fx", "fy", "cx", "cy"))
        if "width" in values and "height" in values:
            width, height = int(values["width"]), int(values["height"])
        else:
            width, height = _raw_size(raw_file) or photo_size(photo)
    except (OSError, ValueError, ArithmeticError, TypeError, LookupError) as error:
        raise CaptureError(
            f"{file} is no camera of Polycam ({error!r}); export the raw data again"
        ) from error
    lens = plain_lens(width, height, fx=fx, fy=fy, cx=cx, cy=cy, where=str(file))
    return opengl_viewmat(matrix, f"{file}: t_00 … t_23"), lens


def _raw_size(file: Path) -> tuple[int, int] | None:
    """Width and height that a raw camera tells; None if it does not."""
    try:
        values = read_json(file)
        return int(values["width"]), int(values["height"])
    except (OSError, ValueError, ArithmeticError, TypeError, LookupError):
        return None


def _points(folder: Path, poses: list[Pose], progress: Reporter) -> Points:
    """Points on an even grid of all depth maps, `MOST_POINTS` at most; maps that cannot be read give none."""
    deep = [(pose, folder / "depth" / f"{pose.path.stem}.png") for pose in poses]
    deep = [(pose, path) for pose, path in deep if path.is_file() and pose.path.is_file()]
    xyz, rgb = [np.zeros((0, 3))], [np.zeros((0, 3))]
    for pose, path in deep:
        confidence = folder / "confidence" / path.name
        try:
            points, colors = depth_points(pose, path, confidence, MOST_POINTS // len(deep))
        except CaptureError as error:
            progress.warn(f"no points of {path.name}: {error}")
            continue
        xyz.append(points)
        rgb.append(colors)
    return finite_points(np.concatenate(xyz), np.concatenate(rgb))


def depth_points(
    pose: Pose, depth_file: Path, confidence_file: Path, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """World points of a depth map in millimetres, and their colours.

    Args:
        pose: Of the photo that the map belongs to; the map shows the same at another size.
        depth_file: 16-bit PNG, 0 where nothing was measured.
        confidence_file: 8-bit PNG; may be missing.
        most: Most points wanted.

    Returns:
        float64 [P, 3] and uint8 [P, 3]
    """
    import cv2

    depth = _map(depth_file).astype(np.float64) * METRES_PER_UNIT
    height, width = depth.shape
    measured = (depth > 0) & (depth <= MAX_DEPTH_M)
    if confidence_file.is_file():
        confidence = _map(confidence_file)
        if confidence.shape == depth.shape:
            measured &= confidence >= MIN_CONFIDENCE
    step = max(1, math.ceil(math.sqrt(height * width / max(1, most))))
    grid = np.zeros_like(measured)
    grid[step // 2 :: step, step // 2 :: step] = True
    rows, columns = np.nonzero(measured & grid)
    lens = pose.lens.resized(width, height)
    z = depth[rows, columns]
    x, y = (columns + 0.5 - lens.cx) / lens.fx * z, (rows + 0.5 - lens.cy) / lens.fy * z
    xyz_world = (np.stack([x, y, z], axis=1) - pose.viewmat[:3, 3]) @ pose.viewmat[:3, :3]
    photo = cv2.resize(read_photo(pose.path), (width, height), interpolation=cv2.INTER_AREA)
    return xyz_world, photo[rows, columns]


def _map(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            values = np.asarray(image)
    except (OSError, ValueError, SyntaxError) as error:
        raise CaptureError(f"{path} cannot be read ({error}); export the raw data again") from error
    if values.ndim != 2:
        raise CaptureError(f"{path} is no map of depths; export the raw data again")
    return values
