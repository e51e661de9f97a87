"""The result as a COLMAP capture: upright, undistorted photos, and a model of pinhole cameras."""

import os
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from gags.capture.lens import Lens, pinhole_intrinsics, rays_through, undistort
from gags.capture.names import resolve
from gags.errors import CaptureError
from gags.poses.database import quiet_colmap
from gags.poses.inputs import JPEG_QUALITY, BarePhoto
from gags.progress import SILENT, Reporter

KEPT_SUFFIXES = (".jpg", ".jpeg", ".png")  # others are written as JPEG


def result_name(name: str) -> str:
    """Name of a photo in the result: what every program reads, JPEG or PNG."""
    path = PurePosixPath(name)
    return name if path.suffix.lower() in KEPT_SUFFIXES else path.with_suffix(".jpg").as_posix()


def lens_of(camera: Any) -> Lens:
    """A calibrated `pycolmap.Camera` as a lens."""
    K = camera.calibration_matrix()
    focals = len(camera.focal_length_idxs())
    distortion = tuple(float(value) for value in camera.params[focals + 2 :])
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    return Lens(camera.width, camera.height, fx=fx, fy=fy, cx=cx, cy=cy, distortion=distortion)


def undistorted_points(xy: np.ndarray, lens: Lens, K: np.ndarray) -> np.ndarray:
    """Where pixels of a photo lie once it is undistorted.

    Args:
        xy: Pixels, the centre of the first at 0.5. float64 [N, 2]
        lens: What took the photo.
        K: Pinhole of the undistorted photo. [3, 3]

    Returns:
        float64 [N, 2]
    """
    return rays_through(lens, xy.reshape(-1, 2), rounds=8) * K[[0, 1], [0, 1]] + K[:2, 2]


def write_capture(model: Any, photos: list[BarePhoto], out: Path, progress: Reporter = SILENT) -> None:
    """Write `images/` and `sparse/0` of a reconstruction, which is changed to what is written.

    Args:
        model: `pycolmap.Reconstruction` of the photos as they are.
        photos: The photos it was made from.
        out: Folder of the capture.
        progress: Told about progress.

    Raises:
        CaptureError: If the distortion that was found is so strong that no undistorted photo exists.
    """
    sources = {photo.key: photo for photo in photos}
    lenses = {number: lens_of(camera) for number, camera in model.cameras.items()}
    images = [model.image(number) for number in sorted(model.reg_image_ids())]
    folder = out / "images"
    shutil.rmtree(folder, ignore_errors=True)
    with progress.stage("Undistorting photos", len(images), "photos") as bar:
        for image in images:
            source, lens = sources[image.name], lenses[image.camera_id]
            image.name = result_name(source.name)
            try:
                K = pinhole_intrinsics(lens)
            except ValueError as error:
                raise CaptureError(
                    f"calibration of the lens of {source.path} failed ({error}); choose another "
                    "--camera-model, or take more photos"
                ) from error
            write_photo(source, lens, folder / image.name)
            points = image.points2D
            for point, xy in zip(
                points, undistorted_points(np.array([p.xy for p in points]), lens, K), strict=True
            ):
                point.xy = xy
            bar.advance()
    _make_pinholes(model, lenses)
    write_model(model, folder, out / "sparse" / "0")


def write_photo(photo: BarePhoto, lens: Lens, path: Path) -> None:
    """Write a photo upright and undistorted; copied as it is if it is both already.

    Raises:
        CaptureError: If it cannot be encoded.
    """
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    if not lens.is_distorted and photo.orientation == 1 and path.suffix == photo.path.suffix:
        shutil.copyfile(photo.path, path)
        return
    image = undistort(photo.upright(), lens)
    options = [] if path.suffix.lower() == ".png" else [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    whole, encoded = cv2.imencode(path.suffix, image[..., ::-1], options)
    if not whole:
        raise CaptureError(f"{path} cannot be written; choose another --out")
    path.write_bytes(encoded.tobytes())


def _make_pinholes(model: Any, lenses: dict[int, Lens]) -> None:
    """Give a reconstruction the cameras of undistorted photos."""
    import pycolmap

    for number, lens in lenses.items():
        K = pinhole_intrinsics(lens)
        camera = model.camera(number)
        camera.model = pycolmap.CameraModelId.PINHOLE
        camera.params = [K[0, 0], K[1, 1], K[0, 2], K[1, 2]]


def write_model(model: Any, images: Path, folder: Path) -> None:
    """Write the files of a reconstruction, all of them or none: where there is a model, the search is done.

    Args:
        model: `pycolmap.Reconstruction`; its points get the colours of the photos.
        images: Folder of the photos, by the names that the reconstruction has for them.
        folder: Where to write; what is there is replaced.
    """
    with quiet_colmap():
        model.extract_colors_for_all_images(images)
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    model.write_binary(temporary)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(temporary, folder)


def write_test_list(stems: list[str], out: Path) -> None:
    """Write `test.txt`: photos that were held out stay held out, by stem, since suffixes may have changed."""
    images = out / "images"
    placed = {path.relative_to(images).with_suffix("").as_posix() for path in images.rglob("*.*")}
    kept = resolve(stems, placed)
    (out / "test.txt").write_text("".join(f"{kept[s]}\n" for s in stems if s in kept), encoding="utf-8")
