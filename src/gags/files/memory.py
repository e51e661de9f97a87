"""How much memory there is to plan with: of the machine, or of the control group that a container runs in."""

from collections.abc import Iterator
from pathlib import Path

import psutil

_GROUPS = Path("/proc/self/cgroup")
_ROOT = Path("/sys/fs/cgroup")
# Of version 2 and of version 1: folder of the memory controller, files of its limit and its usage, and the
# line of memory.stat that says how much of that are pages of files, which the system drops when it has to.
_FILES = {
    2: ("", "memory.max", "memory.current", "inactive_file"),
    1: ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def available_bytes() -> int:
    """Memory that may still be taken: what the machine has, or the least that a control group leaves."""
    return max(0, min([psutil.virtual_memory().available, *_left_in_groups(_GROUPS, _ROOT)]))


def _left_in_groups(groups: Path, root: Path) -> Iterator[int]:
    """What every control group of this process leaves, from its own up; groups without a limit leave it out.

    Args:
        groups: The process's own, as Linux lists them: lines of number, controllers and path.
        root: Where control groups are mounted.
    """
    try:
        lines = [line.split(":", 2) for line in groups.read_text().splitlines()]
    except OSError:  # not on Linux
        return
    for number, controllers, path in (line for line in lines if len(line) == 3):
        version = 2 if number == "0" and not controllers else 1
        if version == 1 and "memory" not in controllers.split(","):
            continue
        folder, limit, usage, droppable = _FILES[version]
        group = root / folder / path.strip("/")
        # A container may see its own group mounted as the root, under a path of the machine outside.
        for each in (group, *group.parents):
            if each == root.parent:
                break
            left = _left(each, limit, usage, droppable)
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
