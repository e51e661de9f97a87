"""Which of the posed photos can be used: what is missing or broken is left out, as long as most is whole."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from gags.capture.folders import is_copy
from gags.capture.formats.base import LEAST_USABLE_SHARE, Pose, Source
from gags.capture.names import check_names
from gags.capture.photos import (
    check_whole,
    listed,
    photo_size,
    unreadable_photos,
    why_unreadable,
)
from gags.errors import CaptureError
from gags.files import is_file
from gags.progress import SILENT, Reporter


def usable(root: Path, source: Source, progress: Reporter = SILENT) -> Source:
    """The same capture without poses that cannot be used, and photos that have none.

    Args:
        root: Folder of the capture, for messages.
        source: What a reader found.
        progress: Warned of what is left out.

    Raises:
        CaptureError: If there is no pose, photos have several, names cannot be used, or too much is broken.
    """
    total = len(source.poses) + len(source.broken)
    if total == 0:
        raise CaptureError(f"{root} holds no posed views; structure from motion seems to have failed")
    _check_names(root, source)
    missing = [pose for pose in source.poses if not is_file(pose.path)]
    damaged = _damaged(pose for pose in source.poses if is_file(pose.path))
    left_out = {pose.name for pose in missing} | damaged.keys()
    kept = [pose for pose in source.poses if pose.name not in left_out]
    problems = [
        *_about_missing(root, source, missing, total),
        *_about_broken(source.broken, "poses cannot be used", total),
        *_about_broken(damaged, "posed photos cannot be read", total),
    ]
    if len(kept) <= LEAST_USABLE_SHARE * total and problems:
        raise CaptureError(_refusal(root, problems, len(kept), total))
    for problem, _ in problems:
        progress.warn(f"{problem}; left out")
    _warn_of_unposed(source, progress)
    gone = {pose.name: f"photo {pose.path} is not there" for pose in missing}
    return replace(source, poses=kept, broken=source.broken | gone | damaged)


def _check_names(root: Path, source: Source) -> None:
    names = [pose.name for pose in source.poses]
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise CaptureError(
            f"{root}: {len(twice)} photos have several poses ({listed(twice)}); keep one of each"
        )
    check_names(names, root)


def _damaged(poses: Iterable[Pose]) -> dict[str, str]:
    """Why photos cannot be read, by name; only their headers and ends are looked at."""
    reasons = {}
    for pose in poses:
        try:
            photo_size(pose.path)
            check_whole(pose.path)
        except CaptureError as error:
            reasons[pose.name] = str(error)
    return reasons


def _about_missing(root: Path, source: Source, missing: Sequence[Pose], total: int) -> list[tuple[str, str]]:
    """A problem and its remedy if photos are not there."""
    if not missing:
        return []
    copies = is_copy(source.folder)
    names = sorted(pose.name for pose in missing)
    first = min(missing, key=lambda pose: pose.name)
    remedy = "choose another folder of photos (--images)" if copies else "remove their poses"
    return [
        (
            f"{source.folder if copies else root}: {len(missing)} of {total} posed photos are not there "
            f"({listed(names)}; looked for {first.path})",
            f"put them back, or {remedy}",
        )
    ]


def _about_broken(reasons: dict[str, str], what: str, total: int) -> list[tuple[str, str]]:
    """A problem and its remedy if poses or photos are broken: the reason of the first one says both.

    Args:
        reasons: What is wrong, by name of photo.
        what: What is broken.
        total: How many there are.
    """
    if not reasons:
        return []
    names = "" if len(reasons) == 1 else f" ({listed(sorted(reasons))})"
    return [(f"{len(reasons)} of {total} {what}{names}: {next(iter(reasons.values()))}", "")]


def _refusal(root: Path, problems: list[tuple[str, str]], kept: int, total: int) -> str:
    text = "; ".join(f"{problem}; {remedy}" if remedy else problem for problem, remedy in problems)
    return text if len(problems) == 1 else f"{root}: only {kept} of {total} photos can be used: {text}"


def _warn_of_unposed(source: Source, progress: Reporter) -> None:
    """Warn of photos that have no pose, or are of a format that is not read."""
    unposed = sorted(set(source.photos) - {pose.name for pose in source.poses} - source.broken.keys())
    if unposed:
        progress.warn(f"{len(unposed)} photos have no pose and are left out ({listed(unposed)})")
    if source.folder is not None and (others := unreadable_photos(source.folder, deep=True)):
        posed = {pose.path for pose in source.poses}
        others = [path for path in others if path not in posed]
        if others:
            progress.warn(f"{source.folder}: {why_unreadable(others)}; left out")
