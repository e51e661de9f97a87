"""Exact truth of a synthetic capture: which thing, and which part of it, every pixel of every view shows."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from gags.errors import CaptureError

LEAVES = 256  # ids of an 8-bit instance map


@dataclass(frozen=True)
class Thing:
    """An object, a stuff or a part of an object.

    Attributes:
        name: Its name in `objects.json`.
        kind: "object", "stuff" or "part".
        leaves: Ids of the instance maps that make it up.
        part_of: Name of the object it belongs to, of a part.
        aliases: Other phrases for it.
    """

    name: str
    kind: str
    leaves: tuple[int, ...]
    part_of: str | None = None
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Truth:
    """What a capture shows.

    Attributes:
        folder: The capture.
        things: Objects and stuff first, then parts.
        aliases: Things that other phrases mean, by phrase.
    """

    folder: Path
    things: tuple[Thing, ...]
    aliases: dict[str, str]

    @classmethod
    def load(cls, folder: Path) -> "Truth":
        """Read `objects.json` of a synthetic capture.

        Raises:
            CaptureError: If the file is missing or is no such table.
        """
        try:
            table = json.loads((folder / "objects.json").read_text(encoding="utf-8"))
            things = [_thing(entry) for entry in table.values() if entry["kind"] != "remainder"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CaptureError(
                f"{folder} has no objects.json to read ({error!r}); this benchmark needs a synthetic capture "
                "with exact instance maps"
            ) from error
        things.sort(key=lambda thing: thing.kind == "part")
        aliases = {alias: thing.name for thing in things for alias in thing.aliases}
        return cls(folder, tuple(things), {k: v for k, v in aliases.items() if k not in _names(things)})

    def ids(self, stem: str, width: int, height: int) -> np.ndarray:
        """Leaf id of every pixel of a view, 0 for nothing. uint8 [H, W]

        Args:
            stem: Name of the photo without its suffix.
            width: Width of the view, px; maps of another size take the nearest pixel.
            height: Height of the view, px.

        Raises:
            CaptureError: If the view has no instance map.
        """
        path = self.folder / "instance" / f"{stem}.png"
        ids = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if ids is None or ids.ndim != 2 or ids.dtype != np.uint8:
            raise CaptureError(f"{path} is no 8-bit map of instances; check the capture")
        if ids.shape != (height, width):
            ids = cv2.resize(ids, (width, height), interpolation=cv2.INTER_NEAREST)
        return ids

    @cached_property
    def whole_of(self) -> np.ndarray:
        """Row of the object or stuff that each leaf id belongs to, -1 for none. int64 [256]"""
        return self._rows(part=False)

    @cached_property
    def part_of(self) -> np.ndarray:
        """Row of the part that each leaf id belongs to, -1 for none. int64 [256]"""
        return self._rows(part=True)

    @cached_property
    def is_object(self) -> np.ndarray:
        """Which things are objects, not stuff and not parts. bool [K]"""
        return np.array([thing.kind == "object" for thing in self.things])

    @cached_property
    def parents(self) -> np.ndarray:
        """Row of the object that each part belongs to, -1 for what is no part. int64 [K]"""
        names = _names(self.things)
        return np.array([names.index(t.part_of) if t.part_of else -1 for t in self.things])

    def _rows(self, *, part: bool) -> np.ndarray:
        rows = np.full(LEAVES, -1)
        for row, thing in enumerate(self.things):
            if (thing.kind == "part") == part:
                rows[list(thing.leaves)] = row
        return rows


def _thing(entry: dict) -> Thing:
    """One entry of `objects.json`."""
    phrases = tuple(phrase for phrase in entry["queries"] if phrase != entry["name"])
    return Thing(entry["name"], entry["kind"], tuple(entry["ids"]), entry["part_of"], phrases)


def _names(things: tuple[Thing, ...] | list[Thing]) -> list[str]:
    return [thing.name for thing in things]
