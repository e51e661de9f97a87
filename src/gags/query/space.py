"""Where the Gaussians of a scene are: a grid over them, neighbourhoods, connected pieces without floaters."""

from dataclasses import dataclass

import numpy as np

from gags.gaussians import Gaussians
from gags.query.boxes import OrientedBox, oriented_box
from gags.things.things import Things
from gags.things.voxels import Voxels

FLOATER_SHARE = 0.1  # of the weight of the largest connected piece; pieces with less are floaters
FRAGMENT_SHARE = 0.7  # of a piece that must lie within a larger one and close to it to be a fragment of it


@dataclass(eq=False)
class Space:
    """The Gaussians of a scene in a grid whose cells are a share of the scene's size.

    Attributes:
        means: Centres, world units. float64 [N, 3]
        opacities: float64 [N]
        voxels: Grid over the centres.
        in_a_thing: Which Gaussians belong to a thing that is no part. bool [N]
    """

    means: np.ndarray
    opacities: np.ndarray
    voxels: Voxels
    in_a_thing: np.ndarray

    @classmethod
    def build(cls, gaussians: Gaussians, things: Things) -> "Space":
        """Sort the Gaussians of a scene, some of which belong to things, into a grid."""
        means = gaussians.means.cpu().double().numpy()
        opacities = gaussians.opacities.cpu().double().numpy()
        in_a_thing = np.zeros(len(gaussians), bool)
        for thing in np.flatnonzero((things.parents < 0) & ~things.is_leftover).tolist():
            in_a_thing[things[thing]] = True
        return cls(means, opacities, Voxels.of_scene(means, opacities), in_a_thing)

    def without_floaters(self, rows: np.ndarray) -> np.ndarray:
        """Those of some Gaussians, in order, that lie in connected pieces of enough weight. [n] → [m]"""
        cells = self.voxels.owner[rows]
        mass = np.bincount(cells, self.opacities[rows], minlength=len(self.voxels))
        pieces = self.voxels.pieces(mass > 0)
        piece_mass = np.bincount(pieces[mass > 0], mass[mass > 0])
        kept = np.append(piece_mass >= FLOATER_SHARE * piece_mass.max(), False)
        return rows[kept[pieces][cells]]

    def filled(self, rows: np.ndarray) -> np.ndarray:
        """Some Gaussians, and those close around them that belong to no thing, seen by photos or not.

        Args:
            rows: The Gaussians. [n]

        Returns:
            bool [N]
        """
        mask = np.zeros(len(self.means), bool)
        mask[rows] = True
        own = self.voxels.sums(self.opacities * mask)
        around = self.voxels.spread(own)
        others = self.voxels.spread(self.voxels.sums(self.opacities * (self.in_a_thing & ~mask)))
        return mask | (~self.in_a_thing & ((own > 0) & (around > others))[self.voxels.owner])

    def box(self, rows: np.ndarray) -> OrientedBox:
        """The box around some Gaussians. [n]"""
        return oriented_box(self.means[rows], self.opacities[rows])

    def is_fragment(self, mask: np.ndarray, whole: np.ndarray, box: OrientedBox) -> bool:
        """Whether a piece is cut out of a larger one: it lies in the larger one's box, near its Gaussians.

        Args:
            mask: The piece. bool [N]
            whole: The larger piece. bool [N]
            box: The box of the larger piece.
        """
        rows = np.flatnonzero(mask)
        weights = self.opacities[rows]
        near = self.voxels.spread(self.voxels.sums(whole.astype(float))) > 0
        inside = weights @ box.contains(self.means[rows])
        return bool(min(inside, weights @ near[self.voxels.owner[rows]]) >= FRAGMENT_SHARE * weights.sum())


def extent(points: np.ndarray, weights: np.ndarray) -> float:
    """Median distance of points [n, 3] with weights [n] from their middle; floaters lie far. n ≥ 1"""
    middle = np.array([weighted_median(column, weights) for column in points.T])
    return weighted_median(np.linalg.norm(points - middle, axis=1), weights)


def weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    """The value that half of the weight is not above. [n], [n], n ≥ 1"""
    return weighted_quantile(values, weights, 0.5)


def weighted_quantile(values: np.ndarray, weights: np.ndarray, share: float) -> float:
    """The value that a share of the weight is not above. [n], [n], n ≥ 1"""
    order = np.argsort(values)
    below = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(below, share * below[-1])])
