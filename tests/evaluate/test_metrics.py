"""Figures of merit against hand-made numbers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gags.evaluate import metrics


def test_iou():
    a = np.array([[1, 1, 0], [0, 0, 0]], bool)
    b = np.array([[0, 1, 1], [0, 0, 1]], bool)
    assert metrics.iou(a, b) == 0.25
    assert metrics.iou(a, a) == 1.0
    assert metrics.iou(np.zeros((2, 2), bool), np.zeros((2, 2), bool)) == 0.0
    with pytest.raises(ValueError, match="shapes differ"):
        metrics.iou(a, b.T)


@pytest.mark.parametrize(
    ("peak", "hit"), [((10, 10), True), ((20, 30), True), ((21, 15), False), ((55, 55), True)]
)
def test_peak_in_boxes(peak, hit):
    assert metrics.peak_in_boxes(peak, [(10, 10, 20, 30), (50, 50, 60, 60)]) is hit


def test_ranking_by_hand():
    scores = np.array([0.9, 0.8, 0.7, 0.6])
    truth = np.array([True, False, True, False])
    ranking = metrics.rank(scores, truth)
    assert ranking.average_precision == pytest.approx((1 + 2 / 3) / 2)
    assert (ranking.best_iou, ranking.threshold) == (pytest.approx(2 / 3), 0.7)
    tied = metrics.rank(np.ones(4), truth)  # one threshold, at which all are chosen
    assert (tied.average_precision, tied.best_iou) == (0.5, 0.5)
    nothing = metrics.rank(scores, np.zeros(4, bool))
    assert math.isnan(nothing.average_precision)
    assert nothing.best_iou == 0


def naive_rank(scores: np.ndarray, truth: np.ndarray) -> tuple[float, float, float]:
    """By the definitions: every threshold is tried, and the precision at every true pixel averaged."""
    thresholds = sorted(set(scores.ravel().tolist()), reverse=True)
    precision = {t: truth[scores >= t].mean() for t in thresholds}
    average = np.mean([precision[s] for s in scores[truth].tolist()]) if truth.any() else np.nan
    ious = [(truth & (scores >= t)).sum() / (truth | (scores >= t)).sum() for t in thresholds]
    return float(average), max(ious), thresholds[int(np.argmax(ious))]


@given(
    hnp.arrays(np.float32, (4, 6), elements=st.sampled_from([-1.0, -0.0, 0.0, 0.25, 0.5, 0.500001, 1.0])),
    hnp.arrays(bool, (4, 6)),
)
def test_ranking_equals_its_definition(scores, truth):
    ranking = metrics.rank(scores, truth)
    average, best, threshold = naive_rank(scores, truth)
    assert ranking.average_precision == pytest.approx(average, rel=1e-12, nan_ok=True)
    assert ranking.best_iou == best
    assert ranking.threshold == threshold
    assert metrics.iou(scores >= ranking.threshold, truth) == ranking.best_iou


def test_ranking_of_a_picture_without_ties():
    rng = np.random.default_rng(0)
    truth = rng.random((30, 40)) < 0.1
    scores = (rng.random((30, 40)) + 0.4 * truth).astype(np.float32)
    ranking = metrics.rank(scores, truth)
    expected = naive_rank(scores, truth)
    assert (ranking.average_precision, ranking.best_iou, ranking.threshold) == pytest.approx(expected)
    assert 0.1 < ranking.average_precision < 0.9


def test_ranking_of_nan_is_an_error():
    with pytest.raises(ValueError, match="NaN"):
        metrics.rank(np.array([0.1, np.nan]), np.array([True, False]))
    with pytest.raises(ValueError, match="shapes differ"):
        metrics.rank(np.zeros(2), np.zeros(3, bool))


def test_mean_leaves_out_nan():
    assert metrics.mean([0.5, float("nan"), 1.0]) == 0.75
    assert math.isnan(metrics.mean([]))


def stripe(first: int, last: int) -> np.ndarray:
    return (np.arange(20) >= first) & (np.arange(20) < last)


@pytest.mark.parametrize(
    ("found", "things", "counts"),
    [
        ([(0, 4), (10, 14)], [(0, 4), (10, 14)], (2, 2, 2, 2)),  # two of two
        ([(0, 4)], [(0, 4), (10, 14)], (1, 1, 2, 2)),  # half of all there is: it may be one thing, hidden
        ([(0, 3)], [(0, 4), (10, 20)], (1, 1, 2, 1)),  # one of two
        ([(0, 4), (15, 20)], [(0, 4)], (2, 1, 1, 1)),  # a phantom
        ([(0, 2), (2, 4)], [(0, 4)], (2, 2, 1, 1)),  # halves: each has an IoU of a half
        ([(0, 1), (1, 2), (2, 3)], [(0, 4)], (3, 0, 1, 0)),  # scraps
        ([], [(0, 4)], (0, 0, 1, 0)),
        ([(0, 10), (15, 16)], [(0, 11)], (1, 1, 1, 1)),  # of the second, an edge shows
        ([(0, 4)], [(0, 4), (0, 4), (8, 8)], (1, 1, 1, 1)),  # outlined twice, and an outline of nothing
        ([(0, 4)], [(8, 8)], (1, 0, 0, 0)),
    ],
)
def test_instances_are_counted_one_by_one(found, things, counts):
    counted = metrics.count_instances([stripe(*f) for f in found], [stripe(*t) for t in things])
    assert (counted.shown, counted.right, counted.things, counted.found) == counts
