"""Figures of merit of answers against ground truth, as pure functions."""

from collections.abc import Sequence

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


def average_precision(scores: np.ndarray, truth: np.ndarray) -> float:
    """Average precision of ranking pixels by score: mean of the precision at every true pixel.

    Tied pixels share one threshold, so that the order of pixels does not matter.

    Args:
        scores: Score of every pixel. [H, W]
        truth: bool [H, W]

    Returns:
        In [0, 1]; NaN without a true pixel.
    """
    _same_shape(scores, truth)
    precision, recall, _ = _curve(scores, truth)
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def best_iou(scores: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """The largest IoU any threshold on the scores can give, and the threshold (score ≥ threshold)."""
    _same_shape(scores, truth)
    precision, recall, thresholds = _curve(scores, truth)
    true_count = np.count_nonzero(truth)
    hits = recall * true_count
    union = np.where(precision > 0, hits / np.maximum(precision, 1e-12), np.inf) + true_count - hits
    ious = hits / union
    best = int(np.argmax(ious))
    return float(ious[best]), float(thresholds[best])


def mean(values: Sequence[float]) -> float:
    """Mean over pairs, NaN for none; NaN values are left out."""
    known = [v for v in values if not np.isnan(v)]
    return float(np.mean(known)) if known else float("nan")


def _curve(scores: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall and threshold at every distinct score, from the highest down."""
    order = np.argsort(-scores, axis=None, kind="stable")
    sorted_scores = scores.reshape(-1)[order]
    hits = np.cumsum(truth.reshape(-1)[order])
    last = np.append(np.flatnonzero(np.diff(sorted_scores)), len(order) - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return hits[last] / (last + 1), hits[last] / hits[-1], sorted_scores[last]


def _same_shape(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape:
        raise ValueError(f"shapes differ: {a.shape} and {b.shape}")
