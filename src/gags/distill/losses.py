"""The terms of the distillation loss (GAGS Eq. 3-7) as pure functions; levels are the axis L = 3."""

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

TINY = torch.finfo(torch.float32).tiny  # below it, and at ω = 0, log ω has no finite gradient


def granularity_weights(logits: Tensor, valid: Tensor) -> Tensor:
    """Weights ω of the levels: a softmax over the levels that have a mask at the pixel.

    Args:
        logits: Granularity logits. [P, L]
        valid: Whether a mask of the level covers the pixel. bool [P, L]

    Returns:
        Weights that sum to 1 over the valid levels; all 0 where no level is valid. [P, L]
    """
    weights = logits.masked_fill(~valid, float("-inf")).softmax(dim=-1)
    return torch.where(valid, weights, torch.zeros_like(weights))


def weighted_distillation(decoded: Tensor, targets: Tensor, omega: Tensor) -> Tensor:
    """Eq. 3 as in the paper: ℓ(p) = Σ_l ω_l ‖F̂ − F_l‖².

    Args:
        decoded: Decoded embeddings F̂. [P, D]
        targets: Embeddings F_l of the masks that cover the pixel. [P, L, D]
        omega: Granularity weights; 0 for levels without a mask. [P, L]

    Returns:
        Loss of each pixel. [P]
    """
    squared = (decoded[:, None] - targets).square().sum(dim=-1)
    return (omega * squared).sum(dim=-1)


def mixture_distillation(decoded: Tensor, targets: Tensor, omega: Tensor) -> Tensor:
    """Eq. 3 as in the released program: ℓ(p) = ‖F̂ − Σ_l ω_l F_l‖₁, a sum over the channels.

    Arguments and result are those of `weighted_distillation`.
    """
    mixture = (omega[..., None] * targets).sum(dim=1)
    return (decoded - mixture).abs().sum(dim=-1)


def blended_targets(table: Tensor, masks: Tensor, omega: Tensor) -> Tensor:
    """Σ_l ω_l F_l of pixels whose masks' embeddings stand in a table: no [P, L, D] numbers are made.

    Args:
        table: Embeddings of all masks. [M, D]
        masks: Masks that cover each pixel; anything where ω is 0. int64 [P, L]
        omega: Granularity weights. [P, L]

    Returns:
        [P, D]
    """
    return embedding_bag(masks, table, per_sample_weights=omega, mode="sum")


def weighted_by_products(decoded: Tensor, mixture: Tensor, squared: Tensor, omega: Tensor) -> Tensor:
    """`weighted_distillation` as ‖F̂‖² Σ_l ω_l − 2 F̂·Σ_l ω_l F_l + Σ_l ω_l ‖F_l‖², in half of the time.

    Args:
        decoded: Decoded embeddings F̂. [P, D]
        mixture: Σ_l ω_l F_l, see `blended_targets`. [P, D]
        squared: ‖F_l‖² of the masks that cover the pixel. [P, L]
        omega: Granularity weights; 0 for levels without a mask. [P, L]

    Returns:
        Loss of each pixel. [P]
    """
    own = decoded.square().sum(dim=-1) * omega.sum(dim=-1)
    return own - 2 * (decoded * mixture).sum(dim=-1) + (omega * squared).sum(dim=-1)


def entropy(omega: Tensor) -> Tensor:
    """Eq. 4 before its mean: −Σ_l ω_l log ω_l, 0 if one level takes all. [P, L] → [P]"""
    return -(omega * omega.clamp(min=TINY).log()).sum(dim=-1)


def mean_entropy(omega: Tensor, density: Tensor | None = None) -> Tensor:
    """Eq. 4: the mean of `entropy` over the pixels of the photos.

    Pixels drawn with a density q(p) count 1 / q(p): small masks give more samples than their area does.

    Args:
        omega: Granularity weights. [P, L]
        density: How many samples were drawn per px at each pixel; None if all were drawn alike. [P]

    Returns:
        []
    """
    if density is None:
        return entropy(omega).mean()
    return (entropy(omega) / density).sum() / density.reciprocal().sum()


def divergence(omega: Tensor, target: Tensor) -> Tensor:
    """Kullback-Leibler divergence Σ_l ω_l log (ω_l / ω*_l) of weights ω from what they should be.

    Args:
        omega: Granularity weights, 0 for levels without a mask. [P, L]
        target: The weights ω* to go towards; above 0 wherever ω is. [P, L]

    Returns:
        At least 0 (up to rounding); 0 where both agree, or no level has a mask. [P]
    """
    own = torch.special.xlogy(omega, omega.clamp(min=TINY))
    return (own - torch.special.xlogy(omega, target.clamp(min=1e-8))).sum(-1)


def region_weights(omega: Tensor, areas: Tensor, density: Tensor) -> Tensor:
    """Eq. 5 for sampled pixels: 1/A of the region that counts, over the density the pixel was drawn with.

    The region that counts is the one at the level of the largest ω. Pixels drawn with a density q(p) and
    weighted 1 / (A q(p)) give every region the same total weight, in expectation.

    Args:
        omega: Granularity weights. [P, L]
        areas: Areas of the regions that cover the pixel, px; anything where ω is 0. [P, L]
        density: How many samples were drawn per px at this pixel. [P]

    Returns:
        Weights with a mean of 1; no gradient. [P]
    """
    level = omega.detach().argmax(dim=-1, keepdim=True)
    weights = 1.0 / (areas.gather(-1, level).squeeze(-1) * density)
    return weights / weights.mean()


def consistency(features: Tensor, counts: Tensor) -> Tensor:
    """Eq. 6: Σ_k mean_{p∈R_k} ‖f(p) − f̄_k‖², over groups of pixels that share a region.

    Args:
        features: Rendered features, S pixels of each of R regions. [R, S, d]
        counts: Which pixels count: those for which this region is the one at the level of the largest ω.
            bool [R, S]

    Returns:
        The sum over the regions with at least one pixel that counts. []
    """
    share = counts.float() / counts.sum(dim=-1, keepdim=True).clamp(min=1)
    mean = (share[..., None] * features).sum(dim=1, keepdim=True)
    return (share * (features - mean).square().sum(dim=-1)).sum()


def consistency_by_region(features: Tensor, counts: Tensor, repeats: Tensor) -> Tensor:
    """Eq. 6 over its number of regions, from groups of which a region may have several.

    Args:
        features: Rendered features, S pixels of each of G groups, all of a group from one region. [G, S, d]
        counts: As in `consistency`. bool [G, S]
        repeats: How many groups the region of each group has; it counts as one over that. [G]

    Returns:
        Mean over the regions with a pixel that counts, in expectation; 0 if there is none. []
    """
    share = counts.float() / counts.sum(dim=-1, keepdim=True).clamp(min=1)
    mean = (share[..., None] * features).sum(dim=1, keepdim=True)
    spread = (share * (features - mean).square().sum(dim=-1)).sum(dim=-1)
    weights = counts.any(dim=-1) / repeats
    return (weights * spread).sum() / weights.sum().clamp(min=1e-8)


def mean_of_regions(values: Tensor, regions: Tensor, count: int) -> Tensor:
    """Mean of what the pixels of every region have.

    Args:
        values: Of each pixel. [P] or [P, C]
        regions: Number of the region that each pixel lies in, below R. int64 [P]
        count: Number R of regions; each has at least one pixel.

    Returns:
        [R] or [R, C]
    """
    sums = values.new_zeros(count, *values.shape[1:]).index_add(0, regions, values)
    sizes = torch.bincount(regions, minlength=count).to(values)
    return sums / sizes.reshape(-1, *[1] * (values.ndim - 1))


def spread_of_pixels(features: Tensor, regions: Tensor, count: int) -> Tensor:
    """‖f(p) − f̄_k‖² of every pixel, f̄_k being the mean of its region: Eq. 6 before its mean and sum.

    Args:
        features: Rendered features. [P, d]
        regions: As in `mean_of_regions`. int64 [P]
        count: Number of regions.

    Returns:
        [P]
    """
    means = mean_of_regions(features, regions, count)
    return (features - means[regions]).square().sum(dim=-1)
