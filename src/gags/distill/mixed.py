"""The schedule `mixed`: a step learns from pixels of all photos, in groups of one region each."""

from functools import cached_property, lru_cache

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from gags.distill import losses
from gags.distill.decoder import Decoder
from gags.distill.objective import Targets, Terms, Units, pixel_losses, weigh_levels
from gags.distill.samples import Samples, batch_for, one_gaussian
from gags.distill.settings import DistillSettings
from gags.render.cuda_view import to_device

RELEASED_EVERY = 10  # steps, after which samples in a file are let go of: each brings 64 KB around it along


class MixedSchedule:
    """Steps on groups of pixels of all photos; their blending weights were computed once.

    Args:
        samples: Sampled pixels of all photos.
        targets: What the masks say.
        settings: Settings.
    """

    def __init__(self, samples: Samples, targets: Targets, settings: DistillSettings) -> None:
        self.samples, self.targets, self.settings = samples, targets, settings

    def state(self) -> dict[str, Tensor]:
        """Nothing: a step goes by its number alone."""
        return {}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `state` gave."""

    def terms(self, features: Tensor, decoder: Decoder, step: int) -> Terms:
        """Terms of Eq. 7 on the groups of one step; see `batch_terms`."""
        if step % RELEASED_EVERY == 0:
            self.samples.release()
        size = self.settings.batch_regions
        if self.settings.start == "zero":
            size = batch_for(size, len(features))
        batch = batch_of(len(self.samples), size, step, self.settings.seed)
        return self.batch_terms(features, decoder, batch, step)

    def batch_terms(self, features: Tensor, decoder: Decoder, batch: Tensor, step: int) -> Terms:
        """Terms of Eq. 7 on some groups of pixels.

        Args:
            features: Features of the Gaussians. [N, d]
            decoder: The decoder.
            batch: Groups to use. [B]
            step: Number of this step, which decides what pixels are replaced by a Gaussian.
        """
        samples, settings, device = self.samples, self.settings, features.device
        batch = to_device(batch, samples.indices.device)
        indices = to_device(samples.indices[batch].flatten(0, 1), device)
        weights = to_device(samples.weights[batch].flatten(0, 1), device)
        rng = torch.Generator().manual_seed(settings.seed * 1_000_003 + step)
        weights = one_gaussian(weights, settings.single_share, rng)
        masks = to_device(samples.targets[batch].flatten(0, 1), device).long()
        rendered = embedding_bag(indices, features, per_sample_weights=weights, mode="sum")
        valid = (masks >= 0) & (weights.sum(dim=-1, keepdim=True) > 0)
        masks = masks.clamp(min=0)
        density = to_device(samples.density[batch].flatten(), device)
        weighed = weigh_levels(decoder, rendered, valid, masks, self.targets, settings, density)
        omega = weighed.omega
        pixel_loss = pixel_losses(decoder, weighed, masks, self.targets, settings)
        areas = samples.areas[masks] if settings.region_aware else torch.ones_like(omega)
        covered = omega.sum(dim=-1) > 0
        pixel_loss = pixel_loss * covered * losses.region_weights(omega, areas, density)
        level = to_device(samples.levels[batch], device)
        counts = (omega.argmax(dim=-1) == level.repeat_interleave(len(covered) // len(level))) & covered
        grouped = rendered.reshape(len(level), -1, rendered.shape[-1])
        spread = self._consistency(grouped, counts.reshape(len(level), -1), batch)
        spread = spread * Units.of(settings, decoder).variance
        return Terms(pixel_loss.mean(), spread, weighed.entropy, weighed.divergence)

    def _consistency(self, grouped: Tensor, counts: Tensor, batch: Tensor) -> Tensor:
        """Eq. 6 for groups of features [B, S, d]; groups are drawn by area, so their mean goes by area."""
        if self.settings.consistency_by == "area":
            return losses.consistency(grouped, counts) / len(grouped)
        repeats = to_device(self._repeats[batch], grouped.device)
        return losses.consistency_by_region(grouped, counts, repeats)

    @cached_property
    def _repeats(self) -> Tensor:
        """How many groups the region of each group has. [G]"""
        samples = self.samples
        rows = torch.arange(len(samples), device=samples.levels.device)
        regions = samples.targets[rows, 0, samples.levels].long()
        return torch.bincount(regions)[regions]


def batch_of(count: int, size: int, step: int, seed: int) -> Tensor:
    """What one step takes: permutation after permutation, by the step alone so that training resumes.

    Args:
        count: How many there are to take from.
        size: How many a step takes, if there are as many.
        step: Number of the step.
        seed: Seed of the permutations.

    Returns:
        int64 [size]
    """
    size = min(size, count)
    epoch, place = divmod(step, count // size)
    return _permutation(count, seed * 1_000_003 + epoch)[place * size : (place + 1) * size]


@lru_cache(maxsize=1)
@torch.inference_mode(False)  # what is kept may be used in training later
def _permutation(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))
