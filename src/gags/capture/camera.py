"""The pinhole camera that every stage works with (OpenCV axes, COLMAP pixel convention)."""

from dataclasses import dataclass, replace

import numpy as np

ROUNDING = 1e-12  # of the largest number: what two processors make of one capture is nearer


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera without distortion.

    Axes are OpenCV's: +x right, +y down, +z forward. The centre of the top-left pixel is (0.5, 0.5).

    Attributes:
        viewmat: World-to-camera transform. float64 [4, 4]
        K: Intrinsics in pixels, principal point included. float64 [3, 3]
        width: Image width in pixels.
        height: Image height in pixels.
    """

    viewmat: np.ndarray
    K: np.ndarray
    width: int
    height: int

    def is_nearly(self, other: "Camera") -> bool:
        """Whether two cameras are the same but for how their numbers were rounded."""
        if (self.width, self.height) != (other.width, other.height):
            return False
        pairs = ((self.viewmat[:3, :3], other.viewmat[:3, :3]), (self.viewmat[:3, 3], other.viewmat[:3, 3]))
        return all(
            bool(np.abs(mine - theirs).max() <= ROUNDING * max(1.0, np.abs(mine).max()))
            for mine, theirs in (*pairs, (self.K, other.K))
        )

    @property
    def position(self) -> np.ndarray:
        """Camera centre in world coordinates. [3]"""
        R, t = self.viewmat[:3, :3], self.viewmat[:3, 3]
        return -R.T @ t

    def resized(self, width: int, height: int) -> "Camera":
        """The same camera looking through an image of another size (may differ in x and y)."""
        K = self.K.copy()
        K[0] *= width / self.width
        K[1] *= height / self.height
        return replace(self, K=K, width=width, height=height)

    def within(self, longest_side: int) -> "Camera":
        """The same camera with an image of at most so many pixels on its longer side, in proportion."""
        scale = min(1.0, longest_side / max(self.width, self.height))
        return self.resized(max(1, round(self.width * scale)), max(1, round(self.height * scale)))

    def project(self, xyz_world: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Project world points.

        Args:
            xyz_world: Points. [..., 3]

        Returns:
            Pixel coordinates [..., 2] and depths along the optical axis [...]; pixels of points at or
            behind the camera plane are meaningless, check depth > 0.
        """
        xyz_camera = xyz_world @ self.viewmat[:3, :3].T + self.viewmat[:3, 3]
        depth = xyz_camera[..., 2]
        safe = np.where(depth > 1e-9, depth, 1e-9)
        xy = xyz_camera[..., :2] / safe[..., None]
        return xy * self.K[[0, 1], [0, 1]] + self.K[:2, 2], depth

    def unproject(self, xy: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """World points [..., 3] seen at pixel coordinates `xy` [..., 2] at z-depths `depth` [...]."""
        xy = (xy - self.K[:2, 2]) / self.K[[0, 1], [0, 1]] * depth[..., None]
        xyz_camera = np.concatenate([xy, depth[..., None]], axis=-1)
        return (xyz_camera - self.viewmat[:3, 3]) @ self.viewmat[:3, :3]


def rotations(unit_quats: np.ndarray) -> np.ndarray:
    """Rotation matrices of unit quaternions.

    Args:
        unit_quats: Components w, x, y, z, of length 1; nothing is normalised here. [..., 4]

    Returns:
        [..., 3, 3]
    """
    w, x, y, z = np.moveaxis(unit_quats, -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
