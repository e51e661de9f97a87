"""Which Gaussians are the thing that a text asks for."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gags.distill.field import LanguageField
from gags.gaussians import Gaussians
from gags.query.reach import Reach
from gags.query.relevancy import Queries
from gags.query.space import VOXELS_ACROSS, Voxels, neighbourhoods, scene_size

CHOSEN_RANGE = 0.7  # of the range of what is smoothed, as in the 2D protocol
MIN_PIECE = 0.3  # pieces with less than this share of the best piece's weight are dropped


@dataclass(eq=False)
class Selection:
    """The Gaussians that answer a text.

    Attributes:
        text: The query.
        mask: Which Gaussians were chosen. bool [N]
        gaussians: The chosen ones.
        box: Least and largest corner of an axis-aligned box around them, world units. float64 [2, 3]
        score: Their mean relevancy, weighted by opacity, in [0, 1].
    """

    text: str
    mask: Tensor
    gaussians: Gaussians
    box: np.ndarray
    score: float

    @property
    def center(self) -> np.ndarray:
        """Middle of the box. [3]"""
        return self.box.mean(axis=0)


@torch.no_grad()
def select(gaussians: Gaussians, field: LanguageField, queries: Queries) -> list[Selection]:
    """Choose the Gaussians that answer each text, in 3D.

    Margins are decoded from the Gaussians' own features, averaged over neighbourhoods in units of the scene,
    cut at a share of their range, and only connected pieces of some weight are kept. The range begins at what
    is typical of the scene (`Reach`), so that how irrelevant the rest is does not set it.

    Args:
        gaussians: The scene.
        field: Its language field.
        queries: The texts, made ready by `Queries.encode`.

    Returns:
        One selection a text.
    """
    margins = queries.margins_of_gaussians(field).cpu()
    relevancies = queries.relevancy_of_margins(margins).numpy()
    means = gaussians.means.cpu().double().numpy()
    opacities = gaussians.opacities.cpu().double().numpy()
    voxels = neighbourhoods(means, scene_size(means, opacities) / VOXELS_ACROSS)
    selections = []
    for text, margin, relevancy in zip(queries.texts, margins.numpy().T, relevancies.T, strict=True):
        chosen = choose(Reach.of(margin, opacities).shares(margin), opacities, voxels)
        mask = torch.from_numpy(chosen).to(gaussians.means.device)
        box = np.stack([means[chosen].min(axis=0), means[chosen].max(axis=0)])
        score = float(np.average(relevancy[chosen], weights=opacities[chosen]))
        selections.append(Selection(text, mask, gaussians[mask], box, score))
    return selections


def choose(values: np.ndarray, weights: np.ndarray, voxels: Voxels) -> np.ndarray:
    """Threshold smoothed values and keep connected pieces.

    Args:
        values: What is large on the thing, of every Gaussian; below 0 and above 1 it makes no difference. [N]
        weights: How much every Gaussian counts, e.g. its opacity. [N]
        voxels: Grid over the Gaussians.

    Returns:
        The chosen Gaussians, at least one. bool [N]
    """
    values = np.clip(values, 0, 1)
    mass = voxels.sums(weights)
    around = voxels.spread(mass)
    smoothed = voxels.spread(voxels.sums(weights * values)) / np.maximum(around, 1e-12)
    trusted = around >= np.median(around[around > 0]) * 0.1  # floaters alone in space set no range
    low, high = smoothed[trusted].min(), smoothed[trusted].max()
    chosen = trusted & (smoothed >= low + CHOSEN_RANGE * (high - low))
    pieces = voxels.pieces(chosen)
    piece_mass = np.bincount(pieces[chosen], (mass * (smoothed - low))[chosen])
    kept = piece_mass >= MIN_PIECE * piece_mass.max()
    chosen[chosen] = kept[pieces[chosen]]
    member = chosen[voxels.owner]
    blended = 0.5 * (values + smoothed[voxels.owner])
    solid = member & (blended >= low + CHOSEN_RANGE * (high - low))
    return solid if solid.any() else member
