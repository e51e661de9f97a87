"""Training-free uplift: a Gaussian takes the mean of the whole embeddings that its pixels see (Occam's LGS).

f_i = normalise(Σ w F / Σ w) over all pixels of all photos, F being the mean embedding of the masks that cover
the pixel. Nothing is compressed: each Gaussian keeps a whole embedding of length D. A query needs no
picture of D channels: relevancy (Eq. 8) is taken per Gaussian and rendered. Of three ways tried on a real
scene (this one, rendering cosines, rendering all D channels and normalising) it answered best, and it is the
fastest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from gags.capture.camera import Camera
from gags.compare.methods.embedded import EmbeddedGaussians
from gags.compare.methods.learner import REMEDY, Inputs
from gags.embed.encoder import Encoder
from gags.files.ranges import TOP_K, Settings, ranged
from gags.gaussians import Gaussians, blend_weights
from gags.progress import Reporter
from gags.query.maps import ValueMaps
from gags.query.relevancy import Queries
from gags.segment.masks import LEVELS, Masks
from gags.store import damaged, load_tensors, save_tensors

PAIRS_AT_ONCE = 1 << 26  # of a Gaussian and a mask, summed at once; bounds memory


@dataclass(frozen=True)
class Uplift(Settings):
    """Sums embeddings over all pixels; nothing is trained, a seed changes nothing."""

    answers: ClassVar[int] = 2

    top_k: int = ranged(16, TOP_K)
    """Gaussians kept per pixel."""

    def learn(self, inputs: Inputs, seed: int, path: Path, progress: Reporter) -> None:
        """One pass over all photos; see `Learner.learn`."""
        g = inputs.gaussians
        sums = torch.zeros(len(g), inputs.encoder.dim, device=g.means.device)
        with progress.stage("Uplifting", len(inputs.items), "photos") as bar:
            for camera, described in inputs.items:
                embeddings = torch.from_numpy(described.embeddings).float().to(sums.device)
                self._add_photo(sums, g, camera, described.masks, embeddings)
                bar.advance()
        UpliftedFeatures(g, normalize(sums, dim=-1), inputs.encoder.name).save(path)

    def load(self, path: Path, inputs: Inputs) -> "UpliftedFeatures":
        """What `learn` wrote."""
        return UpliftedFeatures.load(path, inputs.gaussians)

    def _add_photo(
        self, sums: Tensor, g: Gaussians, camera: Camera, masks: Masks, embeddings: Tensor
    ) -> None:
        """Add Σ w F over the pixels of a photo to the Gaussians' sums [N, D]."""
        height, width = masks.labels.shape[1:]
        camera = camera.resized(width, height)
        rows, columns = np.nonzero((masks.labels >= 0).any(axis=0))
        if not len(rows):
            return
        pixels = torch.from_numpy(np.stack([columns, rows], axis=-1)).to(sums.device)
        blend = blend_weights(g, camera, pixels, top_k=self.top_k)
        weights = torch.where(blend.indices >= 0, blend.weights, 0)
        labels = torch.from_numpy(masks.labels[:, rows, columns].T.astype(np.int64)).to(sums.device)
        step = max(1, PAIRS_AT_ONCE // len(g))
        for first in range(0, len(masks), step):
            part = slice(first, min(first + step, len(masks)))
            sums += seen_masks(blend.indices, weights, labels, len(g), part) @ embeddings[part]


def seen_masks(indices: Tensor, weights: Tensor, labels: Tensor, count: int, masks: slice) -> Tensor:
    """How much of each Gaussian's blending weight falls onto each mask.

    A pixel's weight is shared alike between the levels that have a mask there.

    Args:
        indices: Gaussians of every pixel, anything where the weight is 0. [P, K]
        weights: Their blending weights, 0 for padding. [P, K]
        labels: Mask that covers each pixel on each level, -1 where there is none. int64 [P, 3]
        count: Number N of Gaussians.
        masks: The masks that are asked for, M of the photo's.

    Returns:
        Sums of weights. [N, M]
    """
    size = masks.stop - masks.start
    share = 1.0 / (labels >= 0).sum(dim=1).clamp(min=1)
    table = torch.zeros(count * size, device=weights.device)
    for level in range(len(LEVELS)):
        wanted = (labels[:, level] >= masks.start) & (labels[:, level] < masks.stop)
        cells = indices[wanted].long().clamp(min=0) * size + (labels[wanted, level] - masks.start)[:, None]
        table += torch.bincount(
            cells.reshape(-1), (weights[wanted] * share[wanted, None]).reshape(-1), minlength=len(table)
        )
    return table.view(count, size)


@dataclass(frozen=True, eq=False)
class UpliftedFeatures:
    """A whole embedding for every Gaussian.

    Attributes:
        gaussians: The scene.
        features: Embedding of each Gaussian, L2-normalised, 0 for those that no mask shows; on file its name
            is "features" as for every method. float32 [N, D]
        encoder_name: Encoder of the embeddings.
    """

    gaussians: Gaussians
    features: Tensor
    encoder_name: str

    def prepare(self, texts: Sequence[str], encoder: Encoder) -> Queries:
        """Texts embedded with the encoder that made the masks' embeddings; see `Queries.encode`."""
        return Queries.encode(texts, encoder, self)

    @torch.no_grad()
    def relevancy(self, camera: Camera, queries: Queries) -> ValueMaps:
        """Relevancy (GAGS Eq. 8) of the Gaussians, rendered into the view."""
        return self._one_level.relevancy(camera, queries)

    @cached_property
    def _one_level(self) -> EmbeddedGaussians:
        return EmbeddedGaussians(self.gaussians, self.features[:, None], self.encoder_name)

    def save(self, path: Path) -> None:
        """Write to a safetensors file, atomically; embeddings are kept as float16."""
        save_tensors(path, {"features": self.features.half()}, {"encoder": self.encoder_name})

    @classmethod
    def load(cls, path: Path, gaussians: Gaussians) -> "UpliftedFeatures":
        """Read what `save` wrote.

        Raises:
            WorkspaceError: If the file is missing or damaged.
        """
        stored = load_tensors(path, remedy=REMEDY)
        try:
            features, name = stored.tensors["features"], stored.metadata["encoder"]
        except KeyError as error:
            raise damaged(path, error, REMEDY) from error
        return cls(gaussians, features.float().to(gaussians.means.device), name)
