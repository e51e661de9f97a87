"""How much memory there is to plan with: of the machine, or of the control group that a container runs in."""

from collections.abc import Iterator
from pathlib import Path

import psutil

from gags.files import cgroups

# Of version 2 and of version 1: files of a group's limit and its usage, and the line of memory.stat that says
# how much of that are pages of files, which the system drops when it has to.
_FILES = {
    2: ("memory.max", "memory.current", "inactive_file"),
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def available_bytes() -> int:
    """Memory that may still be taken: what the machine has, or the least that a control group leaves."""
    return max(0, min([psutil.virtual_memory().available, *_left_in_groups(cgroups.OWN, cgroups.ROOT)]))


def _left_in_groups(own: Path, root: Path) -> Iterator[int]:
    """What every control group of this process leaves, from its own up; groups without a limit leave it out.

    Args:
        own: Says which groups this process is in.
        root: Where control groups are mounted.
    """
    for version, folder in cgroups.folders("memory", own, root):
        left = _left(folder, *_FILES[version])
        if left is not None:
            yield left


def _left(group: Path, limit: str, usage: str, droppable: str) -> int | None:
    """What one group leaves; None if it has no limit, or no such files."""
    try:
        most, used = (group / limit).read_text().strip(), int((group / usage).read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    return None if most == "max" else int(most) - used + int(stat.get(droppable, 0))
