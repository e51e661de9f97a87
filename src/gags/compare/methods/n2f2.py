"""N2F2's fusion of levels as the GAGS paper made it again (Eq. 9): of each Gaussian, after training.

Three fields are distilled, one a level, with the settings of all methods. Then the three embeddings F_l of
each Gaussian are fused once and for all: F = normalise(Σ_l ω_l F_l), with ω = softmax over the levels of
τ · max_k cos(F_l, φ_k), φ_k being the embeddings of five phrases that any thing, or any part of one, answers
to. This score is the logit of a level's relevancy to the phrase it resembles most; the temperature τ is that
of the encoder, as in Eq. 8: plain cosines would weigh all levels alike. A level on which no mask shows a
Gaussian says nothing of it and has no weight there.

What differs from N2F2 itself (Bhalgat et al., ECCV 2024): its one field of nested dimensions and its many
continuous scales. What GAGS compared is the fusion alone. Fused embeddings have D numbers, so they are not
rendered: every Gaussian is asked, and its relevancy rendered, also where the settings ask one's own field by
pixel.
"""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from gags.compare.methods.embedded import EmbeddedGaussians, kept_dtype
from gags.compare.methods.learner import REMEDY, Inputs
from gags.distill.decoder import DECODED_AT_ONCE
from gags.distill.field import LanguageField
from gags.distill.settings import DistillSettings
from gags.distill.train import train_field
from gags.gaussians import Gaussians
from gags.progress import Reporter
from gags.segment.masks import LEVELS
from gags.store import damaged, load_tensors, save_tensors

PHRASES = ("object", "thing", "stuff", "part", "texture")


@dataclass(frozen=True)
class FusedLevels:
    """Distils one field a level and fuses what they say of each Gaussian."""

    answers: ClassVar[int] = 2

    settings: DistillSettings
    """Settings of distillation; levels and the seed are those of the run."""

    def learn(self, inputs: Inputs, seed: int, path: Path, progress: Reporter) -> None:
        """Distil three times; see `Learner.learn`. A level without a single mask is left out."""
        inputs.embeddings()  # says so if no photo has a mask
        there = set(inputs.levels().tolist())
        fields = []
        for level in (level for number, level in enumerate(LEVELS) if number in there):
            progress.say(f"Level {level}:")
            settings = replace(self.settings, levels=level, seed=seed)
            fields.append(train_field(inputs.gaussians, inputs.items, settings, progress=progress))
        save_fields(fields, path)

    def load(self, path: Path, inputs: Inputs) -> EmbeddedGaussians:
        """What `learn` wrote, fused."""
        fields = load_fields(path, inputs.gaussians)
        phrases = torch.from_numpy(inputs.encoder.encode_texts(list(PHRASES))).float()
        features = fused(fields, phrases, inputs.encoder.temperature)
        return EmbeddedGaussians(inputs.gaussians, features[:, None], fields[0].encoder_name)


@torch.no_grad()
def fused(fields: list[LanguageField], phrases: Tensor, temperature: float) -> Tensor:
    """Embeddings of all Gaussians, the levels weighed by what they resemble (GAGS Eq. 9).

    Args:
        fields: One field a level, of the same Gaussians.
        phrases: L2-normalised embeddings of the phrases. [C, D]
        temperature: Logit scale τ of the encoder.

    Returns:
        L2-normalised; float32, or float16 where that would be too large. [N, D]
    """
    phrases = phrases.to(fields[0].features)
    dtype = kept_dtype(len(fields[0]), 1, phrases.shape[1])
    parts, rows = [], DECODED_AT_ONCE // len(fields)
    for chunks in zip(*(field.features.split(rows) for field in fields), strict=True):
        levels = [field.decoder.embeddings(chunk) for field, chunk in zip(fields, chunks, strict=True)]
        learnt = torch.stack([chunk.any(dim=1) for chunk in chunks], dim=1)
        parts.append(fuse(torch.stack(levels, dim=1), phrases, temperature, learnt).to(dtype))
    return torch.cat(parts)


def fuse(embeddings: Tensor, phrases: Tensor, temperature: float, learnt: Tensor | None = None) -> Tensor:
    """normalise(Σ_l ω_l F_l) with ω = softmax_l(τ · max_k cos(F_l, φ_k)) (GAGS Eq. 9).

    Args:
        embeddings: L2-normalised embeddings F_l of Gaussians on L levels. [N, L, D]
        phrases: L2-normalised embeddings φ_k of the phrases. [C, D]
        temperature: Logit scale τ of the encoder.
        learnt: On which levels a Gaussian's embedding is of something; None, or none of a Gaussian: on all.
            The feature 0, which no pixel moved, decodes to the mean of all embeddings, which resembles the
            phrases as well as any. bool [N, L]

    Returns:
        [N, D]
    """
    scores = temperature * (embeddings @ phrases.T).amax(dim=-1)
    if learnt is not None:
        scores = scores.masked_fill(~learnt & learnt.any(dim=1, keepdim=True), -math.inf)
    weights = torch.softmax(scores, dim=-1)
    return normalize((weights[..., None] * embeddings).sum(dim=1), dim=-1)


def save_fields(fields: list[LanguageField], path: Path) -> None:
    """Write several fields of the same Gaussians to one safetensors file, atomically.

    Tensor "features" holds the features of all of them side by side. Everything else is as each field's own
    file has it, names with the number of the field in front.
    """
    tensors, metadata = {}, {"fields": str(len(fields))}
    features = []
    with TemporaryDirectory() as folder:
        for number, field in enumerate(fields):
            field.save(Path(folder) / "field.safetensors")
            stored = load_tensors(Path(folder) / "field.safetensors", remedy=REMEDY)
            features.append(stored.tensors.pop("features"))
            tensors |= {f"{number}.{name}": tensor for name, tensor in stored.tensors.items()}
            metadata[str(number)] = json.dumps(stored.metadata)
    save_tensors(path, tensors | {"features": torch.cat(features, dim=1)}, metadata)


def load_fields(path: Path, gaussians: Gaussians) -> list[LanguageField]:
    """Read what `save_fields` wrote.

    Args:
        path: The file.
        gaussians: The Gaussians that the fields are to be used with, whose device they take.

    Raises:
        WorkspaceError: If the file is missing or damaged, or belongs to other Gaussians.
    """
    stored = load_tensors(path, remedy=REMEDY)
    try:
        count = int(stored.metadata["fields"])
        features = stored.tensors["features"].chunk(count, dim=1)
        fields = [_field(stored.tensors, stored.metadata, n, features[n]) for n in range(count)]
        fields[0].check(gaussians, str(path))
    except (KeyError, ValueError, IndexError, RuntimeError) as error:
        raise damaged(path, error, REMEDY) from error
    return [field.to(gaussians.means.device) for field in fields]


def _field(
    tensors: dict[str, Tensor], metadata: dict[str, str], number: int, features: Tensor
) -> LanguageField:
    """One of several fields, read as its own file is."""
    first = f"{number}."
    own = {name.removeprefix(first): held for name, held in tensors.items() if name.startswith(first)}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "field.safetensors"
        save_tensors(path, own | {"features": features.clone()}, json.loads(metadata[str(number)]))
        return LanguageField.load(path)
