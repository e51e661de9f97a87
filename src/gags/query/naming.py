"""Names of things: which words of a list say best what some Gaussians are."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gags.distill.field import LanguageField
from gags.query.relevancy import Queries
from gags.things.things import Things

NAMES = 5  # that are given of everything
NAMED_ON = 4096  # Gaussians of a thing that are looked at to name it; more tell nothing new
SAMPLE = 1024  # of each thing that others are compared with
NEAREST = 10  # things that a word fits best, which tell how common it is


@dataclass(frozen=True, eq=False)
class Namer:
    """Names the Gaussians of a scene; a word that fits many of its things tells little of one of them.

    Words compete by the logit of their relevancy less half of their commonness, the rule of CSLS (Conneau et
    al. 2018, "Word translation without parallel data"), there of cosines. Without it, "box" names everything
    in a pantry.

    Attributes:
        field: The field of the scene.
        words: W words to choose from, made ready by `Queries.encode`.
        opacities: Of all Gaussians; the more opaque ones count more. [N]
        commonness: See `commonness`; zeros compare relevancy alone. [W]
    """

    field: LanguageField
    words: Queries
    opacities: np.ndarray
    commonness: Tensor

    @classmethod
    @torch.no_grad()
    def of_scene(cls, field: LanguageField, words: Queries, opacities: np.ndarray, things: Things) -> "Namer":
        """A namer that has seen which words fit which things of the scene."""
        plain = cls(field, words, opacities, torch.zeros(len(words.texts)))
        compared = [thing for thing in range(len(things)) if things.stands_out(thing)]
        if not compared:
            return plain
        means = torch.stack([plain.relevancy(things[thing], SAMPLE) for thing in compared])
        return cls(field, words, opacities, commonness(means.logit(eps=1e-6)))

    def names(self, rows: np.ndarray, count: int = NAMES) -> list[tuple[str, float]]:
        """The words that name some Gaussians best: those of a thing, or the few under a pointer.

        Args:
            rows: Which; of many, a regular sample is looked at. int64 [n], n ≥ 1
            count: How many words.

        Returns:
            At most `count` words, best first, each with its mean relevancy over the Gaussians, in [0, 1].
        """
        means = self.relevancy(rows, NAMED_ON)
        fit = means.logit(eps=1e-6) - self.commonness.to(means) / 2
        best = fit.topk(min(count, len(means))).indices.tolist()
        return [(self.words.texts[word], float(means[word])) for word in best]

    @torch.no_grad()
    def relevancy(self, rows: np.ndarray, most: int) -> Tensor:
        """Mean relevancy of about `most` of some Gaussians [n] to every word. [W]"""
        sample = rows[:: -(-len(rows) // most)]
        features = self.field.features[torch.from_numpy(sample).to(self.field.features.device)]
        relevancy = self.words.relevancy(features, self.field)
        weights = torch.from_numpy(self.opacities[sample]).to(relevancy)
        return weights @ relevancy / weights.sum().clamp(min=1e-12)


def commonness(logits: Tensor) -> Tensor:
    """How well each word fits the things that it fits best: the mean logit over the `NEAREST` of them.

    Args:
        logits: Of the relevancy of n things to W words. [n, W], n ≥ 1

    Returns:
        [W]
    """
    return logits.topk(min(NEAREST, len(logits)), dim=0).values.mean(dim=0)
