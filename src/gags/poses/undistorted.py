"""The result as a COLMAP capture: upright, undistorted photos, and a model of pinhole cameras."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from gags.capture.capture import View
from gags.capture.formats.colmap_files import lens_of_model
from gags.capture.lens import Lens, rays_through
from gags.capture.names import resolve
from gags.capture.photos import photo_size
from gags.capture.projections import PERSPECTIVE
from gags.capture.settings import UndistortSettings
from gags.capture.undistort import pinhole_of, seen_pixels, undistort, undistort_kept
from gags.errors import CaptureError
from gags.poses.bare import JPEG_QUALITY, BarePhoto
from gags.poses.database import quiet_colmap
from gags.progress import SILENT, Reporter

IMAGES = "images"
MASKS = "masks"  # folder of the result, beside images
KEPT_SUFFIXES = (".jpg", ".jpeg", ".png")  # others are written as JPEG


def result_name(name: str) -> str:
    """Name of a photo in the result: what every program reads, JPEG or PNG."""
    path = PurePosixPath(name)
    return name if path.suffix.lower() in KEPT_SUFFIXES else path.with_suffix(".jpg").as_posix()


def lens_of(camera: Any) -> Lens:
    """A calibrated `pycolmap.Camera` as a lens."""
    return lens_of_model(camera.model.name, camera.width, camera.height, [float(p) for p in camera.params])


def undistorted_points(xy: np.ndarray, lens: Lens, K: np.ndarray) -> np.ndarray:
    """Where pixels of a photo lie once it is undistorted.

    Args:
        xy: Pixels, the centre of the first at 0.5. float64 [N, 2]
        lens: What took the photo.
        K: Pinhole of the undistorted photo. [3, 3]

    Returns:
        NaN where a fisheye's pixel looks beside or behind the camera. float64 [N, 2]
    """
    return rays_through(lens, xy.reshape(-1, 2), rounds=8) * K[[0, 1], [0, 1]] + K[:2, 2]


def write_capture(
    model: Any,
    photos: list[BarePhoto],
    out: Path,
    undistorting: UndistortSettings = UndistortSettings(),
    progress: Reporter = SILENT,
) -> None:
    """Write `images/`, `masks/` and `sparse/0` of a reconstruction, which is changed to what is written.

    Where undistorted photos reach beyond the photos, masks that are black there are written to `masks/`.

    Args:
        model: `pycolmap.Reconstruction` of the photos as they are.
        photos: The photos it was made from.
        out: Folder of the capture.
        undistorting: How much is kept of photos of distorting lenses.
        progress: Told about progress.

    Raises:
        CaptureError: If the distortion that was found is so strong that no undistorted photo exists.
    """
    sources = {photo.key: photo for photo in photos}
    lenses = {number: lens_of(camera) for number, camera in model.cameras.items()}
    pinholes = {}
    images = [model.image(number) for number in sorted(model.reg_image_ids())]
    folder = out / IMAGES
    with progress.stage("Undistorting photos", len(images), "photos") as bar:
        for image in images:
            source, lens = sources[image.name], lenses[image.camera_id]
            image.name = result_name(source.name)
            try:
                pinhole = pinholes[image.camera_id] = pinhole_of(lens, undistorting)
            except ValueError as error:
                raise CaptureError(
                    f"calibration of the lens of {source.path} failed ({error}); choose another "
                    "--camera-model, or take more photos"
                ) from error
            write_photo(source, lens, folder / image.name, pinhole)
            size, kept = (pinhole.width, pinhole.height), source.kept()
            if kept is not None:
                kept = undistort_kept(kept, lens, pinhole.K, size)
            else:
                kept = seen_pixels(lens, pinhole.K, size)
            if kept is not None:
                write_mask(kept, out, image.name)
            _move_keypoints(model, image, lens, pinhole)
            bar.advance()
    _make_pinholes(model, pinholes)
    write_model(model, folder, out / "sparse" / "0")


def _move_keypoints(model: Any, image: Any, lens: Lens, pinhole: Lens) -> None:
    """Move keypoints of a photo to where they are once it is undistorted; those beyond its border show no
    point any more."""
    points = image.points2D
    moved = undistorted_points(np.array([p.xy for p in points]), lens, pinhole.K)
    size = np.array([pinhole.width, pinhole.height])
    with np.errstate(invalid="ignore"):
        inside = ((moved >= 0) & (moved <= size)).all(axis=1) | (lens.projection == PERSPECTIVE)
    for number in np.flatnonzero(~inside):
        if points[number].has_point3D():
            model.delete_observation(image.image_id, int(number))
    for point, xy in zip(image.points2D, np.nan_to_num(moved, nan=-1.0), strict=True):
        point.xy = xy


def write_photo(photo: BarePhoto, lens: Lens, path: Path, pinhole: Lens) -> None:
    """Write a photo upright and undistorted; copied as it is if it is both already.

    Args:
        photo: The photo.
        lens: What took it.
        path: Where to write.
        pinhole: The camera of the undistorted photo.

    Raises:
        CaptureError: If it cannot be encoded.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not lens.is_distorted and photo.orientation == 1 and path.suffix == photo.path.suffix:
        shutil.copyfile(photo.path, path)
        return
    write_picture(undistort(photo.upright(), lens, pinhole.K, (pinhole.width, pinhole.height)), path)


def write_view(view: View, path: Path) -> None:
    """Write the picture that a view gives; the photo is copied where it is that.

    Args:
        view: The posed photo.
        path: Where to write.

    Raises:
        CaptureError: If the photo cannot be read, or the picture cannot be encoded.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    as_it_is = view.lens is None and view.orientation == 1 and path.suffix == view.path.suffix
    if as_it_is and photo_size(view.path) == (view.camera.width, view.camera.height):
        shutil.copyfile(view.path, path)
    else:
        write_picture(view.image(), path)


def write_picture(image: np.ndarray, path: Path) -> None:
    """Write a picture as JPEG or PNG.

    Args:
        image: uint8 RGB [H, W, 3]
        path: The file, in a folder that is there.

    Raises:
        CaptureError: If it cannot be encoded.
    """
    import cv2

    options = [] if path.suffix.lower() == ".png" else [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    whole, encoded = cv2.imencode(path.suffix, image[..., ::-1], options)
    if not whole:
        raise CaptureError(f"{path} cannot be written; choose another --out")
    path.write_bytes(encoded.tobytes())


def write_mask(kept: np.ndarray, out: Path, name: str) -> Path:
    """Write which pixels of a photo of the result count, as COLMAP calls masks: masks/a.jpg.png.

    Raises:
        CaptureError: If it cannot be encoded.
    """
    path = out / MASKS / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_picture(np.repeat(kept[..., None], 3, axis=-1).astype(np.uint8) * 255, path)
    return path


def _make_pinholes(model: Any, pinholes: dict[int, Lens]) -> None:
    """Give a reconstruction the cameras of undistorted photos."""
    from gags.poses.colmap import pycolmap

    for number, pinhole in pinholes.items():
        camera = model.camera(number)
        camera.model = pycolmap.CameraModelId.PINHOLE
        camera.width, camera.height = pinhole.width, pinhole.height
        camera.params = [pinhole.fx, pinhole.fy, pinhole.cx, pinhole.cy]


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


def write_test_list(stems: Sequence[str], out: Path) -> None:
    """Write `test.txt`: photos that were held out stay held out, by stem, since suffixes may have changed."""
    images = out / IMAGES
    placed = {path.relative_to(images).with_suffix("").as_posix() for path in images.rglob("*.*")}
    kept = resolve(stems, placed)
    (out / "test.txt").write_text("".join(f"{kept[s]}\n" for s in stems if s in kept), encoding="utf-8")
