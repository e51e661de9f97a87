"""The things of a scene's folder: read where they are known, found where they are not."""

from gags.capture import Capture, View
from gags.embed.description import Descriptions
from gags.gaussians import Gaussians
from gags.progress import SILENT, Reporter
from gags.store import stamp
from gags.things.things import Things
from gags.workspace import Workspace


def things_of_scene(
    workspace: Workspace,
    capture: Capture,
    gaussians: Gaussians,
    splats_hash: str,
    *,
    progress: Reporter = SILENT,
) -> Things:
    """The things of a scene, as its folder has them; found anew when masks or Gaussians have changed.

    What is found is kept in `things.safetensors`, if that can be written.

    Args:
        workspace: Folder of the scene.
        capture: Its photos.
        gaussians: Its Gaussians.
        splats_hash: Their hash, see `gags.distill.field.splats_hash`.
        progress: Told about progress.

    Returns:
        The things; none if no photo has masks.
    """
    views = _described(workspace, capture)
    key = things_stamp(workspace, capture, splats_hash)
    known = Things.load(workspace.things, key)
    if known is not None or not views:
        return known or Things.none()
    from gags.things.find import find_things  # compiles kernels

    things = find_things(gaussians, Descriptions(workspace, views), progress=progress)
    try:
        things.save(workspace.things, key)
    except OSError:
        progress.say(
            f"{workspace.things} cannot be written; the things of the scene are found anew every time"
        )
    return things


def things_stamp(workspace: Workspace, capture: Capture, splats_hash: str) -> str:
    """Hash of all that the things of a scene are found from: its Gaussians, and the masks of its photos."""
    return stamp(splats_hash, Descriptions(workspace, _described(workspace, capture)).stamps())


def _described(workspace: Workspace, capture: Capture) -> list[View]:
    """The training photos that have masks."""
    return [view for view in capture.train if workspace.description(view.name).exists()]
