"""Lenses of the cameras that took photos: which ray each pixel sees, and which pixel each ray."""

import math
from dataclasses import dataclass, field, replace

import numpy as np

from gags.capture.projections import EQUIRECTANGULAR, PERSPECTIVE, project, rational
from gags.errors import CaptureError


@dataclass(frozen=True)
class Lens:
    """Intrinsics of a calibrated camera: a pinhole and its distortion, a fisheye, or a panorama.

    Attributes:
        width: Image width in pixels.
        height: Image height in pixels.
        fx: Horizontal focal length in pixels.
        fy: Vertical focal length in pixels.
        cx: Principal point from the left edge of the image; the centre of the first pixel is at 0.5.
        cy: Principal point from the top edge of the image.
        distortion: Of a perspective lens k1, k2, p1, p2, k3, k4, k5, k6 as OpenCV defines them; of others
            the coefficients of their projection; may stop early.
        radial8: Coefficient of r⁸ beside k1 r² + k2 r⁴ + k3 r⁶, which OpenCV's model lacks: nerfstudio's k4.
        projection: "perspective", or one of `gags.capture.projections.FORMULAS`.
        direction: Where the undistorted picture looks from the axis of the lens: to the right, and up, in
            degrees.
        radius: Of the circle about the middle of a photo beyond which it shows nothing, in pixels; None if
            it is full.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] = ()
    # Hashes of captures hold what is printed of a lens, and stay what they were without these.
    radial8: float = field(default=0.0, repr=False)
    projection: str = field(default=PERSPECTIVE, repr=False)
    direction: tuple[float, float] = field(default=(0.0, 0.0), repr=False)
    radius: float | None = field(default=None, repr=False)

    @property
    def is_distorted(self) -> bool:
        """Whether straight lines come out bent."""
        return any(self.distortion) or self.radial8 != 0 or self.projection != PERSPECTIVE

    @property
    def R_lens_picture(self) -> np.ndarray:  # noqa: N802
        """From the frame of the undistorted picture to that of the lens. float64 [3, 3]"""
        return turned_to(self.direction)

    @property
    def K(self) -> np.ndarray:  # noqa: N802
        """Intrinsics before distortion. float64 [3, 3]"""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], dtype=np.float64)

    def resized(self, width: int, height: int) -> "Lens":
        """The same lens in front of an image of another size."""
        x, y = width / self.width, height / self.height
        changed = {"fx": self.fx * x, "fy": self.fy * y, "cx": self.cx * x, "cy": self.cy * y}
        radius = None if self.radius is None else self.radius * min(x, y)
        return replace(self, width=width, height=height, radius=radius, **changed)


def turned_to(direction: tuple[float, float]) -> np.ndarray:
    """Rotation of a camera that is turned to the right, then up, by so many degrees. float64 [3, 3]"""
    right, up = np.radians(direction)
    turn = [[np.cos(right), 0, np.sin(right)], [0, 1, 0], [-np.sin(right), 0, np.cos(right)]]
    tilt = [[1, 0, 0], [0, np.cos(up), -np.sin(up)], [0, np.sin(up), np.cos(up)]]
    return np.array(turn) @ np.array(tilt)


def plain_lens(width: int, height: int, *, fx: float, fy: float, cx: float, cy: float, where: str) -> Lens:
    """A lens without distortion, from numbers that a file gave.

    Args:
        width: Image width in pixels.
        height: Image height in pixels.
        fx: Horizontal focal length in pixels.
        fy: Vertical focal length in pixels.
        cx: Principal point from the left edge, in pixels.
        cy: Principal point from the top edge, in pixels.
        where: What the numbers belong to, for the message.

    Raises:
        CaptureError: If one is not finite, or a size or focal length is not positive.
    """
    if not all(map(math.isfinite, (fx, fy, cx, cy))) or min(fx, fy, width, height) <= 0:
        raise CaptureError(
            f"{where}: {width}×{height} with focal lengths {fx}, {fy} is no camera; export it again"
        )
    return Lens(width, height, fx=fx, fy=fy, cx=cx, cy=cy)


def panorama_lens(width: int, height: int) -> Lens:
    """The lens of a whole panorama: longitudes across its width, latitudes down its height."""
    return Lens(
        width,
        height,
        fx=width / math.tau,
        fy=height / math.pi,
        cx=width / 2,
        cy=height / 2,
        projection=EQUIRECTANGULAR,
    )


def seen_at(lens: Lens, xy: np.ndarray) -> np.ndarray:
    """Where rays of the undistorted picture appear in the photo, at focal length 1 about its axis.

    Args:
        lens: What took the photo.
        xy: Rays in the frame of the picture, at depth 1. [..., 2]

    Returns:
        NaN where the lens sees no such ray. float64 [..., 2]
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # of coefficients that are nonsense
        if lens.projection == PERSPECTIVE:
            return rational(lens.distortion, lens.radial8, xy)
        rays = np.concatenate([xy, np.ones_like(xy[..., :1])], axis=-1) @ lens.R_lens_picture.T
        return project(lens.projection, lens.distortion, rays)


def pixels_of(lens: Lens, xy: np.ndarray) -> np.ndarray:
    """Pixels of the photo in which rays of the undistorted picture appear, the centre of the first at 0.5.

    Args:
        lens: What took the photo.
        xy: Rays in the frame of the picture, at depth 1. [..., 2]

    Returns:
        May lie outside of the photo; NaN where the lens sees no such ray. float64 [..., 2]
    """
    return seen_at(lens, xy) * [lens.fx, lens.fy] + [lens.cx, lens.cy]


def jacobian(lens: Lens, xy: np.ndarray) -> np.ndarray:
    """Derivative of `seen_at`, by central differences. [..., 2] → [..., 2, 2]"""
    step = 1e-5
    with np.errstate(over="ignore", invalid="ignore"):
        columns = [
            (seen_at(lens, xy + shift) - seen_at(lens, xy - shift)) / (2 * step) for shift in step * np.eye(2)
        ]
    return np.stack(columns, axis=-1)


def rays_through(lens: Lens, pixels: np.ndarray, rounds: int = 50) -> np.ndarray:
    """The rays through pixels of the photo, at depth 1 before the lens, by Newton's method.

    Args:
        lens: What took the photo.
        pixels: The centre of the first pixel is at 0.5. [..., 2]
        rounds: Steps of the method.

    Returns:
        x and y at depth 1. Of a fisheye or a panorama, NaN where the ray does not go ahead, or where no ray
        leads. float64 [..., 2]
    """
    target = (np.asarray(pixels, np.float64) - [lens.cx, lens.cy]) / [lens.fx, lens.fy]
    if lens.projection != PERSPECTIVE:
        return _rays_of_angles(lens, target, rounds)
    xy = target
    if not lens.is_distorted:
        return xy
    for _ in range(rounds):
        error = (seen_at(lens, xy) - target)[..., None]
        xy = xy - (np.linalg.pinv(jacobian(lens, xy)) @ error)[..., 0]
    return xy


def _rays_of_angles(lens: Lens, target: np.ndarray, rounds: int) -> np.ndarray:
    """Rays at depth 1 that a wide lens sees at `target`; what is solved for are angles from its axis."""

    def project_angles(xy: np.ndarray) -> np.ndarray:
        angle = np.linalg.norm(xy, axis=-1)
        rays = np.concatenate([xy * np.sinc(angle / np.pi)[..., None], np.cos(angle)[..., None]], axis=-1)
        return project(lens.projection, lens.distortion, rays)

    if lens.projection == EQUIRECTANGULAR:
        longitude, latitude = np.moveaxis(target, -1, 0)
        ahead = np.cos(longitude) > 0
        xy = np.stack([np.tan(longitude), np.tan(latitude) / np.cos(longitude)], axis=-1)
        return np.where(ahead[..., None], xy, np.nan)
    xy, step = target, 1e-6
    with np.errstate(all="ignore"):
        for _ in range(rounds):
            columns = [
                (project_angles(xy + shift) - project_angles(xy - shift)) / (2 * step)
                for shift in step * np.eye(2)
            ]
            (a, b), (c, d) = (np.moveaxis(column, -1, 0) for column in columns)  # the derivative, transposed
            x, y = np.moveaxis(project_angles(xy) - target, -1, 0)
            xy = xy - np.stack([d * x - c * y, a * y - b * x], axis=-1) / (a * d - b * c)[..., None]
        error = np.abs(project_angles(xy) - target).max(axis=-1)
        angle = np.linalg.norm(xy, axis=-1)
        found = (error < 1e-6) & (angle < np.pi / 2)
        stretch = np.tan(angle) / np.maximum(angle, 1e-12)
    return np.where(found[..., None], xy * np.where(angle > 0, stretch, 1)[..., None], np.nan)
