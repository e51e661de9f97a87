"""Where the Gaussians of a scene are: a grid over them, neighbourhoods, connected pieces without floaters."""

from dataclasses import dataclass

import numpy as np

from gags.gaussians import Gaussians
from gags.query.boxes import OrientedBox, oriented_box
from gags.things.things import Things

_OFFSETS = np.stack(np.meshgrid(*[(-1, 0, 1)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)


@dataclass(eq=False)
class Voxels:
    """Occupied voxels of some points.

    Attributes:
        owner: Voxel of each point. int64 [N]
        neighbours: The 27 voxels around each voxel, itself included, -1 where empty. int64 [V, 27]
    """

    owner: np.ndarray
    neighbours: np.ndarray

    @classmethod
    def build(cls, xyz: np.ndarray, size: float) -> "Voxels":
        """Sort points [N, 3] into cubes of side `size`."""
        cells = np.floor((xyz - xyz.min(axis=0)) / size).astype(np.int64) + 1
        sides = cells.max(axis=0) + 2
        strides = np.array([sides[1] * sides[2], sides[2], 1], np.int64)
        keys, owner = np.unique(cells @ strides, return_inverse=True)
        wanted = keys[:, None] + _OFFSETS @ strides
        found = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
        return cls(owner.reshape(-1), np.where(keys[found] == wanted, found, -1))

    def __len__(self) -> int:
        return len(self.neighbours)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sum of the points' values in every voxel. [N] → [V]"""
        return np.bincount(self.owner, values, minlength=len(self))

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Sum of the voxels' values over the 27 voxels around each. [V] → [V]"""
        return np.append(values, 0.0)[self.neighbours].sum(axis=1)

    def pieces(self, chosen: np.ndarray) -> np.ndarray:
        """Number the connected pieces (faces, edges and corners touch) of chosen voxels.

        Args:
            chosen: bool [V]

        Returns:
            Piece of each voxel, 0, 1, …; -1 for those not chosen. int64 [V]
        """
        nothing = len(self)
        label = np.where(chosen, np.arange(len(self)), nothing)
        while True:
            around = np.append(label, nothing)[self.neighbours].min(axis=1)
            least = np.where(chosen, around, nothing)
            least = np.append(least, nothing)[least]  # a label is a voxel: take over its label too
            if np.array_equal(least, label):
                break
            label = least
        numbers = np.full(len(self), -1)
        numbers[chosen] = np.unique(label[chosen], return_inverse=True)[1].reshape(-1)
        return numbers


VOXELS_ACROSS = 150  # of the scene; one voxel is the neighbourhood that relevancy is smoothed over
MIN_NEIGHBOURS = 16  # Gaussians that half of them must find in the voxels around them
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
        for thing in np.flatnonzero(things.parents < 0).tolist():
            in_a_thing[things[thing]] = True
        voxels = neighbourhoods(means, scene_size(means, opacities) / VOXELS_ACROSS)
        return cls(means, opacities, voxels, in_a_thing)

    def without_floaters(self, rows: np.ndarray) -> np.ndarray:
        """Those of some Gaussians that lie in connected pieces of enough weight. int64 [n] → [m]"""
        mask = np.zeros(len(self.means), bool)
        mask[rows] = True
        mass = self.voxels.sums(self.opacities * mask)
        pieces = self.voxels.pieces(mass > 0)
        piece_mass = np.bincount(pieces[mass > 0], mass[mass > 0])
        kept = np.append(piece_mass >= FLOATER_SHARE * piece_mass.max(), False)
        return np.flatnonzero(mask & kept[pieces][self.voxels.owner])

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


def scene_size(means: np.ndarray, opacities: np.ndarray) -> float:
    """Diagonal of the box of the middle 90 % of the opaque Gaussians along every axis, world units."""
    opaque = means[opacities > 0.5] if (opacities > 0.5).any() else means
    low, high = np.percentile(opaque, [5, 95], axis=0)
    return float(np.linalg.norm(high - low)) or 1.0


def neighbourhoods(means: np.ndarray, size: float) -> Voxels:
    """Voxels of side `size`, or larger where Gaussians are too sparse to be each other's neighbours."""
    while True:
        voxels = Voxels.build(means, size)
        around = voxels.spread(voxels.sums(np.ones(len(means))))
        if np.median(around[voxels.owner]) >= min(MIN_NEIGHBOURS, len(means)):
            return voxels
        size *= 1.5
