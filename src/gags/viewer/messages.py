"""What pages ask, checked: every value from a page is of its kind and within its range, or refused."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gags.capture.camera import Camera
from gags.errors import QueryError
from gags.files.ranges import Range
from gags.query.language import check_texts
from gags.serve.settings import LONGEST_TEXT
from gags.viewer.film import FPS, SECONDS, SIDES
from gags.viewer.scene import Edits, ViewerScene

COORDINATES = Range(-1e9, 1e9)
FOCALS = Range(1e-3, 1e9)  # px
MOST_RAY = 4096  # Gaussians that a click goes through


@dataclass(frozen=True, eq=False)
class Asked:
    """What a page asks.

    Attributes:
        values: The message.
        parts: Its arrays.
        shown: The scene.
    """

    values: dict[str, Any]
    parts: dict[str, bytes]
    shown: ViewerScene

    def text(self, name: str, *, empty: bool = False) -> str:
        """A text of at most 200 characters."""
        found = self.values.get(name, "")
        if not isinstance(found, str) or len(found) > LONGEST_TEXT or not (found.strip() or empty):
            raise QueryError(f"{name} must be a text of 1 to {LONGEST_TEXT} characters")
        check_texts([found])
        return found

    def number(self, name: str, within: Range, *, whole: bool = False) -> float:
        """A number within a range."""
        return _number(self.values.get(name), name, within, whole=whole)

    def flag(self, name: str) -> bool:
        """Whether something is asked for."""
        return self.values.get(name) is True

    def direction(self, name: str) -> list[float] | None:
        """Three numbers, or None."""
        found = self.values.get(name)
        if found is None:
            return None
        if not isinstance(found, list) or len(found) != 3:
            raise QueryError(f"{name} must be three numbers")
        return [_number(one, name, COORDINATES) for one in found]

    def size(self) -> tuple[int, int]:
        """Width and height of a picture in px."""
        return int(self.number("width", SIDES, whole=True)), int(self.number("height", SIDES, whole=True))

    def seconds_and_fps(self) -> tuple[float, int]:
        """Of a film."""
        return self.number("seconds", SECONDS), int(self.number("fps", FPS, whole=True))

    def camera(self) -> Camera:
        """A pinhole: `viewmat`, 16 numbers row by row, `fx fy cx cy`, `width` and `height`."""
        found = self.values.get("camera")
        if not isinstance(found, dict):
            raise QueryError("camera must be a pinhole")
        rows = found.get("viewmat")
        if not isinstance(rows, list) or len(rows) not in (12, 16):
            raise QueryError("camera wants a viewmat of 16 numbers")
        viewmat = np.eye(4)
        viewmat[:3] = np.array([_number(one, "viewmat", COORDINATES) for one in rows[:12]]).reshape(3, 4)
        if not np.allclose(viewmat[:3, :3] @ viewmat[:3, :3].T, np.eye(3), atol=1e-3):
            raise QueryError("the viewmat of the camera is no rotation")
        fx, fy = (_number(found.get(name), name, FOCALS) for name in ("fx", "fy"))
        cx, cy = (_number(found.get(name), name, COORDINATES) for name in ("cx", "cy"))
        width, height = (
            int(_number(found.get(name), name, SIDES, whole=True)) for name in ("width", "height")
        )
        return Camera(viewmat, np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]]), width, height)

    def mask(self, name: str) -> np.ndarray | None:
        """A bit for each of the page's Gaussians, in the scene's order; None if it was not sent. bool [N]"""
        if name not in self.parts:
            return None
        count, sent = len(self.shown), self.parts[name]
        if len(sent) != -(-count // 8):
            raise QueryError(f"{name} must hold a bit for each of {count:,} Gaussians")
        bits = np.unpackbits(np.frombuffer(sent, np.uint8), count=count, bitorder="little")
        return self.shown.mask(bits.astype(bool))

    def edits(self) -> Edits:
        """What the page has changed: bits `alive`, bytes `paint`, and `colors`."""
        count, alive, paint = len(self.shown), self.mask("alive"), self.parts.get("paint")
        if paint is not None and len(paint) != count:
            raise QueryError(f"paint must hold a byte for each of {count:,} Gaussians")
        colors = self.values.get("colors", [])
        if not isinstance(colors, list) or len(colors) > 255:
            raise QueryError("colors must be at most 255 colours")
        return Edits(
            np.ones(count, bool) if alive is None else alive,
            np.zeros(count, np.uint8) if paint is None else self.shown.mask(np.frombuffer(paint, np.uint8)),
            tuple(_color(color) for color in colors),
        )

    def ray(self) -> tuple[np.ndarray, np.ndarray]:
        """What a click hits: rows in the scene's order, int64 [n], and their weights, float32 [n]; n ≥ 1."""
        rows = np.frombuffer(_whole(self.parts.get("rows", b"")), "<u4").astype(np.int64)
        weights = np.frombuffer(_whole(self.parts.get("weights", b"")), "<f4")
        if not 0 < len(rows) <= MOST_RAY or len(rows) != len(weights) or rows.max() >= len(self.shown):
            raise QueryError("a click must hit Gaussians of the scene")
        if not np.isfinite(weights).all() or weights.min() < 0 or weights.sum() <= 0:
            raise QueryError("weights must be positive")
        return self.shown.packed.order[rows], weights


def _whole(content: bytes) -> bytes:
    return content[: len(content) // 4 * 4]


def _number(value: Any, name: str, within: Range, *, whole: bool = False) -> float:
    fits = isinstance(value, int | float) and not isinstance(value, bool)
    # What is not finite is in no range.
    if not fits or value not in within or (whole and value != int(value)):
        raise QueryError(f"{name} must be a {'whole ' if whole else ''}number {within}")
    return value


def _color(value: Any) -> tuple[int, int, int]:
    if not isinstance(value, list) or len(value) != 3:
        raise QueryError("a colour must be three numbers")
    red, green, blue = (int(_number(one, "a colour", Range(0, 255))) for one in value)
    return red, green, blue


Answer = tuple[dict[str, Any], dict[str, bytes]]
"""What a page is answered: values, and arrays."""
Handler = Callable[..., Answer]
