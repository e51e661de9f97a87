"""Pixels of all photos, and the Gaussians that make them up: what a method that renders features learns from.

The Gaussians do not change, so the weights of a pixel are computed once, and a step can mix pixels of all
photos. The published programs render one whole photo a step.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from gags.capture import Camera
from gags.embed.description import Description
from gags.gaussians import Gaussians, blend_weights
from gags.progress import Reporter


@dataclass(eq=False)
class Pixels:
    """Pixels drawn from all photos; rows of masks count through all photos.

    Attributes:
        indices: Gaussians that make up each pixel; 0 with weight 0 for padding. int32 [P, K]
        weights: Their blending weights; of the K largest, scaled up to the alpha of the pixel. float32 [P, K]
        masks: Masks that cover each pixel on the three levels, -1 where there is none. int32 [P, 3]
    """

    indices: Tensor
    weights: Tensor
    masks: Tensor

    def __len__(self) -> int:
        return len(self.indices)

    def subset(self, rows: Tensor) -> "Pixels":
        """Some of the pixels, by a boolean mask [P] or rows."""
        return Pixels(self.indices[rows], self.weights[rows], self.masks[rows])

    def blended(self, features: Tensor, rows: Tensor) -> Tensor:
        """What some pixels show of features of the Gaussians: Σ w f, on black. [N, d], [B] → [B, d]"""
        return embedding_bag(self.indices[rows], features, per_sample_weights=self.weights[rows], mode="sum")


@torch.no_grad()
def draw_pixels(
    gaussians: Gaussians,
    items: Sequence[tuple[Camera, Description]],
    *,
    per_photo: int,
    top_k: int,
    seed: int,
    progress: Reporter,
) -> Pixels:
    """Draw pixels evenly from every photo, and find the Gaussians that they are made of.

    Args:
        gaussians: The scene.
        items: Camera and masks of every photo.
        per_photo: Pixels of each; all, if it has no more.
        top_k: Gaussians kept a pixel.
        seed: Seed of the draw.
        progress: Told about progress.
    """
    device = gaussians.means.device
    parts: list[Pixels] = []
    first_mask = 0
    with progress.stage("Blending weights", len(items), "photos") as bar:
        for number, (camera, description) in enumerate(items):
            labels = description.masks.labels
            height, width = labels.shape[1:]
            rng = np.random.default_rng([seed, number])
            flat = rng.choice(height * width, min(per_photo, height * width), replace=False)
            rows, columns = np.divmod(np.sort(flat), width)
            xy = torch.from_numpy(np.stack([columns, rows], axis=-1)).to(device)
            blend = blend_weights(gaussians, camera.resized(width, height), xy, top_k=top_k)
            weights = torch.where(blend.indices >= 0, blend.weights, 0)
            kept = weights.sum(dim=1, keepdim=True)
            weights = torch.where(kept > 0, weights * (blend.alphas[:, None] / kept.clamp(min=1e-8)), 0)
            masks = labels[:, rows, columns].T.astype(np.int32)
            masks = np.where(masks >= 0, masks + first_mask, -1).astype(np.int32)
            parts.append(Pixels(blend.indices.clamp(min=0), weights, torch.from_numpy(masks).to(device)))
            first_mask += len(description.masks)
            bar.advance()
    return Pixels(*(torch.cat([getattr(p, name) for p in parts]) for name in ("indices", "weights", "masks")))
