"""What can be chosen about finding poses; light to import, for the command line."""

from dataclasses import dataclass
from typing import Literal

Matching = Literal["auto", "exhaustive", "sequential", "nearest"]


@dataclass(frozen=True)
class PoseSettings:
    """How poses are found for photos that have none."""

    matching: Matching = "auto"
    """What is compared: all pairs, neighbours in the order of names, or photos that look alike.
    auto: sequential for a video, exhaustive for few photos, nearest for many."""
    exhaustive_up_to: int = 200
    """With auto: most photos of which all pairs are compared."""
    overlap: int = 10
    """With sequential and nearest: how many following photos each is compared with, in the order of names."""
    neighbours: int = 30
    """With nearest: how many photos that look alike each is compared with; with sequential, a fifth of it."""
    frames: int = 150
    """Most frames taken from a video, the sharpest of each interval."""
    max_size: int = 1600
    """Photos are made smaller to find keypoints if their longer side is above this, px."""
    max_features: int = 4096
    """Most keypoints of a photo, the largest first."""
    camera_model: Literal["SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV"] = "SIMPLE_RADIAL"
    """Lens that is calibrated, by COLMAP's name. OPENCV models more distortion, and needs more photos."""
    least_share: float = 0.25
    """Fail if less than this share of the photos can be placed."""
    seed: int = 0
    """Seed of every random choice."""

    def __post_init__(self) -> None:
        whole = {
            "exhaustive_up_to": self.exhaustive_up_to,
            "overlap": self.overlap,
            "neighbours": self.neighbours,
        }
        for name, value in whole.items():
            if value < 0:
                raise ValueError(f"{name} must be 0 or more, got {value}")
        if min(self.frames, self.max_size, self.max_features) < 3:
            raise ValueError("frames, max_size and max_features must be at least 3")
        if not 0 <= self.least_share <= 1:
            raise ValueError(f"least_share must be from 0 to 1, got {self.least_share}")
