"""LangSplat's autoencoder: the embeddings of one scene's masks become codes of three numbers, and come back.

Layers, loss and learning rate are those of the paper's authors (Qin et al., CVPR 2024, section 3.3). The
batches differ: they are drawn with replacement, and the last state is kept, not the best of the last passes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, mse_loss, normalize

from gags.distill.decoder import DECODED_AT_ONCE
from gags.files.ranges import RATE, STEPS, Range, Settings, ranged
from gags.progress import Reporter
from gags.store import check_finite, loss_note

CODE_LENGTH = 3  # numbers of a code
ENCODER_WIDTHS = (256, 128, 64, 32, CODE_LENGTH)
DECODER_WIDTHS = (16, 32, 64, 128, 256, 256)
COSINE_WEIGHT = 0.001  # of 1 − cosine beside the squared error, as published
ASKED_AT_ONCE = 4096  # codes whose layers fit into a processor's cache: 3 times as fast as 65,536
REMEDY_RATE = "set a smaller rate (--langsplat.autoencoder.rate)"
PASSES = 100  # over the embeddings, as published


@dataclass(frozen=True)
class AutoencoderSettings(Settings, prefix="langsplat.autoencoder"):
    """How the autoencoder is trained; the defaults are LangSplat's."""

    steps: int | None = ranged(None, STEPS)
    """Optimisation steps. Default: as many as 100 passes over the embeddings take."""
    batch: int = ranged(64, Range(2, 65_536))
    """Embeddings a step."""
    rate: float = ranged(7e-4, RATE)
    """Learning rate of Adam."""

    def steps_for(self, embeddings: int) -> int:
        """Optimisation steps for a number of embeddings."""
        return -(-PASSES * embeddings // self.batch) if self.steps is None else self.steps


class Autoencoder(nn.Module):
    """Embedding of D numbers → unit code of 3 → unit embedding.

    Args:
        dim: Length D of the embeddings.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.encoder = _layers((dim, *ENCODER_WIDTHS), batch_norm=True)
        self.decoder = _layers((CODE_LENGTH, *DECODER_WIDTHS, dim), batch_norm=False)

    def encode(self, embeddings: Tensor) -> Tensor:
        """Unit codes. [..., D] → [..., 3]"""
        codes = self.encoder(embeddings.flatten(0, -2))  # batch norm takes rows alone
        return normalize(codes, dim=-1).unflatten(0, embeddings.shape[:-1])

    def decode(self, codes: Tensor) -> Tensor:
        """Unit embeddings of codes, which may be shorter than 1, as blended ones are. [..., 3] → [..., D]"""
        return normalize(self.decoder(codes), dim=-1)

    @torch.no_grad()
    def cosines(self, codes: Tensor, vectors: Tensor) -> Tensor:
        """Cosines of decoded codes with vectors, `decode(codes) @ vectors.T`, without the D numbers of each.

        The last layer takes h to W h + b, so a dot product with v is h · Wᵀv + b · v, and the squared length
        is hᵀ WᵀW h + 2 h · Wᵀb + b · b.

        Args:
            codes: Codes, blended or not. [P, 3]
            vectors: L2-normalised embeddings, e.g. of texts. [T, D]

        Returns:
            [P, T]
        """
        body, last = self.decoder[:-1], cast(nn.Linear, self.decoder[-1])
        weight, bias = last.weight, last.bias
        gram, folded = weight.T @ weight, (vectors @ weight).T
        parts = []
        for chunk in codes.split(ASKED_AT_ONCE):
            hidden = body(chunk)
            squares = ((hidden @ gram + 2 * (bias @ weight)) * hidden).sum(dim=-1) + bias @ bias
            parts.append((hidden @ folded + vectors @ bias) / squares.clamp(min=1e-24).sqrt()[:, None])
        return torch.cat(parts)

    @torch.no_grad()
    def encode_all(self, embeddings: Tensor) -> Tensor:
        """Codes of all masks, some at a time. [M, D] → [M, 3]"""
        return torch.cat([self.encode(chunk) for chunk in embeddings.split(DECODED_AT_ONCE)])

    @torch.no_grad()
    def cosine(self, embeddings: Tensor) -> float:
        """Mean cosine between embeddings [M, D] and what comes back of them."""
        chunks = embeddings.split(DECODED_AT_ONCE)
        cosines = [cosine_similarity(self.decode(self.encode(chunk)), chunk, dim=-1) for chunk in chunks]
        return float(torch.cat(cosines).mean())


def _layers(widths: Sequence[int], *, batch_norm: bool) -> nn.Sequential:
    """Linear layers with a ReLU, after a batch norm if asked for, between each two."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths[:-1]):
        layers.append(nn.Linear(inputs, outputs))
        layers += [nn.BatchNorm1d(outputs)] if batch_norm else []
        layers.append(nn.ReLU())
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1]))


def reconstruction_loss(decoded: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared error + 0.001 · (1 − cosine), as published; both means go over all rows.

    Args:
        decoded: What came back. [B, D]
        wanted: Embeddings. [B, D]

    Returns:
        A number. []
    """
    cosine = cosine_similarity(decoded, wanted, dim=-1)
    return mse_loss(decoded, wanted) + COSINE_WEIGHT * (1 - cosine).mean()


def train_autoencoder(
    embeddings: Tensor, settings: AutoencoderSettings, seed: int, progress: Reporter
) -> Autoencoder:
    """Fit an autoencoder to the embeddings of one scene's masks.

    Args:
        embeddings: L2-normalised embeddings of all masks. [M, D]
        settings: Settings.
        seed: Seed of the weights and of the batches.
        progress: Told about progress.

    Returns:
        The autoencoder, on the device of the embeddings; batch norm uses its running means from now on.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Autoencoder(embeddings.shape[1]).to(embeddings.device)
    steps = settings.steps_for(len(embeddings))
    optimizer = torch.optim.Adam(net.parameters(), settings.rate)
    rng = torch.Generator().manual_seed(seed)
    with progress.stage("Training the autoencoder", steps, "steps") as bar:
        for step in range(steps):
            drawn = torch.randint(len(embeddings), (settings.batch,), generator=rng)
            batch = embeddings[drawn.to(embeddings.device)]
            loss = reconstruction_loss(net.decode(net.encode(batch)), batch)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            bar.advance(note=loss_note(loss, step, REMEDY_RATE, decimals=5))
    check_finite(steps, {"a weight": torch.cat([p.flatten() for p in net.parameters()])}, REMEDY_RATE)
    return net.requires_grad_(False).eval()
