"""Distillation: the embeddings of all photos' masks become one feature a Gaussian."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from gags.capture.camera import Camera
from gags.distill.consensus import consensus
from gags.distill.decoder import Decoder, PrincipalDecoder, decoder_of
from gags.distill.effects import refuse_impossible, refuse_unfit
from gags.distill.evidence import Evidence, gather_evidence, uplift
from gags.distill.field import LanguageField, splats_hash
from gags.distill.mixed import MixedSchedule
from gags.distill.objective import Targets
from gags.distill.optimize import Schedule, optimize
from gags.distill.photo import PhotoPixels, PhotoSchedule, collect_photos
from gags.distill.samples import Samples, collect
from gags.distill.settings import DistillSettings
from gags.distill.start import principal_basis, principal_features, start_from_principal_components
from gags.embed.description import Description
from gags.errors import WorkspaceError
from gags.gaussians import Gaussians
from gags.models.device import free_bytes
from gags.progress import SILENT, Reporter
from gags.segment.masks import LEVELS
from gags.store import digest, raised

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
class Training:
    """A field before its first step, and what the steps learn from.

    Attributes:
        field: Features and decoder as they start.
        schedule: What the steps learn from.
        key: Of checkpoints: what training was given.
    """

    field: LanguageField
    schedule: Schedule
    key: str


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
        SettingsError: If a setting is too large for the scene.
        TrainingError: If training diverges.
        WorkspaceError: If the photos have no masks at all, none where pixels count, or embeddings of several
            encoders; if settings make no sense.
    """
    folder = None if checkpoint is None else checkpoint.parent
    training = begin(gaussians, items, settings, logits=logits, folder=folder, progress=progress)
    field, key = training.field, training.key
    optimize(field, training.schedule, settings, checkpoint=checkpoint, key=key, progress=progress)
    return field


def begin(
    gaussians: Gaussians,
    items: Sequence[tuple[Camera, Description]],
    settings: DistillSettings,
    *,
    logits: Tensor | None = None,
    folder: Path | None = None,
    progress: Reporter = SILENT,
) -> Training:
    """Everything of `train_field` up to its first step; arguments and errors are the same.

    What is learnt from many photos lies in `folder` meanwhile, see `gags.files.rows.Rows`.
    """
    refuse_impossible(settings)
    table, device = _read_masks(items), gaussians.means.device
    dim, free = table.embeddings.shape[1], free_bytes(device)
    refuse_unfit(settings, gaussians=len(gaussians), dim=dim, free_bytes=free)
    embeddings = table.embeddings.to(device)
    decoder, coordinates = _new_decoder(embeddings, settings)
    logits = _fixed_logits(table.levels, settings) if logits is None else logits
    logits = None if logits is None else logits.to(coordinates)
    needed = settings.start == "uplift" or settings.consensus or _by_repeatability(logits, settings)
    pixels, evidence = _look(gaussians, items, settings, needed, folder, progress)
    targets = _targets(coordinates, logits, table.levels, evidence, settings)
    if settings.start == "zero":
        features = torch.zeros(len(gaussians), settings.feature_dim, device=embeddings.device)
    else:
        components, weight, bias = principal_features(targets.coordinates, settings.feature_dim)
        counts = torch.ones(len(components)) if logits is None else (logits - logits.max()).exp()
        features = uplift(evidence, components, counts)
        if isinstance(decoder, PrincipalDecoder):
            start_from_principal_components(decoder, weight, bias)
    field = LanguageField(features, decoder, table.encoder, splats_hash(gaussians), asked=settings.asked)
    rules = raised("lessons", settings.lessons)
    key = " ".join([str(settings), *rules, field.splats_hash, digest(*targets.tensors())])
    if isinstance(pixels, Samples):
        schedule = MixedSchedule(pixels, targets, settings)
    else:
        schedule = PhotoSchedule(gaussians, pixels, targets, settings)
    return Training(field, schedule, key)


def _new_decoder(embeddings: Tensor, settings: DistillSettings) -> tuple[Decoder, Tensor]:
    """A decoder whose weights go by the seed alone, and the masks' unit embeddings in its coordinates [M, r].

    Only the principal decoder goes by the embeddings [M, D]: they give its basis.
    """
    sizes, basis = {"feature": settings.feature_dim, "dim": embeddings.shape[1]}, None
    if settings.decoder == PrincipalDecoder.kind:
        basis = principal_basis(embeddings)
        sizes |= {"hidden": settings.hidden, "rank": basis.shape[1]}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        decoder = decoder_of(settings.decoder, sizes).to(embeddings.device)
    if basis is None:
        return decoder, normalize(embeddings.float(), dim=-1)
    decoder.get_buffer("basis").copy_(basis)
    return decoder, torch.cat([normalize(e.float() @ basis, dim=-1) for e in embeddings.split(8192)])


def _look(
    gaussians: Gaussians,
    items: Sequence[tuple[Camera, Description]],
    settings: DistillSettings,
    with_evidence: bool,
    folder: Path | None,
    progress: Reporter,
) -> tuple[Samples | list[PhotoPixels], Evidence]:
    """The pixels that the schedule learns from, and the evidence, which is empty if it is not needed.

    Raises:
        WorkspaceError: If no pixel counts.
    """
    if settings.schedule == "mixed":
        pixels, evidence = collect(
            gaussians, items, settings, progress, with_evidence=with_evidence, folder=folder
        )
    else:
        pixels = collect_photos(gaussians, items, settings, progress, folder=folder)
        seen = items if with_evidence else []
        evidence, _ = gather_evidence(gaussians, seen, stage="Evidence", folder=folder, progress=progress)
    if not len(pixels):
        wanted = "all three levels" if settings.counted == "all-levels" else "any level"
        raise WorkspaceError(
            f"no pixel of any photo has a mask on {wanted}, there is nothing to learn; check `gags describe`"
        )
    return pixels, evidence


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


def _by_repeatability(logits: Tensor | None, settings: DistillSettings) -> bool:
    """Whether granularity weights are learnt, and go by repeatability."""
    return logits is None and settings.granularity == "repeatability"


def _targets(
    coordinates: Tensor,
    logits: Tensor | None,
    levels: Tensor,
    evidence: Evidence,
    settings: DistillSettings,
) -> Targets:
    """What to learn of masks with these coordinates [M, r], given logits [M] and levels [M]."""
    by_repeatability = _by_repeatability(logits, settings)
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
