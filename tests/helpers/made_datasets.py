"""Tiny data sets of the balls in `blobs`, laid out as people have LERF-OVS and Mip-NeRF360-OVS."""

import json
import shutil
from pathlib import Path

import cv2
import pycolmap

from gags.capture import Capture, load_capture
from tests.helpers.toy_capture import write_capture

VIEWS = 8
LABELLED = (0, 6)  # rows of the photos that `write_capture` labels; every second scene has the first alone


def write_lerf_ovs(root: Path, scenes: tuple[str, ...]) -> Path:
    """`SCENE/{images,sparse/0}` and `label/SCENE/frame_00001.json` with the picture beside it."""
    made, capture = _toy(root)
    for number, scene in enumerate(scenes):
        names = [f"frame_{row + 1:05d}.jpg" for row in range(VIEWS)]
        _write_scene(root / scene, capture, names)
        for row in LABELLED[: 2 - number % 2]:
            _write_label(made, row, root / "label" / scene / f"frame_{row + 1:05d}.json", names[row])
            shutil.copy(root / scene / "images" / names[row], root / "label" / scene)
    return root


def write_mip360_ovs(root: Path, scenes: tuple[str, ...]) -> Path:
    """`SCENE/{images_2,sparse/0}`, cameras of full size; labels are called by the position of their photo."""
    made, capture = _toy(root)
    for number, scene in enumerate(scenes):
        names = [f"DSCF{4667 + 2 * row}.JPG" for row in range(VIEWS)]
        _write_scene(root / scene, capture, names)
        _shrink(root / scene)
        for row in LABELLED[: 2 - number % 2]:
            _write_label(made, row, root / "label" / scene / f"frame_{row + 1:05d}.json", names[row])
    return root


def _toy(root: Path) -> tuple[Path, Capture]:
    made = write_capture(root / "made", VIEWS)
    return made, load_capture(made, test_every=0)


def _write_scene(folder: Path, capture: Capture, names: list[str]) -> None:
    model = pycolmap.Reconstruction()
    camera = capture.views[0].camera
    K = camera.K
    params = [K[0, 0], K[1, 1], K[0, 2], K[1, 2]]
    model.add_camera_with_trivial_rig(
        pycolmap.Camera(model="PINHOLE", width=camera.width, height=camera.height, params=params, camera_id=1)
    )
    (folder / "images").mkdir(parents=True)
    (folder / "sparse" / "0").mkdir(parents=True)
    for row, (view, name) in enumerate(zip(capture.views, names, strict=True), 1):
        pose = view.camera.viewmat
        rigid = pycolmap.Rigid3d(pycolmap.Rotation3d(pose[:3, :3]), pose[:3, 3])
        model.add_image_with_trivial_frame(pycolmap.Image(name=name, camera_id=1, image_id=row), rigid)
        picture = cv2.imread(str(view.path))
        cv2.imwrite(str(folder / "images" / name), picture, [cv2.IMWRITE_JPEG_QUALITY, 100])
    for point, colour in zip(capture.points, capture.points_rgb, strict=True):
        model.add_point3D(point.astype(float), pycolmap.Track(), colour)
    model.write_binary(str(folder / "sparse" / "0"))


def _shrink(folder: Path) -> None:
    """Photos of half the size in `images_2`; those of full size go, as people save space."""
    (folder / "images_2").mkdir()
    for path in (folder / "images").iterdir():
        half = cv2.resize(cv2.imread(str(path)), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(folder / "images_2" / path.name), half, [cv2.IMWRITE_JPEG_QUALITY, 100])
    shutil.rmtree(folder / "images")


def _write_label(made: Path, row: int, path: Path, photo: str) -> None:
    label = json.loads((made / "labels" / f"view_{row:02d}.json").read_text())
    label["info"]["name"] = photo
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(label))
