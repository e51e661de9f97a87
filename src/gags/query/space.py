"""Where the Gaussians of a scene are, for everything that asks which of them are one solid body."""

from dataclasses import dataclass

import numpy as np

from gags.gaussians import Gaussians
from gags.query.boxes import OrientedBox, oriented_box
from gags.query.select import VOXELS_ACROSS, neighbourhoods, scene_size
from gags.query.voxels import Voxels
from gags.things.things import Things

SPECK = 0.1  # of the weight of a body's largest connected piece; smaller ones are floaters
SCRAP = 0.7  # of a piece that must lie within a body and close to it to be a scrap of it


@dataclass(eq=False)
class Space:
    """The Gaussians of a scene in a grid whose cells are a share of the scene's size.

    Attributes:
        means: Centres, world units. float64 [N, 3]
        opacities: float64 [N]
        voxels: Grid over the centres.
        known: Which Gaussians belong to things that are no parts. bool [N]
    """

    means: np.ndarray
    opacities: np.ndarray
    voxels: Voxels
    known: np.ndarray

    @classmethod
    def build(cls, gaussians: Gaussians, things: Things) -> "Space":
        """Sort the Gaussians of a scene, some of which belong to things, into a grid."""
        means = gaussians.means.cpu().double().numpy()
        opacities = gaussians.opacities.cpu().double().numpy()
        known = np.zeros(len(gaussians), bool)
        for thing in np.flatnonzero(things.parents < 0).tolist():
            known[things[thing]] = True
        voxels = neighbourhoods(means, scene_size(means, opacities) / VOXELS_ACROSS)
        return cls(means, opacities, voxels, known)

    def solid(self, rows: np.ndarray) -> np.ndarray:
        """Those Gaussians that are in connected pieces of some weight: floaters dropped. int64 [n] → [m]"""
        mask = np.zeros(len(self.means), bool)
        mask[rows] = True
        mass = self.voxels.sums(self.opacities * mask)
        pieces = self.voxels.pieces(mass > 0)
        piece_mass = np.bincount(pieces[mass > 0], mass[mass > 0])
        kept = np.append(piece_mass >= SPECK * piece_mass.max(), False)
        return np.flatnonzero(mask & kept[pieces][self.voxels.owner])

    def filled(self, rows: np.ndarray) -> np.ndarray:
        """A body with the Gaussians in it that are not known to be something else, seen by photos or not.

        Args:
            rows: Its Gaussians. [n]

        Returns:
            bool [N]
        """
        mask = np.zeros(len(self.means), bool)
        mask[rows] = True
        own = self.voxels.sums(self.opacities * mask)
        around = self.voxels.spread(own)
        others = self.voxels.spread(self.voxels.sums(self.opacities * (self.known & ~mask)))
        return mask | (~self.known & ((own > 0) & (around > others))[self.voxels.owner])

    def box(self, rows: np.ndarray) -> OrientedBox:
        """The box around some Gaussians. [n]"""
        return oriented_box(self.means[rows], self.opacities[rows])

    def is_scrap(self, mask: np.ndarray, whole: np.ndarray, box: OrientedBox) -> bool:
        """Whether a piece is cut out of a larger body: it lies in the body's box and close to its Gaussians.

        Args:
            mask: The piece. bool [N]
            whole: The larger body. bool [N]
            box: The box of the larger body.
        """
        rows = np.flatnonzero(mask)
        weights = self.opacities[rows]
        near = self.voxels.spread(self.voxels.sums(whole.astype(float))) > 0
        inside = weights @ box.contains(self.means[rows])
        return bool(min(inside, weights @ near[self.voxels.owner[rows]]) >= SCRAP * weights.sum())
