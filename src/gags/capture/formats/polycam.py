"""Reader of Polycam's raw data, as github.com/PolyCam/polyform describes it: images, cameras and depth maps.

Poses there are camera-to-world in ARKit's frame: +y up, metres, the camera looking along −z. Where Polycam
has corrected them (`corrected_cameras/`), the corrected ones are read. The frame stays as it is. Depth maps
become points.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gags.capture.folders import refuse_choice
from gags.capture.formats.base import Format, Points, Pose, Source, finite_points, opengl_viewmat
from gags.capture.lens import Lens, plain_lens
from gags.capture.photos import photos_in, read_photo
from gags.errors import CaptureError
from gags.progress import SILENT, Reporter

MOST_POINTS = 50_000
METRES_PER_UNIT = 1e-3  # depth maps hold millimetres
MIN_CONFIDENCE = 127  # of 255: medium confidence of the LiDAR; depth below that is a guess
MAX_DEPTH_M = 5.0  # the range of the LiDAR
_MATRIX = [[f"t_{row}{column}" for column in range(4)] for row in range(3)]


def keyframes_folder(root: Path) -> Path | None:
    """The folder that holds Polycam's keyframes: `keyframes`, the folder itself, or None."""
    for folder in (root / "keyframes", root):
        if any(any((folder / cameras).glob("*.json")) for cameras in ("corrected_cameras", "cameras")):
            return folder
    return None


def read_polycam(root: Path, progress: Reporter = SILENT, *, images: str | None = None) -> Source:
    """Read raw data that Polycam exported; see `Reader`.

    Raises:
        CaptureError: If files are missing or damaged.
    """
    refuse_choice(images, root, POLYCAM.layout)
    folder = _folder(root)
    kind = "corrected_" if any((folder / "corrected_cameras").glob("*.json")) else ""
    photos = {path.name: path for path in photos_in(folder / f"{kind}images", deep=False)}
    by_stem = {path.stem: path for path in photos.values()}
    poses = []
    for file in sorted((folder / f"{kind}cameras").glob("*.json")):
        photo = by_stem.get(file.stem, folder / f"{kind}images" / f"{file.stem}.jpg")
        viewmat, lens = _camera(file)
        poses.append(Pose(photo.name, photo, viewmat, lens))
    points, points_rgb = _points(folder, poses)
    return Source(poses, photos, points, points_rgb)


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


def _camera(file: Path) -> tuple[np.ndarray, Lens]:
    try:
        values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        matrix = [[float(values[name]) for name in row] for row in _MATRIX]
        fx, fy, cx, cy = (float(values[name]) for name in ("fx", "fy", "cx", "cy"))
        width, height = int(values["width"]), int(values["height"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CaptureError(
            f"{file} is no camera of Polycam ({error!r}); export the raw data again"
        ) from error
    lens = plain_lens(width, height, fx=fx, fy=fy, cx=cx, cy=cy, where=str(file))
    return opengl_viewmat(matrix, f"{file}: t_00 … t_23"), lens


def _points(folder: Path, poses: list[Pose]) -> Points:
    """Points on an even grid of all depth maps, `MOST_POINTS` at most."""
    deep = [(pose, folder / "depth" / f"{pose.path.stem}.png") for pose in poses]
    deep = [(pose, path) for pose, path in deep if path.is_file() and pose.path.is_file()]
    xyz, rgb = [np.zeros((0, 3))], [np.zeros((0, 3))]
    for pose, path in deep:
        confidence = folder / "confidence" / path.name
        points, colors = depth_points(pose, path, confidence, MOST_POINTS // len(deep))
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
