"""From the photo of a distorting lens to the picture of a pinhole camera that every stage works with."""

from functools import lru_cache

import numpy as np

from gags.capture.lens import Lens, jacobian, pixels_of, rays_through
from gags.capture.projections import EQUIRECTANGULAR, PERSPECTIVE, padded
from gags.capture.settings import WIDEST_FISHEYE, UndistortSettings

SIDE_STEPS = 1024  # rays along a half side that are looked at to find its end, twice
WRAP = 2  # columns that are added on both sides of a panorama, which goes on there

Numbers = tuple[float, float, float, float]  # fx, fy, cx, cy


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
    """Intrinsics of the undistorted image of a perspective lens.

    The image keeps its size and the ratio fx/fy, and its middle shows what the middle of the photo shows.
    The focal length is the shortest for which every pixel still comes from inside the photo: as much of the
    photo as possible is kept, and no black border shows. Without distortion these are the lens's own.

    Returns:
        K. float64 [3, 3]

    Raises:
        ValueError: If the distortion is so strong that no such image exists.
    """
    return np.array(_pinhole(lens)) if lens.is_distorted else lens.K


@lru_cache(maxsize=256)
def pinhole_of(lens: Lens, settings: UndistortSettings = UndistortSettings()) -> Lens:
    """The pinhole camera of the undistorted picture of a lens.

    That of a perspective lens is `pinhole_intrinsics`, if the settings ask for nothing else. Otherwise, and
    for fisheyes: pixels are square and the picture looks along the axis of the lens. Across and down it
    shows what the photo shows on the lines through its principal point, as far as the lens is valid and the
    settings allow; with "crop" it then shrinks towards the axis until every pixel comes from inside the
    photo. It has as many pixels as the photo, or fewer where the photo has less detail on its axis.

    Args:
        lens: What took the photo, not a panorama.
        settings: How much is kept.

    Returns:
        A lens without distortion, of the size of the picture.

    Raises:
        ValueError: If nothing is left.
    """
    if not lens.is_distorted:
        return lens
    if lens.projection == PERSPECTIVE and settings == UndistortSettings():
        K = pinhole_intrinsics(lens)
        return Lens(lens.width, lens.height, fx=K[0, 0], fy=K[1, 1], cx=K[0, 2], cy=K[1, 2])
    default = 170.0 if lens.projection == PERSPECTIVE else WIDEST_FISHEYE
    widest = float(np.tan(np.radians((settings.fov or default) / 2)))
    sides = np.array([_end(lens, np.array(way), widest) for way in ((-1, 0), (1, 0), (0, -1), (0, 1))])
    if settings.border == "crop":
        sides *= _covered_share(lens, sides)
    return _picture(lens, sides)


def _picture(lens: Lens, sides: np.ndarray) -> Lens:
    """The pinhole that sees so far to the left, right, up and down, at depth 1."""
    across, down = float(sides[0] + sides[1]), float(sides[2] + sides[3])
    with np.errstate(invalid="ignore", over="ignore"):
        detail = abs(np.linalg.det(jacobian(lens, np.zeros(2)))) * lens.fx * lens.fy  # px² at the axis
    if not (min(across, down) > 0 and np.isfinite(detail)):
        raise ValueError(
            f"nothing is left of a {lens.projection} lens with the coefficients {lens.distortion}: its axis, "
            f"({lens.cx:g}, {lens.cy:g}), lies outside of the photo, or rays cross there"
        )
    focal = float(min(detail**0.5, (lens.width * lens.height / (across * down)) ** 0.5))
    width, height = int(focal * across + 1e-6), int(focal * down + 1e-6)
    if min(width, height) < 1:
        raise ValueError(f"only {width}×{height} px are left of the photo")
    # What was cut off to make whole pixels is cut off on both sides.
    cx = float(focal * sides[0] - (focal * across - width) / 2)
    cy = float(focal * sides[2] - (focal * down - height) / 2)
    return Lens(width, height, fx=focal, fy=focal, cx=cx, cy=cy)


def _end(lens: Lens, way: np.ndarray, widest: float) -> float:
    """How far the photo reaches from the axis in a direction, at depth 1; at most `widest`."""
    low, high = 0.0, widest
    for _ in range(2):
        # Even steps of the angle: at depth 1, the last ones are far apart.
        reach = np.tan(np.linspace(np.arctan(low), np.arctan(high), SIDE_STEPS + 1))
        good = _is_seen(lens, reach[:, None] * way)
        if good.all():
            return float(high)
        first = int(np.argmin(good))
        if first == 0:
            return 0.0
        low, high = float(reach[first - 1]), float(reach[first])
    return low


def _is_seen(lens: Lens, xy: np.ndarray) -> np.ndarray:
    """Whether the photo shows rays at depth 1, each in one place. [..., 2] → bool [...]

    Beyond the radius where a polynomial turns back, the model shows the photo a second time, mirrored.
    """
    pixels = pixels_of(lens, xy)
    slack = 1e-6 * (lens.width + lens.height)
    with np.errstate(invalid="ignore", over="ignore"):
        size = np.array([lens.width, lens.height])
        inside = (pixels >= -slack) & (pixels <= size + slack)
        if lens.radius is not None:
            inside &= np.linalg.norm(pixels - size / 2, axis=-1, keepdims=True) <= lens.radius
        if lens.projection == EQUIRECTANGULAR:
            return np.asarray(inside.all(axis=-1))
        return np.asarray(inside.all(axis=-1) & (np.linalg.det(jacobian(lens, xy)) > 0))


def _border() -> np.ndarray:
    """Points on the border of a square of side 1 about 0. [132, 2]"""
    side = np.linspace(-0.5, 0.5, 33)
    edge = np.full_like(side, 0.5)
    return np.concatenate(
        [np.stack(xy, -1) for xy in ((side, edge), (side, -edge), (edge, side), (-edge, side))]
    )


def _covered_share(lens: Lens, sides: np.ndarray) -> float:
    """The largest factor, at most 1, by which a picture shrinks until the photo shows all of it."""
    left, right, up, down = sides
    unit = _border() + 0.5
    border = np.stack([unit[:, 0] * (left + right) - left, unit[:, 1] * (up + down) - up], axis=-1)
    rays = border * np.linspace(0, 1, 9)[1:, None, None]
    if _is_seen(lens, rays).all():
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(26):
        middle = (low + high) / 2
        low, high = (middle, high) if _is_seen(lens, middle * rays).all() else (low, middle)
    return low


def undistort(
    image: np.ndarray, lens: Lens, K: np.ndarray | None = None, size: tuple[int, int] | None = None
) -> np.ndarray:
    """Resample a photo of `lens` as a pinhole camera would have taken it.

    Args:
        image: The photo, as large as the lens says. uint8 [H, W, 3]
        lens: What took it.
        K: The pinhole; default that of `pinhole_of`. [3, 3]
        size: Width and height of its picture; default those of `pinhole_of`.

    Returns:
        Black where the photo does not show what the pinhole sees (`seen_pixels`). uint8 [height, width, 3]
    """
    import cv2

    if not lens.is_distorted:
        return image
    numbers, size = _chosen(lens, K, size)
    wide = lens.projection == EQUIRECTANGULAR
    if wide:
        image = cv2.copyMakeBorder(image, 0, 0, WRAP, WRAP, cv2.BORDER_WRAP)
    maps = _maps(lens, numbers, size)
    flat = cv2.remap(image, *maps, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    seen = _seen(lens, numbers, size)
    if seen is not None:
        flat[~seen] = 0
    return flat


def undistort_kept(
    kept: np.ndarray, lens: Lens, K: np.ndarray | None = None, size: tuple[int, int] | None = None
) -> np.ndarray:
    """The same for which pixels of a photo count: one counts if all four do that it lies between.

    Args:
        kept: As large as the lens says. bool [H, W]
        lens: What took the photo.
        K: The pinhole; default that of `pinhole_of`. [3, 3]
        size: Width and height of its picture; default those of `pinhole_of`.

    Returns:
        False also where the photo does not show what the pinhole sees. bool [height, width]
    """
    import cv2

    if not lens.is_distorted:
        return kept
    numbers, size = _chosen(lens, K, size)
    ignored = (~kept).astype(np.float32)
    if lens.projection == EQUIRECTANGULAR:
        ignored = cv2.copyMakeBorder(ignored, 0, 0, WRAP, WRAP, cv2.BORDER_WRAP)
    maps = _maps(lens, numbers, size)
    kept = cv2.remap(ignored, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) < 1e-6
    seen = _seen(lens, numbers, size)
    return kept if seen is None else kept & seen


def seen_pixels(
    lens: Lens, K: np.ndarray | None = None, size: tuple[int, int] | None = None
) -> np.ndarray | None:
    """Which pixels of an undistorted picture the photo shows; None if it shows them all.

    Args:
        lens: What took the photo.
        K: The pinhole; default that of `pinhole_of`. [3, 3]
        size: Width and height of its picture; default those of `pinhole_of`.

    Returns:
        bool [height, width], or None
    """
    if not lens.is_distorted:
        return None
    seen = _seen(lens, *_chosen(lens, K, size))
    return None if seen is None else seen.copy()


def _chosen(
    lens: Lens, K: np.ndarray | None, size: tuple[int, int] | None
) -> tuple[Numbers, tuple[int, int]]:
    """fx, fy, cx, cy and size of a picture, those of `pinhole_of` where they are not given."""
    if K is None or size is None:
        pinhole = pinhole_of(lens)
        K, size = (pinhole.K if K is None else K), size or (pinhole.width, pinhole.height)
    return (float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])), size


def _rays(numbers: Numbers, size: tuple[int, int]) -> np.ndarray:
    """Rays of all pixels of a picture, at depth 1. float64 [H, W, 2]"""
    fx, fy, cx, cy = numbers
    pixels = np.stack(np.meshgrid(np.arange(size[0]), np.arange(size[1])), axis=-1) + 0.5
    return (pixels - [cx, cy]) / [fx, fy]


@lru_cache(maxsize=4)
def _maps(lens: Lens, numbers: Numbers, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Where every pixel of the undistorted picture lies in the photo, as `cv2.remap` wants it."""
    import cv2

    if lens.projection != PERSPECTIVE or lens.radial8:
        xy = (pixels_of(lens, _rays(numbers, size)) - 0.5).astype(np.float32)
        if lens.projection == PERSPECTIVE:
            return cv2.convertMaps(xy[..., 0], xy[..., 1], cv2.CV_16SC2)
        xy[..., 0] += WRAP if lens.projection == EQUIRECTANGULAR else 0
        return np.nan_to_num(xy[..., 0], nan=-1.0), np.nan_to_num(xy[..., 1], nan=-1.0)
    fx, fy, cx, cy = numbers
    # OpenCV puts the centre of the first pixel at 0, not at 0.5.
    half_pixel = np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
    pinhole = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    return cv2.initUndistortRectifyMap(
        lens.K - half_pixel,
        padded(lens.distortion, 8),
        np.eye(3),
        pinhole - half_pixel,
        size,
        cv2.CV_16SC2,
    )


@lru_cache(maxsize=4)
def _seen(lens: Lens, numbers: Numbers, size: tuple[int, int]) -> np.ndarray | None:
    if lens.projection == EQUIRECTANGULAR or _is_own(lens, numbers, size):
        return None
    (fx, fy, cx, cy), (width, height) = numbers, size
    sides = np.array([cx / fx, (width - cx) / fx, cy / fy, (height - cy) / fy])
    if _covered_share(lens, sides) == 1.0:
        return None
    seen = _is_seen(lens, _rays(numbers, size))
    return None if seen.all() else seen


def is_own_pinhole(lens: Lens, K: np.ndarray, size: tuple[int, int]) -> bool:
    """Whether a picture is that of `pinhole_intrinsics`: the photo of a perspective lens shows all of it."""
    return _is_own(lens, *_chosen(lens, K, size))


def _is_own(lens: Lens, numbers: Numbers, size: tuple[int, int]) -> bool:
    if lens.projection != PERSPECTIVE or size != (lens.width, lens.height):
        return False
    try:
        K = pinhole_intrinsics(lens)
    except ValueError:
        return False
    return numbers == (K[0, 0], K[1, 1], K[0, 2], K[1, 2])


def _undistorted_centre(lens: Lens) -> np.ndarray:
    """The ray through the middle of the photo, at depth 1. [2]"""
    return rays_through(lens, np.array([lens.width / 2, lens.height / 2]))


def _covers(lens: Lens, centre: np.ndarray, zoom: float) -> bool:
    """Whether a pinhole with `zoom` times the focal length sees only what is inside the photo."""
    rays = _border() * [lens.width / lens.fx, lens.height / lens.fy] / zoom
    xy = centre + rays * np.linspace(0, 1, 9)[1:, None, None]
    return bool(_is_seen(lens, xy).all())
