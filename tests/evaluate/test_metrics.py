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


@given(
    hnp.arrays(np.float32, 12, elements=st.sampled_from([0.0, 0.25, 0.5, 1.0])),
    hnp.arrays(bool, 12).filter(lambda t: t.any()),
)
def test_best_iou_is_the_best_of_all_thresholds(scores, truth):
    expected = max(metrics.iou(scores >= t, truth) for t in np.unique(scores))
    assert metrics.rank(scores, truth).best_iou == pytest.approx(expected)


def test_mean_leaves_out_nan():
    assert metrics.mean([0.5, float("nan"), 1.0]) == 0.75
    assert math.isnan(metrics.mean([]))
