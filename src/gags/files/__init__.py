"""Files: written so that a crash never leaves half of one behind; JSON, and lists that people wrote."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gags.files.text import read_text


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it is synced to disk and renamed over `path`.

    The temporary name ends in the suffix of `path`, for writers that choose their format by it. If the body
    raises, the temporary file is removed and what was at `path` stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{_short(path.stem)}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _short(stem: str) -> str:
    """A stem to which more can be added: file systems take names of 255 bytes."""
    data = stem.encode("utf-8", "surrogateescape")
    return stem if len(data) <= 180 else hashlib.sha256(data).hexdigest()[:32]


def write_json(path: Path, content: object) -> Path:
    """Write a JSON file, atomically; returns the path."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return path


def is_file(path: Path) -> bool:
    """Whether a file is there; False for names that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def read_table(path: Path) -> dict[str, Any]:
    """The object of a JSON file; empty if the file is missing, damaged, or holds something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def listed_lines(path: Path) -> list[str]:
    """Lines of a list that a person wrote: stripped, without empty ones and those that begin with #.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is no text; see `gags.files.text.read_text`.
    """
    lines = [line.strip() for line in read_text(path).splitlines()]
    return [line for line in lines if line and not line.startswith("#")]
