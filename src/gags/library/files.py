"""What tells whether a scene's folder still holds what was added to a library."""

import json
from pathlib import Path

from gags.files.looks import look_of, sample_of
from gags.library.records import State
from gags.store import stamp
from gags.workspace import Workspace


def files_of(workspace: Workspace) -> list[Path]:
    """The files that answers of a scene come from."""
    return [workspace.capture, workspace.splats, workspace.field, workspace.things]


def looks_of(workspace: Workspace) -> str:
    """Size and time of change of each file: as long as they stay, nothing has to be read.

    Returns:
        JSON; a file that is not there has none.
    """
    return json.dumps([look_of(path) for path in files_of(workspace)])


def scene_stamp(workspace: Workspace) -> str:
    """Hash of what the files of a scene hold: of the size of each and of samples.

    Each stage writes its file anew, with its stamps at the beginning, so that samples tell any two apart.

    Raises:
        OSError: If a file cannot be read.
    """
    return stamp([sample_of(path) for path in files_of(workspace)])


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
