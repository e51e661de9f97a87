"""What of a scene is done and whole, so that a stage keeps it; and what must be sure before long work."""

import os
import time
from pathlib import Path

from gags.capture import Capture, read_capture_of, save_capture
from gags.capture.saved import saved_checksum
from gags.distill.field import LanguageField
from gags.errors import CaptureError, WorkspaceError
from gags.gaussians import Gaussians
from gags.gaussians.own import save_splats_of, splats_are_whole
from gags.progress import Reporter
from gags.reconstruct.settings import ReconstructSettings
from gags.workspace import Workspace

ADOPTED = "adopted"  # in the record of Gaussians: the file they are from
MOST_PATH = 4000  # bytes; systems take 4096, less a temporary name


def check_names(workspace: Workspace, capture: Capture) -> None:
    """Make sure, before long work, that all files that are named after photos can be written.

    Raises:
        CaptureError: If a photo's name is too long for that, or is no text.
    """
    most = workspace.longest_name()
    for view in capture.views:
        try:
            view.name.encode()
        except UnicodeEncodeError as error:
            shown = view.name.encode("utf-8", "backslashreplace").decode()
            raise CaptureError(f"the name of the photo {shown} is no UTF-8; rename it") from error
        file = workspace.description(view.name)
        longest = max(len(os.fsencode(part)) for part in file.relative_to(workspace.root).parts)
        if longest > most or len(os.fsencode(file.absolute())) > MOST_PATH:
            raise CaptureError(
                f"the name of the photo {view.name} is too long: {file.name} would be a file of the scene, "
                f"and this file system takes {most} bytes; use a shorter name"
            )


def keeps_gaussians(
    workspace: Workspace, capture: Capture, wanted: str, splats: Path | None, progress: Reporter
) -> bool:
    """Whether the Gaussians of a scene are those that are wanted, and whole; says why if not.

    Args:
        workspace: The scene.
        capture: Is written again if the scene's own copy is damaged, or was of the photos before.
        wanted: Stamp of the Gaussians that are wanted.
        splats: File to adopt; without one, a scene keeps the Gaussians that it adopted before.
        progress: Told about it.

    Raises:
        WorkspaceError: If Gaussians that were adopted are gone, and it is not known from where to take them.
    """
    record = workspace.record("reconstruct")
    if record is None or not os.path.lexists(workspace.splats):
        return False
    adopted = record.settings.get(ADOPTED) if splats is None else None
    if adopted is None and record.stamp != wanted:
        progress.say("Gaussians: photos or settings have changed, making them again")
        return False
    if not splats_are_whole(workspace, progress):
        if adopted is not None:
            raise WorkspaceError(
                f"{workspace.splats} is damaged, and was adopted from {adopted}; run again with --splats"
            )
        progress.say("Gaussians: making them again")
        return False
    if adopted is not None:
        progress.say(f"Gaussians: keeping the ones adopted from {adopted}")
    else:
        progress.say(f"Gaussians: done already, {workspace.splats}")
    try:
        same = read_capture_of(workspace).fingerprint() == capture.fingerprint()
    except CaptureError as error:
        progress.warn(f"{error}: writing it again")
        same = False
    if not same:
        save_capture(capture, workspace.capture)
        workspace.remember("reconstruct", {workspace.capture.name: saved_checksum(workspace.capture)})
    return True


def keep_gaussians(
    workspace: Workspace,
    capture: Capture,
    gaussians: Gaussians,
    made_from: str,
    started: float,
    settings: ReconstructSettings | dict[str, str],
) -> None:
    """Write capture and Gaussians of a scene, and their record."""
    save_capture(capture, workspace.capture)
    checksums = {
        workspace.capture.name: saved_checksum(workspace.capture),
        workspace.splats.name: save_splats_of(workspace, gaussians),
    }
    seconds = time.monotonic() - started
    workspace.finish("reconstruct", made_from, seconds, settings, checksums=checksums)


def keeps_field(
    workspace: Workspace, gaussians: Gaussians, wanted: str, content: str, progress: Reporter
) -> bool:
    """Whether the field of a scene is the one that is wanted, whole, and of these masks; says why if not.

    Args:
        workspace: The scene.
        gaussians: Its Gaussians.
        wanted: Stamp of the field that is wanted.
        content: Hash of masks and embeddings; empty if it is not known.
        progress: Told about it.
    """
    record = workspace.record("distill")
    if record is None or record.stamp != wanted or not os.path.lexists(workspace.field):
        return False
    before = record.checksums.get(workspace.descriptions.name)
    if content and before is not None and before != content:
        progress.say("Language field: masks or embeddings have changed, making it again")
        return False
    try:
        LanguageField.load(workspace.field, gaussians)
    except WorkspaceError as error:
        progress.warn(str(error))
        progress.say("Language field: making it again")
        return False
    return True
