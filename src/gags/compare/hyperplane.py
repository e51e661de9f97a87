"""GOI's optimisable hyperplane: a plane between embeddings that starts at a text and is fitted to a mask.

What lies on its positive side is what the text names. The published constants belong to APE, with which
a probability of 0.86 decides: score = x·w / 0.3438 + 2 − logit(0.86): cosines above −0.06 are positive.
Nearly all cosines of CLIP or `lite` with a text are: the plane starts by selecting nearly all, and what it
selects in the end is what fitting left. The published program would do that with such embeddings, and the
start "published" does it. "calibrated" takes the encoder's own statistics: it starts two standard deviations
above the mean cosine of the scene with the encoder's canonical phrases.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gags.progress import part

PlaneStart = Literal["published", "calibrated"]

SCALE = 0.3438  # that embeddings are divided by, APE's
BIAS = 2.0 - math.log(0.86 / (1 - 0.86))
CALIBRATED_SIGMAS = 2.0  # above the mean, where a calibrated plane starts
RATE = 0.01  # of plain gradient descent
MOST_STEPS = 8000
ENOUGH_IOU = 0.9


@dataclass(frozen=True, eq=False)
class Hyperplane:
    """Score of an embedding x: x·w / scale + b; positive is selected.

    Attributes:
        weights: w. [C]
        bias: b.
        scale: What embeddings are divided by.
    """

    weights: Tensor
    bias: float
    scale: float = SCALE

    def scores(self, embeddings: Tensor) -> Tensor:
        """Scores of embeddings. [..., C] → [...]"""
        return embeddings @ self.weights / self.scale + self.bias


def published_start(text: Tensor) -> Hyperplane:
    """The plane of a text before it is fitted, with the published constants. [C]"""
    return Hyperplane(text, BIAS)


def calibrated_start(text: Tensor, codes: Tensor, phrases: Tensor) -> Hyperplane:
    """The plane of a text before it is fitted, by the encoder's own statistics.

    With μ and σ of the cosines of all codes with all canonical phrases: (x·w − μ) / σ − 2.

    Args:
        text: Its embedding, L2-normalised. [C]
        codes: L2-normalised. [K, C]
        phrases: Embeddings of the canonical phrases, L2-normalised. [n, C]
    """
    cosines = (codes @ phrases.T).double()
    scale = max(float(cosines.std(correction=0)), 1e-6)
    return Hyperplane(text, -float(cosines.mean()) / scale - CALIBRATED_SIGMAS, scale)


@part("hyperplane")
def fit(plane: Hyperplane, codes: Tensor, inside: Tensor, outside: Tensor) -> Hyperplane:
    """Fit a plane to a mask by gradient descent on the hinge loss, mean of max(0, 1 − y·score) over pixels.

    It ends when the IoU of what is selected with the mask is 0.9, or after 8,000 steps. Pixels of one code
    are alike, so a step works on the codes, weighted by their pixels.

    Args:
        plane: Where it starts.
        codes: Embeddings of K codes. [K, C]
        inside: Pixels of each code in the mask. [K]
        outside: Pixels of each code elsewhere. [K]
    """
    seen = (inside + outside) > 0
    x = (codes[seen].double() / plane.scale).cpu().numpy()
    within, off = (pixels[seen].double().cpu().numpy() for pixels in (inside, outside))
    total, wanted = (within + off).sum(), within.sum()
    # A step moves w by a sum of rows of x, so all scores move by their products, which never change. That is
    # NumPy's since a step is too little work for PyTorch: 8,000 take under half a second.
    products = x @ x.T + 1  # the 1 is for b
    scores = x @ plane.weights.double().cpu().numpy() + plane.bias
    moved = np.zeros(len(x))
    for _ in range(MOST_STEPS):
        selected = scores > 0
        if within @ selected >= ENOUGH_IOU * (wanted + off @ selected):
            break
        # d hinge / d score: −1 for pixels of the mask below 1, +1 for others above −1.
        slopes = (off * (scores > -1) - within * (scores < 1)) / total
        scores -= RATE * (products @ slopes)
        moved -= RATE * slopes
    weights = plane.weights + torch.from_numpy(moved @ x).to(plane.weights)
    return Hyperplane(weights, plane.bias + float(moved.sum()), plane.scale)
