"""Sparse points for a capture that has only poses: keypoints, matched, and triangulated as the poses say.

The result is laid out as in `gags.poses.find`; the poses stay as they are, in their own frame and units.
"""

import hashlib
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gags.capture import View, load_capture
from gags.capture.formats import format_named
from gags.capture.mask_files import AUTO
from gags.errors import CaptureError
from gags.files import read_table, write_json
from gags.poses.bare import BarePhoto, counting_order
from gags.poses.database import counts_of, open_database, quiet_colmap
from gags.poses.learnt import check_features
from gags.poses.mapping import mapper_options
from gags.poses.matching import match_photos
from gags.poses.record import (
    FEW_KEYPOINTS,
    MORE_OVERLAP,
    MORE_TEXTURE,
    cannot_write,
    check_apart,
    database_file,
    posed_folder,
    prepare,
    record_file,
    replace_result,
)
from gags.poses.settings import PoseSettings, kept_settings
from gags.poses.undistorted import IMAGES, MASKS, result_name, write_mask, write_model, write_view
from gags.progress import SILENT, Reporter

LEAST_POINTS = 50  # fewer are too few for Gaussians to start from
# Share of the verified matches that fit the poses: 0.95 if these are right, 0.5 if they are off by half a
# degree in photos of 1024 px, 0.15 or less if they are the poses of other photos.
GOOD_FIT, LEAST_FIT = 0.6, 0.2
# How far a point may be from where it was seen, of the longer side: 4 px is COLMAP's own, but the poses of a
# phone's tracking are off by more in large photos; wrong matches are off by far more.
REPROJECTION_TOLERANCE = 0.008
LEAST_TOLERANCE_PX = 4.0


def find_points(
    source: Path | str,
    out: Path | str,
    settings: PoseSettings = PoseSettings(),
    progress: Reporter = SILENT,
    *,
    images: str | None = None,
    masks: str = AUTO,
) -> Path:
    """Find sparse points for photos whose poses are known, and write them as a new capture.

    Args:
        source: Capture with poses, in any format; points that it has are not used.
        out: Folder of the capture; an earlier run in it that was stopped resumes, a finished one is kept as
            long as photos, poses and settings are the same.
        settings: How keypoints are found and matched.
        progress: Told about progress.
        images: Folder of the photos in the capture; see `load_capture`.
        masks: Which pixels are ignored; likewise.

    Returns:
        `out`, for `load_capture`: undistorted photos, the same poses, the same photos held out.

    Raises:
        CaptureError: If the capture cannot be read, or too few points are found.
    """
    check_features(settings)
    source, out = Path(source).expanduser(), Path(out).expanduser()
    capture = load_capture(
        source,
        images=images,
        masks=masks,
        camera=settings.camera,
        undistort=settings.undistort,
        panorama=settings.panorama,
        require_points=False,
    )
    written = ", ".join(f"{name}={value!r}" for name, value in kept_settings(settings).items())
    key_of = f"points {capture.fingerprint()} PoseSettings({written})"  # as dataclasses are shown
    key = hashlib.sha256(key_of.encode()).hexdigest()[:16]
    check_apart([view.path for view in capture], out)
    if prepare(out, key, "Points", progress):
        return out
    try:
        views = sorted(capture, key=lambda view: counting_order(view.name))
        photos = pinhole_photos(views, posed_folder(out), progress)
        in_order = format_named(capture.format, source).in_order
        match_photos(photos, database_file(out), settings, progress, in_order=in_order)
        viewmats = [view.camera.viewmat for view in views]
        model = triangulated(photos, viewmats, database_file(out), settings.seed, progress)
        summary = _check(source, views, model, out, progress)
        replace_result(out, lambda: _move_result(model, out), [view.stem for view in capture.test])
    except OSError as error:
        raise cannot_write(out, error) from error
    progress.say(f"Points: {summary}")
    return out


def _move_result(model: Any, out: Path) -> None:
    """Photos and masks, which lie undistorted beside the database, and the model."""
    for name, folder in ((IMAGES, posed_folder(out)), (MASKS, posed_folder(out).with_name(MASKS))):
        if folder.is_dir():
            os.replace(folder, out / name)
    write_model(model, out / IMAGES, out / "sparse" / "0")


def pinhole_photos(
    views: list[View], folder: Path, progress: Reporter, *, visit: str = ""
) -> list[BarePhoto]:
    """Write all photos undistorted.

    Args:
        views: Of a capture with poses.
        folder: Where to write; what is there is removed.
        progress: Told about progress.
        visit: Which of several captures they are; a folder of that name holds them.

    Returns:
        The photos as they are written, with their intrinsics, in the order of the views.
    """
    photos = []
    for old in (folder, folder.with_name(MASKS)):
        shutil.rmtree(old / visit, ignore_errors=True)
    with progress.stage("Undistorting photos", len(views), "photos") as bar:
        for view in views:
            K, width, height = view.camera.K, view.camera.width, view.camera.height
            fx, fy, cx, cy = float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])
            name = f"{visit}/{result_name(view.name)}" if visit else result_name(view.name)
            photo = BarePhoto(name, folder / name, width, height, pinhole=(fx, fy, cx, cy), visit=visit)
            kept = view.kept()
            if kept is not None:
                photo = replace(photo, mask=write_mask(kept, folder.parent, name))
            write_view(view, photo.path)
            photos.append(photo)
            bar.advance()
    return photos


def triangulated(
    photos: list[BarePhoto],
    viewmats: list[np.ndarray],
    database: Path,
    seed: int,
    progress: Reporter = SILENT,
) -> Any:
    """Points that verified matches and known poses give; poses and intrinsics stay as they are.

    Args:
        photos: All photos, with their intrinsics.
        viewmats: World-to-camera transform of each. [4, 4] each
        database: COLMAP's, with verified matches of these photos.
        seed: Of every random choice.
        progress: Told about progress.

    Returns:
        `pycolmap.Reconstruction` of all photos under their own names, those that see no point included.
    """
    from gags.poses.colmap import pycolmap

    options = tolerant_options(photos, seed)
    poses = {photo.key: viewmat for photo, viewmat in zip(photos, viewmats, strict=True)}
    with (
        progress.stage("Triangulating points", len(photos), "photos") as bar,
        tempfile.TemporaryDirectory() as folder,
        quiet_colmap(),
    ):
        pycolmap.set_random_seed(seed)
        model = posed_model(poses, database)
        model = pycolmap.triangulate_points(model, database, folder, folder, options=options)
        names = {photo.key: photo.name for photo in photos}
        for image in model.images.values():
            image.name = names[image.name]
        bar.advance(len(photos), note=f"{model.num_points3D()} points")
    return model


def tolerant_options(photos: list[BarePhoto], seed: int) -> Any:
    """COLMAP's options for poses that are known and may be a little off."""
    options = mapper_options(len(photos), seed)
    tolerance = max(
        LEAST_TOLERANCE_PX,
        REPROJECTION_TOLERANCE * max(max(photo.width, photo.height) for photo in photos),
    )
    options.mapper.filter_max_reproj_error = tolerance
    options.triangulation.merge_max_reproj_error = options.triangulation.complete_max_reproj_error = tolerance
    return options


def posed_model(poses: dict[str, np.ndarray], database: Path) -> Any:
    """Photos of a database at known places; without points.

    Args:
        poses: World-to-camera transforms by the database's names; photos without are left out. [4, 4] each
        database: COLMAP's.
    """
    from gags.poses.colmap import pycolmap

    model = pycolmap.Reconstruction()
    with open_database(database) as file:
        images = [image for image in file.read_all_images() if image.name in poses]
        cameras, frames = {image.camera_id for image in images}, {image.frame_id for image in images}
        for camera in file.read_all_cameras():
            if camera.camera_id in cameras:
                model.add_camera(camera)
        for rig in file.read_all_rigs():
            if rig.ref_sensor_id.id in cameras:
                model.add_rig(rig)
        viewmats = {image.frame_id: poses[image.name] for image in images}
        for frame in file.read_all_frames():
            if frame.frame_id in frames:
                viewmat = viewmats[frame.frame_id]
                frame.rig_from_world = pycolmap.Rigid3d(pycolmap.Rotation3d(viewmat[:3, :3]), viewmat[:3, 3])
                model.add_frame(frame)
        for image in images:
            model.add_image(image)
    return model


def fitting_share(model: Any, database: Path) -> float:
    """Share of the verified matches whose two keypoints became one point; 0 if there are no matches.

    Only matches between photos of the model count.
    """
    from gags.poses.colmap import pycolmap

    points = {number: _point_numbers(image) for number, image in model.images.items()}
    fitting, count = 0, 0
    with open_database(database) as file:
        for pair, geometry in zip(*file.read_two_view_geometries(), strict=True):
            first, second = pycolmap.pair_id_to_image_pair(pair)
            if first not in points or second not in points:
                continue
            rows, columns = np.asarray(geometry.inlier_matches, dtype=np.int64).reshape(-1, 2).T
            a, b = points[first][rows], points[second][columns]
            fitting += int(((a == b) & (a >= 0)).sum())
            count += len(rows)
    return fitting / max(1, count)


def _point_numbers(image: Any) -> np.ndarray:
    """Number of the point that each keypoint of a photo shows, -1 if it shows none. int64 [n]"""
    numbers = [point.point3D_id if point.has_point3D() else -1 for point in image.points2D]
    return np.array(numbers, dtype=np.int64)


def _check(source: Path, views: list[View], model: Any, out: Path, progress: Reporter) -> str:
    """Write what was found to record.json and return it as a line; warn if it is little, or fail."""
    keypoints, matches = counts_of(database_file(out))
    count, share = model.num_points3D(), fitting_share(model, database_file(out))
    summary = f"{count} points for {len(views)} photos, {100 * share:.0f} % of the matches fit the poses"
    record = record_file(out)
    details = {"summary": summary, "fitting_share": share, "features": keypoints, "matches": matches}
    write_json(record, read_table(record) | details)
    if count >= LEAST_POINTS and share >= LEAST_FIT:
        if share < GOOD_FIT:
            progress.warn(f"{source}: only {summary}: they are inaccurate; {_anew(views)}")
        return summary
    if max(keypoints.values()) < FEW_KEYPOINTS:
        reason = f"they show too little texture: {MORE_TEXTURE}"
    elif max(matches.values()) < LEAST_POINTS:
        reason = f"they share too little with each other: {MORE_OVERLAP}"
    else:
        reason = f"the poses are wrong, or all of one spot: {_anew(views)}"
    raise CaptureError(f"{source}: {summary}, too few to go on: {reason} (details in {record})")


def _anew(views: list[View]) -> str:
    """The remedy where poses are bad."""
    return f"find poses and points anew: gags poses {views[0].path.parent} --out my_capture"
