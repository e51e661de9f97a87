"""What of a scene is done and whole, so that a stage keeps it; and what must be sure before long work."""

import os
from pathlib import Path
from typing import Any

from gags.capture import Capture, View, read_capture_of, save_capture
from gags.capture.saved import saved_checksum
from gags.distill.field import LanguageField
from gags.errors import CaptureError, GagsError, WorkspaceError
from gags.gaussians import Gaussians
from gags.gaussians.own import load_splats_of, save_splats_of, splats_are_whole
from gags.models.device import scene_device
from gags.progress import Reporter, StageClock
from gags.reconstruct.adopt import check_likeness
from gags.reconstruct.quality import held_out_quality
from gags.reconstruct.settings import ReconstructSettings
from gags.store import stamp
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
        before = read_capture_of(workspace)
        same = before.fingerprint() == capture.fingerprint() and not capture.changed_photos(before)
    except CaptureError as error:
        progress.warn(f"{error}: writing it again")
        before, same = None, False
    if not same:
        stamp_now = None if adopted is None else _stamp_with(workspace, adopted, before, capture, progress)
        save_capture(capture, workspace.capture)
        checksums = {workspace.capture.name: saved_checksum(workspace.capture)}
        workspace.remember("reconstruct", checksums, stamp_now)
    return True


def settled(workspace: Workspace, capture: Capture) -> Capture:
    """A capture with the cameras as the scene has them, where they differ by rounding alone."""
    try:
        return capture.settled(read_capture_of(workspace, need_photos=False))
    except GagsError:  # there is none yet, or it is damaged, which is said where it matters
        return capture


def _stamp_with(
    workspace: Workspace, adopted: str, before: Capture | None, capture: Capture, progress: Reporter
) -> str | None:
    """The stamp of adopted Gaussians that are kept for a capture that has changed, and their figures with it.

    Args:
        workspace: The scene.
        adopted: The file the Gaussians were adopted from.
        before: The capture until now; None if it is not known.
        capture: The one from now on.
        progress: Told why what is made of the photos is made again.

    Returns:
        None if it stays: photos were added, left out or held out, and all others are seen as before.

    Raises:
        SplatsError: If the Gaussians do not fit the capture.
    """
    gaussians = load_splats_of(workspace).to(scene_device(progress))
    known = {} if before is None else {view.name: _seen_as(view) for view in before}
    changed = [] if before is None else capture.changed_photos(before)
    moved = [v.name for v in capture if v.name in changed or known.get(v.name, _seen_as(v)) != _seen_as(v)]
    if moved or not any(view.name in known for view in capture):
        check_likeness(gaussians, capture, adopted, progress)
    if moved:
        progress.say(
            f"{len(moved)} photos or their cameras have changed (first {moved[0]}); what was made of the "
            "photos is made again"
        )
    update_quality(workspace, gaussians, capture, progress)
    record = workspace.record("reconstruct")
    return stamp(ADOPTED, record.stamp, capture.fingerprint()) if moved and record else None


def _seen_as(view: View) -> tuple[Any, ...]:
    """What decides which pixels a photo has and which rays they see."""
    camera = view.camera
    return (
        camera.width,
        camera.height,
        camera.K.tolist(),
        camera.viewmat.tolist(),
        str(view.lens),
        view.rarely,
    )


def update_quality(workspace: Workspace, gaussians: Gaussians, capture: Capture, progress: Reporter) -> None:
    """Measure how well Gaussians show the photos that are held out, and keep the figures."""
    quality = held_out_quality(gaussians, capture, progress=progress)
    of_an_earlier_split = {"psnr": None, "ssim": None}  # now perhaps no photo is held out
    workspace.update_metrics(of_an_earlier_split | {"gaussians": len(gaussians)} | quality)


def keep_gaussians(
    workspace: Workspace,
    capture: Capture,
    gaussians: Gaussians,
    made_from: str,
    clock: StageClock,
    settings: ReconstructSettings | dict[str, str],
) -> None:
    """Write capture and Gaussians of a scene, and their record, with the time of a clock."""
    save_capture(capture, workspace.capture)
    checksums = {
        workspace.capture.name: saved_checksum(workspace.capture),
        workspace.splats.name: save_splats_of(workspace, gaussians),
    }
    workspace.finish("reconstruct", made_from, clock.elapsed, settings, checksums=checksums)


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
