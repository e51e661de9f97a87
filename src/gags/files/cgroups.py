"""Control groups: how much of the machine Linux lets this process use (containers, jobs of a cluster)."""

import os
from collections.abc import Iterator
from pathlib import Path

OWN = Path("/proc/self/cgroup")
ROOT = Path("/sys/fs/cgroup")


def folders(controller: str, own: Path, root: Path) -> Iterator[tuple[int, Path]]:
    """Folders of the groups that bound this process: its own and those above, since their bounds hold, too.

    Args:
        controller: What they bound: "cpu" or "memory".
        own: Says which groups the process is in: lines of number, controllers and path.
        root: Where control groups are mounted.

    Yields:
        The version of control groups, 1 or 2, and a folder, which may be missing. None if this is not Linux.
    """
    try:
        lines = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:
        return
    for number, controllers, path in (line for line in lines if len(line) == 3):
        version = 2 if number == "0" and not controllers else 1
        if version == 1 and controller not in controllers.split(","):
            continue
        mount = _mount(controller, root) if version == 1 else root
        # A container may see its own group mounted as the root, under a path of the machine outside.
        inner = Path(path.lstrip("/"))
        for folder in (inner, *inner.parents):
            yield version, mount / folder


def _mount(controller: str, root: Path) -> Path:
    """Where a controller of version 1 is mounted: its folder is called after it and others, in any order."""
    try:
        names = sorted(os.listdir(root))
    except OSError:
        names = []
    return root / next((name for name in names if controller in name.split(",")), controller)
