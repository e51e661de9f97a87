"""Reader of COLMAP captures: photos beside a model, wherever programs and people put the two."""

from pathlib import Path

import numpy as np

from gags.capture.folders import FULL_SIZE, files_of, photo_folder, photos_by_name
from gags.capture.formats.base import Format, Points, Pose, Source, finite_points, no_points
from gags.capture.formats.colmap_files import (
    count_images,
    is_model,
    is_whole_model,
    read_cameras,
    read_images,
    read_points_table,
)
from gags.capture.formats.colmap_rigs import check_rigs
from gags.capture.photos import photos_in
from gags.errors import CaptureError
from gags.progress import SILENT, Reporter

# Where models lie, the usual place first: COLMAP and 3DGS; nerfstudio; the distorted ones of 3DGS's
# convert.py; text for instant-ngp.
_PLACES = ("sparse", "colmap/sparse", "distorted/sparse", "colmap", "colmap_text")
_DISTORTED, _UNDISTORTED_FROM = "distorted", "input"  # convert.py keeps photos as they were taken there


def model_folder(root: Path) -> Path | None:
    """The folder that holds the COLMAP model of a capture; None if there is none.

    Of the models in one place, such as `sparse/0` and `sparse/1`, it is the one with most photos.
    """
    models = _models(root)
    return max(models, key=count_images) if len(models) > 1 else next(iter(models), None)


def _models(root: Path) -> list[Path]:
    """The models of the first place that holds any, by number, or else those beside the photos."""
    for place in _PLACES:
        folder = root / place
        inner = [path for path in folder.glob("*") if path.is_dir() and not path.name.startswith(".")]
        inner.sort(key=lambda path: (len(path.name), path.name))  # 2 before 10
        models = [path for path in (*inner, folder) if is_model(path)]
        if models:
            return models
    return [root] if is_whole_model(root) else []


def read_colmap(root: Path, progress: Reporter = SILENT, *, images: str | None = None) -> Source:
    """Read a capture laid out as COLMAP and 3DGS do; see `Reader`.

    Raises:
        CaptureError: If files are missing or damaged, or a camera model is unknown.
    """
    model = model_folder(root)
    if model is None:
        raise CaptureError(f"{root} has no COLMAP model: sparse/0/cameras.bin (or .txt) is not there")
    _say_choice(root, model, progress)
    folder = _photos_of(root, model, images, progress)
    cameras, posed = read_cameras(model), read_images(model)
    check_rigs(model, posed, progress)
    files = files_of([image.name for image in posed], folder, progress)
    poses, broken = [], {}
    for image in posed:
        if image.camera_id not in cameras:
            raise CaptureError(
                f"{model}: photo {image.name} belongs to camera {image.camera_id}, which is not in the model"
            )
        name, path = files[image.name]
        if image.viewmat is None:
            broken[name] = f"{model}: the pose of photo {name} is no rotation and no place"
        else:
            poses.append(Pose(name, path, image.viewmat, cameras[image.camera_id]))
    photos = photos_by_name(files, photos_in(folder, deep=True), folder)
    points, points_rgb = read_points(root)
    return Source(poses, photos, points, points_rgb, folder=folder, broken=broken)


def posed_photos(root: Path, *, images: str | None = None) -> list[str]:
    """Names of the photos that a model has poses of, as `read_colmap` names them; also of those not there.

    Raises:
        CaptureError: If there is no model, or it is damaged.
    """
    model = model_folder(root)
    if model is None:
        raise CaptureError(f"{root} has no COLMAP model: sparse/0/cameras.bin (or .txt) is not there")
    names = [image.name for image in read_images(model)]
    files = files_of(names, _photos_of(root, model, images, SILENT), SILENT)
    return [files[name][0] for name in names]


def read_points(root: Path) -> Points:
    """The sparse points of a model alone, none if it has no file of them.

    Returns:
        Points, float32 [P, 3], and colours, uint8 [P, 3], in the order of COLMAP's point numbers.
    """
    model = model_folder(root)
    table = None if model is None else read_points_table(model)
    if table is None:
        return no_points()
    table = table[np.argsort(table[:, 0], kind="stable")]
    return finite_points(table[:, 1:4], table[:, 4:7])


COLMAP = Format(
    name="colmap",
    title="COLMAP model",
    layout="a COLMAP model (images/ and sparse/0/cameras.bin or .txt)",
    find=model_folder,
    read=read_colmap,
    points=read_points,
)


def _say_choice(root: Path, model: Path, progress: Reporter) -> None:
    """Say which of several models is read, and where it lies if that is unusual."""
    models = _models(root)
    if len(models) > 1:
        counts = ", ".join(f"{each.relative_to(root).as_posix()} {count_images(each)}" for each in models)
        progress.say(
            f"{root} holds {len(models)} COLMAP models (photos in each: {counts}); reading "
            f"{model.relative_to(root).as_posix()}; to read another one, take this one away"
        )
    elif not model.is_relative_to(root / "sparse"):
        progress.say(f"reading the COLMAP model in {model}")


def _photos_of(root: Path, model: Path, images: str | None, progress: Reporter) -> Path:
    """The folder of the photos that a model is about.

    Raises:
        CaptureError: If there is none.
    """
    if images is None and model.is_relative_to(root / _DISTORTED) and (root / _UNDISTORTED_FROM).is_dir():
        return root / _UNDISTORTED_FROM
    folder = photo_folder(root, images, progress)
    if folder is None and photos_in(root, deep=False):
        return root
    if folder is None:
        raise CaptureError(f"{root} has a COLMAP model but no folder {FULL_SIZE}/; put its photos there")
    return folder
