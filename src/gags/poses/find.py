"""Photos or a video in, a COLMAP capture out; a run that was stopped resumes.

```
OUT/
  images/, sparse/0/    the capture: undistorted photos, pinhole cameras, sparse points
  matching/             database.db: keypoints and matches; frames/: of a video; views/: of panoramas;
                        record.json: how it went
```
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from gags.capture import load_capture
from gags.capture.formats import find_format
from gags.capture.formats.colmap import model_folder
from gags.capture.formats.nearby import poses_nearby
from gags.capture.mask_files import AUTO, NONE
from gags.capture.masks import mask_digest
from gags.capture.names import resolve
from gags.capture.photos import listed, photo_sample
from gags.errors import CaptureError
from gags.files import listed_lines, read_table, write_json
from gags.files.ranges import check_value
from gags.poses import matching
from gags.poses.database import counts_of
from gags.poses.inputs import LEAST_PHOTOS_TO_PLACE, BarePhoto, bare_photos, extract_frames, is_video
from gags.poses.panoramas import held_out_views, views_of
from gags.poses.points import find_points
from gags.poses.record import (
    PhotoResult,
    SearchResult,
    cannot_write,
    database_file,
    made_elsewhere,
    prepare,
    record_file,
    search_result,
    views_folder,
)
from gags.poses.settings import PoseSettings, kept_settings
from gags.poses.undistorted import write_capture
from gags.progress import SILENT, Reporter


def poses(
    source: Path | str,
    out: Path | str,
    settings: PoseSettings = PoseSettings(),
    progress: Reporter = SILENT,
    *,
    masks: str = AUTO,
) -> Path:
    """Make a capture of photos or a video without poses, or of a capture with poses but no sparse points.

    Args:
        source: Folder of photos, a video, or a capture that has poses and no points; it keeps its poses.
            The poses of a capture that has both are found anew, from its photos alone.
        out: Folder of the result; see `find_poses` and `find_points`.
        settings: How poses and points are found.
        progress: Told about progress, and why photos were left out.
        masks: Which pixels are ignored; see `load_capture`.

    Returns:
        `out`, for `load_capture`.

    Raises:
        CaptureError: If there are no photos, or too few photos can be placed or too few points found.
    """
    check_value("settings", settings, PoseSettings)
    source = Path(source).expanduser()
    chosen = {} if masks == AUTO else {"masks": masks}
    posed = find_format(source)
    if posed and not len(
        load_capture(source, masks=NONE, camera=settings.camera, require_points=False).points
    ):
        progress.say(f"{source} has poses, but no points: finding these")
        return find_points(source, out, settings, progress, **chosen)
    return find_poses(source, out, settings, progress, **chosen)


def find_poses(
    source: Path | str,
    out: Path | str,
    settings: PoseSettings = PoseSettings(),
    progress: Reporter = SILENT,
    *,
    masks: str = AUTO,
) -> Path:
    """Find where photos were taken from (structure from motion), and write them as a capture.

    Photos are turned upright as EXIF says; those that cannot be placed are left out, with the reason.

    Args:
        source: Folder of photos, or a video.
        out: Folder of the capture; an earlier run in it that was stopped resumes, a finished one is kept as
            long as photos and settings are the same.
        settings: How poses are found.
        progress: Told about progress, and why photos were left out.
        masks: Which pixels are ignored; see `load_capture`. Nothing is looked for in them, and masks of the
            undistorted photos lie beside these, in `masks/`.

    Returns:
        `out`, for `load_capture`.

    Raises:
        CaptureError: If there are no photos, or too few of them can be placed.
    """
    source, out = Path(source).expanduser(), Path(out).expanduser()
    if model_folder(out) and not record_file(out).is_file():  # before frames of a video are written
        raise made_elsewhere(out)
    held_out = _held_out(source)
    photos = _photos(source, out, settings, masks, progress)
    photos = views_of(photos, source, views_folder(out), settings, progress)
    if any(photo.panorama for photo in photos):
        held_out = held_out_views(photos, held_out)
    if prepare(out, _key(photos, settings), "Poses", progress):
        return out
    try:
        matching.match_photos(photos, database_file(out), settings, progress, in_order=is_video(source))
        models = matching.place_photos(database_file(out), len(photos), settings.seed, progress)
        result = _check(photos, models, out, settings, progress)
        write_capture(models[0], photos, out, settings.undistort, progress)
    except OSError as error:
        raise cannot_write(out, error) from error
    if held_out is not None:
        _keep_test_list(held_out, out)
    progress.say(f"Poses: {result.summary}")
    return out


def _photos(
    source: Path, out: Path, settings: PoseSettings, masks: str, progress: Reporter
) -> list[BarePhoto]:
    if not is_video(source):
        _name_other_poses(source, out, progress)
        return bare_photos(source, ignore=out, masks=masks, progress=progress)
    folder = out / "matching" / "frames"
    count = extract_frames(source, folder, settings.frames, progress)
    if count < LEAST_PHOTOS_TO_PLACE:
        need = f"poses need {LEAST_PHOTOS_TO_PLACE}; film for longer"
        raise CaptureError(f"{source} gives only {count} sharp frames, and {need}")
    return bare_photos(folder, masks=masks, progress=progress)


def _name_other_poses(source: Path, out: Path, progress: Reporter) -> None:
    """Warn of poses that lie beside the photos: those that are found instead are in another frame."""
    there = poses_nearby(source, ignore=out)
    if there:
        progress.warn(
            f"poses lie in {listed([str(path) for path in there])} and are not used: those that are found "
            "now have another frame and scale; to keep them, give the folder of a capture that gags reads "
            "(docs/photos.md), photos included"
        )


def _check(
    photos: list[BarePhoto], models: list[Any], out: Path, settings: PoseSettings, progress: Reporter
) -> SearchResult:
    """Write to record.json what became of every photo; warn, or fail if too few were placed."""
    results = _results(photos, models, database_file(out))
    points, error = (
        (models[0].num_points3D(), models[0].compute_mean_reprojection_error()) if models else (0, 0)
    )
    result = search_result(results, points, error if models else None)
    record = record_file(out)
    rows = [photo.as_json() for photo in results]
    write_json(record, read_table(record) | {"summary": result.summary, "photos": rows})
    advice = "; ".join(result.advice)
    if result.placed < LEAST_PHOTOS_TO_PLACE or result.share < settings.least_share:
        raise CaptureError(f"{result.summary}, too few to go on: {advice} (details in {record})")
    if advice:
        progress.warn(f"{result.summary}: {advice} (details in {record})")
    return result


def _results(photos: list[BarePhoto], models: list[Any], database: Path) -> list[PhotoResult]:
    keypoints, matches = counts_of(database)
    group: dict[str, int] = {}
    for number, model in enumerate(models):
        for image in model.reg_image_ids():
            group.setdefault(model.image(image).name, number)
    return [PhotoResult(p.name, keypoints[p.key], matches[p.key], group.get(p.key)) for p in photos]


def _key(photos: list[BarePhoto], settings: PoseSettings) -> str:
    """Hash of everything the result depends on."""
    digest = hashlib.sha256(json.dumps(kept_settings(settings), sort_keys=True, default=str).encode())
    for photo in photos:
        digest.update(f"{photo.name}\0".encode())
        digest.update(photo_sample(photo.path))
        digest.update(b"alpha" * photo.alpha + (mask_digest(photo.mask) if photo.mask else b""))
    return digest.hexdigest()[:16]


def _held_out(source: Path) -> list[str] | None:
    """Stems of the photos that the folder itself holds out; None if it has no list of them."""
    path = source / "test.txt"
    if not path.is_file():
        return None
    try:
        return [line.rsplit(".", 1)[0] for line in listed_lines(path)]
    except (OSError, ValueError) as error:
        raise CaptureError(f"list of test views {path} cannot be read ({error})") from error


def _keep_test_list(stems: list[str], out: Path) -> None:
    """Photos that were held out stay held out, by stem: suffixes may have changed."""
    images = out / "images"
    placed = {path.relative_to(images).with_suffix("").as_posix() for path in images.rglob("*.*")}
    kept = resolve(stems, placed)
    (out / "test.txt").write_text("".join(f"{kept[s]}\n" for s in stems if s in kept), encoding="utf-8")
