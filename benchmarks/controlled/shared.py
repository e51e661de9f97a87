"""Noise that photos taken side by side share: a smooth random process over the places of cameras.

Noise drawn for every photo alone averages out over many photos. What light, a highlight or the side that a
thing shows does to an embedding does not: photos from nearly the same place have it in common. Here such
noise is a random field on the surface that changes smoothly as the camera moves. At spot x, seen from p,

    n(p, x) = Σ_r c_r(p) g_r(x),  c_r(p) ∝ cos(ω_r·p + φ_r),  Σ_r c_r² = 1,

with g_r independent for every spot and wave r, and frequencies ω_r drawn so that noise of two cameras at a
distance δ has a correlation of about exp(−δ² / 2ℓ²) (random Fourier features; Rahimi and Recht 2007).
"""

from dataclasses import dataclass

import numpy as np

from benchmarks.controlled.names import generator
from benchmarks.controlled.textures import surface_points
from gags.capture import Camera

LENGTH = 0.3  # ℓ, world units (m in pantry): two to three photos of a ring stand within it
SPOT_SIDE = 0.05  # world units, of a spot of surface that has noise of its own
SPOTS = 1024  # spots of the whole scene; far apart ones may fall together
WAVES = 64  # r; correlations come out within about 1 / √WAVES


@dataclass(frozen=True, eq=False)
class Place:
    """Where a view was taken from, and what of the surface it sees.

    Attributes:
        position: Of the camera, world units. [3]
        spots: Spot of the surface at every pixel, below `SPOTS`. int64 [H, W]
    """

    position: np.ndarray
    spots: np.ndarray

    @classmethod
    def of(cls, camera: Camera, depth: np.ndarray) -> "Place":
        """Place of a camera from the depth of its view, of any size."""
        points = surface_points(depth, camera, camera.width, camera.height)
        x, y, z = np.moveaxis(np.floor(points / SPOT_SIDE).astype(np.int64), -1, 0)
        # Three primes mix the coordinates (Teschner et al. 2003).
        return cls(camera.position, ((x * 73856093) ^ (y * 19349663) ^ (z * 83492791)) % SPOTS)


class SharedNoise:
    """The process n.

    Args:
        seed: Of the process.
        kinds: Directions of the misleading part of the noise, scaled. [K, D]
        misleading: Share of that part, in energy.
        length: Correlation length ℓ, world units.
    """

    def __init__(self, seed: int, kinds: np.ndarray, misleading: float, length: float = LENGTH) -> None:
        rng = generator("shared noise", seed)
        dim = kinds.shape[1]
        self._frequencies = rng.standard_normal((WAVES, 3)) / length
        self._phases = rng.uniform(0, 2 * np.pi, WAVES)
        # Wave by wave, in float32: together they are 130 MB.
        self._fields = np.empty((WAVES, SPOTS, dim), np.float32)
        for field in self._fields:
            field[:] = np.sqrt(misleading) * rng.standard_normal((SPOTS, len(kinds))) @ kinds
            field += np.sqrt((1 - misleading) / dim) * rng.standard_normal((SPOTS, dim))

    def weights(self, position: np.ndarray) -> np.ndarray:
        """Weight c of every wave for a camera at a place [3]; a unit vector. [WAVES]"""
        waves = np.cos(self._frequencies @ position + self._phases)
        return waves / np.linalg.norm(waves)

    def seen_from(self, position: np.ndarray) -> np.ndarray:
        """Noise of every spot, of length 1 on average. float64 [SPOTS, D]"""
        return np.tensordot(self.weights(position), self._fields, axes=1).astype(float)
