"""Files: written so that a crash never leaves half of one behind; JSON, and lists that people wrote."""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from gags.files.text import read_text
from gags.files.trouble import refused

MOST_NAME = 143  # bytes of a file's name that every file system takes, encrypted ones too


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it is synced to disk and renamed over `path`.

    The temporary name ends in the suffix of `path`, for writers that choose their format by it. If the body
    raises, the temporary file is removed and what was at `path` stays.

    Raises:
        FileError: If the system does not let us write there; says why, and what to do.
    """
    temporary = temporary_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        ours = error.filename is None or _is_within(path, error.filename)
        raise refused(error, path if ours else None, "cannot be written" if ours else "") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def temporary_path(path: Path) -> Path:
    """Where a file lies until it is whole: beside `path`, hidden, and with no longer a name than it needs."""
    name = f".{path.stem}.{os.getpid()}.tmp{path.suffix}"
    if len(os.fsencode(name)) > MOST_NAME:
        name = (
            f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}.{os.getpid()}.tmp{path.suffix[-16:]}"
        )
    return path.with_name(name)


def is_temporary(name: str) -> bool:
    """Whether a file's name is one of `temporary_path`."""
    return re.fullmatch(r"\..+\.\d+\.tmp(\..*)?", name, re.DOTALL) is not None


def remove_temporaries(folder: Path) -> None:
    """Remove what a process that was killed left half written in a folder that no other one writes now."""
    for path in folder.glob(".*.tmp*"):
        if is_temporary(path.name):
            path.unlink(missing_ok=True)


def _is_within(path: Path, named: str | bytes) -> bool:
    """Whether an error about `named` is about writing `path`: itself, its temporary file, or its folders."""
    return Path(os.fsdecode(named)) in (path, temporary_path(path), *path.parents)


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
    """The object of a JSON file; empty if it is no file, damaged, or holds something else."""
    if not is_file(path):  # a pipe would wait for ever
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
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
