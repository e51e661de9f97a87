"""What can be chosen about finding poses; light to import, for the command line."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from gags.capture.settings import PanoramaSettings, UndistortSettings
from gags.files.ranges import SEED, SHARE, Range, Settings, ranged
from gags.store import added, plain

Matching = Literal["auto", "exhaustive", "sequential", "nearest"]
CameraModel = Literal[
    "SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "SIMPLE_FISHEYE", "FISHEYE",
    "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "OPENCV_FISHEYE", "THIN_PRISM_FISHEYE", "FOV",
]  # fmt: skip


@dataclass(frozen=True)
class PoseSettings(Settings):
    """How poses are found for photos that have none."""

    matching: Matching = "auto"
    """What is compared: all pairs, neighbours in the order of names, or photos that look alike.
    auto: sequential for a video, exhaustive for few photos, nearest for many."""
    exhaustive_up_to: int = ranged(200, Range(0, 10_000))
    """With auto: most photos of which all pairs are compared."""
    overlap: int = ranged(10, Range(0, 1000))
    """With sequential and nearest: how many following photos each is compared with, in the order of names."""
    neighbours: int = ranged(30, Range(0, 1000))
    """With nearest: how many photos that look alike each is compared with; with sequential, a fifth of it."""
    frames: int = ranged(150, Range(3, 10_000))
    """Most frames taken from a video, the sharpest of each interval."""
    max_size: int = ranged(1600, Range(64, 16_384))
    """Photos are made smaller to find keypoints if their longer side is above this, px."""
    max_features: int = ranged(4096, Range(8, 65_536))
    """Most keypoints of a photo, the largest first."""
    camera_model: CameraModel = "SIMPLE_RADIAL"
    """Lens that is calibrated, by COLMAP's name. OPENCV models more distortion, and needs more photos. For
    fisheye lenses, choose one of the fisheyes."""
    least_share: float = ranged(0.25, SHARE)
    """Fail if less than this share of the photos can be placed."""
    seed: int = ranged(0, SEED)
    """Seed of every random choice."""
    camera: Literal["auto", "perspective", "equirectangular"] = added("auto")
    """equirectangular: the photos, or frames of the video, are 360° panoramas, which are cut into views.
    perspective: they are ordinary photos, also if they look like panoramas. auto: ordinary photos; panoramas
    are refused."""
    panorama: PanoramaSettings = added(PanoramaSettings())  # noqa: RUF009 (frozen)
    """How panoramas are cut."""
    undistort: UndistortSettings = added(UndistortSettings())  # noqa: RUF009 (frozen)
    """How much is kept of photos of distorting lenses."""


def kept_settings(settings: PoseSettings) -> dict[str, Any]:
    """What the hash of a search holds of its settings: all but later ones at their default.

    So a search that an earlier version finished is not done again.
    """
    return {name: value for name, value in asdict(settings).items() if name in plain(settings)}
