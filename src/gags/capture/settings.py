"""What can be chosen about photos of wide lenses; light to import, for the command line."""

from dataclasses import dataclass
from typing import Literal

from gags.files.ranges import Range, Settings, ranged

WIDEST_FISHEYE = 120.0  # degrees across a side of what is kept of a fisheye, if nothing is asked for
CameraKind = Literal["auto", "perspective", "equirectangular"]


@dataclass(frozen=True)
class UndistortSettings(Settings, prefix="undistort"):
    """How much is kept of photos of distorting lenses; photos of pinholes are never changed."""

    fov: float | None = ranged(None, Range(5, 170))
    """Widest angle of view that is kept, across and down, degrees. A pinhole stretches what is far from its
    axis: beyond 120 most pixels show little. Default: 120 for fisheye lenses, all for others."""
    border: Literal["crop", "keep"] = "crop"
    """crop: only what has no pixel without content. keep: up to the ends of the photo's own middle lines;
    pixels without content are black, and do not count as seen."""


@dataclass(frozen=True)
class PanoramaSettings(Settings, prefix="panorama"):
    """How 360° photos are cut into views of pinhole cameras, which keep their places to each other."""

    around: int = ranged(8, Range(3, 36))
    """Views around the horizon, evenly spaced; with 4, a fov of 90 and both poles, the faces of a cube."""
    fov: float = ranged(90.0, Range(20, 120))
    """Angle of view of each, across and down, degrees."""
    poles: Literal["none", "up", "down", "both"] = "none"
    """Also a view straight up or down; below is mostly what carries the camera."""
