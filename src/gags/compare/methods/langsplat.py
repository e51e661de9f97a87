"""LangSplat (Qin et al., CVPR 2024): three fields of 3 numbers a Gaussian, one a level, and an autoencoder.

Written from the paper's description. Two things differ, both in its favour: the fields start from the
weighted mean of the codes that every Gaussian's pixels see, rather than from nothing, and pixels of all
photos are mixed in a step, from blending weights that are computed once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, embedding_bag, normalize

from gags.capture.camera import Camera
from gags.compare.methods.learner import REMEDY, Inputs
from gags.distill.evidence import Evidence, uplift
from gags.distill.field import DECODED_AT_ONCE
from gags.distill.samples import Samples, collect
from gags.distill.settings import DistillSettings
from gags.embed.encoder import Encoder
from gags.gaussians import Gaussians, render
from gags.progress import Reporter
from gags.query import lerf_ovs
from gags.query.lerf_ovs import Map
from gags.query.maps import KNOWN_ALPHA, ValueMaps
from gags.query.relevancy import Queries
from gags.segment.masks import LEVELS
from gags.store import damaged, load_tensors, save_tensors

CODE_LENGTH = 3  # numbers of a code, and so of a Gaussian's feature
ENCODER_WIDTHS = (256, 128, 64, 32, CODE_LENGTH)
DECODER_WIDTHS = (16, 32, 64, 128, 256, 256)


@dataclass(frozen=True)
class AutoencoderSettings:
    """How the autoencoder is trained; the defaults converge on some thousand masks."""

    steps: int = 12000
    """Optimisation steps."""
    batch: int = 256
    """Embeddings a step."""
    rate: float = 1e-3
    """Learning rate of Adam, falling to 0 on a cosine."""


@dataclass(frozen=True)
class LangSplatSettings:
    """How LangSplat is trained; the defaults converge."""

    steps: int = 1500
    """Optimisation steps; each is one of all three fields."""
    rate: float = 1e-2
    """Learning rate of the fields, falling to 0 on a cosine."""
    autoencoder: AutoencoderSettings = field(default_factory=AutoencoderSettings)
    """Training of the autoencoder."""


class Autoencoder(nn.Module):
    """Embedding of D numbers → unit code of 3 → unit embedding.

    Args:
        dim: Length D of the embeddings.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.encoder = _layers((dim, *ENCODER_WIDTHS))
        self.decoder = _layers((CODE_LENGTH, *DECODER_WIDTHS, dim))

    def encode(self, embeddings: Tensor) -> Tensor:
        """Unit codes. [..., D] → [..., 3]"""
        return normalize(self.encoder(embeddings), dim=-1)

    def decode(self, codes: Tensor) -> Tensor:
        """Unit embeddings of unit codes. [..., 3] → [..., D]"""
        return normalize(self.decoder(codes), dim=-1)


def _layers(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers with a ReLU between each two."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def train_autoencoder(
    embeddings: Tensor, settings: AutoencoderSettings, seed: int, progress: Reporter
) -> Autoencoder:
    """Fit an autoencoder to the embeddings of one scene's masks, by squared and cosine distance.

    Args:
        embeddings: L2-normalised embeddings of all masks. [M, D]
        settings: Settings.
        seed: Seed of the weights and of the batches.
        progress: Told about progress.

    Returns:
        The autoencoder, on the device of the embeddings.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Autoencoder(embeddings.shape[1]).to(embeddings.device)
    optimizer = torch.optim.Adam(net.parameters(), settings.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, settings.steps))
    rng = torch.Generator().manual_seed(seed)
    with progress.stage("Training the autoencoder", settings.steps, "steps") as bar:
        for step in range(settings.steps):
            batch = embeddings[torch.randint(len(embeddings), (settings.batch,), generator=rng)]
            decoded = net.decode(net.encode(batch))
            cosine = cosine_similarity(decoded, batch, dim=-1)
            loss = ((decoded - batch).square().sum(dim=-1) + 1 - cosine).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            bar.advance(note=f"cosine {cosine.mean().item():.3f}" if step % 50 == 0 else "")
    return net.requires_grad_(False).eval()


@dataclass(frozen=True)
class LangSplat:
    """Learns one field a level against the codes of that level's masks."""

    settings: LangSplatSettings = LangSplatSettings()
    """Settings of its own."""
    batch_groups: int = 256
    """Groups of 16 pixels a step."""
    pixels_per_photo: int = 24_000
    """Pixels drawn from every photo; more where it has many small masks."""
    top_k: int = 16
    """Gaussians kept per sampled pixel."""

    def learn(self, inputs: Inputs, seed: int, path: Path, progress: Reporter) -> None:
        """Train the autoencoder, then the fields; see `Learner.learn`."""
        embeddings, levels = inputs.embeddings(), inputs.levels()
        net = train_autoencoder(embeddings, self.settings.autoencoder, seed, progress)
        codes = torch.cat([net.encode(chunk) for chunk in embeddings.split(DECODED_AT_ONCE)])
        sampling = DistillSettings(pixels_per_photo=self.pixels_per_photo, top_k=self.top_k, seed=seed)
        samples, evidence = collect(inputs.gaussians, inputs.items, sampling, progress)
        features = self._train(start(evidence, codes, levels), samples, codes, seed, progress)
        learnt = LangSplatFields(inputs.gaussians, features, net, inputs.encoder.name)
        learnt.save(path)

    def load(self, path: Path, inputs: Inputs) -> "LangSplatFields":
        """What `learn` wrote."""
        return LangSplatFields.load(path, inputs.gaussians)

    def _train(self, first: Tensor, samples: Samples, codes: Tensor, seed: int, progress: Reporter) -> Tensor:
        """Optimise the fields [N, 9] from a start of the same shape."""
        features = torch.nn.Parameter(first)
        steps = self.settings.steps
        optimizer = torch.optim.Adam([features], self.settings.rate, eps=1e-12)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps))
        rng = torch.Generator().manual_seed(seed)
        with progress.stage("Training three fields", steps, "steps") as bar:
            for step in range(steps):
                batch = torch.randint(len(samples), (self.batch_groups,), generator=rng)
                loss = code_loss(features, samples, batch, codes)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.advance(note=f"loss {loss.item():.4f}" if step % 50 == 0 else "")
        return features.detach()


def start(evidence: Evidence, codes: Tensor, levels: Tensor) -> Tensor:
    """Weighted mean of the codes that each Gaussian's pixels see on each level, 0 for none.

    Args:
        evidence: Which masks every Gaussian is seen in.
        codes: Code of every mask. [M, 3]
        levels: Level of every mask. int64 [M]

    Returns:
        The three levels one after the other. [N, 9]
    """
    means = [uplift(evidence, codes, (levels == level).float()) for level in range(len(LEVELS))]
    return torch.cat(means, dim=1)


def code_loss(features: Tensor, samples: Samples, batch: Tensor, codes: Tensor) -> Tensor:
    """L1 distance between rendered and wanted codes; every pixel counts the same, whatever its mask.

    Args:
        features: Features of the Gaussians on the three levels. [N, 9]
        samples: Sampled pixels of all photos.
        batch: Groups to use. [B]
        codes: Code of every mask. [M, 3]
    """
    indices, weights = samples.indices[batch].flatten(0, 1), samples.weights[batch].flatten(0, 1)
    targets = samples.targets[batch].flatten(0, 1).long()
    rendered = embedding_bag(indices, features, per_sample_weights=weights, mode="sum")
    by_level = rendered.unflatten(1, (len(LEVELS), CODE_LENGTH))
    distance = (by_level - codes[targets.clamp(min=0)]).abs().sum(dim=-1)
    valid = (targets >= 0) & (weights.sum(dim=-1, keepdim=True) > 0)
    importance = valid / samples.density[batch].flatten()[:, None]
    return (importance * distance).sum() / importance.sum().clamp(min=1e-12)


@dataclass(frozen=True, eq=False)
class LangSplatFields:
    """Three fields behind one decoder; the best level answers each text.

    Attributes:
        gaussians: The scene.
        features: Features of the Gaussians on the three levels, one level after the other. float32 [N, 9]
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
        """Relevancy (GAGS Eq. 8) on the level that answers each text best."""
        g = self.gaussians
        drawn = render(g, camera, self.features)
        covered = drawn.alphas >= KNOWN_ALPHA
        fields = drawn.colors[covered].unflatten(1, (len(LEVELS), CODE_LENGTH))
        levels = []
        for level in range(len(LEVELS)):
            maps = torch.zeros(*covered.shape, len(queries.texts), device=covered.device)
            maps[covered] = self._relevancy(fields[:, level], queries)
            levels.append(maps.permute(2, 0, 1))
        return ValueMaps(best_level(torch.stack(levels)), covered)

    def _relevancy(self, codes: Tensor, queries: Queries) -> Tensor:
        """Relevancy of rendered codes to every text. [P, 3] → [P, T]"""
        parts = []
        for chunk in codes.split(DECODED_AT_ONCE):
            embeddings = self.net.decode(normalize(chunk, dim=-1))
            cosines = embeddings @ torch.cat([queries.vectors, queries.negatives]).T
            parts.append(queries.relevancy_from_cosines(cosines))
        return torch.cat(parts) if parts else codes.new_zeros(0, len(queries.texts))

    def save(self, path: Path) -> None:
        """Write to a safetensors file, atomically; features are kept as float16."""
        tensors = {f"decoder.{name}": value for name, value in self.net.decoder.state_dict().items()}
        tensors["features"] = self.features.half()
        save_tensors(path, tensors, {"encoder": self.encoder_name})

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
            features = tensors.pop("features").float().to(gaussians.means.device)
            weights = {key.removeprefix("decoder."): value for key, value in tensors.items()}
            net = Autoencoder(weights[max(weights, key=_layer)].shape[0])
            net.decoder.load_state_dict(weights)
        except (KeyError, ValueError, RuntimeError) as error:
            raise damaged(path, error, REMEDY) from error
        return cls(gaussians, features, net.to(features.device).requires_grad_(False).eval(), name)


def _layer(name: str) -> int:
    """Number of a layer in a `Sequential`, from a name such as "12.bias"."""
    return int(name.split(".")[0])


def best_level(maps: Map) -> Map:
    """For each text the map of the level whose smoothed relevancy has the highest peak (LangSplat 3.4).

    Args:
        maps: Relevancy of every pixel to every text on every level. float32 [L, T, H, W]

    Returns:
        float32 [T, H, W]
    """
    peaks = np.array([[float(lerf_ovs.smooth(relevancy).max()) for relevancy in level] for level in maps])
    return maps[peaks.argmax(axis=0), np.arange(maps.shape[1])]
