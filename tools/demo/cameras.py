"""Where the photos are taken from: three rings round the table, near, middle and far."""

from dataclasses import dataclass

import numpy as np

WIDTH, HEIGHT, FOCAL = 640, 480, 525.0
K = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]])
"""Intrinsics in pixels; the centre of the top-left pixel is (0.5, 0.5)."""

NEAR_TARGETS = (
    (-0.45, -0.02),
    (-0.15, 0.02),
    (0.18, 0.02),
    (0.44, 0.06),
    (0.12, -0.16),
    (-0.30, -0.12),
    (0.40, -0.12),
)


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
    target = np.asarray(target, dtype=np.float64)
    jitter = rng.normal(0, 0.02, 3) if ring == "near" else rng.normal(0, 0.035, 3)
    return look_at(target + distance * np.array(direction), target + jitter, rng.normal(0, 1.5))


def viewpoints(rng: np.random.Generator) -> list[Viewpoint]:
    """All viewpoints, training ones first. Azimuth 0 is in front of the table, positive to the right."""
    poses: dict[str, list[tuple[str, np.ndarray]]] = {"train": [], "test": []}
    for split, near, middle, far in (("train", 16, 14, 10), ("test", 2, 2, 2)):
        shift = 0.5 if split == "train" else 0.3
        for i in range(near):
            azimuth = -88 + 176 * (i + shift) / near + rng.normal(0, 3)
            # The nearest photos look at what stands on their side of the table.
            side = np.sin(np.radians(azimuth))
            target = (0.40 * side + rng.normal(0, 0.16), -0.06 + rng.normal(0, 0.07), 0.09)
            pose = _place("near", azimuth, rng.uniform(30, 50), rng.uniform(0.50, 0.60), target, rng)
            poses[split].append(("near", pose))
        for i in range(middle):
            azimuth = -98 + 196 * (i + shift) / middle + rng.normal(0, 3)
            target = (rng.normal(0, 0.14), 0.02 + rng.normal(0, 0.05), 0.08)
            pose = _place(
                "middle", azimuth, (24, 42)[i % 2] + rng.normal(0, 3), rng.uniform(0.86, 0.98), target, rng
            )
            poses[split].append(("middle", pose))
        for i in range(far):
            azimuth = -92 + 184 * (i + shift) / far + rng.normal(0, 3)
            target = (rng.normal(0, 0.08), 0.04, 0.08)
            pose = _place(
                "far", azimuth, (17, 32)[i % 2] + rng.normal(0, 2), rng.uniform(1.40, 1.55), target, rng
            )
            poses[split].append(("far", pose))
    return [
        Viewpoint(f"{split}_{i:03d}", ring, split, pose)
        for split, group in poses.items()
        for i, (ring, pose) in enumerate(group)
    ]
