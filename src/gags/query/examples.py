"""Queries by example: what a query shows instead of naming it, and where in a scene something looks like it.

An example is an image, or something of the scene itself that was pointed at. The latter is certain: its
Gaussians answer, whatever the encoder makes of them. Other things answer if they look like it: if what their
own masks say is nearer to the example than a bar that the scene itself sets. Images of one scene lie close
together in the space of any encoder, in one scene closer than in another, so no fixed cosine would do.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gags.distill.field import LanguageField
from gags.query.space import Space, extent
from gags.things.things import Things

ALIKE = 0.5  # of the way from how alike an image and any thing of the scene are, to equal
ALIKE_IN_SCENE = 0.75  # the same for a thing of the scene: pictures of other things there are alike, too
AS_NEAR = 0.9  # of how much nearer than typical the nearest one is, for another to be one of its kind
AS_LARGE = 1.5  # ratio of two sizes, up to which things of a scene may be of one kind
CERTAIN = 0.999  # relevancy of what was pointed at
SHARED = 0.5  # of the smaller of two sets of Gaussians, from which on they are of one thing
ONE_THING = 0.75  # IoU of two sets of Gaussians, from which on they are the same thing


@dataclass(frozen=True, eq=False)
class Match:
    """Something in a scene that answers an example.

    Attributes:
        rows: Its Gaussians. int64 [n]
        thing: Row of the scene's things; None if it is none of them.
        margin: Cosine with the example, above what is needed to look like it; infinite for what was pointed
            at.
    """

    rows: np.ndarray
    thing: int | None
    margin: float = math.inf


@dataclass(frozen=True, eq=False)
class Example:
    """What a query shows instead of naming it, compared with the things of a scene.

    Attributes:
        name: What it is called in answers.
        vectors: What it looks like: embeddings of images or masks, L2-normalised; none if that is not known
            in the space of the scene's encoder. float32 [K, D]
        least: Cosine from which on something looks like it.
        matches: What answers it, best first: what was pointed at, then what looks like it.
        nearest: What looks most like it of all that was not pointed at, whether it matches or not; None if
            nothing can be compared.
    """

    name: str
    vectors: Tensor
    least: float = 0.0
    matches: tuple[Match, ...] = ()
    nearest: Match | None = None

    def margins(self, field: LanguageField, temperature: float) -> Tensor:
        """Margin of every Gaussian: its cosine with the example, above what is needed.

        Things decide where there are any: the Gaussians of a match have its margin, and no others reach 0.
        What was pointed at has the margin whose relevancy (Eq. 8) is `CERTAIN`.

        Args:
            field: The field of the scene.
            temperature: Logit scale τ of the encoder.

        Returns:
            Differences of cosines. float32 [N]
        """
        vectors = self.vectors.to(field.features)
        if len(vectors):
            margins = field.similarities(vectors).amax(dim=-1) - self.least
        else:
            margins = vectors.new_full((len(field),), -1.0)
        if not self.matches and self.nearest is None:
            return margins
        margins = margins.clamp(max=0.0)
        certain = math.log(CERTAIN / (1 - CERTAIN)) / temperature
        for match in reversed(self.matches):  # where two share Gaussians, the better one has them
            rows = torch.from_numpy(match.rows.astype(np.int64)).to(margins.device)
            margins[rows] = min(match.margin, certain)
        return margins

    @property
    def pointed(self) -> list[Match]:
        """What was pointed at."""
        return [match for match in self.matches if match.margin == math.inf]

    def is_of(self, rows: np.ndarray, weights: np.ndarray) -> bool:
        """Whether some Gaussians [n] are what was pointed at, by the weights of all Gaussians [N]."""
        return any(iou_of_sets(rows, match.rows, weights) >= ONE_THING for match in self.pointed)


def iou_of_sets(one: np.ndarray, other: np.ndarray, weights: np.ndarray) -> float:
    """IoU of two sets of Gaussians by their weights. [n], [m], [N]"""
    union = weights[np.union1d(one, other)].sum()
    return float(weights[np.intersect1d(one, other)].sum() / max(union, 1e-12))


def compared_with(
    things: Things,
    space: Space,
    name: str,
    vectors: np.ndarray,
    *,
    pointed: Sequence[np.ndarray] = (),
) -> Example:
    """Find what answers an example in a scene.

    Something looks like an image if its cosine with it is at least halfway between how alike the image and a
    thing of the scene are in the median, and 1. What looks like a thing of the scene must be nearer, and
    about as large.

    Args:
        things: What the scene consists of.
        space: Where its Gaussians are.
        name: What the example is called.
        vectors: Embeddings of it, in the space of the scene's encoder, L2-normalised. float32 [K, D]
        pointed: Gaussians of what was pointed at. int64 [n] each
    """
    weights = space.opacities
    certain = [Match(rows, node_of(things, weights, rows)) for rows in pointed]
    example = Example(name, torch.from_numpy(vectors.astype(np.float32)), matches=tuple(certain))
    if not len(things) or not len(vectors) or things.embeddings.shape[1] != vectors.shape[1]:
        return example
    taken = np.zeros(len(things), bool)
    for rows in pointed:
        taken |= related_to(things, weights, rows)
    known = things.embeddings.any(axis=1)  # what no mask touches has zeros
    cosines = (things.embeddings.astype(np.float32) @ vectors.T).max(axis=1)
    others = known & ~taken & (things.parents < 0)
    typical = float(np.median(cosines[others])) if others.any() else 0.0
    least = typical + (ALIKE_IN_SCENE if pointed else ALIKE) * (1 - typical)
    taken |= ~known | things.is_group
    if pointed:
        near = np.flatnonzero(~taken & (cosines >= least))
        taken[[node for node in near.tolist() if not _as_large(space, things[node], pointed)]] = True
    alike = _looking_alike(things, cosines, taken, typical, least)
    found = tuple(match for match in alike if match.margin >= 0)
    return Example(name, example.vectors, least, (*certain, *found), alike[0] if alike else None)


def _looking_alike(
    things: Things, cosines: np.ndarray, taken: np.ndarray, typical: float, least: float
) -> list[Match]:
    """Nodes that look like an example, best first, none related to another; the nearest even if it does not.

    Args:
        things: What the scene consists of.
        cosines: Of each node with the example. [C]
        taken: Nodes that are out of the question. bool [C]
        typical: Cosine of the example with any thing of the scene.
        least: Cosine from which on something looks like it. What is not the nearest must be nearly as near.
    """
    alike: list[Match] = []
    taken, needed = taken.copy(), -math.inf
    while not taken.all():
        best = int(np.where(taken, -np.inf, cosines).argmax())
        if cosines[best] < needed:
            break
        alike.append(Match(things[best].astype(np.int64), best, float(cosines[best]) - least))
        taken |= things.within(best)
        taken[things.chain(best)] = True
        if len(alike) == 1:
            needed = max(least, typical + AS_NEAR * float(cosines[best] - typical))
    return alike


def _as_large(space: Space, rows: np.ndarray, others: Sequence[np.ndarray]) -> bool:
    """Whether some Gaussians [n] are about as large as others [m] of some sets."""
    own, *sizes = (extent(space.means[each], space.opacities[each]) for each in (rows, *others))
    return any(max(own, size) <= AS_LARGE * min(own, size) for size in sizes)


def shares_of_nodes(things: Things, weights: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What Gaussians [n] and every node have in common: share of the node, share of the Gaussians. [C]"""
    inside = np.zeros((len(weights), 1))
    inside[rows] = 1
    of_node = things.means(inside, weights)[:, 0]
    masses = np.array([weights[things[node]].sum() for node in range(len(things))])
    return of_node, of_node * masses / max(float(weights[rows].sum()), 1e-12)


def node_of(things: Things, weights: np.ndarray, rows: np.ndarray) -> int | None:
    """The node that is nearest to some Gaussians [n]; None if none has an IoU of a half with them."""
    if not len(things) or not len(rows):
        return None
    of_node, of_rows = shares_of_nodes(things, weights, rows)
    # of_node = s / a and of_rows = s / b, so s / (a + b − s) = 1 / (1 / of_node + 1 / of_rows − 1).
    touched = (of_node > 0) & (of_rows > 0)
    ious = np.zeros(len(things))
    ious[touched] = 1 / (1 / of_node[touched] + 1 / of_rows[touched] - 1)
    best = int(ious.argmax())
    return best if ious[best] >= SHARED else None


def related_to(things: Things, weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Nodes that lie in some Gaussians [n], or that these lie in. bool [C]"""
    of_node, of_rows = shares_of_nodes(things, weights, rows)
    return np.maximum(of_node, of_rows) >= SHARED
