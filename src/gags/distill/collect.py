"""One pass over all photos: samples to learn from, and the first solution."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gags.capture.camera import Camera
from gags.distill.losses import granularity_weights
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
from gags.distill.uplift import Uplift
from gags.features import Masks, ViewFeatures
from gags.progress import Reporter
from gags.render import blend_weights
from gags.splats.gaussians import Gaussians

UPLIFT_PIXELS = 60_000  # of every photo, on a grid: enough that next to no visible Gaussian is missed


@torch.no_grad()
def collect(
    gaussians: Gaussians,
    items: Sequence[tuple[Camera, ViewFeatures]],
    components: Tensor,
    settings: DistillSettings,
    report: Reporter,
    logits: Tensor | None = None,
) -> tuple[Samples, Uplift]:
    """Sample pixels of all photos and find the Gaussians they are made of.

    Args:
        gaussians: The scene.
        items: Camera and masks of every photo.
        components: Principal components of every mask of all photos. [M, d]
        settings: Settings of distillation.
        report: Told about progress.
        logits: Fixed granularity logit of every mask, −inf for masks that do not count. [M]

    Returns:
        The samples, and the weighted means of what the Gaussians' pixels see.
    """
    device = gaussians.means.device
    fixed = components.new_zeros(len(components)) if logits is None else logits
    uplift = Uplift(len(gaussians), components.shape[1], device)
    parts: list[Samples] = []
    first_mask = 0
    with report.stage("Blending weights", len(items), "photos") as bar:
        for view, (camera, features) in enumerate(items):
            masks = features.masks
            if len(masks):
                rng = np.random.default_rng([settings.seed, view])
                rows = slice(first_mask, first_mask + len(masks))
                seen = (components[rows], fixed[rows])
                parts.append(_collect_view(gaussians, camera, masks, first_mask, seen, settings, rng, uplift))
            first_mask += len(masks)
            bar.advance()
    names = ("indices", "weights", "targets", "density", "levels", "areas")
    joined = (torch.cat([getattr(part, name) for part in parts]) for name in names)
    return Samples(*joined, logits=logits), uplift


def _collect_view(
    gaussians: Gaussians,
    camera: Camera,
    masks: Masks,
    first_mask: int,
    seen: tuple[Tensor, Tensor],
    settings: DistillSettings,
    rng: np.random.Generator,
    uplift: Uplift,
) -> Samples:
    """Samples of one photo; adds its pixels, which see components [M, d] with logits [M], to `uplift`."""
    height, width = masks.labels.shape[1:]
    if (camera.width, camera.height) != (width, height):
        camera = camera.resized(width, height)
    areas = mask_areas(masks)
    drawn = draw_pixels(masks, groups_per_region(areas, settings.pixels_per_region), rng)
    grid = _grid(width, height, rng)
    pixels = torch.from_numpy(np.concatenate([drawn.pixels.reshape(-1, 2), grid])).to(gaussians.means.device)
    blend = blend_weights(
        gaussians.means,
        gaussians.quats,
        gaussians.scales,
        gaussians.opacities,
        camera,
        pixels,
        top_k=settings.top_k,
    )
    count = drawn.pixels.shape[0] * GROUP
    labels = torch.from_numpy(masks.labels[:, grid[:, 1], grid[:, 0]].T.astype(np.int64)).to(pixels.device)
    _uplift_view(uplift, blend.indices[count:], blend.weights[count:], labels, *seen)
    indices, weights = normalised(blend.indices[:count], blend.weights[:count])
    return _samples(drawn, indices, weights, masks, areas, first_mask)


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


def _grid(width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    """About `UPLIFT_PIXELS` pixels on a regular grid with a random offset. int64 [P, 2] (x, y)"""
    stride = max(1, int(np.ceil(np.sqrt(width * height / UPLIFT_PIXELS))))
    xs = np.arange(int(rng.integers(stride)), width, stride)
    ys = np.arange(int(rng.integers(stride)), height, stride)
    return np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)


def _uplift_view(
    uplift: Uplift, indices: Tensor, weights: Tensor, labels: Tensor, components: Tensor, logits: Tensor
) -> None:
    """Add the pixels that masks cover, with the mean of their levels' components, weighed by their logits.

    Args:
        uplift: Is added to.
        indices: Gaussians of every pixel, -1 for padding. [P, K]
        weights: Their blending weights. [P, K]
        labels: Mask of the photo that covers each pixel on each level, -1 where there is none. [P, 3]
        components: What each mask of the photo shows. [M, d]
        logits: Granularity logit of each mask of the photo, −inf for those that do not count. [M]
    """
    masks = labels.clamp(min=0)
    omega = granularity_weights(logits[masks], (labels >= 0) & logits.isfinite()[masks])
    covered = omega.sum(dim=-1) > 0
    values = torch.einsum("pl,pld->pd", omega[covered], components[masks[covered]])
    indices, weights = indices[covered], weights[covered]
    weights = torch.where(indices >= 0, weights, torch.zeros_like(weights))
    uplift.add(indices.clamp(min=0), weights, values)
