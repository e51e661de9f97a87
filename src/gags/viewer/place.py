"""Where a scene is in the world of the browser: scaled to one size, whatever the units of its capture."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gags.viewer.cameras import Pose
from gags.viewer.picking import Ellipsoids

if TYPE_CHECKING:
    import viser

SIZE = 50.0  # of every scene in the browser, which keeps covariances as 16-bit floats
LARGEST = 240.0  # standard deviation whose square a 16-bit float still holds


@dataclass(frozen=True, eq=False)
class Place:
    """A scale; axes and origin are the capture's own.

    Attributes:
        scale: Browser units a world unit.
        up: Up in the scene. [3]
    """

    scale: float
    up: np.ndarray

    @classmethod
    def of_scene(cls, size: float, up: np.ndarray) -> "Place":
        """The place of a scene of some size in world units."""
        return cls(SIZE / size, up)

    def to_browser(self, xyz_world: np.ndarray) -> np.ndarray:
        """Points in the browser's world. [..., 3]"""
        return self.scale * xyz_world

    def to_world(self, xyz_browser: np.ndarray) -> np.ndarray:
        """Points of the browser in the capture's frame and units. [..., 3]"""
        return xyz_browser / self.scale

    def covariances(self, ellipsoids: Ellipsoids) -> np.ndarray:
        """Covariances in the browser's world. float32 [N, 3, 3]"""
        axes = ellipsoids.rotations * np.minimum(self.scale * ellipsoids.scales, LARGEST)[:, None, :]
        return (axes @ axes.transpose(0, 2, 1)).astype(np.float32)

    def move(self, camera: "viser.CameraHandle | viser.InitialCameraConfig", pose: Pose) -> None:
        """Move a browser's camera, or the one that browsers begin with."""
        camera.position = self.to_browser(pose.position)
        camera.look_at = self.to_browser(pose.look_at)
        camera.fov = pose.fov
