"""What the page gets of a scene: Gaussians in 23 bytes, their harmonics, and what is known of the scene.

A chunk holds up to `CHUNK` Gaussians as planes, one byte of every Gaussian a plane, so that what is alike
lies together when it is compressed; numbers are little-endian:

| planes | what |
|---|---|
| 12 | float32 x, y, z: byte 0 to 3 of each, world units |
| 4 | rotation: which of w, x, y, z is largest (2 bits), then the others, 10 bits each, over ±1/√2 |
| 3 | logarithms of the scales, 8 bits over `packing["log_scales"]` |
| 1 | opacity, 8 bits over 0 to 1 |
| 3 | colour of degree 0, 8 bits over `packing["colors"]` |

Harmonics above degree 0 come in chunks of their own: three planes (red, green, blue) a coefficient, 128 + 127
times its share of `packing["harmonics"]`, the largest value of its degree.

Gaussians come in an order of their own, most visible first, so that what has arrived looks like the scene.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gags.capture import Camera, View
from gags.gaussians import SH_C0, Gaussians

FORMAT = 1
CHUNK = 1 << 16  # Gaussians; 32 rows of the page's textures
TAIL = 1e-4  # share of colours and harmonics that may lie beyond what the largest byte stands for
THINNEST = 0.01  # share of the scales that may be less than what 0 stands for: thinner than a pixel is unseen
FARTHEST = 1e18  # world units; beyond, products of coordinates are no float32 any more


@dataclass(frozen=True, eq=False)
class Packed:
    """Gaussians as the page gets them.

    Attributes:
        order: Row of the scene's Gaussians for each of the page's. int64 [N]
        packing: What the bytes stand for: `log_scales` and `colors` as [least, largest], `harmonics` as the
            largest of degree 1, 2, 3.
        degree: Of the harmonics, 0 to 3.
    """

    order: np.ndarray
    packing: dict[str, list[float]]
    degree: int
    _planes: np.ndarray  # uint8 [23, N]
    _harmonics: np.ndarray  # uint8 [3 (K - 1), N]

    @classmethod
    def of(cls, gaussians: Gaussians) -> "Packed":
        """Pack Gaussians; those that are not finite are made invisible and put into the origin."""
        g = gaussians.to("cpu")
        means, log_scales = g.means.float().numpy(), g.log_scales.float().numpy()
        opacities, sh = g.opacities.float().numpy(), g.sh.float().numpy()
        quats = g.quats.double().numpy()
        finite = (np.isfinite(means), np.abs(means) < FARTHEST, ~np.isnan(log_scales), np.isfinite(quats))
        columns = [*finite, np.isfinite(sh).reshape(len(sh), -1)]
        sound = np.asarray(np.concatenate(columns, axis=1).all(axis=1))
        opacities = np.where(sound, np.nan_to_num(opacities), 0)
        log_scales = np.clip(np.nan_to_num(log_scales, nan=-20.0), -20.0, 20.0)
        order = most_visible_first(log_scales, opacities)
        colors = 0.5 + SH_C0 * np.nan_to_num(sh[:, 0])
        packing = {
            "log_scales": _range(log_scales, (THINNEST, 1.0)),
            "colors": _range(colors, (TAIL, 1 - TAIL)),
            "harmonics": harmonic_ranges(np.nan_to_num(sh[:, 1:])),
        }
        planes = np.concatenate(
            [
                _byte_planes(np.where(sound[:, None], means, 0).astype("<f4")[order]),
                _byte_planes(packed_rotations(np.where(sound[:, None], quats, [1.0, 0, 0, 0]))[order, None]),
                _as_bytes(log_scales[order], packing["log_scales"]).T,
                _as_bytes(opacities[order, None], [0.0, 1.0]).T,
                _as_bytes(colors[order], packing["colors"]).T,
            ]
        )
        harmonics = _harmonic_bytes(np.nan_to_num(sh[order, 1:]), packing["harmonics"])
        return cls(order, packing, g.sh_degree, planes, harmonics)

    def __len__(self) -> int:
        return len(self.order)

    @property
    def chunk_count(self) -> int:
        """How many chunks there are."""
        return -(-len(self) // CHUNK)

    def chunk(self, number: int) -> bytes:
        """One chunk, see the head of this file."""
        return np.ascontiguousarray(self._planes[:, number * CHUNK : (number + 1) * CHUNK]).tobytes()

    def harmonics(self, number: int) -> bytes:
        """The harmonics of one chunk; empty for degree 0."""
        return np.ascontiguousarray(self._harmonics[:, number * CHUNK : (number + 1) * CHUNK]).tobytes()

    def coarser(self) -> "Packed":
        """The same with 15 bits of the mantissas of positions and 4 or 5 bits of harmonics, as SPZ has them.

        Bytes that say less compress better; 1 part in 30,000 of a coordinate is less than a pixel.
        """
        planes = self._planes.copy()
        planes[[0, 4, 8]] = 0
        if not len(self._harmonics):
            return Packed(self.order, self.packing, self.degree, planes, self._harmonics)
        steps = np.where(np.arange(len(self._harmonics)) < 9, 8, 16)[:, None]
        rounded = np.round((self._harmonics.astype(np.int16) - 128) / steps) * steps + 128
        return Packed(
            self.order, self.packing, self.degree, planes, np.clip(rounded, 0, 255).astype(np.uint8)
        )


def most_visible_first(log_scales: np.ndarray, opacities: np.ndarray) -> np.ndarray:
    """Rows of Gaussians by opacity times the area of their largest side. [N, 3], [N] → int64 [N]"""
    area = log_scales.sum(axis=1) - log_scales.min(axis=1)
    return np.argsort(-(np.log(np.maximum(opacities, 1e-9)) + area), kind="stable")


def packed_rotations(quats: np.ndarray) -> np.ndarray:
    """Rotations in 32 bits, see the head of this file. wxyz of any length [N, 4] → uint32 [N]"""
    length = np.linalg.norm(quats, axis=1, keepdims=True)
    unit = np.where(length > 1e-12, quats / np.maximum(length, 1e-12), [1.0, 0, 0, 0])
    largest = np.abs(unit).argmax(axis=1)
    rows = np.arange(len(unit))
    unit = unit * np.where(unit[rows, largest] < 0, -1.0, 1.0)[:, None]
    others = np.array([[k for k in range(4) if k != left_out] for left_out in range(4)])[largest]
    three = unit[rows[:, None], others] / np.sqrt(2) + 0.5
    bits = np.clip(np.round(three * 1023), 0, 1023).astype(np.uint32)
    return (largest.astype(np.uint32) << 30) | bits[:, 0] << 20 | bits[:, 1] << 10 | bits[:, 2]


def harmonic_ranges(rest: np.ndarray) -> list[float]:
    """Largest coefficient of each degree above 0, but for `TAIL` of them. [N, K - 1, 3] → up to 3 numbers"""
    ranges, first = [], 0
    for width in (3, 5, 7):
        band = np.abs(rest[:, first : first + width])
        if band.size:
            ranges.append(max(float(np.quantile(band, 1 - TAIL)), 1e-6))
        first += width
    return ranges


def _harmonic_bytes(rest: np.ndarray, ranges: Sequence[float]) -> np.ndarray:
    """[N, K - 1, 3] → uint8 [3 (K - 1), N]"""
    largest = np.repeat(ranges, (3, 5, 7)[: len(ranges)])
    shares = np.clip(rest / largest[None, :, None], -1, 1)
    return np.round(128 + 127 * shares).astype(np.uint8).reshape(len(rest), -1).T


def _range(values: np.ndarray, quantiles: tuple[float, float]) -> list[float]:
    """What 0 and 255 stand for: a few odd values would take the steps from all others."""
    if not values.size:
        return [0.0, 1.0]
    low, high = (float(v) for v in np.quantile(values, quantiles))
    return [low, max(high, low + 1e-6)]


def _as_bytes(values: np.ndarray, between: Sequence[float]) -> np.ndarray:
    low, high = between
    return np.round(255 * np.clip((values - low) / (high - low), 0, 1)).astype(np.uint8)


def _byte_planes(values: np.ndarray) -> np.ndarray:
    """Bytes of numbers of 32 bits, the lowest of each first. [N, c] → uint8 [4 c, N]"""
    count, columns = values.shape
    return np.ascontiguousarray(values).view(np.uint8).reshape(count, 4 * columns).T


def owner_bytes(owner: np.ndarray, order: np.ndarray) -> bytes:
    """Smallest thing of each of the page's Gaussians, −1 for none: planes of an int32. int [N] → bytes"""
    return np.ascontiguousarray(_byte_planes(owner[order].astype("<i4")[:, None])).tobytes()


def cameras_json(views: Sequence[View]) -> list[dict[str, Any]]:
    """Cameras of photos for the page."""
    return [
        {"name": view.name, "held_out": view.split == "test"} | _camera_json(view.camera) for view in views
    ]


def _camera_json(camera: Camera) -> dict[str, Any]:
    return {
        "viewmat": _rounded(camera.viewmat.ravel()),
        "K": _rounded(camera.K.ravel()),
        "width": camera.width,
        "height": camera.height,
    }


def _rounded(values: np.ndarray, digits: int = 7) -> list[float]:
    """Numbers short enough to send; seven digits are what a float32 holds."""
    return [float(f"{value:.{digits}g}") for value in np.asarray(values, np.float64)]


def box_json(box: Any) -> dict[str, Any]:
    """An oriented box for the page: its centre, axes as rows, and the lengths of its sides."""
    return {
        "center": _rounded(box.center),
        "axes": [_rounded(axis) for axis in box.axes],
        "size": _rounded(box.size),
    }


def scene_json(
    packed: Packed,
    title: str,
    views: Sequence[View],
    up: np.ndarray,
    start: dict[str, Any],
    *,
    things: Sequence[dict[str, Any]] = (),
    **more: Any,
) -> dict[str, Any]:
    """What the page reads first.

    Args:
        packed: The Gaussians.
        title: Of the page.
        views: The photos.
        up: Up in the scene, of length 1. [3]
        start: `position`, `target`, `up` and `fov_y` (radians) of the first camera.
        things: See `gags.viewer.listed.listed_things`.
        more: Further entries, as `unit` or `suggestions`.
    """
    return {
        "version": FORMAT,
        "title": title,
        "count": len(packed),
        "sh_degree": packed.degree,
        "packing": packed.packing,
        "chunk": CHUNK,
        "up": _rounded(up),
        "start": start,
        "cameras": cameras_json(views),
        "unit": None,
        "things": list(things),
        **more,
    }


def all_chunks(packed: Packed) -> Iterator[bytes]:
    """Every chunk, in order."""
    return (packed.chunk(number) for number in range(packed.chunk_count))
