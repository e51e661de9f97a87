"""Vectorised suppression against naive double loops."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gags.segment.suppress import box_nms, mask_nms, measure, overlaps


def _naive_box_nms(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> list[int]:
    def area(box: np.ndarray) -> float:
        return float((box[2] - box[0]) * (box[3] - box[1]))

    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        for j in kept:
            w = min(boxes[i][2], boxes[j][2]) - max(boxes[i][0], boxes[j][0])
            h = min(boxes[i][3], boxes[j][3]) - max(boxes[i][1], boxes[j][1])
            overlap = float(w * h) if w > 0 and h > 0 else 0.0
            if overlap > threshold * (area(boxes[i]) + area(boxes[j]) - overlap):
                break
        else:
            kept.append(i)
    return kept


def _naive_mask_nms(masks: np.ndarray, scores: np.ndarray) -> list[bool]:
    order = sorted(range(len(masks)), key=lambda i: -scores[i])
    stays = [True] * len(masks)
    for place, i in enumerate(order):
        for j in order[place + 1 :]:
            overlap = int((masks[i] & masks[j]).sum())
            a, b = int(masks[i].sum()), int(masks[j].sum())
            if overlap > 0.8 * (a + b - overlap):
                stays[j] = False
            if overlap < 0.5 * a and overlap >= 0.85 * b:
                stays[j] = False
            if overlap < 0.5 * b and overlap >= 0.85 * a:
                stays[i] = False
    return stays


def _random_masks(seed: int, count: int) -> np.ndarray:
    """Rectangles, repeated with noise and with parts of themselves: all rules have something to do."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, 24, 32), bool)
    for k, mask in enumerate(masks):
        if k and rng.random() < 0.6:
            mask[:] = masks[rng.integers(k)]
            if rng.random() < 0.5:
                mask[:, rng.integers(1, 32) :] = False
            mask ^= rng.random(mask.shape) < 0.02
        else:
            y, x = rng.integers(0, 20), rng.integers(0, 28)
            mask[y : y + rng.integers(1, 20), x : x + rng.integers(1, 28)] = True
    return masks


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 30), ties=st.booleans())
@settings(deadline=None, max_examples=60)
def test_mask_nms_agrees_with_the_double_loop(seed: int, count: int, ties: bool):
    masks = _random_masks(seed, count).reshape(count, -1)
    scores = np.random.default_rng(seed).random(count)
    if ties:
        scores = np.round(scores, 1)
    found = mask_nms(masks, scores, max_iou=0.8)
    assert found.tolist() == _naive_mask_nms(masks, scores)


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 40))
@settings(deadline=None, max_examples=60)
def test_box_nms_agrees_with_the_double_loop(seed: int, count: int):
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, 10, (count, 2))
    boxes = np.concatenate([corner, corner + rng.integers(1, 20, (count, 2))], 1)
    scores = np.round(rng.random(count), 2)
    assert box_nms(boxes, scores, 0.7).tolist() == _naive_box_nms(boxes, scores, 0.7)


def test_a_repeated_a_contained_and_a_lone_mask():
    masks = np.zeros((4, 100), bool)
    masks[0, :60] = True
    masks[1, :58] = True  # nearly the first, worse
    masks[2, 10:30] = True  # inside the first, better
    masks[3, 70:80] = True  # alone, worst
    scores = np.array([0.9, 0.8, 0.95, 0.1])
    assert mask_nms(masks, scores, max_iou=0.8).tolist() == [True, False, False, True]
    assert mask_nms(masks, scores, max_iou=0.8, drop_contained=False).tolist() == [True, False, True, True]


def test_a_contained_mask_of_more_than_half_its_container_stays():
    masks = np.zeros((2, 100), bool)
    masks[0, :60] = True
    masks[1, :32] = True
    stays = mask_nms(masks, np.array([0.9, 0.8]), max_iou=0.8)
    assert stays.all()


def test_overlaps_are_counts_over_many_cells():
    masks = np.random.default_rng(0).random((5, 10_000)) < 0.4
    expected = [[int((a & b).sum()) for b in masks] for a in masks]
    assert overlaps(masks).tolist() == expected


def test_stability_and_box_of_hand_made_logits():
    logits = np.full((3, 6, 8), -5, np.float32)
    logits[0, 1:4, 2:6] = 0.5  # 12 cells above −1, of which
    logits[0, 2, 3:6] = 2  # 3 above 1
    logits[1] = 3
    stabilities, boxes = measure(logits, 1.0)
    assert stabilities.tolist() == [0.25, 1.0, 0.0]
    assert boxes.tolist() == [[2, 1, 6, 4], [0, 0, 8, 6], [0, 0, 0, 0]]
