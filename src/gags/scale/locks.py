"""Who may write into a scene's folder: one driver at a time, and no worker of a driver that is gone.

A driver that is killed leaves workers behind for some seconds, until the cluster notices. So each worker
holds a lock on the scene while it writes, which ends with its process, however that ends. A new driver waits
for that lock, then leaves its own mark in the folder; a worker that finds another mark does nothing.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from gags.errors import WorkspaceError
from gags.files import atomic_write
from gags.files.locks import locked_in_turn
from gags.progress import Reporter
from gags.workspace import DRIVER_LOCK, Workspace

WAIT_SECONDS = 180.0  # a cluster notices in half a minute that a driver or a machine is gone
_TEMPORARY = re.compile(r"\..+\.tmp(\..*)?")


@contextmanager
def driving(workspace: Workspace, run: str, progress: Reporter) -> Iterator[None]:
    """Make something of a scene, alone: no other driver can, and workers of earlier ones have ended.

    Args:
        workspace: The scene.
        run: Mark of this driver, which its workers know.
        progress: Told when others have to be waited for.

    Raises:
        WorkspaceError: If another driver is at work, or workers of an earlier one do not end.
    """
    folder = workspace.run
    folder.mkdir(parents=True, exist_ok=True)
    busy = f"{workspace.root} is being worked on by another run; wait until that ends, or stop it"

    def tell() -> None:
        progress.say(f"{workspace.root}: waiting until workers of an earlier run have ended")

    with locked_in_turn(folder / DRIVER_LOCK, seconds=0, busy=busy):
        still = f"workers of an earlier run are busy in {workspace.root}; try again when they have ended"
        with locked_in_turn(folder / "work.lock", tell=tell, seconds=WAIT_SECONDS, busy=still):
            with atomic_write(folder / "mark") as path:
                path.write_text(run)
            _remove_leftovers(workspace)
        workspace.check_free()  # of a process that no cluster knows
        with workspace.driven():
            yield


@contextmanager
def working(workspace: Workspace, run: str, *, alone: bool) -> Iterator[None]:
    """Write into a scene's folder for the driver of this mark.

    Args:
        workspace: The scene.
        run: Mark of the driver.
        alone: Whether no other worker may write meanwhile; photos are described by many at a time.

    Raises:
        WorkspaceError: If another driver has taken over, or another worker does not end.
    """
    busy = f"another worker is still busy in {workspace.root}"
    with locked_in_turn(workspace.run / "work.lock", seconds=WAIT_SECONDS, busy=busy, shared=not alone):
        look_again(workspace)
        if mark(workspace) != run:
            raise WorkspaceError(f"another run has taken over {workspace.root}; this one has ended")
        if alone:
            _remove_leftovers(workspace)
        with workspace.driven():
            yield


def mark(workspace: Workspace) -> str:
    """The mark of the driver that has the scene; empty if there is none on this disk."""
    try:
        return (workspace.run / "mark").read_text()
    except OSError:
        return ""


def look_again(workspace: Workspace) -> None:
    """See what other machines wrote: NFS remembers for up to a minute that a file was not there.

    It asks again when a folder is opened.
    """
    for folder in (workspace.root, workspace.run, workspace.descriptions, workspace.report):
        if folder.is_dir():
            os.listdir(folder)


def _remove_leftovers(workspace: Workspace) -> None:
    """Remove the temporary files of processes that were killed while they wrote."""
    for folder in (workspace.root, workspace.run, workspace.descriptions, workspace.report):
        for path in folder.rglob(".*.tmp*") if folder != workspace.root else folder.glob(".*.tmp*"):
            if _TEMPORARY.fullmatch(path.name) and path.is_file():
                path.unlink(missing_ok=True)
