"""Figures of merit of answers against ground truth, as pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


def iou(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Intersection over union of two masks, bool [H, W]; 0 if both are empty."""
    _same_shape(predicted, truth)
    union = np.count_nonzero(predicted | truth)
    return np.count_nonzero(predicted & truth) / union if union else 0.0


def peak_in_boxes(peak: tuple[float, float], boxes: Sequence[Sequence[float]]) -> bool:
    """Whether a peak (x, y) lies in any box (x1, y1, x2, y2), edges included."""
    x, y = peak
    return any(x1 <= x <= x2 and y1 <= y <= y2 for x1, y1, x2, y2 in boxes)


def rank(scores: np.ndarray, truth: np.ndarray) -> "Ranking":
    """Judge scores as a ranking of pixels, whatever the threshold.

    Tied pixels share one threshold, so that the order of pixels does not matter. Only scores of true pixels
    need to be tried: a lower threshold that takes in no further true pixel adds nothing to the precision, and
    its IoU is less. So values are sorted, which is far quicker than finding the order of pixels.

    Args:
        scores: Score of every pixel. [H, W]
        truth: bool [H, W]

    Raises:
        ValueError: If the shapes differ or a score is NaN.
    """
    _same_shape(scores, truth)
    if np.isnan(scores).any():
        raise ValueError("scores must not hold NaN")
    wanted, others = np.sort(scores[truth]), np.sort(scores[~truth])
    if not len(wanted):
        return Ranking(float("nan"), 0.0, float(others[-1]))
    first = np.flatnonzero(np.append(True, wanted[1:] != wanted[:-1]))
    thresholds, hits = wanted[first], len(wanted) - first
    wrong = len(others) - np.searchsorted(others, thresholds)
    ious = hits / (wrong + len(wanted))
    best = len(ious) - 1 - int(np.argmax(ious[::-1]))
    gained = np.diff(first, append=len(wanted))
    precision = (gained * (hits / (hits + wrong))).sum() / len(wanted)
    return Ranking(float(precision), float(ious[best]), float(thresholds[best]))


@dataclass(frozen=True)
class Ranking:
    """How well scores put the true pixels first.

    Attributes:
        average_precision: Mean of the precision at every true pixel, in [0, 1]; NaN without a true pixel.
        best_iou: The largest IoU that any threshold gives.
        threshold: That threshold (score ≥ threshold); the highest if there are several.
    """

    average_precision: float
    best_iou: float
    threshold: float


def mean(values: Sequence[float]) -> float:
    """Mean over pairs, NaN for none; NaN values are left out."""
    known = [v for v in values if not np.isnan(v)]
    return float(np.mean(known)) if known else float("nan")


def _same_shape(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape:
        raise ValueError(f"shapes differ: {a.shape} and {b.shape}")
