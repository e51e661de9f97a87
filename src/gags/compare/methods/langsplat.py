"""LangSplat (Qin et al., CVPR 2024): three fields of 3 numbers a Gaussian, one a level, and an autoencoder.

As published: the autoencoder (`autoencoder.py`); codes that are normalised for each Gaussian before they are
blended, without a division by alpha; the L1 distance of a pixel's blended code to the code of its mask; Adam
at 2.5e-3; pixels that are decoded one by one; for each text the level that answers it best.

What differs: the masks are those of all methods here (the row "own prompts" makes its own), and the order of
the pixels: a step takes pixels of all photos, whose blending weights are computed once, instead of one whole
photo. Fields start from small random numbers, because a code of 0 has no direction to learn from; they come
to the loss that a start from the uplift of the codes comes to (desk, 3000 steps: within 0.1 %). Gaussians
that no pixel with a mask shows keep 0.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, normalize

from gags.capture.camera import Camera
from gags.compare.methods.autoencoder import (
    CODE_LENGTH,
    Autoencoder,
    AutoencoderSettings,
    train_autoencoder,
)
from gags.compare.methods.embedded import EmbeddedGaussians, best_level, kept_dtype
from gags.compare.methods.learner import FIGURES, REMEDY, Inputs
from gags.compare.methods.pixels import PixelSamples, sample_pixels
from gags.distill.decoder import DECODED_AT_ONCE
from gags.distill.samples import batch_for
from gags.embed.encoder import Encoder
from gags.files.ranges import BATCH, PIXELS, RATE, STEPS, TOP_K, Settings, ranged
from gags.gaussians import Gaussians, render
from gags.progress import Reporter
from gags.query.maps import KNOWN_ALPHA, ValueMaps
from gags.query.relevancy import Queries
from gags.segment.masks import LEVELS
from gags.store import check_finite, damaged, load_tensors, loss_note, save_tensors

REMEDY_RATE = "set a smaller rate (--langsplat.rate)"
START = 0.1  # standard deviation of the numbers that fields start from


@dataclass(frozen=True)
class LangSplatSettings(Settings, prefix="langsplat"):
    """How LangSplat is trained; the defaults converge."""

    steps: int = ranged(3000, STEPS)
    """Optimisation steps; each is one of all three fields."""
    batch_pixels: int = ranged(4096, BATCH)
    """Pixels a step, of all photos, for up to 100,000 Gaussians; for more, as many times more."""
    rate: float = ranged(2.5e-3, RATE)
    """Learning rate of the fields."""
    autoencoder: AutoencoderSettings = field(default_factory=AutoencoderSettings)
    """Training of the autoencoder."""


@dataclass(frozen=True)
class LangSplat(Settings):
    """Learns one field a level against the codes of that level's masks."""

    answers: ClassVar[int] = 2

    settings: LangSplatSettings = LangSplatSettings()
    """Settings of its own."""
    asked: Literal["pixels", "gaussians"] = "pixels"
    """Whether pixels are decoded, as published, or every Gaussian is, and its relevancy rendered."""
    pixels_per_photo: int = ranged(24_000, PIXELS)
    """Pixels drawn from every photo."""
    top_k: int = ranged(16, TOP_K)
    """Gaussians kept per sampled pixel."""

    def learn(self, inputs: Inputs, seed: int, path: Path, progress: Reporter) -> None:
        """Train the autoencoder, then the fields; see `Learner.learn`."""
        embeddings = inputs.embeddings()
        net = train_autoencoder(embeddings, self.settings.autoencoder, seed, progress)
        pixels = sample_pixels(
            inputs.gaussians,
            inputs.items,
            pixels=self.pixels_per_photo,
            top_k=self.top_k,
            seed=seed,
            progress=progress,
        )
        codes = net.encode_all(embeddings)
        features = train_fields(pixels, codes, len(inputs.gaussians), self.settings, seed, progress)
        fields = LangSplatFields(inputs.gaussians, features, net, inputs.encoder.name)
        fields.save(path, {"autoencoder_cosine": net.cosine(embeddings)})

    def load(self, path: Path, inputs: Inputs) -> "LangSplatFields | EmbeddedGaussians":
        """What `learn` wrote."""
        fields = LangSplatFields.load(path, inputs.gaussians)
        return fields if self.asked == "pixels" else fields.decoded()


def train_fields(
    pixels: PixelSamples,
    codes: Tensor,
    gaussians: int,
    settings: LangSplatSettings,
    seed: int,
    progress: Reporter,
) -> Tensor:
    """Optimise the three fields.

    Args:
        pixels: Sampled pixels of all photos.
        codes: Unit code of every mask. [M, 3]
        gaussians: Number N of Gaussians.
        settings: Settings.
        seed: Seed of the start and of the batches.
        progress: Told about progress.

    Returns:
        Unit codes of the Gaussians on the three levels, one level after the other, 0 for those that no pixel
        with a mask of that level shows. [N, 9]
    """
    rng = torch.Generator().manual_seed(seed)
    start = START * torch.randn(gaussians, len(LEVELS), CODE_LENGTH, generator=rng)
    shown = shown_gaussians(pixels, gaussians)
    features = torch.nn.Parameter((start.to(codes) * shown[:, :, None]).flatten(1))
    optimizer = torch.optim.Adam([features], settings.rate, eps=1e-15)
    size = batch_for(settings.batch_pixels, gaussians)
    with progress.stage("Training three fields", settings.steps, "steps") as bar:
        for step in range(settings.steps):
            batch = torch.randint(len(pixels), (size,), generator=rng)
            loss = code_loss(features, pixels, batch, codes)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            bar.advance(note=loss_note(loss, step, REMEDY_RATE))
    check_finite(settings.steps, {"a code": features}, REMEDY_RATE)
    return unit_codes(features.detach())


def shown_gaussians(pixels: PixelSamples, gaussians: int) -> Tensor:
    """Which of N Gaussians a pixel with a mask shows, by level. bool [N, 3]"""
    drawn = pixels.weights > 0
    counts = []
    for level in range(len(LEVELS)):
        used = drawn & (pixels.targets[:, level] >= 0)[:, None]
        counts.append(torch.bincount(pixels.indices[used].long(), minlength=gaussians))
    return torch.stack(counts, dim=1) > 0


def unit_codes(features: Tensor) -> Tensor:
    """Features of each Gaussian normalised level by level; 0 stays 0. [N, 9] → [N, 9]"""
    by_level = features.unflatten(1, (len(LEVELS), CODE_LENGTH))
    return normalize(by_level, dim=-1).flatten(1)


def code_loss(features: Tensor, pixels: PixelSamples, batch: Tensor, codes: Tensor) -> Tensor:
    """L1 distance between blended codes, Σ w f/‖f‖, and the codes of the pixels' masks.

    The paper leaves the distance d_lang open (section 3.3); its authors take L1. It is averaged over the
    pixels and levels that have a mask, and over the three numbers of a code.

    Args:
        features: Features of the Gaussians on the three levels. [N, 9]
        pixels: Sampled pixels of all photos.
        batch: Rows of the pixels to use. [B]
        codes: Unit code of every mask. [M, 3]
    """
    batch = batch.to(features.device)
    indices, weights, targets = pixels.indices[batch], pixels.weights[batch], pixels.targets[batch].long()
    blended = embedding_bag(indices, unit_codes(features), per_sample_weights=weights, mode="sum")
    by_level = blended.unflatten(1, (len(LEVELS), CODE_LENGTH))
    distance = (by_level - codes[targets.clamp(min=0)]).abs().mean(dim=-1)
    valid = targets >= 0
    return (valid * distance).sum() / valid.sum().clamp(min=1)


@dataclass(frozen=True, eq=False)
class LangSplatFields:
    """Three fields behind one decoder, asked by pixel; the best level answers each text.

    Attributes:
        gaussians: The scene.
        features: Unit codes of the Gaussians on the three levels, one level after the other. float32 [N, 9]
        net: The autoencoder; only its decoder is kept on file.
        encoder_name: Encoder whose space the decoder leads to.
    """

    gaussians: Gaussians
    features: Tensor
    net: Autoencoder
    encoder_name: str

    def prepare(self, texts: Sequence[str], encoder: Encoder) -> Queries:
        """Texts embedded with the encoder that made the masks' embeddings; see `Queries.encode`."""
        return Queries.encode(texts, encoder, self)

    @torch.no_grad()
    def relevancy(self, camera: Camera, queries: Queries) -> ValueMaps:
        """Relevancy (GAGS Eq. 8) of blended and then decoded codes on every level.

        The background is black, a code of 0, and is decoded like every other pixel: `levels` holds what comes
        of it, `values` is 0 there. A level on which no Gaussian has a code takes no part: it is 0 everywhere.
        """
        drawn = render(self.gaussians, camera, self.features)
        known = drawn.alphas >= KNOWN_ALPHA
        codes = drawn.colors.flatten(0, 1).unflatten(1, (len(LEVELS), CODE_LENGTH))
        asked = [self._relevancy(codes[:, level], queries).T for level in range(len(LEVELS))]
        levels = torch.stack(asked).unflatten(2, known.shape)
        coded = self.features.unflatten(1, (len(LEVELS), CODE_LENGTH)).any(dim=-1).any(dim=0)
        levels = torch.where(coded[:, None, None, None], levels, 0)
        return ValueMaps(best_level(levels * known), known, levels)

    def _relevancy(self, codes: Tensor, queries: Queries) -> Tensor:
        """Relevancy of blended codes to every text. [P, 3] → [P, T]"""
        texts = torch.cat([queries.vectors, queries.negatives])
        return queries.relevancy_from_cosines(self.net.cosines(codes, texts))

    @torch.no_grad()
    def decoded(self) -> EmbeddedGaussians:
        """The same fields asked by Gaussian: the code of each is decoded, 0 stays 0."""
        codes = self.features.unflatten(1, (len(LEVELS), CODE_LENGTH))
        dtype = kept_dtype(len(codes), len(LEVELS), self.net.dim)
        chunks = codes.split(DECODED_AT_ONCE // len(LEVELS))
        decoded = [(self.net.decode(c) * (c != 0).any(dim=-1, keepdim=True)).to(dtype) for c in chunks]
        return EmbeddedGaussians(self.gaussians, torch.cat(decoded), self.encoder_name)

    def save(self, path: Path, figures: dict[str, float]) -> None:
        """Write to a safetensors file, atomically; features are kept as float16.

        Args:
            path: The file.
            figures: What else is worth knowing, by name; see `learnt_figures`.
        """
        tensors = {f"decoder.{name}": value for name, value in self.net.decoder.state_dict().items()}
        tensors["features"] = self.features.half()
        save_tensors(path, tensors, {"encoder": self.encoder_name, FIGURES: json.dumps(figures)})

    @classmethod
    def load(cls, path: Path, gaussians: Gaussians) -> "LangSplatFields":
        """Read what `save` wrote.

        Raises:
            WorkspaceError: If the file is missing or damaged.
        """
        stored = load_tensors(path, remedy=REMEDY)
        tensors = stored.tensors
        try:
            name = stored.metadata["encoder"]
            # Rounded to float16, codes are not quite of length 1 any more.
            features = unit_codes(tensors.pop("features").float()).to(gaussians.means.device)
            weights = {key.removeprefix("decoder."): value for key, value in tensors.items()}
            net = Autoencoder(weights[max(weights, key=_layer)].shape[0])
            net.decoder.load_state_dict(weights)
        except (KeyError, ValueError, RuntimeError) as error:
            raise damaged(path, error, REMEDY) from error
        return cls(gaussians, features, net.to(features.device).requires_grad_(False).eval(), name)


def _layer(name: str) -> int:
    """Number of a layer in a `Sequential`, from a name such as "12.bias"."""
    return int(name.split(".")[0])
