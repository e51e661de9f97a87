"""Photos or a video in, a COLMAP capture out; what is found on the way is kept for a run that goes on.

```
OUT/
  images/, sparse/0/    the capture: undistorted photos, pinhole cameras, sparse points
  matching/             database.db: features and matches; frames/: of a video; record.json: how it went
```
"""

import hashlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gags.capture.capture import file_sample
from gags.capture.colmap import model_folder
from gags.capture.poses import mapping
from gags.capture.poses.account import Account, PhotoFate, account
from gags.capture.poses.database import counts_of, descriptors_of, find_features
from gags.capture.poses.inputs import LEAST_PHOTOS, BarePhoto, bare_photos, is_video
from gags.capture.poses.pairs import chosen_matching, photo_pairs
from gags.capture.poses.settings import PoseSettings
from gags.capture.poses.undistorted import write_capture
from gags.capture.poses.video import extract_frames
from gags.errors import CaptureError
from gags.files import atomic_write, listed_lines
from gags.progress import SILENT, Reporter


def find_poses(
    source: Path | str, out: Path | str, settings: PoseSettings = PoseSettings(), report: Reporter = SILENT
) -> Path:
    """Find where photos were taken from (structure from motion), and write them as a capture.

    Photos are turned upright as EXIF says; those that cannot be placed are left out, with a word why.

    Args:
        source: Folder of photos, or a video.
        out: Folder of the capture; an earlier run in it that was stopped goes on, a finished one is kept as
            long as photos and settings are the same.
        settings: What can be chosen.
        report: Told about progress, and why photos were left out.

    Returns:
        `out`, for `load_capture`.

    Raises:
        CaptureError: If there are no photos, or too few of them can be placed.
    """
    source, out = Path(source).expanduser(), Path(out).expanduser()
    record = out / "matching" / "record.json"
    if model_folder(out) and not record.is_file():
        raise CaptureError(f"{out} holds a capture that was not made here; choose another --out")
    video = is_video(source)
    photos = _photos(source, out, settings, report)
    key = _key(photos, settings)
    if _read(record).get("key") != key:
        _start_over(out, record, key, report)
    elif model_folder(out):
        report.say(f"Poses: done already, {_read(record).get('summary', out)}")
        return out
    try:
        models = _place(photos, out / "matching" / "database.db", settings, report, video=video)
        result = _check(photos, models, out, settings, report)
        write_capture(models[0], photos, out, report)
    except OSError as error:
        raise CaptureError(
            f"cannot write to {out} ({error.strerror or error}); choose another --out"
        ) from error
    _keep_test_list(source, out)
    report.say(f"Poses: {result.summary}")
    return out


def _photos(source: Path, out: Path, settings: PoseSettings, report: Reporter) -> list[BarePhoto]:
    if not is_video(source):
        return bare_photos(source, ignore=out)
    folder = out / "matching" / "frames"
    count = extract_frames(source, folder, settings.frames, report)
    if count < LEAST_PHOTOS:
        need = f"poses need {LEAST_PHOTOS}; film for longer"
        raise CaptureError(f"{source} gives only {count} sharp frames, and {need}")
    return bare_photos(folder)


def _place(
    photos: list[BarePhoto], database: Path, settings: PoseSettings, report: Reporter, *, video: bool
) -> list[Any]:
    """Features, matches, poses: connected groups of photos, the largest first."""
    find_features(photos, database, settings, report)
    matching = chosen_matching(settings, len(photos), video=video)
    descriptors = [] if matching == "exhaustive" else descriptors_of(database, photos)
    pairs = photo_pairs(matching, descriptors, settings, known=len(photos))
    mapping.compare_pairs([photo.key for photo in photos], pairs, database, settings.seed, report)
    return mapping.place_photos(database, len(photos), settings.seed, report)


def _check(
    photos: list[BarePhoto], models: list[Any], out: Path, settings: PoseSettings, report: Reporter
) -> Account:
    """Put on record what became of every photo; warn, or fail if too few were placed."""
    fates = _fates(photos, models, out / "matching" / "database.db")
    points, error = (
        (models[0].num_points3D(), models[0].compute_mean_reprojection_error()) if models else (0, 0)
    )
    result = account(fates, points, error if models else None)
    record = out / "matching" / "record.json"
    content = _read(record) | {"summary": result.summary, "photos": [asdict(fate) for fate in fates]}
    _write(record, content)
    advice = "; ".join(result.advice)
    if result.placed < LEAST_PHOTOS or result.share < settings.least_share:
        raise CaptureError(f"{result.summary}, too few to go on: {advice} (details in {record})")
    if advice:
        report.warn(f"{result.summary}: {advice} (details in {record})")
    return result


def _fates(photos: list[BarePhoto], models: list[Any], database: Path) -> list[PhotoFate]:
    features, matches = counts_of(database)
    group: dict[str, int] = {}
    for number, model in enumerate(models):
        for image in model.reg_image_ids():
            group.setdefault(model.image(image).name, number)
    return [PhotoFate(p.name, features[p.key], matches[p.key], group.get(p.key)) for p in photos]


def _key(photos: list[BarePhoto], settings: PoseSettings) -> str:
    """Hash of everything the result depends on."""
    digest = hashlib.sha256(json.dumps(asdict(settings), sort_keys=True).encode())
    for photo in photos:
        digest.update(f"{photo.name}\0".encode())
        digest.update(file_sample(photo.path))
    return digest.hexdigest()[:16]


def _start_over(out: Path, record: Path, key: str, report: Reporter) -> None:
    """Remove what was found for other photos or settings."""
    if record.is_file():
        report.say("Poses: photos or settings have changed, finding them again")
    try:
        for beside in ("", "-wal", "-shm", "-journal"):  # SQLite's own, after a crash
            (record.parent / f"database.db{beside}").unlink(missing_ok=True)
        for folder in ("images", "sparse"):
            if record.is_file():
                shutil.rmtree(out / folder, ignore_errors=True)
        _write(record, {"key": key})
    except OSError as error:
        raise CaptureError(f"cannot write to {out} ({error.strerror}); choose another --out") from error


def _keep_test_list(source: Path, out: Path) -> None:
    """Photos that the folder itself holds out stay held out, by stem: suffixes may have changed."""
    listed = source / "test.txt"
    if source.is_dir() and listed.is_file():
        stems = [line.rsplit(".", 1)[0] for line in listed_lines(listed)]
        placed = {
            p.relative_to(out / "images").with_suffix("").as_posix() for p in (out / "images").rglob("*.*")
        }
        (out / "test.txt").write_text("".join(f"{stem}\n" for stem in stems if stem in placed))


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write(path: Path, content: dict[str, Any]) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
