"""The record of a search (`matching/record.json`): what it was for, and how it went."""

import shutil
from pathlib import Path

from gags.capture.formats.colmap import model_folder
from gags.errors import CaptureError
from gags.files import read_table, write_json
from gags.progress import Reporter


def record_file(out: Path) -> Path:
    """Where the record of a capture that was found lies."""
    return out / "matching" / "record.json"


def database_file(out: Path) -> Path:
    """Where features and matches of a capture that was found lie."""
    return out / "matching" / "database.db"


def prepare(out: Path, key: str, what: str, progress: Reporter) -> bool:
    """Make ready to find something in `out`; what was found there for another key is removed.

    Args:
        out: Folder of the capture.
        key: Hash of everything the result depends on.
        what: Is found, for messages: "Poses" or "Points".
        progress: Told if it is done already, or done again.

    Returns:
        Whether it is done already.

    Raises:
        CaptureError: If `out` holds a capture that was not found here, or cannot be written to.
    """
    record = record_file(out)
    if model_folder(out) and not record.is_file():
        raise foreign(out)
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
        for folder in ("images", "sparse"):
            if record.is_file():
                shutil.rmtree(out / folder, ignore_errors=True)
        write_json(record, {"key": key})
    except OSError as error:
        raise unwritable(out, error) from error


def foreign(out: Path) -> CaptureError:
    """What to say if a capture in `out` was not found here, and must not be overwritten."""
    return CaptureError(f"{out} holds a capture that was not made here; choose another --out")


def unwritable(out: Path, error: OSError) -> CaptureError:
    """What to say if `out` cannot be written to."""
    return CaptureError(f"cannot write to {out} ({error.strerror or error}); choose another --out")
