"""The record of a search (`matching/record.json`): what it was for, what became of the photos, in words."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gags.capture.formats.colmap import model_folder
from gags.capture.photos import listed
from gags.errors import CaptureError
from gags.files import read_table, write_json
from gags.progress import Reporter

FEW_KEYPOINTS = 300  # a photo of a textured place has thousands
FEW_MATCHES = 60  # inliers with the best partner; 15 are the least that count at all
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


def record_file(out: Path) -> Path:
    """Where the record of a capture that was found lies."""
    return out / "matching" / "record.json"


def database_file(out: Path) -> Path:
    """Where keypoints and matches of a capture that was found lie."""
    return out / "matching" / "database.db"


def views_folder(out: Path) -> Path:
    """Where the views lie that panoramas were cut into."""
    return out / "matching" / "views"


def prepare(out: Path, key: str, what: str, progress: Reporter) -> bool:
    """Prepare a folder for a search; what was found there for another key is removed.

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
    record = record_file(out)
    if model_folder(out) and not record.is_file():
        raise made_elsewhere(out)
    known = read_table(record)
    if known.get("key") != key:
        _start_over(out, key, what, progress)
        return False
    if model_folder(out):
        progress.say(f"{what}: done already, {known.get('summary', out)}")
        return True
    return False


def _start_over(out: Path, key: str, what: str, progress: Reporter) -> None:
    """Remove what was found for other photos or settings."""
    record = record_file(out)
    if record.is_file():
        progress.say(f"{what}: photos or settings have changed, finding them again")
    try:
        for beside in ("", "-wal", "-shm", "-journal"):  # SQLite's own, after a crash
            (record.parent / f"database.db{beside}").unlink(missing_ok=True)
        for folder in ("images", "masks", "sparse"):
            if record.is_file():
                shutil.rmtree(out / folder, ignore_errors=True)
        write_json(record, {"key": key})
    except OSError as error:
        raise cannot_write(out, error) from error


def made_elsewhere(out: Path) -> CaptureError:
    """The error if `out` holds a capture that was not found by gags, and must not be overwritten."""
    return CaptureError(f"{out} holds a capture that was not made here; choose another --out")


def cannot_write(out: Path, error: OSError) -> CaptureError:
    """The error if `out` cannot be written to."""
    return CaptureError(f"cannot write to {out} ({error.strerror or error}); choose another --out")
