"""What people know of a scene's frame: how long one of its units is, and which way is up.

Captures have units of their own: those of COLMAP are as long as they happened to come out. One known length,
the width of a table, tells how long they are. Neither unit nor up moves anything: files of the scene keep the
frame and the units of the capture.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gags.capture import Capture
from gags.errors import DamagedError, QueryError, WorkspaceError
from gags.files import write_json
from gags.files.ranges import Range, check_value
from gags.files.text import read_json
from gags.files.trouble import refused
from gags.query.boxes import OrientedBox
from gags.store import newer_version, stamp

FORMAT = 1
LENGTH = Range(0, 1e9, low_open=True)  # of what was measured, in units of the scene or in the unit named
PER_UNIT = Range(1e-12, 1e12)
LONGEST_UNIT = 12  # letters of its name
_REMEDY = "remove it, and set the unit again with `gags units`"


@dataclass(frozen=True)
class Unit:
    """A unit of length that people use.

    Attributes:
        name: As it is written behind a number: "m", "cm", "in".
        per_scene_unit: How many of it one unit of the capture is long.
    """

    name: str
    per_scene_unit: float

    @classmethod
    def of_length(cls, length_in_scene: float, length: float, name: str) -> "Unit":
        """The unit in which something is `length` long.

        Args:
            length_in_scene: How long it is in units of the capture.
            length: How long it is in the unit.
            name: Of the unit, at most 12 letters.

        Raises:
            QueryError: If a length is not positive, or the name is empty or too long.
        """
        for number in (length_in_scene, length):
            if not math.isfinite(number) or number not in LENGTH:
                raise QueryError(f"a length must be above 0 and at most {LENGTH.high:g}, got {number:g}")
        if length / length_in_scene not in PER_UNIT:
            raise QueryError(f"{length:g} for {length_in_scene:g} units of the scene cannot be meant")
        return cls(checked_unit(name), length / length_in_scene)

    def of(self, lengths: Any) -> np.ndarray:
        """Lengths or coordinates of the scene in this unit. [...] → float64 [...]"""
        return self.per_scene_unit * np.asarray(lengths, np.float64)

    def to_json(self, box: OrientedBox | None = None) -> dict[str, Any]:
        """The unit; with a box, also the box's center and size in it."""
        found: dict[str, Any] = asdict(self)
        if box is not None:
            found |= {"center": self.of(box.center).tolist(), "size": self.of(box.size).tolist()}
        return found


def checked_unit(name: str) -> str:
    """The name of a unit.

    Raises:
        QueryError: If it is empty, too long, or no word.
    """
    name = name.strip() if isinstance(name, str) else ""
    if not 0 < len(name) <= LONGEST_UNIT or not name.isprintable() or any(sign.isdigit() for sign in name):
        raise QueryError(
            f"{name[:20]!r} is no name of a unit; give one of at most 12 letters, as in: m, cm, in"
        )
    return name


@dataclass(frozen=True)
class Frame:
    """What is known of a scene's frame beyond its capture.

    Attributes:
        unit: A unit that people use; None if none was set.
        up: Up in the scene, of length 1; None if nobody said. (x, y, z)
    """

    unit: Unit | None = None
    up: tuple[float, float, float] | None = None

    def with_unit(self, unit: Unit | None) -> "Frame":
        """The same with another unit."""
        return replace(self, unit=unit)

    def with_up(self, up: Sequence[float] | np.ndarray | None) -> "Frame":
        """The same with another up.

        Raises:
            QueryError: If it is no direction.
        """
        return replace(self, up=None if up is None else _direction(up))


def _direction(up: Sequence[float] | np.ndarray) -> tuple[float, float, float]:
    try:
        found = np.asarray(up, np.float64)
    except (TypeError, ValueError):
        found = np.zeros(0)
    length = float(np.linalg.norm(found)) if found.shape == (3,) and (abs(found) < 1e9).all() else 0.0
    if length < 1e-9:
        raise QueryError("up must be three numbers that are not all 0")
    x, y, z = (found / length).tolist()
    return x, y, z


def poses_stamp(capture: Capture) -> str:
    """A stamp of where the photos are: what is known of the frame holds for these poses alone."""
    return stamp([np.round(view.camera.viewmat, 6).tolist() for view in capture.views])


def save_frame(path: Path, frame: Frame, capture: Capture) -> None:
    """Write what is known, atomically; if that is nothing, remove the file.

    Raises:
        WorkspaceError: If it cannot be written; what was there stays.
    """
    content: dict[str, Any] = {"version": FORMAT, "poses": poses_stamp(capture)}
    content |= {"unit": None if frame.unit is None else asdict(frame.unit), "up": frame.up}
    try:
        if frame == Frame():
            path.unlink(missing_ok=True)
        else:
            write_json(path, content)
    except OSError as error:
        raise WorkspaceError(
            f"cannot write {path} ({error.strerror}); make the scene's folder writable, or copy the scene"
        ) from error


def load_frame(path: Path, capture: Capture) -> Frame:
    """Read what `save_frame` wrote; nothing is known if there is no file, or the photos have other poses now.

    Raises:
        DamagedError: If the file is damaged.
        NewerError: If a newer version wrote it.
    """
    try:
        content = read_json(path)
    except FileNotFoundError:
        return Frame()
    except OSError as error:
        raise refused(error, path, "cannot be read") from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path, error) from error
    try:
        if int(content["version"]) > FORMAT:
            raise newer_version(path, f"version {content['version']}", f"version {FORMAT}")
        if content["poses"] != poses_stamp(capture):
            return Frame()
        unit = content.get("unit")
        if unit is not None:
            per = check_value("per_scene_unit", unit["per_scene_unit"], float, PER_UNIT)
            unit = Unit(checked_unit(unit["name"]), per)
        return Frame(unit).with_up(content.get("up"))
    except (KeyError, TypeError, ValueError, AttributeError, QueryError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DamagedError:
    return DamagedError(f"{path} is damaged ({type(error).__name__}: {error}); {_REMEDY}", path)
