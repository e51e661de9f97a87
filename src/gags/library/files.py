"""What tells whether a scene's folder still holds what was added to a library."""

import hashlib
import json
from pathlib import Path

from gags.library.records import State
from gags.store import stamp
from gags.workspace import Workspace

SAMPLE = 1 << 16  # bytes at the beginning, in the middle and at the end of a file that are looked at


def files_of(workspace: Workspace) -> list[Path]:
    """The files that answers of a scene come from."""
    return [workspace.capture, workspace.splats, workspace.field, workspace.things]


def looks_of(workspace: Workspace) -> str:
    """Size and time of change of each file: as long as they stay, nothing has to be read.

    Returns:
        JSON; a file that is not there has none.
    """
    looks: list[list[int] | None] = []
    for path in files_of(workspace):
        try:
            status = path.stat()
            looks.append([status.st_size, status.st_mtime_ns])
        except OSError:
            looks.append(None)
    return json.dumps(looks)


def scene_stamp(workspace: Workspace) -> str:
    """Hash of what the files of a scene hold: of the size of each and of samples.

    Each stage writes its file anew, with its stamps at the beginning, so that samples tell any two apart.

    Raises:
        OSError: If a file cannot be read.
    """
    return stamp([_sample(path) for path in files_of(workspace)])


def state_of(path: str, looks: str, kept_stamp: str) -> State:
    """Whether a folder still holds what was added.

    Args:
        path: The folder.
        looks: What `looks_of` said of it then.
        kept_stamp: What `scene_stamp` said of it then.
    """
    workspace = Workspace(path)
    if not workspace.config.is_file():
        return "gone"
    if looks_of(workspace) == looks:
        return "unchanged"
    try:
        return "unchanged" if scene_stamp(workspace) == kept_stamp else "changed"
    except OSError:
        return "changed"


def _sample(path: Path) -> str:
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with open(path, "rb") as file:
        for start in sorted({0, max(0, (size - SAMPLE) // 2), max(0, size - SAMPLE)}):
            file.seek(start)
            digest.update(file.read(SAMPLE))
    return digest.hexdigest()
