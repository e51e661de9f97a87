"""What a library keeps of a scene to choose in it as `gags locate` does: the tree of its things.

`locate` compares a text with every Gaussian. The tree holds what becomes of that in each of its nodes: the
mean of a node's Gaussians, what its own masks say, how the nodes lie in one another. It is one row a scene,
some hundred KB, read at a question for the few scenes that may answer it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load, save
from torch import Tensor

from gags.library.rank import Phrases
from gags.query.choose import Chooser, fits_of_means, margins_of_masks
from gags.query.instances import Compared
from gags.query.reach import LEAST, Reach
from gags.query.relevancy import Queries, margins_from_cosines
from gags.query.space import weighted_quantile
from gags.scene import Scene
from gags.things.things import Things

OWN_SAY = 0.5  # of what a thing's own masks say, against what its Gaussians say


@dataclass(frozen=True, eq=False)
class Means:
    """What the Gaussians of each node say, by opacity.

    Attributes:
        embeddings: Mean of their embeddings; the shorter, the less they agree. float32 [C, D]
        against: Mean of the largest cosine of each with any canonical phrase. float32 [C]
        weights: Sum of their opacities. float64 [C]
    """

    embeddings: np.ndarray
    against: np.ndarray
    weights: np.ndarray

    @classmethod
    @torch.no_grad()
    def of_scene(cls, scene: Scene, things: Things, phrases: Phrases) -> "Means":
        """Those of all nodes of a scene."""
        field, opacities = scene.field, scene.gaussians.opacities
        negatives = phrases.vectors.to(field.features)
        embeddings, against, weights = [], [], []
        for node in range(len(things)):
            rows = torch.from_numpy(things[node].astype(np.int64)).to(field.features.device)
            total, of_phrases = torch.zeros(negatives.shape[1]).to(negatives), 0.0
            parts = field.decoder.chunks(field.features[rows])
            shares = opacities[rows].split([len(part) for part in parts])
            for share, part in zip(shares, parts, strict=True):
                decoded = field.decoder.embeddings(part)
                total = total + share @ decoded
                of_phrases += float(share @ (decoded @ negatives.T).amax(dim=1))
            weight = max(float(opacities[rows].double().sum()), 1e-12)
            embeddings.append((total / weight).cpu().numpy())
            against.append(of_phrases / weight)
            weights.append(weight)
        return cls(np.stack(embeddings), np.array(against, np.float32), np.array(weights))


class Chosen(NamedTuple):
    """A thing that answers a text.

    Attributes:
        thing: Its number in the scene.
        value: What it ranks by among the things of all scenes: the largest margin of any thing of the scene
            that has no relation to those chosen before. Mostly that is the thing itself, or a part of it.
        score: Relevancy (Eq. 8) at that margin.
        matches: Whether it is what the text names; None if the encoder's least match was never measured.
    """

    thing: int
    value: float
    score: float
    matches: bool | None


@dataclass(frozen=True, eq=False)
class Nodes:
    """The tree of a scene's things.

    Attributes:
        things: The nodes; each stands for its Gaussians: it has one, of its own number.
        kept: Which have a row in the table of things. bool [C]
        means: What their Gaussians say.
    """

    things: Things
    kept: np.ndarray
    means: Means

    @classmethod
    def of_scene(cls, things: Things, kept: Sequence[int], means: Means) -> "Nodes":
        """What is kept of a scene.

        Args:
            things: The things of the scene.
            kept: Numbers of those that have a row.
            means: What their Gaussians say.
        """
        has_row = np.zeros(len(things), bool)
        has_row[list(kept)] = True
        return cls(_alone(things.parents, things.photos, things.seen_by, things.levels, things.embeddings),
                   has_row, means)  # fmt: skip

    def to_bytes(self) -> bytes:
        """As a file of safetensors; embeddings in 2 bytes a number."""
        things, means = self.things, self.means
        return save(
            {
                "parents": things.parents,
                "photos": things.photos,
                "seen_by": things.seen_by,
                "levels": things.levels,
                "masks": things.embeddings.astype(np.float16),
                "kept": self.kept.astype(np.uint8),
                "gaussians": means.embeddings.astype(np.float16),
                "against": means.against.astype(np.float32),
                "weights": means.weights.astype(np.float64),
            }
        )

    @classmethod
    def from_bytes(cls, content: bytes) -> "Nodes | None":
        """What `to_bytes` made; None if it is damaged."""
        try:
            read = load(content)
            things = _alone(*(read[name] for name in ("parents", "photos", "seen_by", "levels", "masks")))
            means = Means(read["gaussians"].astype(np.float32), read["against"], read["weights"])
            kept = read["kept"].astype(bool)
        except (SafetensorError, KeyError, ValueError):
            return None
        counts = {len(each) for each in (kept, means.embeddings, means.against, means.weights)}
        return cls(things, kept, means) if counts == {len(things)} and things.is_sound() else None

    def chosen(self, queries: Queries) -> Iterator[Chosen]:
        """The things that answer a text, best first, none in another: the first is the one of `locate`.

        Args:
            queries: One text, ready for the encoder of the scene.
        """
        if not self.kept.any():
            return
        chooser = Chooser(self.things, self.means.weights, np.zeros((len(self.things), 3)))
        asked, least = self._compared(queries), queries.least_match
        node, matches = self._first(chooser, asked, queries)
        taken, values = ~self.kept, self._values(queries)
        while True:
            value = float(values[~taken].max())
            score = float(queries.relevancy_of_margins(torch.tensor(value)))
            yield Chosen(node, value, score, None if least is None else matches)
            taken |= chooser.related(node)
            if taken.all():
                return
            start = chooser.first(asked.fit, 0, ~taken)
            node = chooser.best(asked.fit, 0, ~taken)
            found = asked.scores[chooser.between(start, node), 0].max()
            matches = least is not None and bool(found >= least)

    def _first(self, chooser: Chooser, asked: Compared, queries: Queries) -> tuple[int, bool]:
        """What `locate` answers, and whether it is a match; the nearest there is if nothing is."""
        node = asked.chosen(chooser, 0)
        if queries.wholes is not None and queries.parts is not None:
            wholes, parts = self._compared(queries.wholes), self._compared(queries.parts)
            node = asked.part_of(wholes, parts, chooser, 0, node)
        matches = node is not None
        if node is None or not self.kept[node]:
            node = chooser.best(asked.fit, 0, self.kept)
        return node, matches

    def _values(self, queries: Queries) -> np.ndarray:
        """Margin of each node to a text by its embedding in the table of things. [C]"""
        vectors = torch.from_numpy(embeddings_of_things(self.things, self.means))
        cosines, phrases = vectors @ queries.vectors.cpu().T, vectors @ queries.negatives.cpu().T
        return margins_from_cosines(cosines, phrases, counted=queries.counted)[:, 0].numpy()

    def _compared(self, queries: Queries) -> Compared:
        """Texts compared with the scene, as `Compared.of` does with all of its Gaussians."""
        margins, masks = self._margins(queries), self.things.embeddings.astype(np.float32)
        reaches = [self._reach(margins[:, row]) for row in range(len(queries.texts))]
        fit = fits_of_means(margins, margins_of_masks(self.things, queries), reaches)
        relevancies = queries.relevancy_of_margins(torch.from_numpy(margins)).numpy()
        scores = margins + masks @ queries.vectors.cpu().numpy().T
        return Compared(queries, margins, relevancies, reaches, fit, scores)

    def _margins(self, queries: Queries) -> np.ndarray:
        """Mean margin of each node's Gaussians to each text, nearly. [C, T]

        What phrases speak against a text is known as the mean over Gaussians if all of them count. Of other
        sets of phrases, what they speak against the mean of the Gaussians is known; it is less by as much.
        """
        means = torch.from_numpy(self.means.embeddings)
        cosines = means @ queries.vectors.cpu().T
        phrases = means @ queries.negatives.cpu().T
        less = torch.from_numpy(self.means.against) - phrases.amax(dim=1)
        margins: Tensor = margins_from_cosines(cosines, phrases, counted=queries.counted)
        return (margins - less[:, None]).numpy()

    def _reach(self, margins: np.ndarray) -> Reach:
        """What a text reaches in the scene, nearly: of nodes without parts, as if they were Gaussians. [C]"""
        of_leaves = margins[self._leaves], self.means.weights[self._leaves]
        least, median = (weighted_quantile(*of_leaves, share) for share in (LEAST, 0.5))
        best = float(margins.max())
        return Reach(min(median, (least + best) / 2), best)

    @cached_property
    def _leaves(self) -> np.ndarray:
        holds = np.zeros(len(self.things), bool)
        holds[self.things.parents[self.things.parents >= 0]] = True
        return np.flatnonzero(~holds)


def _alone(
    parents: np.ndarray, photos: np.ndarray, seen_by: np.ndarray, levels: np.ndarray, embeddings: np.ndarray
) -> Things:
    """Things that each stand for their Gaussians: a thing has one, of its own number."""
    count = len(parents)
    members = np.arange(count, dtype=np.int32)
    return Things(np.arange(count + 1), members, parents, photos, seen_by, levels, embeddings)


def embeddings_of_things(things: Things, means: Means) -> np.ndarray:
    """What things look like, in the space of the scene's encoder.

    Half of it is what a thing's own masks say, half the mean of its Gaussians, decoded, by opacity: texts
    rank better with the latter, pictures with the former (`benchmarks/library.py`).

    Args:
        things: The things of a scene.
        means: What their Gaussians say.

    Returns:
        L2-normalised. float32 [C, D]
    """
    own = things.embeddings.astype(np.float32)
    return unit(OWN_SAY * unit(own) + (1 - OWN_SAY) * unit(means.embeddings))


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length 1. [n, D]"""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True).clip(1e-12)
