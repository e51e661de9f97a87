"""Which of the things that lie near a question answer it best."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gags.embed.encoder import Encoder
from gags.library.records import ScoredBy
from gags.query.relevancy import Queries, margins_from_cosines

AS_GOOD = 0.03  # cosine or margin that a thing may fit worse than a part of it, or another way to cut it out


@dataclass(frozen=True)
class _Space:
    """Whose texts are embedded, where there is no field that they are compared with."""

    encoder_name: str
    features: Tensor = field(default_factory=lambda: torch.zeros(0))


@dataclass(frozen=True, eq=False)
class Phrases:
    """The canonical phrases of an encoder, against which texts count (Eq. 8).

    Attributes:
        vectors: L2-normalised. float32 [C, D]
    """

    vectors: Tensor

    @classmethod
    def of(cls, encoder: Encoder) -> "Phrases":
        """Those of an encoder, embedded."""
        return cls(torch.from_numpy(encoder.encode_texts(list(encoder.negatives))).float())

    def against(self, vectors: np.ndarray) -> np.ndarray:
        """The largest cosine of each thing with any phrase. [n, D] → float32 [n]"""
        return (torch.from_numpy(np.asarray(vectors, np.float32)) @ self.vectors.T).amax(dim=1).numpy()


@dataclass(frozen=True, eq=False)
class Fit:
    """How well some things answer a question.

    Attributes:
        values: Margins over the canonical phrases, or cosines; the larger, the better. float32 [n]
        scores: What is shown: relevancies (Eq. 8), or the same cosines. float32 [n]
        matches: Which are what a text names: those whose cosine with it and margin add up to the encoder's
            `least_match`. None where that is not known. bool [n]
    """

    values: np.ndarray
    scores: np.ndarray
    matches: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Asked:
    """A question in the space of one encoder: a text, or an embedding of what is meant.

    Attributes:
        vector: L2-normalised. float32 [D]
        phrases: What counts against it, if it is a text.
        counted: Which phrases do. bool [1, C]
        temperature: Logit scale τ of the encoder.
        least_match: See `gags.embed.Encoder`.
        further: More embeddings of what is meant, if it is no text; the nearest of all counts. float32 [D]
        queries: The text, ready to be asked of a scene; None for an embedding.
    """

    vector: np.ndarray
    phrases: Phrases | None = None
    counted: Tensor | None = None
    temperature: float = 1.0
    least_match: float | None = None
    further: tuple[np.ndarray, ...] = ()
    queries: Queries | None = None

    @classmethod
    def of_text(cls, text: str, encoder: Encoder, phrases: Phrases) -> "Asked":
        """A text, to be compared by an encoder and its canonical phrases.

        Raises:
            QueryError: If it is empty, or no text.
        """
        queries = Queries.encode([text], encoder, _Space(encoder.name), negatives=phrases.vectors)
        vector, temperature = queries.vectors[0].numpy(), queries.temperature
        return cls(vector, phrases, queries.counted, temperature, queries.least_match, queries=queries)

    @property
    def by(self) -> ScoredBy:
        """What its scores are."""
        return "cosine" if self.phrases is None else "relevancy"

    @property
    def searches(self) -> list[np.ndarray]:
        """What rows of a library are searched for, to have all that may be best.

        A row is [v, a]: a thing's embedding, and its largest cosine with any canonical phrase. So
        [q, −1] · [v, a] = q·v − max n·v is the margin of Eq. 8 over τ. Phrases that mean the same as the text
        do not count; what they hold back has a large cosine q·v = [q, 0] · [v, a].

        Returns:
            One or more of float32 [D + 1].
        """
        cosine = np.append(self.vector, np.float32(0))
        if self.phrases is None or self.counted is None:
            return [cosine, *(np.append(vector, np.float32(0)) for vector in self.further)]
        margin = np.append(self.vector, np.float32(-1))
        return [margin] if bool(self.counted.all()) else [margin, cosine]

    def fit(self, vectors: np.ndarray) -> Fit:
        """How well things answer it; their embeddings are L2-normalised, float32 [n, D]."""
        cosines = torch.from_numpy(vectors @ self.vector)
        if self.phrases is None:
            nearest = np.max([vectors @ vector for vector in (self.vector, *self.further)], axis=0)
            return Fit(nearest, nearest)
        negatives = torch.from_numpy(vectors) @ self.phrases.vectors.T
        margins = margins_from_cosines(cosines[:, None], negatives, counted=self.counted)[:, 0]
        least = self.least_match
        matches = None if least is None else (cosines + margins >= least).numpy()
        return Fit(margins.numpy(), torch.sigmoid(self.temperature * margins).numpy(), matches)


class Node(NamedTuple):
    """A thing as it is compared with others of its scene.

    Attributes:
        scene: Name of its scene.
        thing: Its number there.
        chain: It and all that it lies in.
        photos: Number of photos that cut it out.
    """

    scene: str
    thing: int
    chain: Sequence[int]
    photos: int

    def is_related(self, other: "Node") -> bool:
        """Whether one of two lies in the other."""
        same = self.scene == other.scene
        return same and (self.thing in other.chain or other.thing in self.chain)


def best_unrelated(nodes: Sequence[Node], values: np.ndarray, top: int) -> list[int]:
    """The best things of which none lies in another: of a laptop, its screen and its keyboard, one.

    Of such things that fit about equally well, the one that most photos cut out stands for all: masks of
    single photos end anywhere.

    Args:
        nodes: The things.
        values: How well each fits. [n]
        top: How many, at most.

    Returns:
        Rows, best first.
    """
    order = np.argsort(-values, kind="stable").tolist()
    by_scene: dict[str, list[int]] = {}
    for row in order:
        by_scene.setdefault(nodes[row].scene, []).append(row)
    taken: dict[str, list[Node]] = {}
    best: list[int] = []
    for row in order:
        node = nodes[row]
        others = taken.setdefault(node.scene, [])
        if any(node.is_related(other) for other in others):
            continue
        family = [
            other
            for other in by_scene[node.scene]
            if values[other] >= values[row] - AS_GOOD
            and node.is_related(nodes[other])
            and not any(nodes[other].is_related(each) for each in others)
        ]
        chosen = max(family, key=lambda other: (nodes[other].photos, values[other]))
        others += [node, nodes[chosen]]
        best.append(chosen)
        if len(best) == top:
            break
    return sorted(best, key=lambda row: -values[row])  # one that stands for others may fit a little worse
