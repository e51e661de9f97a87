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

    Tied pixels share one threshold, so that the order of pixels does not matter.

    Args:
        scores: Score of every pixel. [H, W]
        truth: bool [H, W]
    """
    _same_shape(scores, truth)
    order = np.argsort(-scores, axis=None)
    sorted_scores = scores.reshape(-1)[order]
    hits = np.cumsum(truth.reshape(-1)[order])
    last = np.append(np.flatnonzero(np.diff(sorted_scores)), len(order) - 1)
    hits, chosen, true_count = hits[last], last + 1, hits[-1]
    ious = hits / (chosen + true_count - hits)
    best = int(np.argmax(ious))
    precision = (np.diff(hits, prepend=0) * (hits / chosen)).sum() / true_count if true_count else np.nan
    return Ranking(float(precision), float(ious[best]), float(sorted_scores[last[best]]))


@dataclass(frozen=True)
class Ranking:
    """How well scores put the true pixels first.

    Attributes:
        average_precision: Mean of the precision at every true pixel, in [0, 1]; NaN without a true pixel.
        best_iou: The largest IoU that any threshold gives.
        threshold: That threshold (score ≥ threshold).
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
