"""GOI's codebook: at most 300 vectors that stand for all embeddings of a scene."""

import torch
from torch import Tensor
from torch.nn.functional import mse_loss, normalize, one_hot

CODES = 300
ROUNDS = 20  # of k-means
ASSIGNMENT_WEIGHT = 50.0
ENTROPY_WEIGHT = 0.3


def start_codes(embeddings: Tensor, counts: Tensor, rng: torch.Generator) -> Tensor:
    """Codes by cosine k-means, from a k-means++ start.

    Args:
        embeddings: Distinct embeddings, L2-normalised. [R, C]
        counts: How many pixels have each. [R]
        rng: Random generator; on the CPU.

    Returns:
        Unit codes, 300 or as many as there are embeddings. [K, C]
    """
    weights = counts.float().to(embeddings.device)
    codes = embeddings[_spread_rows(embeddings, weights, min(CODES, len(embeddings)), rng)]
    for _ in range(ROUNDS):
        best, owner = (embeddings @ codes.T).max(dim=1)
        sums = torch.zeros_like(codes).index_add_(0, owner, embeddings * weights[:, None])
        empty = torch.bincount(owner, minlength=len(codes)) == 0
        codes = torch.where(empty[:, None], codes, normalize(sums, dim=1))
        if empty.any():  # codes that nothing is nearest to go where the fit is worst
            worst = (weights * (1 - best)).topk(int(empty.sum())).indices
            codes[empty] = embeddings[worst]
    return codes


def _spread_rows(embeddings: Tensor, weights: Tensor, count: int, rng: torch.Generator) -> Tensor:
    """Rows drawn one after the other by their distance to those drawn before (k-means++). int64 [count]"""
    chances = weights.clone()
    distance = torch.full_like(weights, 2.0)
    rows: list[int] = []
    for _ in range(count):
        if not chances.sum() > 0:  # the rest repeats what is there
            chances = torch.ones_like(weights)
            chances[rows] = 0
        rows.append(int(torch.multinomial(chances.cpu(), 1, generator=rng)))
        distance = torch.minimum(distance, (1 - embeddings @ embeddings[rows[-1]]).clamp(min=0))
        distance[rows] = 0
        chances = weights * distance
    return torch.tensor(rows, device=embeddings.device)


def codebook_loss(cosines: Tensor, counts: Tensor, temperature: float) -> Tensor:
    """How far the codes are from the embeddings, and how undecided between codes the embeddings are.

    (1 − mean of the largest cosine) + 0.3 · mean entropy of softmax(t · cosines), means over pixels.

    Args:
        cosines: Of R distinct embeddings with all codes. [R, K]
        counts: How many pixels have each embedding. [R]
        temperature: t.
    """
    shares = counts / counts.sum()
    chances = (temperature * cosines).log_softmax(dim=1)
    entropy = -(chances.exp() * chances).sum(dim=1)
    return 1 - shares @ cosines.amax(dim=1) + ENTROPY_WEIGHT * (shares @ entropy)


def assignment_loss(logits: Tensor, owners: Tensor) -> Tensor:
    """50 · mean squared error of softmax(logits), over pixels and codes, to the code of each pixel.

    Args:
        logits: Of every pixel and code. [B, K]
        owners: Code of each pixel. int64 [B]
    """
    return ASSIGNMENT_WEIGHT * mse_loss(logits.softmax(dim=1), one_hot(owners, logits.shape[1]).to(logits))


def reading_loss(logits: Tensor, owners: Tensor, cosines: Tensor) -> Tensor:
    """1 − mean cosine of the pixels' embeddings with the codes that their logits choose.

    Args:
        logits: Of every pixel and code. [B, K]
        owners: Row of `cosines` of each pixel. int64 [B]
        cosines: Of the distinct embeddings with all codes. [R, K]
    """
    return 1 - cosines[owners, logits.argmax(dim=1)].mean()
