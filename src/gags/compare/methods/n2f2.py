"""Levels weighed by how much each mask looks like a thing at all (N2F2's fusion, GAGS Eq. 9)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from gags.compare.methods.field import OneField
from gags.compare.methods.learner import Inputs

PHRASES = ("object", "thing", "stuff", "part", "texture")


@dataclass(frozen=True)
class WeightedFusion(OneField):
    """Distils one field whose level weights are fixed: the softmax of the masks' scores against `PHRASES`."""

    def logits(self, inputs: Inputs) -> Tensor:
        """Score of every mask. [M]"""
        phrases = torch.from_numpy(inputs.encoder.encode_texts(list(PHRASES))).float()
        return fusion_logits(inputs.embeddings(), phrases, inputs.encoder.temperature)


def fusion_logits(embeddings: Tensor, phrases: Tensor, temperature: float) -> Tensor:
    """Score of a mask before the softmax over the levels of a pixel: τ · the best cosine with any phrase.

    Args:
        embeddings: L2-normalised embeddings of masks. [M, D]
        phrases: L2-normalised embeddings of the canonical phrases. [C, D]
        temperature: Logit scale τ of the encoder, as in Eq. 8; plain cosines would weigh all levels alike.

    Returns:
        Scores. [M]
    """
    return temperature * (embeddings @ phrases.to(embeddings).T).amax(dim=-1)
