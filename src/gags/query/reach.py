"""What a text reaches in a scene, and from where on it counts as a match, the same for every encoder.

Relevancy (Eq. 8) is no measure of that: it depends on the temperature, and on how close together an
encoder's cosines lie. With CLIP at τ = 10 it spans about 0.34 to 0.66 in a whole scene, so that 0.9 of the
best is nearly everything. So decisions are made by margins (`gags.query.relevancy.margins_from_cosines`), in
shares of the range that the text's own margins have in the scene. Another τ, or cosines closer together,
change none of them.
"""

from dataclasses import dataclass

import numpy as np
import torch

from gags.distill.field import LanguageField
from gags.query.relevancy import Queries, margins_from_cosines

OPAQUE = 0.5  # opacity of Gaussians whose margins say what a text reaches
MATCHES = 0.5  # strength of what just counts as a match
LEAST = 0.01  # quantile that stands for the least margin: the very least is an odd Gaussian's
CHANCE = 0.75  # quantile of what vague phrases reach; with the highest, one odd phrase would decide


@dataclass(frozen=True)
class Reach:
    """The margins of one text in a scene.

    Attributes:
        typical: Of what the text does not name: the median; or, where the text names half of the scene or
            more, the middle between the least and the best.
        best: The largest.
        needed: From which on a Gaussian counts as a match, see `needed_margin`.
    """

    typical: float
    best: float
    needed: float = 0.0

    @classmethod
    def of(cls, margins: np.ndarray, opacities: np.ndarray, needed: float = 0.0) -> "Reach":
        """What the opaque Gaussians say, or all if none is opaque.

        Args:
            margins: Of every Gaussian. [N]
            opacities: Of every Gaussian. [N]
            needed: See `needed_margin`.
        """
        solid = opacities > OPAQUE
        least, median, best = np.quantile(margins[solid] if solid.any() else margins, [LEAST, 0.5, 1.0])
        return cls(float(min(median, (least + best) / 2)), float(best), needed)

    @property
    def matches(self) -> bool:
        """Whether anything in the scene matches the text."""
        return self.best >= self.needed

    def shares(self, margins: np.ndarray) -> np.ndarray:
        """Margins in shares of the text's range: 0 is typical of the scene, 1 the best. [...] → [...]"""
        return _ratio(margins.astype(np.float64) - self.typical, self.best - self.typical)

    def strengths(self, margins: np.ndarray) -> np.ndarray:
        """How well each Gaussian matches, spread over what the text reaches.

        0 is typical of the scene, `MATCHES` just counts as a match, 1 is the best; between them it is linear.
        If nothing matches, the best stays below `MATCHES`; if what is typical matches, it stays above.

        Args:
            margins: [N]

        Returns:
            In [0, 1]. float32 [N]
        """
        over = margins.astype(np.float64) - self.needed
        above, below = self.best - self.needed, self.needed - self.typical
        upper = _ratio(over, above if above > 0 else below)
        lower = _ratio(over, below if below > 0 else above)
        strengths = MATCHES + np.where(over >= 0, (1 - MATCHES) * upper, MATCHES * lower)
        return np.clip(strengths, 0, 1).astype(np.float32)


def _ratio(values: np.ndarray, unit: float) -> np.ndarray:
    """Values in units of `unit`; without a unit, all are alike and 0."""
    return values / unit if unit > 0 else np.zeros_like(values)


@torch.no_grad()
def strengths_of(field: LanguageField, queries: Queries, opacities: np.ndarray) -> np.ndarray:
    """How well each Gaussian matches the texts, the best of them; see `Reach.strengths`.

    Args:
        field: The field of the scene.
        queries: The texts, at least one.
        opacities: Of every Gaussian. [N]

    Returns:
        In [0, 1]. float32 [N]
    """
    needed = needed_margin(field, queries, opacities)
    margins = queries.margins_of_gaussians(field).cpu().numpy()
    return np.max([Reach.of(one, opacities, needed).strengths(one) for one in margins.T], axis=0)


@torch.no_grad()
def needed_margin(field: LanguageField, queries: Queries, opacities: np.ndarray) -> float:
    """Margin that a text must reach to match anything, by the encoder's own canonical phrases.

    Phrases that name things are rivals of the text: it matches what it names better than all of them, and 0
    is enough. Vague ones, as CLIP's four, name nothing; but each is a little nearer to something than the
    others are, and so is any text that is not in the scene. What they reach among each other is chance: a
    text must reach more than three of four phrases do, each asked as a text against the others.

    Args:
        field: The field of the scene.
        queries: Texts with their canonical phrases.
        opacities: Of every Gaussian. [N]

    Returns:
        A difference of cosines, 0 or more.
    """
    if not queries.vague_phrases or len(queries.negatives) < 2:
        return 0.0
    remembered = field.remembered_similarities(queries.negatives)
    kept = None if remembered is None else remembered.cosines
    cosines = field.similarities(queries.negatives) if kept is None else kept
    others = ~torch.eye(len(queries.negatives), dtype=torch.bool)
    margins = margins_from_cosines(cosines, cosines, counted=others).cpu().numpy()
    best = [Reach.of(column, opacities).best for column in margins.T]
    return max(0.0, float(np.quantile(best, CHANCE)))
