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
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gags.capture import load_capture
from gags.capture.formats import find_format
from gags.capture.formats.nearby import poses_nearby
from gags.capture.load import capture_folder
from gags.capture.mask_files import AUTO, NONE
from gags.capture.masks import mask_digest
from gags.capture.photos import listed, photo_sample
from gags.errors import CaptureError
from gags.files import read_table, write_json
from gags.files.ranges import check_value
from gags.poses import matching
from gags.poses.bare import BarePhoto
from gags.poses.inputs import LEAST_PHOTOS_TO_PLACE, bare_photos, held_out, video_photos
from gags.poses.learnt import check_features
from gags.poses.mapping import check_mapper, chosen_mapper, place_photos
from gags.poses.merge import merge_captures
from gags.poses.panoramas import held_out_views, views_of
from gags.poses.points import find_points
from gags.poses.record import (
    SearchResult,
    cannot_write,
    check_apart,
    check_free,
    database_file,
    frames_folder,
    photo_results,
    prepare,
    record_file,
    replace_result,
    results_in,
    search_result,
    views_folder,
)
from gags.poses.settings import PoseSettings, kept_settings
from gags.poses.undistorted import write_capture
from gags.poses.video import is_video
from gags.progress import SILENT, Reporter


def poses(
    source: Path | str | Sequence[Path | str],
    out: Path | str,
    settings: PoseSettings = PoseSettings(),
    progress: Reporter = SILENT,
    *,
    masks: str = AUTO,
) -> Path:
    """Make a capture of photos or a video without poses, or of a capture with poses but no sparse points.

    Args:
        source: Folder of photos, a video, or a capture that has poses and no points; it keeps its poses.
            The poses of a capture that has both are found anew, from its photos alone. A list of several
            captures of one place becomes one capture.
        out: Folder of the result; see `find_poses`, `find_points` and `gags.poses.merge.merge_captures`.
        settings: How poses and points are found.
        progress: Told about progress, and why photos were left out.
        masks: Which pixels are ignored; see `load_capture`.

    Returns:
        `out`, for `load_capture`.

    Raises:
        CaptureError: If there are no photos, or too few photos can be placed or too few points found.
    """
    check_value("settings", settings, PoseSettings)
    sources = [source] if isinstance(source, str | os.PathLike) else list(source)
    if len(sources) != 1:
        return merge_captures(sources, out, settings, progress, masks=masks)
    source = capture_folder(sources[0])
    if not find_format(source):
        return find_poses(source, out, settings, progress, masks=masks)
    capture = load_capture(source, masks=NONE, camera=settings.camera, require_points=False)
    if not len(capture.points):
        progress.say(f"{source} has poses, but no points: finding these")
        return find_points(source, out, settings, progress, masks=masks)
    folder = Path(os.path.commonpath([view.path.parent for view in capture]))
    return find_poses(source, out, settings, progress, folder=folder, masks=masks)


def find_poses(
    source: Path | str,
    out: Path | str,
    settings: PoseSettings = PoseSettings(),
    progress: Reporter = SILENT,
    *,
    folder: Path | None = None,
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
        folder: Folder in `source` in which its photos lie. Default: `source` and all folders below it.
        masks: Which pixels are ignored; see `load_capture`. Nothing is looked for in them, and masks of the
            undistorted photos lie beside these, in `masks/`.

    Returns:
        `out`, for `load_capture`.

    Raises:
        CaptureError: If there are no photos, or too few of them can be placed.
    """
    check_mapper(settings)
    check_features(settings)
    source, out = Path(source).expanduser(), Path(out).expanduser()
    check_free(out)  # before frames of a video are written
    stems = held_out(source)
    photos = _photos(source, folder, out, settings, masks, progress)
    photos = views_of(photos, source, views_folder(out), settings, progress)
    if any(photo.panorama for photo in photos):
        stems = held_out_views(photos, stems)
    if prepare(out, _key(photos, settings), "Poses", progress):
        return out
    try:
        matching.match_photos(photos, database_file(out), settings, progress, in_order=is_video(source))
        models = place_photos(database_file(out), len(photos), settings, progress)
        result = _check(photos, models, out, settings, progress)
        replace_result(
            out, lambda: write_capture(models[0], photos, out, settings.undistort, progress), stems
        )
    except OSError as error:
        raise cannot_write(out, error) from error
    progress.say(f"Poses: {result.summary}")
    return out


def _photos(
    source: Path, within: Path | None, out: Path, settings: PoseSettings, masks: str, progress: Reporter
) -> list[BarePhoto]:
    if not is_video(source):
        _name_other_poses(source, out, progress)
        photos = bare_photos(source, within=within, ignore=results_in(out), masks=masks, progress=progress)
        check_apart([photo.path for photo in photos], out)
        return photos
    folder = frames_folder(out)
    return video_photos(source, folder, settings.frames, progress, masks=masks)


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
    results = photo_results(photos, models, database_file(out))
    points, error = (
        (models[0].num_points3D(), models[0].compute_mean_reprojection_error()) if models else (0, 0)
    )
    result = search_result(results, points, error if models else None)
    record = record_file(out)
    rows = [photo.as_json() for photo in results]
    found = {"summary": result.summary, "mapper": chosen_mapper(settings), "photos": rows}
    write_json(record, read_table(record) | found)
    advice = "; ".join(result.advice)
    if result.placed < LEAST_PHOTOS_TO_PLACE or result.share < settings.least_share:
        raise CaptureError(f"{result.summary}, too few to go on: {advice} (details in {record})")
    if advice:
        progress.warn(f"{result.summary}: {advice} (details in {record})")
    return result


def _key(photos: list[BarePhoto], settings: PoseSettings) -> str:
    """Hash of everything the result depends on."""
    digest = hashlib.sha256(json.dumps(kept_settings(settings), sort_keys=True, default=str).encode())
    for photo in photos:
        digest.update(f"{photo.name}\0".encode())
        digest.update(photo_sample(photo.path))
        digest.update(b"alpha" * photo.alpha + (mask_digest(photo.mask) if photo.mask else b""))
    return digest.hexdigest()[:16]
