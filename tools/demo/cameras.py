"""Where the photos are taken from: three rings round the table, near, middle and far."""

from dataclasses import dataclass

import numpy as np

WIDTH, HEIGHT, FOCAL = 640, 480, 525.0
K = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]])
"""Intrinsics in pixels; the centre of the top-left pixel is (0.5, 0.5)."""

TEST_VIEWS = (
    ("near", -38.0, 40.0, 0.60, (0.33, -0.04)),
    ("near", 18.0, 42.0, 0.60, (-0.33, -0.01)),
    ("middle", -48.0, 29.0, 0.92, (0.14, 0.03)),
    ("middle", 37.0, 40.0, 0.92, (-0.02, 0.02)),
    ("far", -21.0, 20.0, 1.48, (0.0, 0.04)),
    ("far", 61.0, 31.0, 1.42, (0.0, 0.04)),
)
"""Ring, azimuth and elevation (degrees), distance (metres), point on the table that the camera looks at."""


@dataclass(frozen=True)
class Viewpoint:
    """One photo: name without suffix, ring, train or test, world-to-camera 4x4 (OpenCV axes, metres)."""

    stem: str
    ring: str
    split: str
    viewmat: np.ndarray

    @property
    def center(self) -> np.ndarray:
        """Camera centre in the world. [3]"""
        return -self.viewmat[:3, :3].T @ self.viewmat[:3, 3]


def look_at(center: np.ndarray, target: np.ndarray, roll_deg: float = 0.0) -> np.ndarray:
    """World-to-camera matrix [4,4] of a camera at `center` looking at `target`, turned by `roll_deg`."""
    forward = (target - center) / np.linalg.norm(target - center)
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    c, s = np.cos(np.radians(roll_deg)), np.sin(np.radians(roll_deg))
    rotation = np.array([c * right + s * down, -s * right + c * down, forward])
    viewmat = np.eye(4)
    viewmat[:3, :3], viewmat[:3, 3] = rotation, -rotation @ center
    return viewmat


def _place(ring: str, azimuth_deg: float, elevation_deg: float, distance: float, target, rng) -> np.ndarray:
    azimuth, elevation = np.radians(azimuth_deg), np.radians(elevation_deg)
    direction = [np.sin(azimuth) * np.cos(elevation), -np.cos(azimuth) * np.cos(elevation), np.sin(elevation)]
    target = np.array([*target, 0.09])
    jitter = rng.normal(0, 0.02, 3) if ring == "near" else rng.normal(0, 0.035, 3)
    return look_at(target + distance * np.array(direction), target + jitter, rng.normal(0, 1.5))


def viewpoints(rng: np.random.Generator, counts: tuple[int, int, int] = (16, 14, 10)) -> list[Viewpoint]:
    """All viewpoints, training ones first. Azimuth 0 is in front of the table, positive to the right.

    Args:
        rng: Source of randomness.
        counts: Training photos near, in the middle and far away.
    """
    trains = []
    near, middle, far = counts
    for i in range(near):
        azimuth = -88 + 176 * (i + 0.5) / near + rng.normal(0, 3)
        # The nearest photos look at what stands on their side of the table.
        target = (0.40 * np.sin(np.radians(azimuth)) + rng.normal(0, 0.16), -0.06 + rng.normal(0, 0.07))
        trains.append(("near", azimuth, rng.uniform(30, 50), rng.uniform(0.50, 0.60), target))
    for i in range(middle):
        azimuth = -84 + 188 * (i + 0.5) / middle + rng.normal(0, 3)
        elevation = (24, 42)[i % 2] + rng.normal(0, 3)
        target = (rng.normal(0, 0.14), 0.02 + rng.normal(0, 0.05))
        trains.append(("middle", azimuth, elevation, rng.uniform(0.86, 0.98), target))
    for i in range(far):
        azimuth = -98 + 196 * (i + 0.5) / far + rng.normal(0, 3)
        elevation = (17, 32)[i % 2] + rng.normal(0, 2)
        trains.append(("far", azimuth, elevation, rng.uniform(1.40, 1.55), (rng.normal(0, 0.08), 0.04)))
    return [
        Viewpoint(f"{split}_{i:03d}", ring, split, _place(ring, azimuth, elevation, distance, target, rng))
        for split, group in (("train", trains), ("test", TEST_VIEWS))
        for i, (ring, azimuth, elevation, distance, target) in enumerate(group)
    ]
