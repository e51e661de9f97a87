"""360° panoramas without poses: cut into pinhole views, which structure from motion then places as rigs."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from gags.capture.names import without_suffix
from gags.capture.panorama import (
    about_panoramas,
    directions,
    lens_of_photo,
    looking,
    panoramas_among,
    pinhole_of_view,
    view_name,
)
from gags.capture.photos import photo_sample
from gags.capture.projections import EQUIRECTANGULAR
from gags.capture.settings import PanoramaSettings
from gags.capture.split import TEST_EVERY
from gags.capture.undistort import undistort, undistort_kept
from gags.errors import CaptureError
from gags.files import read_table, write_json
from gags.poses.bare import JPEG_QUALITY, BarePhoto
from gags.poses.rigs import by_panorama
from gags.poses.settings import PoseSettings
from gags.poses.undistorted import MASKS
from gags.progress import SILENT, Reporter


def held_out_views(views: list[BarePhoto], stems: list[str] | None) -> list[str]:
    """Stems of the views that are held out: those of listed panoramas, or of every eighth one.

    Args:
        views: All views.
        stems: Panoramas, or single views, that the folder itself holds out; None if it does not say.
    """
    groups = by_panorama(views)
    if stems is None:
        chosen = list(groups)[::TEST_EVERY]
    else:
        chosen = [name for name in groups if without_suffix(name) in set(stems)]
    found = [without_suffix(view.name) for name in chosen for view in groups[name]]
    return found + [stem for stem in stems or () if stem not in map(without_suffix, groups)]


def views_of(
    photos: list[BarePhoto], source: Path, folder: Path, settings: PoseSettings, progress: Reporter = SILENT
) -> list[BarePhoto]:
    """The photos themselves, or the views that panoramas are cut into if the settings say that they are some.

    Args:
        photos: All photos, or frames of a video.
        source: Where they are from, for messages.
        folder: Where views are written.
        settings: Whether they are panoramas, and how these are cut.
        progress: Told about progress; warned of photos that may be panoramas.

    Raises:
        CaptureError: If photos are panoramas and nothing is said of it, or are called panoramas and are none.
    """
    if settings.camera == EQUIRECTANGULAR:
        return cut_panoramas(photos, folder, settings.panorama, progress)
    check_ordinary(photos, source, settings, progress)
    return photos


def check_panoramas(
    photos: list[BarePhoto], source: Path, settings: PoseSettings, progress: Reporter = SILENT
) -> None:
    """Make sure that photos are what the settings say of them: panoramas, or ordinary ones.

    Raises:
        CaptureError: If photos are panoramas and nothing is said of it, or are called panoramas and are none.
    """
    if settings.camera == EQUIRECTANGULAR:
        for photo in photos:
            lens_of_photo(photo.path, photo.width, photo.height)
    else:
        check_ordinary(photos, source, settings, progress)


def check_ordinary(
    photos: list[BarePhoto], source: Path, settings: PoseSettings, progress: Reporter = SILENT
) -> None:
    """Refuse panoramas of which nothing is said, and warn of photos that may be some.

    Raises:
        CaptureError: If photos are panoramas and nothing is said of it.
    """
    if settings.camera == "auto":
        sure, wide = panoramas_among([(photo.path, photo.width, photo.height) for photo in photos])
        if sure:
            raise CaptureError(about_panoramas(sure, wide, source))
        if wide:
            progress.warn(about_panoramas(sure, wide, source))


def cut_panoramas(
    photos: list[BarePhoto], folder: Path, settings: PanoramaSettings, progress: Reporter = SILENT
) -> list[BarePhoto]:
    """Write the views of panoramas as `pano_01/yaw045.jpg`; those of an earlier call with the same stay.

    Args:
        photos: The panoramas.
        folder: Where to write.
        settings: How they are cut.
        progress: Told about progress.

    Returns:
        The views, with their intrinsics, panorama by panorama.

    Raises:
        CaptureError: If a photo is not twice as wide as high.
    """
    ways = directions(settings)
    views = [_view(photo, way, folder, settings) for photo in photos for way in ways.items()]
    done, key = folder / "done.json", _key(photos, settings)
    if read_table(done).get("key") == key and all(view.path.is_file() for view in views):
        return views
    shutil.rmtree(folder, ignore_errors=True)
    with progress.stage("Cutting panoramas into views", len(photos), "panoramas") as bar:
        for start in range(0, len(views), len(ways)):
            _write_views(photos[start // len(ways)], views[start : start + len(ways)])
            bar.advance()
    write_json(done, {"key": key})
    return views


def _view(
    photo: BarePhoto, way: tuple[str, tuple[float, float]], folder: Path, settings: PanoramaSettings
) -> BarePhoto:
    """A view of a panorama, before it is written."""
    pinhole = pinhole_of_view(lens_of_photo(photo.path, photo.width, photo.height), settings)
    name = view_name(PurePosixPath(photo.name).with_suffix(".jpg").as_posix(), way[0])
    return BarePhoto(
        name,
        folder / name,
        pinhole.width,
        pinhole.height,
        pinhole=(pinhole.fx, pinhole.fy, pinhole.cx, pinhole.cy),
        mask=folder / MASKS / f"{name}.png" if photo.mask is not None or photo.alpha else None,
        panorama=photo.name,
        direction=way[1],
    )


def _write_views(photo: BarePhoto, views: Sequence[BarePhoto]) -> None:
    image, kept = photo.upright(), photo.kept()
    whole = lens_of_photo(photo.path, image.shape[1], image.shape[0])
    for view in views:
        assert view.pinhole is not None
        fx, fy, cx, cy = view.pinhole
        K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
        flat = undistort(image, looking(whole, view.direction), K, (view.width, view.height))
        view.path.parent.mkdir(parents=True, exist_ok=True)
        encoded = cv2.imencode(".jpg", flat[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
        view.path.write_bytes(encoded.tobytes())
        if view.mask is not None:
            kept = np.ones(image.shape[:2], bool) if kept is None else kept
            left = undistort_kept(kept, looking(whole, view.direction), K, (view.width, view.height))
            view.mask.parent.mkdir(parents=True, exist_ok=True)
            view.mask.write_bytes(cv2.imencode(".png", left.astype(np.uint8) * 255)[1].tobytes())


def _key(photos: list[BarePhoto], settings: PanoramaSettings) -> str:
    digest = hashlib.sha256(json.dumps(asdict(settings), sort_keys=True).encode())
    for photo in photos:
        digest.update(f"{photo.name}\0{photo.orientation}".encode())
        digest.update(photo_sample(photo.path))
        if photo.mask is not None or photo.alpha:
            digest.update(f"{photo.alpha}".encode())
            digest.update(b"" if photo.mask is None else photo.mask.read_bytes())
    return digest.hexdigest()[:16]
