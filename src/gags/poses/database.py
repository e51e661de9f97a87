"""Keypoints of photos in COLMAP's database, photo by photo, so that a stopped run resumes."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from gags.errors import CaptureError
from gags.poses.bare import DEFAULT_FISHEYE_FOCAL, DEFAULT_FOCAL, BarePhoto, camera_groups
from gags.poses.learnt import comparable, extraction_options
from gags.poses.rigs import register_panoramas
from gags.poses.settings import PoseSettings
from gags.progress import SILENT, Reporter
from gags.threads import wished_threads


@contextmanager
def quiet_colmap() -> Iterator[None]:
    """COLMAP logs a line a step to stderr, and what fails also there: here it is told by exceptions."""
    from gags.poses.colmap import pycolmap

    before = pycolmap.logging.minloglevel
    pycolmap.logging.minloglevel = int(pycolmap.logging.FATAL)
    try:
        yield
    finally:
        pycolmap.logging.minloglevel = before


@contextmanager
def open_database(path: Path) -> Iterator[Any]:
    """COLMAP's database, closed at the end whatever happens.

    Raises:
        CaptureError: If the file is no database.
    """
    from gags.poses.colmap import pycolmap

    try:
        database = pycolmap.Database.open(path)
    except (RuntimeError, ValueError) as error:
        raise CaptureError(f"{path} is damaged; delete it, so that keypoints are found again") from error
    try:
        yield database
    finally:
        database.close()


def find_keypoints(
    photos: list[BarePhoto], path: Path, settings: PoseSettings, progress: Reporter = SILENT
) -> None:
    """Find keypoints and descriptors of every photo that has none in the database yet.

    Args:
        photos: All photos, in the order of names.
        path: The database; made if it is not there.
        settings: Sizes and counts.
        progress: Told about progress.
    """
    from gags.poses.colmap import pycolmap

    with quiet_colmap(), open_database(path) as database:
        known = {image.name: image.image_id for image in database.read_all_images()}
        if not known:
            with pycolmap.DatabaseTransaction(database):  # all photos or none, should this be stopped
                known = _register(database, photos, settings)
        waiting = [photo for photo in photos if not database.exists_descriptors(known[photo.key])]
        with progress.stage("Finding keypoints", len(photos), "photos") as bar:
            bar.advance(len(photos) - len(waiting))
            for photo, (keypoints, descriptors) in zip(waiting, _keypoints(waiting, settings), strict=True):
                # Descriptors last: where there are some, a photo is done.
                if not database.exists_keypoints(known[photo.key]):
                    database.write_keypoints(known[photo.key], keypoints)
                database.write_descriptors(known[photo.key], descriptors)
                bar.advance(note=f"{len(keypoints)} in {photo.name}")


def descriptors_of(path: Path, photos: list[BarePhoto], most: int = 1024) -> list[np.ndarray]:
    """Descriptors of every photo, evenly chosen if there are more than `most`. [n_i, D] each"""
    chosen = []
    with open_database(path) as database:
        known = {image.name: image.image_id for image in database.read_all_images()}
        for photo in photos:
            rows = comparable(database.read_descriptors(known[photo.key]))
            chosen.append(np.array(rows[:: max(1, -(-len(rows) // most))]))
    return chosen


def counts_of(path: Path) -> tuple[dict[str, int], dict[str, int]]:
    """By key of photo: how many keypoints, and how many verified matches with its best partner."""
    from gags.poses.colmap import pycolmap

    with open_database(path) as database:
        names = {image.image_id: image.name for image in database.read_all_images()}
        keypoints = {name: database.num_keypoints_for_image(number) for number, name in names.items()}
        matches = dict.fromkeys(names.values(), 0)
        for pair, count in zip(*database.read_two_view_geometry_num_inliers(), strict=True):
            for number in pycolmap.pair_id_to_image_pair(pair):
                matches[names[number]] = max(matches[names[number]], count)
    return keypoints, matches


def _register(database: Any, photos: list[BarePhoto], settings: PoseSettings) -> dict[str, int]:
    """Write cameras, one for photos that share it, and photos; COLMAP wants a rig and a frame of each."""
    from gags.poses.colmap import pycolmap

    numbers = register_panoramas(database, photos)
    photos = [photo for photo in photos if not photo.panorama]
    rigs: dict[str, tuple[int, int]] = {}
    for group in camera_groups(photos):
        camera = _camera(group[0], settings)
        camera.camera_id = database.write_camera(camera)
        rig = pycolmap.Rig()
        rig.add_ref_sensor(camera.sensor_id)
        rigs |= dict.fromkeys((photo.key for photo in group), (camera.camera_id, database.write_rig(rig)))
    for photo in photos:
        camera_id, rig_id = rigs[photo.key]
        image = pycolmap.Image(name=photo.key, camera_id=camera_id)
        image.image_id = database.write_image(image)
        frame = pycolmap.Frame()
        frame.rig_id = rig_id
        frame.add_data_id(image.data_id)
        database.write_frame(frame)
        numbers[photo.key] = image.image_id
    return numbers


def _camera(photo: BarePhoto, settings: PoseSettings) -> Any:
    """The camera of a photo, with what is known of it."""
    from gags.poses.colmap import pycolmap

    fisheye = "FISHEYE" in settings.camera_model and photo.pinhole is None
    usual = DEFAULT_FISHEYE_FOCAL if fisheye else DEFAULT_FOCAL
    focal = photo.focal or usual * max(photo.width, photo.height)
    model = getattr(pycolmap.CameraModelId, "PINHOLE" if photo.pinhole else settings.camera_model)
    camera = pycolmap.Camera.create_from_model_id(0, model, focal, photo.width, photo.height)
    # Without, COLMAP looks for a fundamental matrix, which holds in the pixels of pinholes alone.
    camera.has_prior_focal_length = photo.focal is not None or photo.pinhole is not None or fisheye
    if photo.pinhole is not None:
        camera.params = list(photo.pinhole)
    return camera


def _keypoints(photos: list[BarePhoto], settings: PoseSettings) -> Iterator[tuple[np.ndarray, Any]]:
    """Keypoints (x, y and shape, px of the whole photo) and descriptors, photo by photo, in order."""
    workers = min(8, wished_threads())
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(photos), 2 * workers):  # a few at a time, so that memory stays small
            block = photos[start : start + 2 * workers]
            yield from pool.map(lambda photo: photo_keypoints(photo, settings), block)


def photo_keypoints(photo: BarePhoto, settings: PoseSettings) -> tuple[np.ndarray, Any]:
    """Keypoints and descriptors of one photo.

    Returns:
        Keypoints as COLMAP stores them (x, y, and the affine shape), in pixels of the upright photo, the
        centre of the first pixel at 0.5. float32 [n, 6]; and pycolmap.FeatureDescriptors. None of them lies
        where the photo is to be ignored.
    """
    import cv2

    from gags.poses.colmap import pycolmap

    options = extraction_options(settings)
    pixels = photo.upright()
    if settings.features == "sift":
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    shrink = settings.max_size / max(pixels.shape[:2])
    if shrink < 1:
        size = (max(1, round(photo.width * shrink)), max(1, round(photo.height * shrink)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    extractor = pycolmap.FeatureExtractor.create(options, pycolmap.Device.cpu)
    keypoints, descriptors = extractor.extract_from_uint8_array(pixels)
    for keypoint in keypoints:
        keypoint.rescale(photo.width / pixels.shape[1], photo.height / pixels.shape[0])
    rows = [[k.x, k.y, k.a11, k.a12, k.a21, k.a22] for k in keypoints]
    found = np.array(rows, np.float32).reshape(-1, 6)
    kept = photo.kept()
    if kept is None:
        return found, descriptors
    x, y = np.clip(found[:, :2].astype(np.int64), 0, [photo.width - 1, photo.height - 1]).T
    there = kept[y, x]
    descriptors.data = np.ascontiguousarray(descriptors.data[there])
    return found[there], descriptors
