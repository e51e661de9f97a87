"""A grid over the Gaussians of a scene: who is whose neighbour, and which pieces hang together."""

from dataclasses import dataclass, replace

import numpy as np

_OFFSETS = np.stack(np.meshgrid(*[(-1, 0, 1)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)

VOXELS_ACROSS = 150  # of the scene; one voxel is the neighbourhood that values are smoothed over
MIN_NEIGHBOURS = 16  # Gaussians that half of them must find in the voxels around them


@dataclass(eq=False)
class Voxels:
    """Occupied voxels of some points.

    Attributes:
        owner: Voxel of each point. int64 [N]
        neighbours: The 27 voxels around each voxel, itself included, -1 where empty. int64 [V, 27]
        size: Side of a voxel, world units.
        scene: Size of the scene (`scene_size`), world units; 0 if that is not known.
    """

    owner: np.ndarray
    neighbours: np.ndarray
    size: float
    scene: float = 0.0

    @classmethod
    def build(cls, xyz: np.ndarray, size: float) -> "Voxels":
        """Sort points [N, 3] into cubes of side `size`."""
        cells = np.floor((xyz - xyz.min(axis=0)) / size).astype(np.int64) + 1
        sides = cells.max(axis=0) + 2
        strides = np.array([sides[1] * sides[2], sides[2], 1], np.int64)
        keys, owner = np.unique(cells @ strides, return_inverse=True)
        wanted = keys[:, None] + _OFFSETS @ strides
        found = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
        return cls(owner.reshape(-1), np.where(keys[found] == wanted, found, -1), size)

    @classmethod
    def of_scene(cls, means: np.ndarray, opacities: np.ndarray) -> "Voxels":
        """The grid that things are found and texts are answered on: cells are a share of the scene's size."""
        scene = scene_size(means, opacities)
        return replace(neighbourhoods(means, scene / VOXELS_ACROSS), scene=scene)

    def __len__(self) -> int:
        return len(self.neighbours)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sum of the points' values in every voxel. [N] → [V]"""
        return np.bincount(self.owner, values, minlength=len(self))

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Sum of the voxels' values over the 27 voxels around each. [V] → [V]"""
        return np.append(values, 0.0)[self.neighbours].sum(axis=1)

    def holding(self, rows: np.ndarray) -> np.ndarray:
        """Voxels that hold any of some points. [n] → bool [V]"""
        held = np.zeros(len(self), bool)
        held[self.owner[rows]] = True
        return held

    def around(self, cells: np.ndarray) -> np.ndarray:
        """Some voxels and all that touch one, in order. int64 [n] → [m]"""
        near = np.unique(self.neighbours[cells])
        return near[near >= 0]

    def pieces(self, chosen: np.ndarray) -> np.ndarray:
        """Number the connected pieces (faces, edges and corners touch) of chosen voxels.

        Args:
            chosen: bool [V]

        Returns:
            Piece of each voxel, 0, 1, …; -1 for those not chosen. int64 [V]
        """
        cells = np.flatnonzero(chosen)
        nothing = len(cells)
        numbers = np.full(len(self), -1)
        if not nothing:
            return numbers
        near = self.neighbours[cells]
        place = np.searchsorted(cells, near).clip(max=nothing - 1)
        near = np.where(cells[place] == near, place, nothing)  # places among the chosen ones
        label = np.arange(nothing)
        while True:
            least = np.append(label, nothing)[near].min(axis=1)
            least = least[least]  # a label is a chosen voxel: take over its label too
            if np.array_equal(least, label):
                break
            label = least
        numbers[cells] = np.unique(label, return_inverse=True)[1].reshape(-1)
        return numbers


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
