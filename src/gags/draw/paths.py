"""Ways for a camera through a scene: smooth curves through key views, set by hand or as the photos go."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gags.capture.camera import Camera
from gags.errors import QueryError
from gags.files.ranges import Range
from gags.files.text import read_json

FORMAT = 1
MOST_KEYS = 1000
PHOTO_KEYS = 60  # of a way along the photos; more would show how the hand shook
SMOOTHED_OVER = 1.5  # keys to each side, of a way along the photos
COORDINATES = Range(-1e9, 1e9)
FIELDS_OF_VIEW = Range(0.01, 3.1)  # radians
VIEW_KEYS = ("position", "target", "up", "fov_y")


@dataclass(frozen=True, eq=False)
class KeyView:
    """A camera that looks at a point without roll.

    Attributes:
        position: World units. [3]
        target: What it looks at. [3]
        up: Any direction but that of sight. [3]
        fov_y: Vertical field of view in radians.
    """

    position: np.ndarray
    target: np.ndarray
    up: np.ndarray
    fov_y: float

    def camera(self, width: int, height: int) -> Camera:
        """The camera, with pictures of this size in px."""
        forward = self.target - self.position
        forward = forward / max(float(np.linalg.norm(forward)), 1e-12)
        right = np.cross(forward, self.up)
        if np.linalg.norm(right) < 1e-9:  # straight up or down: any side will do
            right = np.cross(forward, np.eye(3)[np.abs(forward).argmin()])
        right = right / np.linalg.norm(right)
        viewmat = np.eye(4)
        viewmat[:3, :3] = [right, np.cross(forward, right), forward]
        viewmat[:3, 3] = -viewmat[:3, :3] @ self.position
        focal = height / (2 * np.tan(self.fov_y / 2))
        return Camera(
            viewmat, np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]]), width, height
        )

    def to_json(self) -> dict[str, Any]:
        """What a file of key views holds of it."""
        return {
            "position": self.position.tolist(),
            "target": self.target.tolist(),
            "up": self.up.tolist(),
            "fov_y": self.fov_y,
        }


def keys_of_photos(cameras: Sequence[Camera], up: np.ndarray, distance: float) -> list[KeyView]:
    """A calm way along photos in their order: every so many of them, smoothed.

    Args:
        cameras: Of the photos, in order; at least one.
        up: Up in the scene, so that nothing rolls. [3]
        distance: How far ahead of each photo the point is that it looks at, world units.
    """
    chosen = [
        cameras[row] for row in np.unique(np.linspace(0, len(cameras) - 1, PHOTO_KEYS).round().astype(int))
    ]
    positions = _smoothed(np.array([camera.position for camera in chosen]))
    forward = _smoothed(np.array([camera.viewmat[2, :3] for camera in chosen]))
    lengths = np.linalg.norm(forward, axis=1, keepdims=True)
    own = np.array([camera.viewmat[2, :3] for camera in chosen])
    forward = np.where(lengths > 0.1, forward / np.maximum(lengths, 1e-9), own)
    fov = float(np.median([2 * np.arctan(camera.height / (2 * camera.K[1, 1])) for camera in chosen]))
    return [KeyView(at, at + distance * ahead, up, fov) for at, ahead in zip(positions, forward, strict=True)]


def _smoothed(rows: np.ndarray) -> np.ndarray:
    """Rows as weighted means of their neighbours. [n, 3] → [n, 3]"""
    apart = np.arange(len(rows))[:, None] - np.arange(len(rows))
    weights = np.exp(-0.5 * (apart / SMOOTHED_OVER) ** 2)
    return weights @ rows / weights.sum(axis=1, keepdims=True)


def along(keys: Sequence[KeyView], frames: int) -> list[KeyView]:
    """Views at even steps along a smooth curve through key views (Catmull and Rom 1974).

    Between two keys the camera takes as many frames as between any other two.

    Args:
        keys: At least one.
        frames: How many views, the first and the last key among them.
    """
    rows = np.array(
        [[*key.position, *key.target, *key.up / np.linalg.norm(key.up), key.fov_y] for key in keys]
    )
    at = np.linspace(0, len(keys) - 1, frames)
    left = np.minimum(at.astype(int), max(len(keys) - 2, 0))
    t = (at - left)[:, None]
    padded = (
        np.concatenate([2 * rows[:1] - rows[1:2], rows, 2 * rows[-1:] - rows[-2:-1]])
        if len(keys) > 1
        else rows
    )
    if len(keys) == 1:
        return [keys[0]] * frames
    before, start, end, after = (padded[left + offset] for offset in range(4))
    curve = start + 0.5 * t * (
        end
        - before
        + t * (2 * before - 5 * start + 4 * end - after + t * (3 * (start - end) + after - before))
    )
    fov = np.clip(curve[:, 9], FIELDS_OF_VIEW.low, FIELDS_OF_VIEW.high)
    return [KeyView(row[:3], row[3:6], row[6:9], float(f)) for row, f in zip(curve, fov, strict=True)]


def load_path(path: Path) -> list[KeyView]:
    """Key views of a JSON file; see `keys_from_json`.

    Raises:
        QueryError: If it cannot be read or holds none.
    """
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise QueryError(f"the path {path} cannot be read ({reason}); save one in the viewer") from error
    return keys_from_json(content, str(path))


def keys_from_json(content: Any, name: str) -> list[KeyView]:
    """Key views: `{"version": 1, "keys": [{"position", "target", "up", "fov_y"}, …]}`, or the list alone.

    Args:
        content: What was read.
        name: Of where it was read from, for errors.

    Raises:
        QueryError: If they are not of this form, none, or more than 1000.
    """
    rows = content.get("keys") if isinstance(content, dict) else content
    if isinstance(content, dict) and content.get("version", FORMAT) != FORMAT:
        raise QueryError(f"{name} is of version {content['version']!r}; this version of gags reads {FORMAT}")
    if not isinstance(rows, list) or not 0 < len(rows) <= MOST_KEYS:
        raise QueryError(f"{name} holds no list of 1 to {MOST_KEYS} key views")
    return [_key(row, f"key {number} of {name}") for number, row in enumerate(rows, start=1)]


def _key(row: Any, name: str) -> KeyView:
    try:
        position, target, up = (np.array([float(x) for x in row[key]]) for key in VIEW_KEYS[:3])
        fov = float(row["fov_y"])
    except (KeyError, TypeError, ValueError) as error:
        raise QueryError(
            f"{name} wants position, target and up of three numbers, and fov_y in radians"
        ) from error
    points = np.concatenate([position, target, up])
    if points.shape != (9,) or not all(float(x) in COORDINATES for x in points) or fov not in FIELDS_OF_VIEW:
        raise QueryError(f"{name} holds numbers that no camera has")
    if np.linalg.norm(target - position) < 1e-9 or np.linalg.norm(up) < 1e-9:
        raise QueryError(f"{name} looks nowhere: its target is its position, or its up is 0")
    return KeyView(position, target, up, fov)
