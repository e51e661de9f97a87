"""Lens distortion: from the camera that took a photo to the pinhole camera that every stage works with."""

import math
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from gags.errors import CaptureError


@dataclass(frozen=True)
class Lens:
    """Intrinsics of a calibrated camera: a pinhole and OpenCV's distortion of it.

    Attributes:
        width: Image width in pixels.
        height: Image height in pixels.
        fx: Horizontal focal length in pixels.
        fy: Vertical focal length in pixels.
        cx: Principal point from the left edge of the image; the centre of the first pixel is at 0.5.
        cy: Principal point from the top edge of the image.
        distortion: k1, k2, p1, p2, k3, k4, k5, k6 as OpenCV defines them; may stop early.
        radial8: Coefficient of r⁸ beside k1 r² + k2 r⁴ + k3 r⁶, which OpenCV's model lacks: nerfstudio's k4.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] = ()
    radial8: float = field(default=0.0, repr=False)  # hashes of captures hold what is printed of a lens

    @property
    def is_distorted(self) -> bool:
        """Whether straight lines come out bent."""
        return any(self.distortion) or self.radial8 != 0

    @property
    def K(self) -> np.ndarray:  # noqa: N802
        """Intrinsics before distortion. float64 [3, 3]"""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], dtype=np.float64)

    def resized(self, width: int, height: int) -> "Lens":
        """The same lens in front of an image of another size."""
        x, y = width / self.width, height / self.height
        return replace(
            self, width=width, height=height, fx=self.fx * x, fy=self.fy * y, cx=self.cx * x, cy=self.cy * y
        )


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


@lru_cache(maxsize=256)
def _pinhole(lens: Lens) -> tuple[tuple[float, ...], ...]:
    centre = _undistorted_centre(lens)
    low, high = 0.1, 10.0
    if not (np.isfinite(centre).all() and _covers(lens, centre, high)):
        coefficients = (*lens.distortion, lens.radial8) if lens.radial8 else lens.distortion
        raise ValueError(f"the distortion {coefficients} bends rays so far that they cross")
    for _ in range(26):  # to 1e-7 of the focal length
        middle = (low * high) ** 0.5
        if _covers(lens, centre, middle):
            high = middle
        else:
            low = middle
    cx, cy = lens.width / 2 - high * lens.fx * centre[0], lens.height / 2 - high * lens.fy * centre[1]
    return (high * lens.fx, 0.0, cx), (0.0, high * lens.fy, cy), (0.0, 0.0, 1.0)


def pinhole_intrinsics(lens: Lens) -> np.ndarray:
    """Intrinsics of the undistorted image.

    The image keeps its size and the ratio fx/fy, and its middle shows what the middle of the photo shows.
    The focal length is the shortest for which every pixel still comes from inside the photo: as much of the
    photo as possible is kept, and no black border shows. Without distortion these are the lens's own.

    Returns:
        K. float64 [3, 3]

    Raises:
        ValueError: If the distortion is so strong that no such image exists.
    """
    return np.array(_pinhole(lens)) if lens.is_distorted else lens.K


def undistort(image: np.ndarray, lens: Lens) -> np.ndarray:
    """Resample a photo of `lens` so that the pinhole of `pinhole_intrinsics` could have taken it.

    Args:
        image: The photo, as large as the lens says. uint8 [H, W, 3]

    Returns:
        uint8 [H, W, 3]
    """
    import cv2

    if not lens.is_distorted:
        return image
    return cv2.remap(image, *_maps(lens), cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def undistort_kept(kept: np.ndarray, lens: Lens) -> np.ndarray:
    """The same for which pixels of a photo count: one counts if all four do that it lies between.

    Args:
        kept: As large as the lens says. bool [H, W]

    Returns:
        bool [H, W]
    """
    import cv2

    if not lens.is_distorted:
        return kept
    ignored = (~kept).astype(np.float32)
    return cv2.remap(ignored, *_maps(lens), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) < 1e-6


@lru_cache(maxsize=4)
def _maps(lens: Lens) -> tuple[np.ndarray, np.ndarray]:
    import cv2

    if lens.radial8:
        return _maps_of_any_lens(lens)
    # OpenCV puts the centre of the first pixel at 0, not at 0.5.
    half_pixel = np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
    return cv2.initUndistortRectifyMap(
        lens.K - half_pixel,
        _opencv_coefficients(lens),
        np.eye(3),
        pinhole_intrinsics(lens) - half_pixel,
        (lens.width, lens.height),
        cv2.CV_16SC2,
    )


def _maps_of_any_lens(lens: Lens) -> tuple[np.ndarray, np.ndarray]:
    """Where every pixel of the undistorted image lies in the photo, as `cv2.remap` wants it."""
    import cv2

    K = pinhole_intrinsics(lens)
    pixels = np.stack(np.meshgrid(np.arange(lens.width), np.arange(lens.height)), axis=-1) + 0.5
    photo = _distort(lens, (pixels - K[:2, 2]) / K[[0, 1], [0, 1]]) * [lens.fx, lens.fy] + [lens.cx, lens.cy]
    xy = (photo - 0.5).astype(np.float32)
    return cv2.convertMaps(xy[..., 0], xy[..., 1], cv2.CV_16SC2)


def _opencv_coefficients(lens: Lens) -> np.ndarray:
    coefficients = np.zeros(8)
    coefficients[: len(lens.distortion)] = lens.distortion
    return coefficients


def _distort(lens: Lens, xy: np.ndarray) -> np.ndarray:
    """OpenCV's rational and tangential model, and r⁸, on coordinates at depth 1. [..., 2] → [..., 2]"""
    k1, k2, p1, p2, k3, k4, k5, k6 = _opencv_coefficients(lens)
    x, y = xy[..., 0], xy[..., 1]
    r2 = x * x + y * y
    numerator = 1 + r2 * (k1 + r2 * (k2 + r2 * (k3 + r2 * lens.radial8)))
    radial = numerator / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    return np.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        ],
        axis=-1,
    )


def _jacobian(lens: Lens, xy: np.ndarray) -> np.ndarray:
    """Derivative of `_distort`, by central differences. [..., 2] → [..., 2, 2]"""
    step = 1e-5
    columns = [
        (_distort(lens, xy + shift) - _distort(lens, xy - shift)) / (2 * step) for shift in step * np.eye(2)
    ]
    return np.stack(columns, axis=-1)


def rays_through(lens: Lens, pixels: np.ndarray, rounds: int = 50) -> np.ndarray:
    """The rays through pixels of the photo, at depth 1, by Newton's method.

    Args:
        lens: What took the photo.
        pixels: The centre of the first pixel is at 0.5. [..., 2]
        rounds: Steps of the method.

    Returns:
        x and y at depth 1. float64 [..., 2]
    """
    target = (np.asarray(pixels, np.float64) - [lens.cx, lens.cy]) / [lens.fx, lens.fy]
    xy = target
    if not lens.is_distorted:
        return xy
    for _ in range(rounds):
        error = (_distort(lens, xy) - target)[..., None]
        xy = xy - (np.linalg.pinv(_jacobian(lens, xy)) @ error)[..., 0]
    return xy


def _undistorted_centre(lens: Lens) -> np.ndarray:
    """The ray through the middle of the photo, at depth 1. [2]"""
    return rays_through(lens, np.array([lens.width / 2, lens.height / 2]))


def _covers(lens: Lens, centre: np.ndarray, zoom: float) -> bool:
    """Whether a pinhole with `zoom` times the focal length sees only what is inside the photo."""
    side = np.linspace(-0.5, 0.5, 33)
    edge = np.full_like(side, 0.5)
    border = np.concatenate(
        [np.stack(xy, -1) for xy in ((side, edge), (side, -edge), (edge, side), (-edge, side))]
    )
    rays = border * [lens.width / lens.fx, lens.height / lens.fy] / zoom
    xy = centre + rays * np.linspace(0, 1, 9)[1:, None, None]
    pixels = _distort(lens, xy) * [lens.fx, lens.fy] + [lens.cx, lens.cy]
    slack = 1e-6 * (lens.width + lens.height)
    inside = (pixels >= -slack) & (pixels <= np.array([lens.width, lens.height]) + slack)
    # Beyond the radius where a polynomial turns back, the model shows the photo a second time, mirrored.
    unfolded = np.linalg.det(_jacobian(lens, xy)) > 0
    return bool(inside.all() and unfolded.all())
