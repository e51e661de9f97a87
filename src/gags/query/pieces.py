"""Connected pieces of what matches a text, where nothing is known about things: a scene without masks."""

import numpy as np

from gags.query.reach import Reach
from gags.query.space import Space

CHOSEN_RANGE = 0.7  # of the range of what is smoothed, as in the 2D protocol
MIN_PIECE = 0.3  # pieces with less than this share of the best piece's weight are dropped


def pieces_of(reach: Reach, margins: np.ndarray, space: Space) -> list[np.ndarray]:
    """Connected pieces of what fits a text best; one at least.

    Shares of the text's range are averaged over neighbourhoods in units of the scene, and cut at a share of
    their range.

    Args:
        reach: What the text reaches in the scene.
        margins: Of every Gaussian. [N]
        space: Where the Gaussians are.

    Returns:
        Gaussians of each piece. int64 [n] each
    """
    voxels, weights = space.voxels, space.opacities
    values = np.clip(reach.shares(margins), 0, 1)
    mass = voxels.sums(weights)
    around = voxels.spread(mass)
    smoothed = voxels.spread(voxels.sums(weights * values)) / np.maximum(around, 1e-12)
    trusted = around >= np.median(around[around > 0]) * 0.1  # floaters alone in space set no range
    low, high = smoothed[trusted].min(), smoothed[trusted].max()
    least = low + CHOSEN_RANGE * (high - low)
    chosen = trusted & (smoothed >= least)
    pieces = voxels.pieces(chosen)
    piece_mass = np.bincount(pieces[chosen], (mass * (smoothed - low))[chosen])
    kept = piece_mass >= MIN_PIECE * piece_mass.max()
    owner = np.where(chosen, pieces, -1)[voxels.owner]
    solid = 0.5 * (values + smoothed[voxels.owner]) >= least
    found = []
    for piece in np.flatnonzero(kept):
        member = owner == piece
        rows = np.flatnonzero(member & solid) if (member & solid).any() else np.flatnonzero(member)
        found.append(rows)
    return found
