"""LangSplat without its autoencoder: three fields of whole embeddings, one a level, asked by Gaussian.

A Gaussian takes, on each level, the mean of the embeddings of that level's masks, weighed by how much it adds
to their pixels, and normalised: f_i = normalise(Σ w F / Σ w) over all pixels of all photos that have a mask
of the level. Three fields of D numbers are not trained: with nothing to compress, this mean is what a squared
distance would lead single Gaussians to. It shows what three levels are worth apart from codes of three
numbers. The rule for the level is LangSplat's.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from gags.capture.camera import Camera
from gags.compare.methods.embedded import EmbeddedGaussians, kept_dtype
from gags.compare.methods.learner import REMEDY, Inputs
from gags.compare.methods.uplift import PAIRS_AT_ONCE, seen_masks
from gags.files.ranges import TOP_K, Settings, ranged
from gags.gaussians import Gaussians, blend_weights
from gags.progress import Reporter
from gags.segment.masks import LEVELS, Masks
from gags.store import damaged, load_tensors, save_tensors


@dataclass(frozen=True)
class Uncompressed(Settings):
    """Sums the embeddings of each level over all pixels; nothing is trained, a seed changes nothing."""

    answers: ClassVar[int] = 2

    top_k: int = ranged(16, TOP_K)
    """Gaussians kept per pixel."""

    def learn(self, inputs: Inputs, seed: int, path: Path, progress: Reporter) -> None:
        """One pass over all photos; see `Learner.learn`."""
        g = inputs.gaussians
        sums = torch.zeros(len(LEVELS), len(g), inputs.encoder.dim, device=g.means.device)
        with progress.stage("Uplifting three levels", len(inputs.items), "photos") as bar:
            for camera, described in inputs.items:
                embeddings = torch.from_numpy(described.embeddings).float().to(sums.device)
                self._add_photo(sums, g, camera, described.masks, embeddings)
                bar.advance()
        features = torch.stack([normalize(level, dim=-1).half() for level in sums], dim=1)
        save_tensors(path, {"features": features}, {"encoder": inputs.encoder.name})

    def load(self, path: Path, inputs: Inputs) -> EmbeddedGaussians:
        """What `learn` wrote.

        Raises:
            WorkspaceError: If the file is missing or damaged.
        """
        stored = load_tensors(path, remedy=REMEDY)
        try:
            features, name = stored.tensors["features"], stored.metadata["encoder"]
            features = features.to(inputs.gaussians.means.device, kept_dtype(*features.shape))
        except (KeyError, TypeError) as error:
            raise damaged(path, error, REMEDY) from error
        return EmbeddedGaussians(inputs.gaussians, features, name)

    def _add_photo(
        self, sums: Tensor, g: Gaussians, camera: Camera, masks: Masks, embeddings: Tensor
    ) -> None:
        """Add Σ w F over the pixels of a photo to the Gaussians' sums on each level [3, N, D]."""
        height, width = masks.labels.shape[1:]
        rows, columns = np.nonzero((masks.labels >= 0).any(axis=0))
        if not len(rows):
            return
        pixels = torch.from_numpy(np.stack([columns, rows], axis=-1)).to(sums.device)
        blend = blend_weights(g, camera.resized(width, height), pixels, top_k=self.top_k)
        weights = torch.where(blend.indices >= 0, blend.weights, 0)
        for level, labels in enumerate(masks.labels[:, rows, columns]):
            members = np.flatnonzero(masks.levels == level)
            number = np.full(len(masks) + 1, -1)  # [-1] serves "no mask"
            number[members] = np.arange(len(members))
            # `seen_masks` shares a pixel between the levels that have a mask there: here it is one alone.
            alone = np.full((len(rows), len(LEVELS)), -1)
            alone[:, level] = number[labels]
            wanted = torch.from_numpy(alone).to(sums.device)
            step = max(1, PAIRS_AT_ONCE // len(g))
            for first in range(0, len(members), step):
                part = slice(first, min(first + step, len(members)))
                seen = seen_masks(blend.indices, weights, wanted, len(g), part)
                sums[level] += seen @ embeddings[torch.from_numpy(members[part]).to(sums.device)]
