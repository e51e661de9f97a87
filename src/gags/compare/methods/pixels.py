"""Pixels of all photos with the Gaussians that blend into them, for methods that render what they learn."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gags.capture.camera import Camera
from gags.embed.description import Description
from gags.errors import WorkspaceError
from gags.gaussians import Gaussians, blend_weights
from gags.progress import Reporter
from gags.segment.masks import Masks


@dataclass(frozen=True, eq=False)
class PixelSamples:
    """Sampled pixels of all photos; rows of masks count through all photos.

    Attributes:
        indices: Gaussians that make up each pixel; 0 with weight 0 for padding. int32 [P, K]
        weights: Their blending weights w; a pixel's sum is its alpha. float32 [P, K]
        targets: Masks that cover each pixel on the three levels, -1 where there is none. int32 [P, 3]
    """

    indices: Tensor
    weights: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)


@torch.no_grad()
def sample_pixels(
    gaussians: Gaussians,
    items: Sequence[tuple[Camera, Description]],
    *,
    pixels: int,
    top_k: int,
    seed: int,
    progress: Reporter,
) -> PixelSamples:
    """Draw pixels of every photo, all with the same chance, from those that any mask covers.

    Geometry does not change, so their blending weights are computed once.

    Args:
        gaussians: The scene.
        items: Camera and masks of every photo.
        pixels: How many pixels of a photo at most.
        top_k: Gaussians kept per pixel, K.
        seed: Seed of the drawing, by photo.
        progress: Told about progress.

    Raises:
        WorkspaceError: If no photo has a mask.
    """
    parts: list[PixelSamples] = []
    first_mask = 0
    with progress.stage("Blending weights", len(items), "photos") as bar:
        for view, (camera, described) in enumerate(items):
            masks = described.masks
            if (masks.labels >= 0).any():
                xy = _draw(masks, pixels, np.random.default_rng([seed, view]))
                parts.append(_of_photo(gaussians, camera, masks, xy, top_k, first_mask))
            first_mask += len(masks)
            bar.advance()
    if not parts:
        raise WorkspaceError("no photo has a single mask, there is nothing to learn; check the photos")
    return PixelSamples(
        torch.cat([part.indices for part in parts]),
        torch.cat([part.weights for part in parts]),
        torch.cat([part.targets for part in parts]),
    )


def _draw(masks: Masks, most: int, rng: np.random.Generator) -> np.ndarray:
    """Column and row of pixels that some mask covers. int64 [P, 2]"""
    covered = np.flatnonzero((masks.labels >= 0).any(axis=0))
    if len(covered) > most:
        covered = rng.choice(covered, most, replace=False)
    rows, columns = np.divmod(covered, masks.labels.shape[2])
    return np.stack([columns, rows], axis=-1)


def _of_photo(
    gaussians: Gaussians, camera: Camera, masks: Masks, xy: np.ndarray, top_k: int, first_mask: int
) -> PixelSamples:
    """Samples at pixels [P, 2] of one photo, whose first mask is number `first_mask` of all."""
    height, width = masks.labels.shape[1:]
    device = gaussians.means.device
    pixels = torch.from_numpy(xy).to(device)
    blend = blend_weights(gaussians, camera.resized(width, height), pixels, top_k=top_k)
    weights = torch.where(blend.indices >= 0, blend.weights, 0)
    # What the weights beyond the K largest add up to is shared among these: alpha stays what is rendered.
    weights = weights * (blend.alphas / weights.sum(dim=-1).clamp(min=1e-8))[:, None]
    labels = masks.labels[:, xy[:, 1], xy[:, 0]].T
    targets = np.where(labels >= 0, labels.astype(np.int32) + first_mask, -1).astype(np.int32)
    return PixelSamples(blend.indices.clamp(min=0), weights, torch.from_numpy(targets).to(device))
