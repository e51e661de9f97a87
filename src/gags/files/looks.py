"""Whether files are still what they were: by size and time first, by what they hold only if these differ."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from gags.files import is_file

SAMPLE = 1 << 16  # bytes at the beginning, in the middle and at the end of a file that are looked at


def look_of(path: Path) -> list[int] | None:
    """Size and time of change of a file, None if it is not there; while they stay, it need not be read."""
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def sample_of(path: Path) -> str:
    """Hash of the size of a file and of its first, middle and last 64 KiB, 64 hex digits.

    Raises:
        OSError: If it cannot be read.
    """
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with open(path, "rb") as file:
        for start in sorted({0, max(0, (size - SAMPLE) // 2), max(0, size - SAMPLE)}):
            file.seek(start)
            digest.update(file.read(SAMPLE))
    return digest.hexdigest()


class Watched:
    """Files that may be written anew by another process.

    Args:
        stamps: What tells a file from another one, by path; what raises an `OSError` counts as no file.
    """

    def __init__(self, stamps: Mapping[Path, Callable[[Path], str]]) -> None:
        self._stamps = dict(stamps)
        self._looks = {path: look_of(path) for path in stamps}
        self._known = {path: {self.stamp(path)} for path in stamps}

    def stamp(self, path: Path) -> str | None:
        """What tells a file from another one now; None if it is not there, or no file: a pipe would wait."""
        if not is_file(path):
            return None
        try:
            return self._stamps[path](path)
        except OSError:
            return None

    def accept(self, path: Path, stamp: str) -> None:
        """Take a file with this stamp, too, for what it was."""
        self._known[path].add(stamp)

    def changed(self) -> list[Path]:
        """Files that hold something else now than when this was made, or are gone."""
        found = []
        for path, look in self._looks.items():
            now = look_of(path)
            if now == look:
                continue
            if self.stamp(path) in self._known[path]:
                self._looks[path] = now  # touched, or put back
            else:
                found.append(path)
        return found
