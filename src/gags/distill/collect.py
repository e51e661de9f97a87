"""One pass over all photos: samples to learn from, and which masks every Gaussian is seen in."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gags.capture.camera import Camera
from gags.distill.evidence import Evidence, ViewEvidence, merge, pixel_grid, view_evidence
from gags.distill.samples import (
    GROUP,
    PixelGroups,
    Samples,
    draw_pixels,
    groups_per_region,
    mask_areas,
    normalised,
)
from gags.distill.settings import DistillSettings
from gags.embed.description import Description
from gags.gaussians import Gaussians, blend_weights
from gags.progress import Reporter
from gags.segment.masks import Masks

EVIDENCE_PIXELS = 60_000  # of every photo, on a grid: enough that next to no visible Gaussian is missed


@torch.no_grad()
def collect(
    gaussians: Gaussians,
    items: Sequence[tuple[Camera, Description]],
    settings: DistillSettings,
    progress: Reporter,
) -> tuple[Samples, Evidence]:
    """Sample pixels of all photos and find the Gaussians they are made of.

    Args:
        gaussians: The scene.
        items: Camera and masks of every photo.
        settings: Settings of distillation.
        progress: Told about progress.

    Returns:
        The samples, and which masks every Gaussian is seen in.
    """
    parts: list[Samples] = []
    seen: list[ViewEvidence] = []
    first_mask = 0
    with progress.stage("Blending weights", len(items), "photos") as bar:
        for view, (camera, features) in enumerate(items):
            masks = features.masks
            if len(masks):
                rng = np.random.default_rng([settings.seed, view])
                samples, evidence = _collect_view(gaussians, camera, masks, first_mask, settings, rng)
                parts.append(samples)
                seen.append(evidence)
            first_mask += len(masks)
            bar.advance()
    names = ("indices", "weights", "targets", "density", "levels", "areas")
    joined = Samples(*(torch.cat([getattr(part, name) for part in parts]) for name in names))
    return joined, merge(seen, len(gaussians))


def _collect_view(
    gaussians: Gaussians,
    camera: Camera,
    masks: Masks,
    first_mask: int,
    settings: DistillSettings,
    rng: np.random.Generator,
) -> tuple[Samples, ViewEvidence]:
    """Samples of one photo, and its evidence from a grid of pixels."""
    height, width = masks.labels.shape[1:]
    areas = mask_areas(masks)
    drawn = draw_pixels(masks, groups_per_region(areas, settings.pixels_per_photo), rng)
    grid = pixel_grid(width, height, EVIDENCE_PIXELS, rng)
    pixels = torch.from_numpy(np.concatenate([drawn.pixels.reshape(-1, 2), grid])).to(gaussians.means.device)
    blend = blend_weights(
        gaussians,
        camera.resized(width, height),
        pixels,
        top_k=settings.top_k,
    )
    count = drawn.pixels.shape[0] * GROUP
    labels = masks.labels[:, grid[:, 1], grid[:, 0]].T
    evidence = view_evidence(blend.indices[count:], blend.weights[count:], labels, len(masks))
    indices, weights = normalised(blend.indices[:count], blend.weights[:count])
    return _samples(drawn, indices, weights, masks, areas, first_mask), evidence


def _samples(
    drawn: PixelGroups, indices: Tensor, weights: Tensor, masks: Masks, areas: np.ndarray, first_mask: int
) -> Samples:
    device = indices.device
    targets = np.where(drawn.targets >= 0, drawn.targets + first_mask, -1).astype(np.int32)
    return Samples(
        indices.reshape(-1, GROUP, indices.shape[-1]),
        weights.reshape(-1, GROUP, weights.shape[-1]),
        torch.from_numpy(targets).to(device),
        torch.from_numpy(drawn.density).to(device),
        torch.from_numpy(masks.levels[drawn.rows].astype(np.int64)).to(device),
        torch.from_numpy(areas).to(device),
    )
