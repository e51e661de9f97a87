"""The codebook of LEGaussians, of features in two parts: what an encoder says of a pixel, and DINO's keys.

LEGaussians (Shi et al., CVPR 2024) does not teach Gaussians the features of pixels but the number of the
nearest of 64 codes. A code has a part for each of the two; DINO's counts half (λ = 0.5).
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from gags.compare.methods.learner import DAMAGED_EMBEDDINGS
from gags.progress import SILENT, Reporter
from gags.store import check_finite, loss_note

CODES = 64
KEY_WEIGHT = 0.5  # λ: how much DINO's cosine counts beside the encoder's
RATE = 1e-4  # of AdamW
BATCH = 2048  # pixels a step; the recipe names no number
ASSIGNED_AT_ONCE = 1 << 14  # pixels, to bound memory


@dataclass(frozen=True, eq=False)
class Hybrid:
    """Features of P pixels, or of the codes of a codebook.

    Attributes:
        embeddings: In the encoder's space. [P, D]
        keys: In DINO's; E is 0 where there is no DINO. [P, E]
    """

    embeddings: Tensor
    keys: Tensor

    def __len__(self) -> int:
        return len(self.embeddings)

    def __getitem__(self, rows: Tensor | slice) -> "Hybrid":
        """Some of the rows."""
        return Hybrid(self.embeddings[rows], self.keys[rows])

    def normalised(self) -> "Hybrid":
        """Both parts L2-normalised, in single precision."""
        return Hybrid(normalize(self.embeddings.float(), dim=-1), normalize(self.keys.float(), dim=-1))


def similarities(features: Hybrid, codes: Hybrid) -> Tensor:
    """cos(encoder) + λ · cos(DINO) of every pixel with every code; without DINO, the first alone.

    Args:
        features: Of P pixels.
        codes: K codes.

    Returns:
        [P, K]
    """
    features, codes = features.normalised(), codes.normalised()
    return features.embeddings @ codes.embeddings.T + KEY_WEIGHT * (features.keys @ codes.keys.T)


def codebook_loss(features: Hybrid, codes: Hybrid) -> Tensor:
    """How far pixels are from their nearest codes, and how unevenly the codes are used.

    mean (1 − cos_encoder) + λ (1 − cos_DINO), each with the code of the largest similarity, plus
    Σ_k frac_k · mean softmax_k: the share of the pixels that take code k, times the mean over the pixels of
    the softmax of their similarities at k. It is least when all codes are used alike. Without DINO, λ is 0.

    Args:
        features: Of P pixels.
        codes: K codes.
    """
    similarity = similarities(features, codes)
    best, nearest = similarity.max(dim=-1)
    most = 1.0 + (KEY_WEIGHT if codes.keys.shape[1] else 0.0)
    shares = torch.bincount(nearest, minlength=len(codes)).to(similarity) / len(features)
    return (most - best).mean() + (shares * similarity.softmax(dim=-1).mean(dim=0)).sum()


@torch.no_grad()
def nearest_codes(features: Hybrid, codes: Hybrid) -> Tensor:
    """The code of the largest similarity of every pixel. int64 [P]"""
    found = torch.zeros(len(features), dtype=torch.int64, device=codes.embeddings.device)
    for first in range(0, len(features), ASSIGNED_AT_ONCE):
        some = slice(first, first + ASSIGNED_AT_ONCE)
        found[some] = similarities(features[some], codes).argmax(dim=-1)
    return found


def train_codebook(features: Hybrid, steps: int, seed: int, progress: Reporter = SILENT) -> Hybrid:
    """Fit `CODES` codes to the features of a scene's pixels, with AdamW.

    The codes start at pixels drawn at random.

    Args:
        features: Of pixels of all photos; may be float16.
        steps: Optimisation steps.
        seed: Seed of the start and of the batches.
        progress: Told about progress.

    Returns:
        The codes, both parts L2-normalised, since only their directions count.
    """
    rng = torch.Generator().manual_seed(seed)
    device = features.embeddings.device
    first = features[torch.randint(len(features), (CODES,), generator=rng).to(device)].normalised()
    codes = Hybrid(torch.nn.Parameter(first.embeddings), torch.nn.Parameter(first.keys))
    optimizer = torch.optim.AdamW([codes.embeddings, codes.keys], RATE)
    with progress.stage("Training the codebook", steps, "steps") as bar:
        for step in range(steps):
            rows = torch.randint(len(features), (BATCH,), generator=rng).to(device)
            loss = codebook_loss(features[rows], codes)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            bar.advance(note=loss_note(loss, step, DAMAGED_EMBEDDINGS, decimals=3))
    check_finite(steps, {"a code": codes.embeddings, "a key": codes.keys}, DAMAGED_EMBEDDINGS)
    return Hybrid(codes.embeddings.detach(), codes.keys.detach()).normalised()
