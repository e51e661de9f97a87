"""Several captures of one place → one capture, where their photos show the same.

Where one of them has poses, these stay, and so does their frame: the photos of the others are placed in it.
Where none has, all are placed together. Photos are kept apart by folder: `kitchen/a.jpg`, `later/a.jpg`. The
result is laid out as in `gags.poses.find`.
"""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from gags.capture.capture import View
from gags.capture.mask_files import AUTO
from gags.capture.undistort import is_own_pinhole, pinhole_of
from gags.errors import CaptureError
from gags.files import read_table, write_json
from gags.poses.bare import BarePhoto, counting_order
from gags.poses.database import quiet_colmap
from gags.poses.inputs import LEAST_PHOTOS_TO_PLACE, video_photos
from gags.poses.learnt import check_features
from gags.poses.mapping import check_mapper, chosen_mapper, place_photos, placed_one_by_one
from gags.poses.matching import match_photos
from gags.poses.panoramas import check_ordinary
from gags.poses.points import (
    GOOD_FIT,
    LEAST_FIT,
    LEAST_POINTS,
    fitting_share,
    pinhole_photos,
    posed_model,
    tolerant_options,
)
from gags.poses.record import (
    cannot_write,
    check_apart,
    check_free,
    database_file,
    frames_folder,
    photo_results,
    posed_folder,
    prepare,
    record_file,
    replace_result,
    results_in,
    search_result,
)
from gags.poses.settings import PoseSettings
from gags.poses.undistorted import MASKS, write_capture
from gags.poses.video import is_video
from gags.poses.visits import Visit, held_out_of, key_of, read_visits, renamed
from gags.progress import SILENT, Reporter


def merge_captures(
    sources: Sequence[Path | str],
    out: Path | str,
    settings: PoseSettings = PoseSettings(),
    progress: Reporter = SILENT,
    *,
    masks: str = AUTO,
) -> Path:
    """Make one capture of several of one place, such as of a second visit.

    The first one that has poses gives frame and scale, and its poses stay as they are. Poses of any other are
    found anew, in this frame.

    Args:
        sources: Captures with poses in any format, scenes of gags, folders of photos, videos; two or more.
        out: Folder of the capture; an earlier run in it that was stopped resumes, a finished one is kept as
            long as sources and settings are the same.
        settings: How poses are found.
        progress: Told about progress, and why photos were left out.
        masks: Which pixels are ignored in each of them; see `load_capture`.

    Returns:
        `out`, for `load_capture`. Held out are the photos that each source holds out, or every 8th of it.

    Raises:
        CaptureError: If one cannot be read, or shares nothing with the others; then nothing is written.
    """
    check_mapper(settings)
    check_features(settings)
    out = Path(out).expanduser()
    check_free(out)  # before frames of a video are written
    visits = read_visits(sources, settings, ignore=results_in(out), masks=masks, progress=progress)
    check_apart([path for visit in visits for path in visit.files()], out)
    with _as_before_unless_fit(out):
        visits = [_with_frames(visit, out, settings, masks, progress) for visit in visits]
        if prepare(out, key_of(visits, settings), "Poses", progress):
            return out
        try:
            return _merge(visits, out, settings, progress)
        except OSError as error:
            raise cannot_write(out, error) from error


def _with_frames(visit: Visit, out: Path, settings: PoseSettings, masks: str, progress: Reporter) -> Visit:
    """A video gets its frames."""
    if not is_video(visit.source):
        return visit
    folder = frames_folder(out) / visit.name
    frames = video_photos(visit.source, folder, settings.frames, progress, masks=masks)
    try:
        check_ordinary(frames, visit.source, settings, progress)
    except CaptureError as error:
        raise _UnfitError(str(error)) from error
    return replace(visit, photos=tuple(renamed(frames, visit.name)))


class _UnfitError(CaptureError):
    """Captures do not show the same place, or one of them cannot be merged."""


@contextmanager
def _as_before_unless_fit(out: Path) -> Iterator[None]:
    """Where captures share nothing, the folder is left as it was: a merging before stays, and is known."""
    was_there, record = out.exists(), record_file(out)
    before = read_table(record)
    try:
        yield
    except _UnfitError:
        shutil.rmtree(record.parent if was_there else out, ignore_errors=True)
        if before:
            write_json(record, before)
        raise


def _merge(visits: list[Visit], out: Path, settings: PoseSettings, progress: Reporter) -> Path:
    database, posed = database_file(out), posed_folder(out)
    base = next((visit for visit in visits if visit.capture is not None), None)
    photos, views = [], dict[str, View]()
    for visit in visits:
        if visit.capture is None:
            photos += visit.photos
            continue
        of_visit = sorted(map(_full_size, visit.capture), key=lambda view: counting_order(view.name))
        written = pinhole_photos(of_visit, posed, progress, visit=visit.name)
        photos += written
        if visit is base:
            views = {photo.key: view for photo, view in zip(written, of_visit, strict=True)}
    match_photos(photos, database, settings, progress)
    if base is None:
        models = place_photos(database, len(photos), settings, progress)
    else:
        models = [_placed_beside(base, photos, views, database, settings, progress)]
    summary = _check(visits, photos, models, out, settings, progress)
    stems = [stem for visit in visits for stem in held_out_of(visit)]
    replace_result(out, lambda: write_capture(models[0], photos, out, settings.undistort, progress), stems)
    for folder in (posed, posed.with_name(MASKS)):
        shutil.rmtree(folder, ignore_errors=True)
    progress.say(f"Poses: {summary}")
    return out


def _full_size(view: View) -> View:
    """The same view at the size of its photo: a scene may have been made of smaller ones."""
    size, lens, camera = view.photo_size, view.lens, view.camera
    if size is None:
        return view
    if lens is None:
        return view if size == (camera.width, camera.height) else replace(view, camera=camera.resized(*size))
    if size == (lens.width, lens.height):
        return view
    whole = lens.resized(*size)
    if is_own_pinhole(lens, camera.K, (camera.width, camera.height)):
        return replace(view, camera=replace(camera.resized(*size), K=pinhole_of(whole).K), lens=whole)
    # Of panoramas and fisheyes, a picture of the same field of view.
    width = round(camera.width * size[0] / lens.width)
    height = round(camera.height * size[1] / lens.height)
    return replace(view, camera=camera.resized(width, height), lens=whole)


def _placed_beside(
    base: Visit,
    photos: list[BarePhoto],
    views: dict[str, View],
    database: Path,
    settings: PoseSettings,
    progress: Reporter,
) -> Any:
    """Place photos in the frame of those that have poses, which stay as they are.

    Args:
        base: The capture with poses.
        photos: All photos.
        views: Those of the capture, by key.
        database: COLMAP's, with verified matches of all photos.
        settings: Of the mapper.
        progress: Told about progress.

    Returns:
        `pycolmap.Reconstruction` of all photos that were placed.
    """
    from gags.poses.colmap import pycolmap

    if chosen_mapper(settings) != "incremental":
        progress.say(
            f"--mapper {settings.mapper} has no effect: photos are placed one by one among the posed"
        )
    known = {key: view.camera.viewmat for key, view in views.items()}
    options = tolerant_options(photos, settings.seed)
    waiting = len(photos) - len(known)
    with (
        progress.stage("Placing photos", waiting, "photos") as bar,
        tempfile.TemporaryDirectory() as folder,
        quiet_colmap(),
    ):
        pycolmap.set_random_seed(settings.seed)
        model = posed_model(known, database)
        cameras = set(model.cameras)
        model = pycolmap.triangulate_points(model, database, folder, folder, options=options)
        _check_fit(base, model, database, progress)
        start = Path(folder) / "start"
        start.mkdir()
        model.write_binary(start)
        options.fix_existing_frames = options.mapper.fix_existing_frames = True
        options.constant_cameras = options.mapper.constant_cameras = cameras
        options.multiple_models = False
        models = placed_one_by_one(database, Path(folder), options, bar, start)
        model = max(models.values(), key=lambda each: each.num_reg_images(), default=model)
        _put_back(model, known)
    return model


def _check_fit(base: Visit, model: Any, database: Path, progress: Reporter) -> None:
    """Raise if the photos of a capture do not fit its poses: nothing can be placed among them; or warn."""
    count, share = model.num_points3D(), fitting_share(model, database)
    if count < LEAST_POINTS or share < LEAST_FIT:
        found = f"{count} points for {model.num_images()} photos, {100 * share:.0f} % of the matches"
        raise CaptureError(
            f"{base.source}: {found} fit the poses, too few to place others among them: the poses are "
            "wrong, or the photos share too little; give the folder of its photos alone "
            f"({base.photo_folder()})"
        )
    if share < GOOD_FIT:
        progress.warn(
            f"{base.source}: only {100 * share:.0f} % of the matches fit its poses: they are inaccurate, and "
            "what is placed among them will be, too"
        )


def _put_back(model: Any, known: dict[str, Any]) -> None:
    """Give photos with poses exactly these: they were kept, up to the last digits of quaternions."""
    from gags.poses.colmap import pycolmap

    for image in model.images.values():
        if image.name in known:
            viewmat = known[image.name]
            pose = pycolmap.Rigid3d(pycolmap.Rotation3d(viewmat[:3, :3]), viewmat[:3, 3])
            model.frame(image.frame_id).rig_from_world = pose


def _check(
    visits: list[Visit],
    photos: list[BarePhoto],
    models: list[Any],
    out: Path,
    settings: PoseSettings,
    progress: Reporter,
) -> str:
    """Write to record.json what became of every photo, and return it in a line.

    Raises:
        CaptureError: If a capture shares nothing with the others.
    """
    results = photo_results(photos, models, database_file(out))
    visit_of = {photo.name: photo.visit for photo in photos}
    of = {v.name: [result for result in results if visit_of[result.name] == v.name] for v in visits}
    placed = {name: sum(result.group == 0 for result in rows) for name, rows in of.items()}
    counts = ", ".join(f"{placed[v.name]} of {len(of[v.name])} photos of {v.name}" for v in visits)
    apart = [v for v in visits if placed[v.name] < LEAST_PHOTOS_TO_PLACE]
    if apart or not models:
        raise _UnfitError(_apart(visits, apart, of, counts))
    model = models[0]
    overall = search_result(results, model.num_points3D(), model.compute_mean_reprojection_error())
    summary = f"{counts} placed in one frame, {overall.summary.split(', ', 1)[1]}"
    rows = [result.as_json() for result in results]
    mapper = "incremental" if any(visit.capture for visit in visits) else chosen_mapper(settings)
    found = {"summary": summary, "mapper": mapper, "photos": rows}
    write_json(record_file(out), read_table(record_file(out)) | found)
    for visit in visits:
        advice = "; ".join(search_result(of[visit.name]).advice)
        if advice:
            progress.warn(f"{visit.name}: {advice} (details in {record_file(out)})")
    return summary


def _apart(visits: list[Visit], apart: list[Visit], of: dict[str, Any], counts: str) -> str:
    """The message if captures share nothing."""
    if all(visit.capture is None and visit in apart for visit in visits):
        sources = " and ".join(str(visit.source) for visit in visits)
        alone = f"gags poses {visits[0].source} --out my_capture"
        return f"{sources}: {counts} placed; find out what each alone lacks: {alone}"
    names = " and ".join(str(visit.source) for visit in apart)
    return (
        f"{names} cannot be merged with the rest ({counts} placed): the photos share too little of what they "
        "show; add photos that show what both do, or make scenes of their own (gags run-many)"
    )
