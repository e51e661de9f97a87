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

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gags.capture import Camera, View
from gags.files.contents import is_finite
from gags.gaussians import SH_C0, Gaussians

FORMAT = 1
CHUNK = 1 << 16  # Gaussians; 32 rows of the page's textures
BLOCK = 1 << 12  # Gaussians that are worked on together, so that they stay in the caches
SAMPLED = 1 << 15  # Gaussians that say about how large values are
TAIL = 1e-4  # share of colours and harmonics that may lie beyond what the largest byte stands for
THINNEST = 0.01  # share of the scales that may be less than what 0 stands for: thinner than a pixel is unseen
FARTHEST = 1e18  # world units; beyond, products of coordinates are no float32 any more


@dataclass(frozen=True, eq=False)
class Packed:
    """Gaussians as the page gets them. Chunks are packed when they are asked for: no second copy is kept.

    Attributes:
        order: Row of the scene's Gaussians for each of the page's. int64 [N]
        packing: What the bytes stand for: `log_scales` and `colors` as [least, largest], `harmonics` as the
            largest of degree 1, 2, 3.
        degree: Of the harmonics, 0 to 3.
    """

    order: np.ndarray
    packing: dict[str, list[float]]
    degree: int
    _values: "_Values"
    _coarse: bool = False

    @classmethod
    def of(cls, gaussians: Gaussians) -> "Packed":
        """Pack Gaussians; those that are not finite are made invisible and put into the origin."""
        values = _Values.of(gaussians)
        rest = values.sh[:, 1:]
        packing = {
            "log_scales": _range(values.log_scales, THINNEST, 0.0),
            "colors": _range(_color(values.sh[:, 0]), TAIL, TAIL),
            "harmonics": harmonic_ranges(rest),
        }
        order = most_visible_first(values.log_scales, values.opacities)
        return cls(order, packing, gaussians.sh_degree, values)

    def __len__(self) -> int:
        return len(self.order)

    @property
    def chunk_count(self) -> int:
        """How many chunks there are."""
        return -(-len(self) // CHUNK)

    def chunk(self, number: int) -> bytes:
        """One chunk, see the head of this file."""
        rows = self.order[number * CHUNK : (number + 1) * CHUNK]
        values, sound = self._values, self._values.sound[rows, None]
        means = _byte_planes(np.where(sound, values.means[rows], 0).astype("<f4", copy=False))
        if self._coarse:
            means[[0, 4, 8]] = 0
        quats = np.where(sound, values.quats[rows], np.array([1, 0, 0, 0], np.float32))
        return b"".join(
            planes.tobytes()
            for planes in (
                means,
                _byte_planes(packed_rotations(quats)[:, None]),
                _as_bytes(values.log_scales[rows], self.packing["log_scales"]).T,
                _as_bytes(values.opacities[rows, None], [0.0, 1.0]).T,
                _as_bytes(_color(values.sh[rows, 0]), self.packing["colors"]).T,
            )
        )

    def harmonics(self, number: int) -> bytes:
        """The harmonics of one chunk; empty for degree 0."""
        rows = self.order[number * CHUNK : (number + 1) * CHUNK]
        planes = np.empty((3 * (self._values.sh.shape[1] - 1), len(rows)), np.uint8)
        for first in range(0, len(rows), BLOCK):
            some = rows[first : first + BLOCK]
            rest = self._values.sh[some, 1:]
            if not self._values.sound[some].all():
                rest = np.nan_to_num(rest)
            planes[:, first : first + BLOCK] = _harmonic_bytes(rest, self.packing["harmonics"])
        return (_rounded_harmonics(planes) if self._coarse else planes).tobytes()

    def coarser(self) -> "Packed":
        """The same with 15 bits of the mantissas of positions and 4 or 5 bits of harmonics, as SPZ has them.

        Bytes that say less compress better; 1 part in 30,000 of a coordinate is less than a pixel.
        """
        return replace(self, _coarse=True)


@dataclass(frozen=True, eq=False)
class _Values:
    """Values of Gaussians on the CPU as they are packed, in the scene's order.

    Attributes:
        sound: Which are finite; the others are packed as nothing. bool [N]
        opacities: 0 of those that are not. float32 [N]
        log_scales: Finite. float32 [N, 3]
        means, quats, sh: As they are, also where they are not finite. float32 [N, 3], [N, 4], [N, K, 3]
    """

    sound: np.ndarray
    opacities: np.ndarray
    log_scales: np.ndarray
    means: np.ndarray
    quats: np.ndarray
    sh: np.ndarray

    @classmethod
    def of(cls, gaussians: Gaussians) -> "_Values":
        g = gaussians.to("cpu")
        means, quats, log_scales, sh = (
            np.ascontiguousarray(tensor.detach().float().numpy())
            for tensor in (g.means, g.quats, g.log_scales, g.sh)
        )
        usable = (np.abs(means) < FARTHEST, ~np.isnan(log_scales), np.isfinite(quats))
        sound = np.asarray(np.concatenate(usable, axis=1).all(axis=1))
        for rows in _blocks(len(sh)):
            if not is_finite(sh[rows]):
                sound[rows] &= np.isfinite(sh[rows]).all(axis=(1, 2))
        opacities = np.where(sound, np.nan_to_num(g.opacities.detach().float().numpy()), 0)
        return cls(
            sound, opacities, np.clip(np.nan_to_num(log_scales, nan=-20.0), -20.0, 20.0), means, quats, sh
        )


def _color(base: np.ndarray) -> np.ndarray:
    """Colours of degree 0. [..., 3] → [..., 3]"""
    return np.float32(0.5) + np.float32(SH_C0) * np.nan_to_num(base)


def _blocks(count: int) -> Iterator[slice]:
    """Rows in pieces that fit the caches."""
    return (slice(first, first + BLOCK) for first in range(0, count, BLOCK))


def most_visible_first(log_scales: np.ndarray, opacities: np.ndarray) -> np.ndarray:
    """Rows of Gaussians by opacity times the area of their largest side. [N, 3], [N] → int64 [N]"""
    area = log_scales.sum(axis=1) - log_scales.min(axis=1)
    return np.argsort(-(np.log(np.maximum(opacities, 1e-9)) + area), kind="stable")


def packed_rotations(quats: np.ndarray) -> np.ndarray:
    """Rotations in 32 bits, see the head of this file. wxyz of any length [N, 4] → uint32 [N]"""
    length = np.sqrt(np.square(quats.astype(np.float64)).sum(axis=1, keepdims=True))
    unit = np.where(length > 1e-12, quats / np.maximum(length, 1e-12), [1.0, 0, 0, 0])
    largest = np.abs(unit).argmax(axis=1)
    rows = np.arange(len(unit))
    unit *= np.where(unit[rows, largest] < 0, -1.0, 1.0)[:, None]
    bits = np.clip(np.round((unit / np.sqrt(2) + 0.5) * 1023), 0, 1023).astype(np.uint32)
    a, b, c = (np.where(largest > k, bits[:, k], bits[:, k + 1]) for k in range(3))  # without the largest
    return (largest.astype(np.uint32) << 30) | a << 20 | b << 10 | c


def harmonic_ranges(rest: np.ndarray) -> list[float]:
    """Largest coefficient of each degree above 0, but for `TAIL` of them. [N, K - 1, 3] → up to 3 numbers"""
    ranges, first = [], 0
    for width in (3, 5, 7):
        if rest[:, first : first + width].size:
            band = slice(first, first + width)
            largest = upper_quantile(lambda rows, band=band: np.abs(rest[rows, band]), len(rest), TAIL)
            ranges.append(max(largest, 1e-6))
        first += width
    return ranges


def upper_quantile(values: Callable[[slice], np.ndarray], count: int, share: float) -> float:
    """The quantile that `share` of some values lies above, as `np.quantile` gives it, without sorting all.

    A sample says about where it is; what lies above that, a few percent, is sorted.

    Args:
        values: Those of some of the rows, the same number of each row; what is not a number counts as 0.
        count: How many rows there are, at least one.
        share: In [0, 1).
    """
    sample = np.nan_to_num(values(slice(None, None, -(-count // SAMPLED))))
    total = count * values(slice(0, 1)).size
    place = (total - 1) * (1 - share)
    needed = total - int(place)  # of the largest values, with both that the quantile lies between
    bar = np.quantile(sample, max(0.0, 1 - 2 * needed / total - 1e-3))
    found = [block[block > bar] for block in map(values, _blocks(count))]
    largest = np.sort(np.nan_to_num(np.concatenate(found)))
    if len(largest) < needed:  # the sample misled, or many values are equal
        every = np.concatenate([values(rows).ravel() for rows in _blocks(count)])
        return float(np.quantile(np.nan_to_num(every), 1 - share))
    low, high = (float(largest[min(len(largest) - needed + k, len(largest) - 1)]) for k in (0, 1))
    return low + (high - low) * (place - int(place))


def _harmonic_bytes(rest: np.ndarray, ranges: Sequence[float]) -> np.ndarray:
    """[N, K - 1, 3] → uint8 [3 (K - 1), N]"""
    factors = np.repeat([127 / largest for largest in ranges], (3, 5, 7)[: len(ranges)])
    steps = rest * factors.astype(np.float32)[:, None]
    np.clip(steps, -127, 127, out=steps)
    steps += 128
    return np.rint(steps, out=steps).astype(np.uint8).reshape(len(rest), -1).T


def _rounded_harmonics(planes: np.ndarray) -> np.ndarray:
    """Bytes of harmonics with 5 bits for degree 1, 4 for the others. uint8 [3 (K - 1), N]"""
    steps = np.where(np.arange(len(planes)) < 9, 8, 16)[:, None]
    rounded = np.round((planes.astype(np.int16) - 128) / steps) * steps + 128
    return np.clip(rounded, 0, 255).astype(np.uint8)


def _range(values: np.ndarray, below: float, above: float) -> list[float]:
    """What 0 and 255 stand for: a few odd values would take the steps from all others."""
    if not values.size:
        return [0.0, 1.0]
    low = -upper_quantile(lambda rows: -values[rows], len(values), below)
    return [low, max(upper_quantile(lambda rows: values[rows], len(values), above), low + 1e-6)]


def _as_bytes(values: np.ndarray, between: Sequence[float]) -> np.ndarray:
    low, high = between
    shares = (values - np.float32(low)) * np.float32(255 / (high - low))
    return np.rint(np.clip(shares, 0, 255)).astype(np.uint8)


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
        things: See `gags.viewer.kept.KeptList`.
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
