"""Distillation: the embeddings of all photos' masks become one feature a Gaussian."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, normalize

from gags.capture.camera import Camera
from gags.distill import losses
from gags.distill.consensus import consensus
from gags.distill.evidence import Evidence, uplift
from gags.distill.field import (
    Decoder,
    DecoderShape,
    LanguageField,
    principal_basis,
    principal_features,
    splats_hash,
    start_from_principal_components,
)
from gags.distill.samples import Samples, collect, one_gaussian
from gags.distill.settings import DistillSettings
from gags.embed.description import Description
from gags.errors import WorkspaceError
from gags.gaussians import Gaussians
from gags.progress import SILENT, Reporter
from gags.segment.masks import LEVELS
from gags.store import Checkpoint, digest

CHECKPOINT_SECONDS = 30.0
LEAST_REPEATABILITY = 0.02  # so that no level of granularity is ruled out


@dataclass(frozen=True, eq=False)
class MaskTable:
    """The M masks of all photos, in order.

    Attributes:
        embeddings: float16 [M, D]
        levels: 0, 1, 2 for sub-part, part, whole. int64 [M]
        encoder: Name of the encoder of all embeddings.
    """

    embeddings: Tensor
    levels: Tensor
    encoder: str


@dataclass(frozen=True, eq=False)
class Targets:
    """What the M masks of all photos say.

    Attributes:
        coordinates: Their unit embeddings in the decoder's basis. [M, r]
        repeatability_logits: Logits that granularity weights learn, if they learn from repeatability. [M]
        logits: Their granularity logits if these are given, not learnt. [M]
    """

    coordinates: Tensor
    repeatability_logits: Tensor | None = None
    logits: Tensor | None = None

    def tensors(self) -> list[Tensor]:
        """The tensors that are not None."""
        given = (self.coordinates, self.repeatability_logits, self.logits)
        return [tensor for tensor in given if tensor is not None]


def train_field(
    gaussians: Gaussians,
    items: Sequence[tuple[Camera, Description]],
    settings: DistillSettings = DistillSettings(),
    *,
    logits: Tensor | None = None,
    checkpoint: Path | None = None,
    progress: Reporter = SILENT,
) -> LanguageField:
    """Learn a language field from the masks and embeddings of posed photos.

    Args:
        gaussians: The scene; stays as it is.
        items: Camera and masks of every photo to learn from; read several times, may load on demand.
        settings: Settings.
        logits: Granularity logit of every mask of all photos, −inf for masks that do not count: the levels at
            a pixel are weighed by the softmax of its masks' logits, whatever `settings.levels` says. [M]
        checkpoint: File for the state of training, from which a stopped training resumes; the caller
            removes it.
        progress: Told about progress.

    Returns:
        The field, on the device of the Gaussians.

    Raises:
        WorkspaceError: If the photos have no masks at all, or embeddings of several encoders.
    """
    table = _read_masks(items)
    embeddings = table.embeddings.to(gaussians.means.device)
    basis = principal_basis(embeddings)
    coordinates = torch.cat([normalize(e.float() @ basis, dim=-1) for e in embeddings.split(8192)])
    logits = _fixed_logits(table.levels, settings) if logits is None else logits
    logits = None if logits is None else logits.to(basis)
    samples, evidence = collect(gaussians, items, settings, progress)
    targets = _targets(coordinates, logits, table.levels, evidence, settings)
    components, weight, bias = principal_features(targets.coordinates, settings.feature_dim)
    counts = torch.ones(len(components)) if logits is None else (logits - logits.max()).exp()
    features = uplift(evidence, components, counts)
    shape = DecoderShape(settings.feature_dim, settings.hidden, basis.shape[1], basis.shape[0])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        decoder = Decoder(shape).to(basis.device)
    start_from_principal_components(decoder, basis, weight, bias)
    field = LanguageField(features, decoder, table.encoder, splats_hash(gaussians))
    _train(field, samples, targets, settings, checkpoint, progress)
    return field


def _read_masks(items: Sequence[tuple[Camera, Description]]) -> MaskTable:
    """The masks of all photos, without label maps, which are too large to keep in memory."""
    embeddings, levels, names = [], [], set()
    for _, description in items:
        embeddings.append(description.embeddings.astype(np.float16))
        levels.append(description.masks.levels.astype(np.int64))
        names.add(description.encoder)
    if len(names) > 1:
        listed = ", ".join(sorted(names))
        raise WorkspaceError(f"photos were embedded by several encoders ({listed}); describe again")
    if not sum(map(len, levels)):
        raise WorkspaceError("no photo has a single mask, there is nothing to learn; check `gags describe`")
    every = np.concatenate([part for part in embeddings if len(part)])
    return MaskTable(torch.from_numpy(every), torch.from_numpy(np.concatenate(levels)), names.pop())


def _fixed_logits(levels: Tensor, settings: DistillSettings) -> Tensor | None:
    """Logit of every mask [M] by its level, where the setting, not learning, says how levels are weighed."""
    if settings.levels == "learnt":
        return None
    logits = torch.zeros(len(levels))
    if settings.levels != "averaged":
        logits[levels != LEVELS.index(settings.levels)] = float("-inf")
    return logits


def _targets(
    coordinates: Tensor, logits: Tensor | None, levels: Tensor, evidence: Evidence, settings: DistillSettings
) -> Targets:
    """What to learn of masks with these coordinates [M, r], given logits [M] and levels [M]."""
    by_repeatability = logits is None and settings.granularity == "repeatability"
    if not (settings.consensus or by_repeatability):
        return Targets(coordinates, logits=logits)
    agreed = consensus(evidence, coordinates)
    return Targets(
        agreed.embeddings if settings.consensus else coordinates,
        repeatability_logits(agreed.repeatability, levels, settings.sharpness) if by_repeatability else None,
        logits,
    )


def repeatability_logits(repeatability: Tensor, levels: Tensor, sharpness: float) -> Tensor:
    """Logits of granularity weights ω ∝ r^sharpness / r̄, r̄ being the median of a level's repeatability r.

    Large masks are repeated more easily than small ones, whatever they show: without r̄ most weight would go
    to "whole".

    Args:
        repeatability: How well other photos repeat each mask, in [0, 1]. [M]
        levels: Level of each mask. int64 [M]
        sharpness: Exponent.

    Returns:
        float32 [M]
    """
    logs = repeatability.clamp(min=LEAST_REPEATABILITY).log()
    logits = sharpness * logs
    for level in range(len(LEVELS)):
        members = (levels == level).to(logs.device)
        if members.any():
            logits[members] -= logs[members].median()
    return logits


def _train(
    field: LanguageField,
    samples: Samples,
    targets: Targets,
    settings: DistillSettings,
    checkpoint: Path | None,
    progress: Reporter,
) -> None:
    """Run the steps that are left; changes `field` in place."""
    features = torch.nn.Parameter(field.features.clone())
    rates = (settings.feature_rate, settings.decoder_rate)
    optimizer = torch.optim.Adam(
        [{"params": [features]}, {"params": list(field.decoder.parameters())}], eps=1e-12
    )
    key = f"{settings} {field.splats_hash} {digest(*targets.tensors())}"
    learnt = [features, *field.decoder.parameters()]
    keeper = Checkpoint(checkpoint, key, CHECKPOINT_SECONDS)
    saved = keeper.load(progress)
    first = restore_adam(learnt, optimizer, *saved) if saved else 0
    with progress.stage("Distilling language", settings.steps, "steps") as bar:
        bar.advance(first)
        for step in range(first, settings.steps):
            batch = _batch(len(samples), settings.batch_regions, step, settings.seed)
            loss = batch_loss(features, field.decoder, samples, batch, targets, settings, step)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * _decay(step / settings.steps)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            if keeper.due:
                keeper.save(step + 1, adam_state(learnt, optimizer))
            bar.advance(note=f"loss {loss.item():.3f}" if step % 10 == 0 else "")
    field.features = features.detach()
    field.decoder.requires_grad_(False).eval()


def adam_state(parameters: Sequence[Tensor], optimizer: torch.optim.Adam) -> dict[str, Tensor]:
    """Parameters and Adam's moments, as tensors to keep; without a gradient so far there are no moments.

    Args:
        parameters: The P parameters, of any shapes.
        optimizer: Their optimiser.

    Returns:
        "value.i", "first.i" and "second.i" of parameter i, each of the parameter's shape.
    """
    tensors = {}
    for i, parameter in enumerate(parameters):
        tensors[f"value.{i}"] = parameter
        state = optimizer.state.get(parameter)
        if state:
            tensors[f"first.{i}"], tensors[f"second.{i}"] = state["exp_avg"], state["exp_avg_sq"]
    return tensors


def restore_adam(
    parameters: Sequence[Tensor], optimizer: torch.optim.Adam, step: int, tensors: dict[str, Tensor]
) -> int:
    """Put back what `adam_state` gave.

    Args:
        parameters: The P parameters, of any shapes; changed in place.
        optimizer: Their optimiser; its state is changed in place.
        step: Number of steps that were done.
        tensors: What `adam_state` gave, each of its parameter's shape.

    Returns:
        `step`; 0 if shapes do not fit, then nothing is changed.
    """
    values = [tensors.get(f"value.{i}") for i in range(len(parameters))]
    if any(v is None or v.shape != p.shape for v, p in zip(values, parameters, strict=True)):
        return 0
    for i, parameter in enumerate(parameters):
        if f"first.{i}" not in tensors:
            continue
        parameter.data.copy_(tensors[f"value.{i}"])
        optimizer.state[parameter] = {
            "step": torch.tensor(float(step)),
            "exp_avg": tensors[f"first.{i}"].to(parameter.device),
            "exp_avg_sq": tensors[f"second.{i}"].to(parameter.device),
        }
    return step


def _decay(done: float) -> float:
    """Share of the learning rate: a cosine from 1 down to 0.05."""
    return 0.05 + 0.95 * 0.5 * (1 + float(np.cos(np.pi * done)))


def _batch(count: int, size: int, step: int, seed: int) -> Tensor:
    """Groups of one step [B]: permutation after permutation, by the step alone so that training resumes."""
    size = min(size, count)
    epoch, place = divmod(step, count // size)
    return _permutation(count, seed * 1_000_003 + epoch)[place * size : (place + 1) * size]


@lru_cache(maxsize=1)
def _permutation(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


def batch_loss(
    features: Tensor,
    decoder: Decoder,
    samples: Samples,
    batch: Tensor,
    targets: Targets,
    settings: DistillSettings,
    step: int,
) -> Tensor:
    """Eq. 7 on some groups of pixels.

    Args:
        features: Features of the Gaussians. [N, d]
        decoder: The decoder.
        samples: Sampled pixels of all photos.
        batch: Groups to use. [B]
        targets: What the masks say.
        settings: Settings.
        step: Number of this step, for the two halves of training.
    """
    batch = batch.to(samples.indices.device)
    indices, weights = samples.indices[batch].flatten(0, 1), samples.weights[batch].flatten(0, 1)
    rng = torch.Generator().manual_seed(settings.seed * 1_000_003 + step)
    weights = one_gaussian(weights, settings.single_share, rng)
    masks = samples.targets[batch].flatten(0, 1).long()
    rendered = embedding_bag(indices, features, per_sample_weights=weights, mode="sum")
    valid = (masks >= 0) & (weights.sum(dim=-1, keepdim=True) > 0)
    masks = masks.clamp(min=0)
    omega, granularity_loss = _granularity(decoder, rendered, valid, masks, targets, settings, step)
    measure = losses.weighted_distillation if settings.loss == "weighted" else losses.mixture_distillation
    pixel_loss = measure(decoder.coordinates(rendered), targets.coordinates[masks], omega)
    density = samples.density[batch].flatten()
    areas = samples.areas[masks] if settings.region_aware else torch.ones_like(omega)
    covered = omega.sum(dim=-1) > 0
    pixel_loss = pixel_loss * covered * losses.region_weights(omega, areas, density)
    level = samples.levels[batch]
    counts = (omega.argmax(dim=-1) == level.repeat_interleave(len(covered) // len(level))) & covered
    grouped = rendered.reshape(len(level), -1, rendered.shape[-1])
    consistency_loss = losses.consistency(grouped, counts.reshape(len(level), -1)) / len(level)
    late = 2 * step >= settings.steps
    return pixel_loss.mean() + granularity_loss + settings.consistency_weight * late * consistency_loss


def _granularity(
    decoder: Decoder,
    rendered: Tensor,
    valid: Tensor,
    masks: Tensor,
    targets: Targets,
    settings: DistillSettings,
    step: int,
) -> tuple[Tensor, Tensor | float]:
    """Granularity weights [P, 3] of rendered features, and the loss of their own.

    Weights are fixed by the logits of the masks, or learnt: by distance, which is Eq. 3 and the entropy of
    Eq. 4, or by repeatability, so that Eq. 3 teaches the features alone.
    """
    if targets.logits is not None:
        fixed = targets.logits[masks]
        return losses.granularity_weights(fixed, valid & fixed.isfinite()), 0.0
    source = rendered.detach() if settings.detach_granularity else rendered
    omega = losses.granularity_weights(decoder.granularity(source), valid)
    if targets.repeatability_logits is None:
        half = 1.0 if 2 * step >= settings.steps else 0.5
        return omega, settings.entropy_weight * half * losses.entropy(omega).mean()
    wanted = losses.granularity_weights(targets.repeatability_logits[masks], valid)
    return omega.detach(), losses.divergence(omega, wanted).mean()
