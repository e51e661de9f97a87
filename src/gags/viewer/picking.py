"""What is under the pointer: the Gaussians along a ray, front to back, and the things they belong to."""

from dataclasses import dataclass

import numpy as np

from gags.capture.camera import rotations
from gags.render.types import MAX_ALPHA, MIN_ALPHA
from gags.things.things import Things

FARTHEST_DEVIATION = 3.4  # standard deviations; farther out even an opaque Gaussian is below MIN_ALPHA
LEAST_STOPPED = 0.3  # share of the light that must be stopped, or the ray hits nothing
OWNED_WEIGHT = 0.5  # share of the weight along the ray that a thing must have, or the ray misses it


@dataclass(frozen=True, eq=False)
class RayHits:
    """Gaussians that a ray goes through, nearest first.

    Attributes:
        rows: Which. int64 [n]
        weights: Blending weight of each: w = αT. [n]
        distances: Along the ray, to where each is densest, in units of the direction's length. [n]
    """

    rows: np.ndarray
    weights: np.ndarray
    distances: np.ndarray

    @property
    def hit_anything(self) -> bool:
        """Whether the ray hits anything."""
        return bool(self.weights.sum() >= LEAST_STOPPED)

    @property
    def first(self) -> int:
        """The Gaussian at which the weights reach half of their sum. Needs at least one hit."""
        passed = np.cumsum(self.weights)
        return int(self.rows[np.searchsorted(passed, passed[-1] / 2)])


@dataclass(frozen=True, eq=False)
class Ellipsoids:
    """Gaussians in the form that rays are tested with.

    Attributes:
        means: Centres. float64 [N, 3]
        rotations: Their axes as columns. float64 [N, 3, 3]
        scales: Standard deviations along the axes. float64 [N, 3]
        opacities: float64 [N]
    """

    means: np.ndarray
    rotations: np.ndarray
    scales: np.ndarray
    opacities: np.ndarray

    def along(self, origin: np.ndarray, direction: np.ndarray, alive: np.ndarray | None = None) -> RayHits:
        """Composite the Gaussians along a ray, front to back.

        A Gaussian's alpha is its opacity times exp(−m²/2), where m is the least Mahalanobis distance of the
        ray from its centre. Rasterisation approximates this, and adds a low-pass filter for its pixels.

        Args:
            origin: Where the ray starts. [3]
            direction: Where it goes; any length but 0. [3]
            alive: Gaussians that take part; None for all. bool [N]
        """
        origin = np.asarray(origin, np.float64)
        direction = np.asarray(direction, np.float64) / np.linalg.norm(direction)
        offset = self.means - origin
        across = np.linalg.norm(offset - (offset @ direction)[:, None] * direction, axis=1)
        near = across <= FARTHEST_DEVIATION * self.scales.max(axis=1)
        rows = np.flatnonzero(near if alive is None else near & alive)
        # In the frame where the Gaussian is a unit ball, the nearest point of a line is a projection.
        ball_offset = np.einsum("nij,ni->nj", self.rotations[rows], offset[rows]) / self.scales[rows]
        ball_direction = (direction @ self.rotations[rows]) / self.scales[rows]
        lengths = np.einsum("nj,nj->n", ball_direction, ball_direction)
        distances = np.einsum("nj,nj->n", ball_direction, ball_offset) / lengths
        missed = ball_offset - distances[:, None] * ball_direction
        alphas = self.opacities[rows] * np.exp(-0.5 * np.einsum("nj,nj->n", missed, missed))
        kept = (alphas >= MIN_ALPHA) & (distances > 0)
        order = np.flatnonzero(kept)[np.argsort(distances[kept], kind="stable")]
        alphas = np.minimum(alphas[order], MAX_ALPHA)
        weights = alphas * np.cumprod(np.concatenate([[1.0], 1 - alphas[:-1]]))[: len(alphas)]
        return RayHits(rows[order], weights, distances[order])


def rotation_matrices(quats: np.ndarray) -> np.ndarray:
    """Rotations of wxyz quaternions of any length but 0. [N, 4] → [N, 3, 3]"""
    return rotations(quats / np.linalg.norm(quats, axis=1, keepdims=True))


def things_hit(things: Things, hits: RayHits) -> list[int]:
    """Rows of the things that a ray hits: a thing, its parts, and last the groups that it is in."""
    least = OWNED_WEIGHT * hits.weights.sum()
    hit = [
        thing
        for thing in range(len(things))
        if things.stands_out(thing) and hits.weights[np.isin(hits.rows, things[thing])].sum() >= least
    ]
    return sorted(hit, key=lambda thing: things.is_group[thing])  # each comes after its whole
