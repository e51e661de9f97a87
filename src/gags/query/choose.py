"""Which things answer a text: where it is, and how much of it: a part, a thing, or all that hangs together.

First the node of the hierarchy that fits the text best is found, however small, but those that few photos cut
out count less. Then its wholes are looked at, from itself upwards: a whole is better if what it adds fits the
text as well, if its own masks still say so, if it is what the segmenter calls a whole, and if many photos cut
it out. So a text for a laptop that fits its keyboard best gets the laptop. A text that names a part of
something ("mug handle") is answered by a part of what answers the whole ("mug"), whatever the segmenter takes
that part for. What no mask ever cut out in one piece, such as a lamp whose pole is thin, is put together at
the question, of neighbours that all fit the text.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from gags.query.reach import Reach
from gags.query.relevancy import Queries, margins_from_cosines
from gags.query.space import extent
from gags.things.things import Things

OWN_SAY = 0.2  # of what a node's own masks say, against what its Gaussians say, in where a text is
UNSEEN = 3.0  # photos more, in which a node fits as is typical: of many that few cut out, one fits by chance
# How much speaks for a whole, by what it is compared with:
ADDED = 2.0  # how well fits all that it adds, in shares of the fit of the node that one starts from
OWN = 1.3  # how well its own masks fit, in shares of the range of the text
LEVEL = 1.2  # a level of masks (sub-part, part, whole) higher
REPEATED = 1.25  # the logarithm of how many more photos cut it out
GROUP = 1.0  # and against it, if it is several things that are cut out alone as often
OFTEN = 0.7  # of the photos that see a node: to be cut out by more speaks no more for it
LEAST_ADDED = 0.05  # of a node's weight, below which a whole adds nothing that can be judged
SMALLER = 0.8  # of a whole's weight, below which something in it is a part
MOST = 1.3  # share of the range that counts: single masks may fit better than any Gaussian
AS_GOOD = 0.06  # in shares of the range: another thing that fits that much worse is one more of the kind
AS_ALIKE = 0.5  # of the way from how alike things are to equal: how alike things of one kind are
AS_ALIKE_IF_AS_LARGE = 0.2  # the same for things of about one size: mugs of two colours are both mugs
AS_LARGE = 1.25  # ratio of two sizes that are about one
PIECE_FIT = 0.8  # share of the range from which what lies beside the answer may be a further piece of it
PIECE_WORSE = 0.2  # shares of the range that it may fit worse than the answer
PIECE_CLEAR = 0.15  # shares of the range by which it fits better than all the rest of the scene
PIECE_LEAST = 0.65  # share of the range, from which that is enough
PIECE_GAP = 0.7  # of the size of the smaller one, that it may lie away
PIECE_LARGER = 4.0  # times the size of the answer, from which on it is no piece of it
PIECE_UNLIKE = 1.5  # ratio of the two sizes, below which it is something of its own
NEIGHBOURS_AT = 1000  # Gaussians of each, about, for how far away two nodes are
NEAREST = 0.02  # of them that may lie nearer
MOST_COMPARED = 500  # wholes, for how alike things are; more tell nothing new


@dataclass(frozen=True, eq=False)
class Fits:
    """How well texts fit the nodes, in shares of each text's range in the scene (`Reach`).

    Attributes:
        of_gaussians: Mean over a node's Gaussians. [C, T]
        of_masks: What its own masks say; as `of_gaussians` if their embeddings are not known. [C, T]
    """

    of_gaussians: np.ndarray
    of_masks: np.ndarray

    @cached_property
    def where(self) -> np.ndarray:
        """What says where a text is. [C, T]"""
        return (1 - OWN_SAY) * self.of_gaussians + OWN_SAY * self.of_masks


@dataclass(eq=False)
class Chooser:
    """Chooses the nodes that answer texts.

    Attributes:
        things: The hierarchy.
        weights: How much every Gaussian counts: its opacity. float64 [N]
        means: Centres of the Gaussians, world units. float64 [N, 3]
    """

    things: Things
    weights: np.ndarray
    means: np.ndarray

    def __post_init__(self) -> None:
        things = self.things
        self._mass = np.array([self.weights[things[node]].sum() for node in range(len(things))])
        often = np.minimum(things.photos, OFTEN * np.maximum(things.photos, things.seen_by))
        # Where a part is asked for, its level says nothing.
        self._prior_of_parts = REPEATED * np.log1p(often) - GROUP * things.is_group
        self._prior = self._prior_of_parts + LEVEL * things.levels
        # What no photo cuts out by itself, such as a wall, is known from the photos that see it.
        known = np.where(things.is_leftover, things.seen_by, things.photos)
        self._certainty = known / (known + UNSEEN)
        self._extents: dict[int, float] = {}

    def best(self, fit: Fits, row: int, within: np.ndarray | None = None) -> int:
        """The node that answers a text.

        Args:
            fit: Of all texts.
            row: The text.
            within: Nodes that may answer; None for all. bool [C]
        """
        return self._risen(self.first(fit, row, within), fit, row, within, self._prior)

    def first(self, fit: Fits, row: int, within: np.ndarray | None = None) -> int:
        """The node that a text surely fits best, however small; see `best`."""
        where = fit.where[:, row]
        where = np.where(where > 0, where * self._certainty, where)
        return int((where if within is None else np.where(within, where, -np.inf)).argmax())

    def between(self, start: int, node: int) -> list[int]:
        """A node and what it lies in, up to another node."""
        chain = self.things.chain(start)
        return chain[: chain.index(node) + 1]

    def part(self, fit: Fits, row: int, whole: int) -> int | None:
        """The part of a node that answers a text, None if it has no parts."""
        within = self.things.within(whole) & (self._mass < SMALLER * self._mass[whole])
        if not within.any():
            return None
        return self._risen(self.first(fit, row, within), fit, row, within, self._prior_of_parts)

    def others(self, fit: Fits, row: int, first: int) -> list[int]:
        """Further nodes of the kind of the one that answers a text: as good, as alike, and elsewhere."""
        taken = self.related(first)
        least = fit.where[self.things.within(first), row].max() - AS_GOOD
        found: list[int] = []
        for node in self._elsewhere(fit, row, taken, least):
            good = fit.of_gaussians[node, row] >= fit.of_gaussians[first, row] - AS_GOOD
            if good and self._alike(node, first):
                found.append(node)
        return found

    def pieces(self, fit: Fits, row: int, first: int, others: Sequence[int]) -> list[int]:
        """Further pieces of the node that answers a text.

        They lie beside it, are of another size, and fit nearly as well, or else clearly better than all the
        rest of the scene but for the thing that the answer is a part of. What is of one size is one more of
        the kind, or something else: an orange beside a lemon.

        Args:
            fit: Of all texts.
            row: The text.
            first: The node.
            others: Further nodes of the kind, which are no pieces of it.
        """
        where = fit.where[:, row]
        taken = np.any([self.related(node) for node in (first, *others)], axis=0) | self.things.is_group
        same = self.things.within(self._outermost(first))  # no rival of a piece: it is of the same thing
        least, second = max(PIECE_FIT, where[first] - PIECE_WORSE), True
        found: list[int] = []
        for node in self._elsewhere(fit, row, taken, PIECE_LEAST):
            rest = np.where(taken | same, -np.inf, where).max()
            clear = second and where[node] >= PIECE_LEAST and where[node] - rest >= PIECE_CLEAR
            second = False
            if where[node] < least and not clear:
                continue
            mine, other = self._extent(first), self._extent(node)
            ratio = max(mine, other) / max(min(mine, other), 1e-12)
            fits_in_size = ratio > PIECE_UNLIKE and other < PIECE_LARGER * mine
            if fits_in_size and self._gap(first, node) <= PIECE_GAP * min(mine, other):
                found.append(node)
        return found

    def _elsewhere(self, fit: Fits, row: int, taken: np.ndarray, least: float) -> Iterator[int]:
        """What else fits a text, best first, each as much of it as is meant.

        Args:
            fit: Of all texts.
            row: The text.
            taken: Nodes that are answered already; what is found, and all related to it, is added. bool [C]
            least: How well the best of it must fit.
        """
        where = fit.where[:, row]
        while (candidates := ~taken & (where >= least)).any():
            start = int(np.where(candidates, where, -np.inf).argmax())
            node = self._risen(start, fit, row, ~taken, self._prior)
            taken |= self.related(node)
            yield node

    def _outermost(self, node: int) -> int:
        """The largest that a node lies in, itself included, but for groups of several things."""
        single = [each for each in self.things.chain(node) if not self.things.is_group[each]]
        return single[-1] if single else node

    def _gap(self, one: int, other: int) -> float:
        """How far two nodes are from each other where they are nearest, but for floaters; world units."""
        points, beside = (
            self.means[rows[:: max(1, len(rows) // NEIGHBOURS_AT)]]
            for rows in (self.things[one], self.things[other])
        )
        apart = np.linalg.norm(points[:, None] - beside[None], axis=2)
        return float(min(np.quantile(apart.min(axis=axis), NEAREST) for axis in (0, 1)))

    def _risen(self, start: int, fit: Fits, row: int, within: np.ndarray | None, prior: np.ndarray) -> int:
        """The best of a node and its wholes; `prior` is what speaks for each, whatever the text. [C]"""
        field, masks = fit.of_gaussians[:, row], fit.of_masks[:, row]
        best, best_score = start, 0.0
        for node in self.things.chain(start)[1:]:
            if within is not None and not within[node]:
                break
            added, more = 1.0, self._mass[node] - self._mass[start]
            if more > LEAST_ADDED * self._mass[start]:
                rest = (field[node] * self._mass[node] - field[start] * self._mass[start]) / more
                added = float(np.clip(rest / max(field[start], 0.05), -0.5, 1.0))
            score = ADDED * (added - 1) + OWN * (masks[node] - masks[start]) + prior[node] - prior[start]
            if score > best_score:
                best, best_score = node, score
        return best

    def related(self, node: int) -> np.ndarray:
        """Nodes that lie in a node, and those that it lies in. bool [C]"""
        related = self.things.within(node)
        related[self.things.chain(node)] = True
        return related

    def _alike(self, node: int, other: int) -> bool:
        vectors = self._vectors
        if not vectors.shape[1]:
            return True
        sizes = sorted((self._extent(node), self._extent(other)))
        share = AS_ALIKE_IF_AS_LARGE if sizes[1] <= AS_LARGE * sizes[0] else AS_ALIKE
        typical = self._typical_cosine
        return bool(vectors[node] @ vectors[other] >= typical + share * (1 - typical))

    def _extent(self, node: int) -> float:
        """`extent` of a node, world units."""
        if node not in self._extents:
            rows = self.things[node]
            self._extents[node] = extent(self.means[rows], self.weights[rows])
        return self._extents[node]

    @cached_property
    def _vectors(self) -> np.ndarray:
        return self.things.embeddings.astype(np.float32)

    @cached_property
    def _typical_cosine(self) -> float:
        """How alike any two things of the scene are."""
        wholes = self._vectors[self.things.parents < 0][:MOST_COMPARED]
        cosines = (wholes @ wholes.T)[np.triu_indices(len(wholes), 1)]
        return float(np.median(cosines)) if len(cosines) else 0.0


@torch.no_grad()
def margins_of_masks(things: Things, queries: Queries) -> np.ndarray | None:
    """Margin (`margins_from_cosines`) of what each node's own masks say to each text. [C, T]

    None if the things hold no embeddings of the queries' encoder.
    """
    vectors = torch.from_numpy(things.embeddings.astype(np.float32)).to(queries.vectors.device)
    if vectors.shape[1] != queries.vectors.shape[1]:
        return None
    margins = margins_from_cosines(
        vectors @ queries.vectors.T, vectors @ queries.negatives.T, counted=queries.counted
    )
    return margins.cpu().numpy()


def fits_of(
    things: Things,
    margins: np.ndarray,
    of_masks: np.ndarray | None,
    reaches: Sequence[Reach],
    weights: np.ndarray,
) -> Fits:
    """How well texts fit the nodes.

    Args:
        things: The hierarchy.
        margins: Of every Gaussian to each text. [N, T]
        of_masks: See `margins_of_masks`. [C, T]
        reaches: Of each text.
        weights: How much every Gaussian counts. [N]
    """
    return fits_of_means(things.means(margins, weights), of_masks, reaches)


def fits_of_means(means: np.ndarray, of_masks: np.ndarray | None, reaches: Sequence[Reach]) -> Fits:
    """`fits_of` from the mean margins of the nodes' Gaussians. [C, T]"""
    of_masks = means if of_masks is None else of_masks
    field, masks = (
        np.stack([reach.shares(values[:, row]).clip(-1, MOST) for row, reach in enumerate(reaches)], axis=1)
        for values in (means, of_masks)
    )
    return Fits(field, masks)
