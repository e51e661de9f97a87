"""Small captures written to disk, COLMAP models by pycolmap itself."""

import json
from collections.abc import Callable
from pathlib import Path

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
