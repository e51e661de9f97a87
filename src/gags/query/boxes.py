"""The smallest oriented box around some Gaussians.

Own code although trimesh has one: it takes every point as it is, and outliers of a thing make its box four
times as large (median of 60 things of a desk). On the same points its boxes are 2 % larger than these, in the
same time (`benchmarks/boxes.py`).
"""

from dataclasses import dataclass

import cv2
import numpy as np

# Interquartile ranges beyond the quartiles at which outliers begin (Tukey); a uniform distribution has none.
FENCE = 1.5
FAINT = 0.1  # Gaussians of less opacity than this are not seen, and bound nothing
DIRECTIONS = 1000  # in which the farthest points are kept; no other can bound a box by much
RESTART_ANGLE = np.deg2rad(8.0)  # about each axis, from which the search starts again
ROUNDS = 10  # of rotating about the three axes, at most; usually 2 or 3 suffice


@dataclass(frozen=True, eq=False)
class OrientedBox:
    """A box in world coordinates, the frame and units of the capture.

    Attributes:
        center: [3]
        size: Lengths of its sides, longest first. [3]
        axes: Directions of the sides as rows, in the order of `size`; a rotation. [3, 3]
    """

    center: np.ndarray
    size: np.ndarray
    axes: np.ndarray

    @property
    def corners(self) -> np.ndarray:
        """The eight corners; corner k lies on the far side along axis j if bit j of k is set. [8, 3]"""
        signs = np.array([[1 if k >> j & 1 else -1 for j in range(3)] for k in range(8)])
        return self.center + (signs * self.size / 2) @ self.axes

    @property
    def bounds(self) -> np.ndarray:
        """Least and largest coordinates of the corners. [2, 3]"""
        return np.stack([self.corners.min(axis=0), self.corners.max(axis=0)])

    def contains(self, xyz: np.ndarray) -> np.ndarray:
        """Which points lie inside. [..., 3] → bool [...]"""
        inside = np.abs((xyz - self.center) @ self.axes.T) <= self.size / 2 * (1 + 1e-9)
        return np.asarray(inside.all(axis=-1))


def oriented_box(xyz: np.ndarray, weights: np.ndarray) -> OrientedBox:
    """A small box around the centres of Gaussians, in any orientation; no direction need be up.

    Outliers are left out along the principal axes of the weighted points. The box starts along these axes,
    and along the world's, and is rotated about one side after the other to the smallest rectangle around
    the points seen along that side, until it shrinks no more; the smallest found is taken.

    Args:
        xyz: Centres. [n, 3], n ≥ 1
        weights: How much each counts, its opacity. [n]
    """
    xyz, weights = np.asarray(xyz, np.float64), np.asarray(weights, np.float64)
    seen = weights >= min(FAINT, weights.max())
    xyz, weights = xyz[seen], weights[seen]
    axes = _principal_axes(xyz, weights)
    xyz = xyz[_within_fences(xyz @ axes.T, weights)]
    hull = _extremes(xyz)
    best = min((_shrunk(hull, start) for start in (axes, np.eye(3))), key=_volume)
    # Rotating about one side at a time ends in a local minimum, a degree or two from the best box; starting
    # again from a box that is rotated by 8 degrees escapes it.
    angles = (-RESTART_ANGLE, RESTART_ANGLE)
    again = [_shrunk(hull, _rotated(best.axes, about, angle)) for about in range(3) for angle in angles]
    return _box_along(xyz, min([best, *again], key=_volume).axes)


def _volume(box: OrientedBox) -> float:
    return float(box.size.prod())


def _extremes(xyz: np.ndarray) -> np.ndarray:
    """The points that lie farthest in some direction; all, if they are few. [n, 3] → [m, 3]"""
    if len(xyz) <= DIRECTIONS:
        return xyz
    row = np.arange(DIRECTIONS) + 0.5  # a spiral that covers the sphere evenly
    height, angle = 1 - 2 * row / DIRECTIONS, np.pi * (1 + np.sqrt(5)) * row
    flat = np.sqrt(1 - height**2)
    directions = np.stack([flat * np.cos(angle), flat * np.sin(angle), height])
    return xyz[np.unique((xyz @ directions).argmax(axis=0))]


def _rotated(axes: np.ndarray, about: int, angle: float) -> np.ndarray:
    """The axes rotated about one of them. [3, 3] → [3, 3]"""
    one, two = axes[(about + 1) % 3], axes[(about + 2) % 3]
    rotated = axes.copy()
    rotated[(about + 1) % 3] = np.cos(angle) * one + np.sin(angle) * two
    rotated[(about + 2) % 3] = np.cos(angle) * two - np.sin(angle) * one
    return rotated


def _principal_axes(xyz: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Directions of the points' spread as rows, largest first, a rotation. [3, 3]"""
    centered = xyz - np.average(xyz, axis=0, weights=weights)
    _, vectors = np.linalg.eigh((centered * weights[:, None]).T @ centered)
    return _rotation(vectors.T[::-1])


def _within_fences(coordinates: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Points that are no outliers along any axis. [n, 3], [n] → bool [n], at least one is True"""
    kept = np.ones(len(coordinates), bool)
    for values in coordinates.T:
        order = np.argsort(values)
        share = np.cumsum(weights[order]) / weights.sum()
        low, high = (values[order[np.searchsorted(share, q).clip(max=len(order) - 1)]] for q in (0.25, 0.75))
        reach = FENCE * (high - low)
        kept &= (values >= low - reach) & (values <= high + reach)
    return kept if kept.any() else np.ones_like(kept)


def _shrunk(xyz: np.ndarray, axes: np.ndarray) -> OrientedBox:
    """The box along the axes, rotated until it shrinks no more."""
    volume = np.inf
    for _ in range(ROUNDS):
        for fixed in range(3):
            axes = _with_smallest_rectangle(xyz, axes, fixed)
        box = _box_along(xyz, axes)
        if _volume(box) >= volume * (1 - 1e-6):
            break
        volume = _volume(box)
    return _box_along(xyz, axes)


def _with_smallest_rectangle(xyz: np.ndarray, axes: np.ndarray, fixed: int) -> np.ndarray:
    """The axes rotated about one of them to the smallest rectangle around the points seen along it."""
    one, two = axes[(fixed + 1) % 3], axes[(fixed + 2) % 3]
    seen = np.stack([xyz @ one, xyz @ two], axis=-1)
    seen -= seen.mean(axis=0)
    scale = max(float(np.abs(seen).max()), 1e-12)  # OpenCV takes float32
    angle = np.deg2rad(cv2.minAreaRect((seen / scale).astype(np.float32))[2])
    return _rotated(axes, fixed, angle)


def _box_along(xyz: np.ndarray, axes: np.ndarray) -> OrientedBox:
    low, high = (xyz @ axes.T).min(axis=0), (xyz @ axes.T).max(axis=0)
    order = np.argsort(low - high, kind="stable")
    return OrientedBox((low + high) / 2 @ axes, (high - low)[order], _rotation(axes[order]))


def _rotation(axes: np.ndarray) -> np.ndarray:
    """Orthonormal rows, the last replaced so that they are right-handed. [3, 3] → [3, 3]"""
    axes = axes.copy()
    axes[2] = np.cross(axes[0], axes[1])
    return axes
