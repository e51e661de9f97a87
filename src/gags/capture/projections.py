"""Where lenses put the rays that they see: one formula a family of lenses, at focal length 1.

Formulas are those of OpenCV's and COLMAP's camera models. A lens is a pinhole with polynomials (perspective),
one that bends by the angle from its axis (the fisheyes), or a whole panorama.
"""

from collections.abc import Callable, Sequence

import numpy as np

PERSPECTIVE, EQUIRECTANGULAR = "perspective", "equirectangular"


def padded(coefficients: Sequence[float], count: int) -> np.ndarray:
    """Coefficients with zeros for those that were left out. float64 [count]"""
    whole = np.zeros(count)
    whole[: len(coefficients)] = coefficients
    return whole


def rational(coefficients: Sequence[float], radial8: float, xy: np.ndarray) -> np.ndarray:
    """OpenCV's rational and tangential model, and r⁸, on coordinates at depth 1. [..., 2] → [..., 2]"""
    k1, k2, p1, p2, k3, k4, k5, k6 = padded(coefficients, 8)
    x, y = xy[..., 0], xy[..., 1]
    r2 = x * x + y * y
    numerator = 1 + r2 * (k1 + r2 * (k2 + r2 * (k3 + r2 * radial8)))
    radial = numerator / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    return np.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        ],
        axis=-1,
    )


def _by_angle(rays: np.ndarray) -> np.ndarray:
    """Angles from the axis, in the direction of the ray: the equidistant fisheye. [..., 3] → [..., 2]"""
    radius = np.linalg.norm(rays[..., :2], axis=-1)
    angle = np.arctan2(radius, rays[..., 2])
    return rays[..., :2] * (angle / np.where(radius > 0, radius, 1))[..., None]


def _fisheye(coefficients: Sequence[float], rays: np.ndarray) -> np.ndarray:
    """k1 … k4 of θ³ … θ⁹ (Kannala and Brandt 2006, as OpenCV's fisheye module has it)."""
    k1, k2, k3, k4 = padded(coefficients, 4)
    xy = _by_angle(rays)
    t2 = (xy * xy).sum(-1)
    return xy * (1 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4))))[..., None]


def _thin_prism_fisheye(coefficients: Sequence[float], rays: np.ndarray) -> np.ndarray:
    """k1, k2, p1, p2, k3, k4, sx1, sy1 (Weng et al. 1992) on angles from the axis."""
    k1, k2, p1, p2, k3, k4, sx1, sy1 = padded(coefficients, 8)
    xy = _by_angle(rays)
    x, y = xy[..., 0], xy[..., 1]
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * (k3 + r2 * k4)))
    return np.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x) + sx1 * r2,
            y * radial + 2 * p2 * x * y + p1 * (r2 + 2 * y * y) + sy1 * r2,
        ],
        axis=-1,
    )


def _rad_tan_thin_prism_fisheye(coefficients: Sequence[float], rays: np.ndarray) -> np.ndarray:
    """k0 … k5 of θ³ … θ¹³, p0, p1, s0 … s3 (Project Aria's Fisheye624)."""
    k0, k1, k2, k3, k4, k5, p0, p1, s0, s1, s2, s3 = padded(coefficients, 12)
    xy = _by_angle(rays)
    t2 = (xy * xy).sum(-1)
    series = k0 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * (k4 + t2 * k5))))
    xy = xy * (1 + t2 * series)[..., None]
    x, y = xy[..., 0], xy[..., 1]
    r2 = x * x + y * y
    along = 2 * (x * p0 + y * p1)
    return np.stack(
        [
            x + x * along + r2 * (p0 + s0 + r2 * s1),
            y + y * along + r2 * (p1 + s2 + r2 * s3),
        ],
        axis=-1,
    )


def _field_of_view(coefficients: Sequence[float], rays: np.ndarray) -> np.ndarray:
    """ω of Devernay and Faugeras (2001): the radius is atan(2 r tan(ω/2)) / ω. Only of rays ahead."""
    (omega,) = padded(coefficients, 1)
    xy = _ahead(rays)
    r = np.linalg.norm(xy, axis=-1)
    if omega == 0:
        return xy
    slope = 2 * np.tan(omega / 2)
    return xy * np.where(r > 1e-8, np.arctan(r * slope) / np.where(r > 1e-8, r, 1), slope)[..., None] / omega


def _division(coefficients: Sequence[float], rays: np.ndarray) -> np.ndarray:
    """k of Fitzgibbon (2001): a radius r in the photo is seen at r / (1 + k r²) at depth 1."""
    (k,) = padded(coefficients, 1)
    z = rays[..., 2]
    inner = z * z - 4 * k * (rays[..., :2] ** 2).sum(-1)
    divisor = z + np.sqrt(np.where(inner >= 0, inner, np.nan))
    return 2 * rays[..., :2] / np.where(divisor > 0, divisor, np.nan)[..., None]


def _unified(coefficients: Sequence[float], rays: np.ndarray) -> np.ndarray:
    """α and β of the enhanced unified camera model (Khomutenko et al. 2016)."""
    alpha, beta = padded(coefficients, 2)
    z = rays[..., 2]
    distance = np.sqrt(beta * (rays[..., :2] ** 2).sum(-1) + z * z)
    divisor = alpha * distance + (1 - alpha) * z
    # Beyond this angle two rays meet in one pixel.
    least = -alpha / (1 - alpha) if alpha <= 0.5 else -(1 - alpha) / alpha
    whole = (divisor > 0) & (z > least * distance)
    return rays[..., :2] / np.where(whole, divisor, np.nan)[..., None]


def _panorama(coefficients: Sequence[float], rays: np.ndarray) -> np.ndarray:
    """Longitude to the right, latitude down, both in radians."""
    x, y, z = np.moveaxis(rays, -1, 0)
    return np.stack([np.arctan2(x, z), np.arctan2(y, np.hypot(x, z))], axis=-1)


def _ahead(rays: np.ndarray) -> np.ndarray:
    """Coordinates at depth 1, NaN of rays that do not go ahead. [..., 3] → [..., 2]"""
    z = rays[..., 2:]
    return rays[..., :2] / np.where(z > 0, z, np.nan)


Formula = Callable[[Sequence[float], np.ndarray], np.ndarray]

FORMULAS: dict[str, tuple[int, Formula]] = {
    "fisheye": (4, _fisheye),
    "thin-prism-fisheye": (8, _thin_prism_fisheye),
    "rad-tan-thin-prism-fisheye": (12, _rad_tan_thin_prism_fisheye),
    "field-of-view": (1, _field_of_view),
    "division": (1, _division),
    "unified": (2, _unified),
    EQUIRECTANGULAR: (0, _panorama),
}
"""Of every projection but the perspective one: how many coefficients it has at most, and its formula."""


def project(
    projection: str, coefficients: Sequence[float], rays: np.ndarray, *, radial8: float = 0.0
) -> np.ndarray:
    """Where rays appear, at focal length 1 about the optical axis.

    Args:
        projection: "perspective", or one of `FORMULAS`.
        coefficients: Of its formula; may stop early.
        rays: Directions in the camera's frame (+x right, +y down, +z ahead), of any length but 0. [..., 3]
        radial8: Coefficient of r⁸ of a perspective lens.

    Returns:
        NaN where the lens sees no such ray. Beyond the angle at which a polynomial turns back, rays are
        where other ones are, too: see `gags.capture.lens`. float64 [..., 2]
    """
    if projection == PERSPECTIVE:
        return rational(coefficients, radial8, _ahead(rays))
    return FORMULAS[projection][1](coefficients, rays)
