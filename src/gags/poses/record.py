"""The record of a search (`matching/record.json`): what it was for, what became of the photos, in words."""

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gags.capture.formats.colmap import model_folder
from gags.capture.photos import listed
from gags.errors import CaptureError
from gags.files import read_table, write_json
from gags.poses.bare import BarePhoto
from gags.poses.database import counts_of
from gags.poses.undistorted import write_test_list
from gags.progress import Reporter

FEW_KEYPOINTS = 300  # a photo of a textured place has thousands
FEW_MATCHES = 60  # inliers with the best partner; 15 are the least that count at all
RESULT = ("images", "masks", "test.txt", "sparse")  # what a search writes at its end
SEARCH = "matching"  # and what it works with
SEARCHING = "searching"  # key of record.json while what is there may be of an earlier search
GOOD_SHARE = 0.9  # of the photos placed: nothing to warn of

MORE_TEXTURE = (
    "photograph textured things in good light and hold the camera still; plain walls, glass and blur show "
    "nothing that can be matched"
)
MORE_OVERLAP = "take photos closer together, so that neighbours share two thirds of what they show"
MORE_BETWEEN = "add photos in between that show both"
MORE_PARALLAX = (
    "step sideways between photos instead of turning on the spot, since turning alone shows no depth; and "
    "leave out photos in which things moved"
)


@dataclass(frozen=True)
class PhotoResult:
    """What became of one photo.

    Attributes:
        name: File name.
        keypoints: How many were found.
        matches: Verified matches with the photo that it shares most with.
        group: Number of the connected group of poses it is in, largest first; None if it was not placed.
    """

    name: str
    keypoints: int
    matches: int
    group: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Its row in record.json. "features" are keypoints: the name is part of the file's format."""
        return {
            "name": self.name,
            "features": self.keypoints,
            "matches": self.matches,
            "group": self.group,
        }


@dataclass(frozen=True)
class SearchResult:
    """What became of all photos, in words.

    Attributes:
        placed: How many photos are in the largest group.
        total: How many photos there are.
        summary: One line.
        advice: Reasons and remedies, most important first; empty if all is well.
    """

    placed: int
    total: int
    summary: str
    advice: list[str]

    @property
    def share(self) -> float:
        """Share of the photos that were placed."""
        return self.placed / self.total if self.total else 0.0


def search_result(photos: list[PhotoResult], points: int = 0, error_px: float | None = None) -> SearchResult:
    """Say what became of the photos.

    Args:
        photos: All photos.
        points: Sparse points found.
        error_px: Mean reprojection error in pixels, if there is one.
    """
    placed = [photo for photo in photos if photo.group == 0]
    error = "" if error_px is None else f", reprojection error {error_px:.2f} px"
    summary = f"{len(placed)} of {len(photos)} photos placed, {points} points{error}"
    advice = []
    if len(placed) < GOOD_SHARE * len(photos) or len(placed) < 3:
        advice = _advice(photos)
    return SearchResult(len(placed), len(photos), summary, advice)


def _advice(photos: list[PhotoResult]) -> list[str]:
    """A reason and a remedy for every kind of loss, the commonest first."""
    lost = [photo for photo in photos if photo.group is None]
    reasons: list[tuple[int, str]] = []

    def add(those: list[PhotoResult], what: str, remedy: str) -> None:
        if those:
            names = listed([photo.name for photo in those])
            reasons.append((len(those), f"{len(those)} {what} ({names}): {remedy}"))

    plain = [photo for photo in lost if photo.keypoints < FEW_KEYPOINTS]
    few_matches = [photo for photo in lost if photo not in plain and photo.matches < FEW_MATCHES]
    others = [photo for photo in lost if photo not in plain and photo not in few_matches]
    apart = [photo for photo in photos if photo.group]
    add(plain, "show too little texture", MORE_TEXTURE)
    add(few_matches, "share too little with any other", MORE_OVERLAP)
    add(others, "match others, but give no depth", MORE_PARALLAX)
    groups = len({photo.group for photo in apart})
    add(apart, f"were placed apart from the rest, in {groups} group{'s' if groups > 1 else ''}", MORE_BETWEEN)
    return [text for _, text in sorted(reasons, key=lambda reason: -reason[0])]


def photo_results(photos: list[BarePhoto], models: list[Any], database: Path) -> list[PhotoResult]:
    """What became of all photos.

    Args:
        photos: All photos.
        models: `pycolmap.Reconstruction` of each connected group, the largest first.
        database: COLMAP's.
    """
    keypoints, matches = counts_of(database)
    group: dict[str, int] = {}
    for number, model in enumerate(models):
        for image in model.reg_image_ids():
            group.setdefault(model.image(image).name, number)
    return [PhotoResult(p.name, keypoints[p.key], matches[p.key], group.get(p.key)) for p in photos]


def record_file(out: Path) -> Path:
    """Where the record of a capture that was found lies."""
    return out / SEARCH / "record.json"


def database_file(out: Path) -> Path:
    """Where keypoints and matches of a capture that was found lie."""
    return out / SEARCH / "database.db"


def views_folder(out: Path) -> Path:
    """Where the views lie that panoramas were cut into."""
    return out / SEARCH / "views"


def posed_folder(out: Path) -> Path:
    """Where undistorted photos of known poses lie while points are looked for."""
    return out / SEARCH / "posed"


def frames_folder(out: Path) -> Path:
    """Where the frames of a video lie that a capture was found from."""
    return out / SEARCH / "frames"


def check_apart(photos: Iterable[Path], out: Path) -> None:
    """Make sure that the photos do not lie where the result is written, which would replace them.

    Raises:
        CaptureError: If one does.
    """
    home = os.path.realpath(out)
    places = [os.path.join(home, name) + os.sep for name in (*RESULT, SEARCH)]
    for photo in photos:
        real = os.path.realpath(photo)
        if any(real.startswith(place) for place in places):
            raise CaptureError(
                f"photo {photo} lies where the result is written, and would be replaced; choose another --out"
            )


def prepare(out: Path, key: str, what: str, progress: Reporter) -> bool:
    """Prepare a folder for a search. What was found there for another key stays until the new one is there.

    Args:
        out: Folder of the capture.
        key: Hash of everything the result depends on.
        what: What is searched for, for messages: "Poses" or "Points".
        progress: Told if it is done already, or done again.

    Returns:
        Whether it is done already, for the same key.

    Raises:
        CaptureError: If `out` holds a capture that was not found here, or cannot be written to.
    """
    check_free(out)
    known = read_table(record_file(out))
    if known.get("key") != key:
        _start_over(out, key, what, progress)
        return False
    if model_folder(out) and not known.get(SEARCHING):
        progress.say(f"{what}: done already, {known.get('summary', out)}")
        return True
    return False


def _start_over(out: Path, key: str, what: str, progress: Reporter) -> None:
    """Remove keypoints and matches of other photos or settings."""
    record = record_file(out)
    if record.is_file():
        progress.say(f"{what}: photos or settings have changed, finding them again")
    try:
        for beside in ("", "-wal", "-shm", "-journal"):  # SQLite's own, after a crash
            (record.parent / f"database.db{beside}").unlink(missing_ok=True)
        write_json(record, {"key": key, SEARCHING: True})
    except OSError as error:
        raise cannot_write(out, error) from error


def results_in(out: Path) -> list[Path]:
    """Folders of a search that was made there before: their pictures are no photos to begin with."""
    return [out / name for name in (*RESULT, SEARCH)] if record_file(out).is_file() else []


def _remove_result(out: Path) -> None:
    """Remove what was found before, now that something else was; the model first: without it, nothing is."""
    for name in reversed(RESULT):
        path = out / name
        path.unlink(missing_ok=True) if path.is_file() else shutil.rmtree(path, ignore_errors=True)


def replace_result(out: Path, write: Callable[[], None], stems: Sequence[str] | None) -> None:
    """Put what was found in the place of what was found before, and say in record.json that it is there.

    Args:
        out: Folder of the capture.
        write: Writes photos, masks and model.
        stems: Photos that stay held out (`test.txt`); None if the sources say nothing of it.
    """
    _remove_result(out)
    write()
    if stems is not None:
        write_test_list(stems, out)
    record = record_file(out)
    write_json(record, {name: value for name, value in read_table(record).items() if name != SEARCHING})


def check_free(out: Path) -> None:
    """Make sure that a search in a folder replaces nothing but what was found there by an earlier one.

    Raises:
        CaptureError: If it holds photos, masks, a list or a model that were not made here.
    """
    if record_file(out).is_file():
        return
    names = (*RESULT, f"{SEARCH}/{database_file(out).name}")
    there = [name for name in names if (out / name).is_file() or any((out / name).glob("*"))]
    model = model_folder(out)
    if there or model:
        named = listed(there or [model.name if model else ""], most=len(names))
        raise CaptureError(f"{out} holds what was not made here ({named}); choose another --out")


def cannot_write(out: Path, error: OSError) -> CaptureError:
    """The error if `out` cannot be written to."""
    return CaptureError(f"cannot write to {out} ({error.strerror or error}); choose another --out")
