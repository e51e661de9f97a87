"""Answers of Gaussians that hold whole embeddings, one or one a level: relevancy by Gaussian, rendered."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from gags.capture.camera import Camera
from gags.distill.decoder import DECODED_AT_ONCE
from gags.distill.field import KEPT_BYTES
from gags.embed.encoder import Encoder
from gags.gaussians import Gaussians
from gags.query import lerf_ovs
from gags.query.answers import fill_uncovered
from gags.query.lerf_ovs import Map
from gags.query.maps import ValueMaps, render_values
from gags.query.relevancy import Queries

LEAST_SHOWN = 0.5  # of a pixel, from Gaussians with an embedding: with less it says nothing


@dataclass(frozen=True, eq=False)
class EmbeddedGaussians:
    """Gaussians that hold an embedding on one or several levels; the best level answers each text.

    Attributes:
        gaussians: The scene.
        features: Embeddings of each Gaussian on L levels, L2-normalised, 0 where no mask shows it, so that it
            has no relevancy; float32, or float16 where that would be too large. [N, L, D]
        encoder_name: Encoder of the embeddings.
    """

    gaussians: Gaussians
    features: Tensor
    encoder_name: str

    def prepare(self, texts: Sequence[str], encoder: Encoder) -> Queries:
        """Texts embedded with the encoder that made the masks' embeddings; see `Queries.encode`."""
        return Queries.encode(texts, encoder, self)

    @cached_property
    def shown(self) -> Tensor:
        """Which Gaussians have an embedding, by level. bool [N, L]"""
        return self.features.any(dim=-1)

    @torch.no_grad()
    def relevancy(self, camera: Camera, queries: Queries) -> ValueMaps:
        """Relevancy (GAGS Eq. 8) of the Gaussians on every level, rendered into the view.

        Gaussians without an embedding hide what is behind them, but say nothing: a cosine of 0 with all texts
        would be a relevancy of 0.5, above that of embeddings that resemble a phrase. What a pixel says is the
        mean of the others. Where these make up less than half of it, it has the least value of the map, as
        pixels that show nothing have for a mask. A level without any is 0 everywhere, so it is not chosen.
        """
        texts = torch.cat([queries.vectors, queries.negatives]).T
        chunks = self.features.split(DECODED_AT_ONCE)
        asked = torch.cat([queries.relevancy_from_cosines(chunk.float() @ texts) for chunk in chunks])
        asked = torch.where(self.shown[..., None], asked, 0)
        drawn = render_values(self.gaussians, asked.flatten(1), camera)
        shares = render_values(self.gaussians, self.shown.float(), camera).values
        levels = drawn.values.unflatten(0, asked.shape[1:])
        for level, share in zip(levels, shares, strict=True):
            counts = drawn.known & (share >= LEAST_SHOWN)
            level /= torch.where(counts, share, 1)
            for text in level:
                text.copy_(torch.where(drawn.known, fill_uncovered(text * counts, counts), 0))
        if len(levels) == 1:
            return ValueMaps(levels[0], drawn.known)
        return ValueMaps(best_level(levels), drawn.known, levels)


def kept_dtype(gaussians: int, levels: int, dim: int) -> torch.dtype:
    """float32 for embeddings [N, L, D] that fit into a GiB, else float16."""
    return torch.float32 if 4 * gaussians * levels * dim <= KEPT_BYTES else torch.float16


def best_level(maps: Map) -> Map:
    """For each text the map of the level whose smoothed relevancy has the highest peak (LangSplat 3.4).

    Args:
        maps: Relevancy of every pixel to every text on every level. float32 [L, T, H, W]

    Returns:
        float32 [T, H, W]
    """
    peaks = np.array([[float(lerf_ovs.smooth(relevancy).max()) for relevancy in level] for level in maps])
    return maps[peaks.argmax(axis=0), np.arange(maps.shape[1])]
