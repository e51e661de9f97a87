"""Small captures of every format written to disk, COLMAP models by pycolmap itself."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pycolmap
from PIL import Image

LENSES = {
    "SIMPLE_PINHOLE": [210.0, 90.0, 80.0],
    "PINHOLE": [210.0, 220.0, 110.0, 62.0],
    "SIMPLE_RADIAL": [210.0, 90.0, 80.0, -0.12],
    "RADIAL": [210.0, 105.0, 70.0, 0.09, -0.02],
    "OPENCV": [210.0, 220.0, 92.0, 81.0, -0.2, 0.05, 0.004, -0.006],
    "FULL_OPENCV": [210.0, 220.0, 92.0, 81.0, -0.2, 0.05, 0.004, -0.006, 0.01, 0.02, -0.01, 0.003],
}
SIZE = (200, 150)


def turned(angle: float, axis: list[float]) -> np.ndarray:
    """A rotation, by Rodrigues' formula. [3, 3]"""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def pose(index: int) -> np.ndarray:
    """World-to-camera transform of view `index`, looking down +z from about 3 units away. [4, 4]"""
    viewmat = np.eye(4)
    viewmat[:3, :3] = turned(0.05 * (index + 1), [1.0, 2.0 - index, 0.5])
    viewmat[:3, 3] = [0.1 * index, -0.05, 3.0]
    return viewmat


def plain_photo(index: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A picture that is of one colour a view. uint8 [H, W, 3]"""
    return np.full((size[1], size[0], 3), [20 + 10 * index, 100, 200 - 10 * index], dtype=np.uint8)


def write_colmap(
    root: Path,
    names: list[str],
    *,
    model: str = "PINHOLE",
    params: list[float] | None = None,
    size: tuple[int, int] = SIZE,
    photo: Callable[[int], np.ndarray] = plain_photo,
    points: int = 5,
    text: bool = False,
) -> pycolmap.Reconstruction:
    """Write `images/` and `sparse/0`; view i is names[i] with pose(i), point i lies at (i, -i, 0.5 i)."""
    reconstruction = pycolmap.Reconstruction()
    camera = pycolmap.Camera(
        model=model, width=size[0], height=size[1], params=params or LENSES[model], camera_id=3
    )
    reconstruction.add_camera_with_trivial_rig(camera)
    for index, name in enumerate(names):
        viewmat = pose(index)
        rigid = pycolmap.Rigid3d(pycolmap.Rotation3d(viewmat[:3, :3]), viewmat[:3, 3])
        image = pycolmap.Image(name=name, camera_id=3, image_id=index + 5)
        reconstruction.add_image_with_trivial_frame(image, rigid)
        write_photo(root / "images" / name, photo(index))
    for index in range(points):
        colour = np.array([index, 2 * index, 250 - index], dtype=np.uint8)
        track = pycolmap.Track()
        reconstruction.add_point3D(np.array([index, -index, 0.5 * index]), track, colour)
    model_folder = root / "sparse" / "0"
    model_folder.mkdir(parents=True)
    (reconstruction.write_text if text else reconstruction.write_binary)(str(model_folder))
    return reconstruction


def write_photo(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def write_nerfstudio(root: Path, names: list[str], *, points: bool = True, **keys) -> dict:
    """Write photos and transforms.json with pose(i) for names[i]; `keys` go into transforms.json."""
    frames = []
    for index, name in enumerate(names):
        write_photo(root / name, plain_photo(index))
        camera_to_world = np.linalg.inv(pose(index)) @ np.diag([1.0, -1.0, -1.0, 1.0])
        frames.append({"file_path": name, "transform_matrix": camera_to_world.tolist()})
    transforms = {"fl_x": 210.0, "w": SIZE[0], "h": SIZE[1], "frames": frames}
    if points:
        header = (
            "ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\nproperty float y\nproperty float z\n"
        )
        header += "property uchar red\nproperty uchar green\nproperty uchar blue\nend_header\n"
        (root / "points.ply").write_text(header + "1 2 3 10 20 30\n-1.5 0 2 255 0 1\n")
        transforms["ply_file_path"] = "points.ply"
    transforms |= keys
    (root / "transforms.json").write_text(json.dumps(transforms))
    return transforms


def write_polycam(root: Path, count: int = 3, *, kind: str = "", depth: int | None = None) -> Path:
    """Keyframes 100, 101 … with pose(i); `depth` in millimetres is the same everywhere."""
    folder = root / "keyframes"
    for index in range(count):
        name = str(100 + index)
        write_photo(folder / f"{kind}images" / f"{name}.jpg", np.full((30, 40, 3), 60 * index + 30, np.uint8))
        arkit = np.linalg.inv(pose(index)) @ np.diag([1.0, -1, -1, 1])
        values = {f"t_{row}{column}": arkit[row, column] for row in range(3) for column in range(4)}
        values |= {"fx": 50.0, "fy": 52.0, "cx": 19.0, "cy": 16.0, "width": 40, "height": 30}
        (folder / f"{kind}cameras").mkdir(parents=True, exist_ok=True)
        (folder / f"{kind}cameras" / f"{name}.json").write_text(json.dumps(values | {"blur_score": 99}))
        if depth is not None:
            (folder / "depth").mkdir(exist_ok=True)
            Image.fromarray(np.full((6, 8), depth, np.uint16)).save(folder / "depth" / f"{name}.png")
    return folder


def quaternion(R: np.ndarray) -> list[float]:
    """x, y, z, w of a rotation, by its axis and angle."""
    vector = cv2.Rodrigues(R)[0][:, 0]
    angle = float(np.linalg.norm(vector))
    axis = vector / angle if angle else vector
    return [*(np.sin(angle / 2) * axis), float(np.cos(angle / 2))]


def write_record3d(
    root: Path, count: int = 3, *, photos: str = "rgb", metadata: str = "metadata.json", **keys
) -> None:
    """Frames 0, 1 … with pose(i); `K` column by column as the app stores it."""
    poses = []
    for index in range(count):
        write_photo(root / photos / f"{index}.jpg", np.full((30, 40, 3), 50, np.uint8))
        arkit = np.linalg.inv(pose(index)) @ np.diag([1.0, -1, -1, 1])
        poses.append([*quaternion(arkit[:3, :3]), *arkit[:3, 3]])
    content = {"w": 40, "h": 30, "K": [50, 0, 0, 0, 52, 0, 19, 16, 1], "poses": poses, "fps": 30}
    (root / metadata).write_text(json.dumps(content | keys))


def _names(count: int) -> list[str]:
    return [f"images/{index:02d}.png" for index in range(count)]


# Writes a capture of each format with so many views; view i has pose(i). Points where the format holds any.
CAPTURES: dict[str, Callable[[Path, int], object]] = {
    "colmap": lambda root, count: write_colmap(root, [name[7:] for name in _names(count)]),
    "nerfstudio": lambda root, count: write_nerfstudio(root, _names(count)),
    "polycam": lambda root, count: write_polycam(root, count, depth=2000),
    "record3d": lambda root, count: write_record3d(root, count),
}
