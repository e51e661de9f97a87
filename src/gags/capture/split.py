"""Which views are held out: by a list, every so many, or as the capture itself says."""

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from gags.capture.capture import Capture
from gags.capture.formats.base import Source
from gags.capture.names import resolve, with_slashes, without_suffix
from gags.capture.photos import listed
from gags.errors import CaptureError
from gags.files import listed_lines

TEST_EVERY = 8  # usual since LLFF (Mildenhall et al. 2019): the first of every eight views is held out


def held_out(
    capture: Capture,
    groups: dict[str, list[str]],
    source: Source,
    test_list: str | Path | None,
    test_every: int | None,
) -> list[str]:
    """The held-out views. All views of a panorama are held out together: they overlap.

    Args:
        capture: All views.
        groups: Names of the views of each photo.
        source: What the reader found.
        test_list: As for `load_capture`.
        test_every: As for `load_capture`.

    Raises:
        CaptureError: If a list cannot be read, or names a view that is not there.
    """
    own = capture.root / "test.txt"
    if test_list is None and test_every is None and own.is_file():
        test_list = own
    if test_list is not None:
        return _listed_names(capture, source, Path(test_list).expanduser())
    if test_every is None and source.test_names is not None:
        chosen = [name for name in source.test_names if name in groups]
    else:
        chosen = every_nth(groups, TEST_EVERY if test_every is None else test_every)
    return [name for photo in chosen for name in groups[photo]]


def every_nth(names: Iterable[str], every: int) -> list[str]:
    """Every Nth name, the first included; none if `every` is 0."""
    return sorted(names)[::every] if every else []


def views_by_folder(names: Iterable[str]) -> dict[str, list[str]]:
    """Names of views by folder: those of a panorama, whose name it has but for the suffix, or of a visit."""
    folders: dict[str, list[str]] = {}
    for name in names:
        folders.setdefault(PurePosixPath(name).parent.as_posix(), []).append(name)
    return folders


def check_test_list(path: Path, names: Sequence[str] | None) -> None:
    """Make sure, before poses are found, that a list of views to hold out can be used.

    Args:
        path: The list.
        names: Of the photos that will have poses; None if they are not known yet, as of a video.

    Raises:
        CaptureError: If the list cannot be read, or names what is not there.
    """
    lines = test_lines(path.expanduser())
    if names is not None:
        folders = views_by_folder(names)
        waiting = [name for name in lines if not resolve([_folder(name)], folders)]
        _check_known(path, waiting, names)


def test_lines(path: Path) -> list[str]:
    """The names in a list of views to hold out.

    Raises:
        CaptureError: If it cannot be read.
    """
    try:
        return listed_lines(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise CaptureError(f"list of test views {path} cannot be read ({reason})") from error


def _listed_names(capture: Capture, source: Source, path: Path) -> list[str]:
    """The views that a list names, each by itself, or all of a panorama or a folder at once."""
    folders = views_by_folder(view.name for view in capture)
    names = []
    for name in test_lines(path):
        a_view = name in capture and not name.endswith("/")
        meant = None if a_view else resolve([_folder(name)], folders).get(_folder(name))
        names += [name] if meant is None else folders[meant]
    # Photos that have no pose, or are broken, may be listed, too.
    _check_known(path, [name for name in names if name not in capture], [*source.photos, *source.broken])
    return [name for name in names if name in capture]


def _folder(name: str) -> str:
    return with_slashes(without_suffix(name))


def _check_known(path: Path, listed_names: Sequence[str], known: Sequence[str]) -> None:
    """Raise if none of the known photos is meant by a name, or several are."""
    there = {*known, *map(without_suffix, known)}
    unknown = [name for name in listed_names if name not in there and not resolve([name], known)]
    if unknown:
        example = f", such as {listed([min(known)])}" if known else ""
        raise CaptureError(
            f"{path} names {len(unknown)} views that the capture does not have ({listed(unknown)}); "
            f"write one photo name or stem a line{example}"
        )
