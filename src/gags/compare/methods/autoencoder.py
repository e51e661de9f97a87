"""LangSplat's autoencoder of one scene: embeddings of D numbers become codes of 3 and come back."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, normalize

from gags.progress import Reporter

CODE = 3  # numbers of a code, and so of a Gaussian's feature
ENCODER = (256, 128, 64, 32, CODE)
DECODER = (16, 32, 64, 128, 256, 256)


@dataclass(frozen=True)
class AutoencoderSettings:
    """How the autoencoder is trained; the defaults converge on some thousand masks."""

    steps: int = 12000
    """Optimisation steps."""
    batch: int = 256
    """Embeddings a step."""
    rate: float = 1e-3
    """Learning rate of Adam, falling to 0 on a cosine."""


class Autoencoder(nn.Module):
    """Embedding of D numbers → unit code of 3 → unit embedding.

    Args:
        dim: Length D of the embeddings.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.encoder = _layers((dim, *ENCODER))
        self.decoder = _layers((CODE, *DECODER, dim))

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
    chance = torch.Generator().manual_seed(seed)
    with progress.stage("Training the autoencoder", settings.steps, "steps") as bar:
        for step in range(settings.steps):
            batch = embeddings[torch.randint(len(embeddings), (settings.batch,), generator=chance)]
            decoded = net.decode(net.encode(batch))
            cosine = cosine_similarity(decoded, batch, dim=-1)
            loss = ((decoded - batch).square().sum(dim=-1) + 1 - cosine).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            bar.advance(note=f"cosine {cosine.mean().item():.3f}" if step % 50 == 0 else "")
    return net.requires_grad_(False).eval()
