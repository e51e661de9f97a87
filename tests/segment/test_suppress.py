"""Vectorised suppression against naive double loops."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gags.segment.suppress import box_nms, mask_nms, measure, measure_resized, overlaps


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


def _smooth_logits(seed: int, count: int, rows: int, columns: int) -> np.ndarray:
    """Smooth random fields with values on both sides of −1, 0 and 1. float32 [count, rows, columns]"""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.normal(-0.5, 2, (1, count, 4, 5)).astype(np.float32))
    return torch.nn.functional.interpolate(coarse, (rows, columns), mode="bicubic")[0].numpy()


@pytest.mark.parametrize("size", [(100, 70), (64, 48), (31, 17), (20, 12)])  # larger, equal, smaller
def test_stability_at_photo_size_is_that_of_the_resized_logits(size: tuple[int, int]):
    width, height = size
    logits = _smooth_logits(0, 12, 48, 64)
    logits[0] = -3  # nothing
    logits[1] = -0.5  # above −1 everywhere, no pixel above 0
    logits[2] = -3
    logits[2, 30, 40:43] = 4  # a few cells
    full = torch.nn.functional.interpolate(
        torch.from_numpy(logits)[None].double(), (height, width), mode="bilinear", align_corners=False
    )[0].numpy()
    wanted = np.ones(12, bool)
    wanted[5] = False
    stabilities, boxes = measure_resized(logits, wanted, 1.0, (64.0, 48.0), width, height)
    for k, resized in enumerate(full):
        y, x = np.nonzero(resized > 0)
        if not wanted[k] or not len(x):
            assert stabilities[k] == 0
            assert boxes[k].tolist() == [0, 0, 0, 0]
            continue
        assert stabilities[k] == np.float32((resized > 1).sum() / (resized > -1).sum())
        assert boxes[k].tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]
    assert len(set(stabilities.tolist())) > 6


def test_the_grid_may_reach_beyond_the_photo():
    # 8 px of the photo are 4 columns of cells; 6 px are 2.5 rows of 3.
    logits = np.full((1, 3, 4), -2, np.float32)
    logits[0, 2] = 2  # centre of the last row at y = 2.5 cells, where the photo ends: 6 px
    # At the pixels' centres, v = (y + ½) · 2.5/6 − ½ = −0.29, 0.125, 0.54, 0.96, 1.375, 1.79; the logit is
    # −2 up to v = 1 and then −2 + 4 (v − 1): −0.5 at the fifth, 1.17 at the sixth.
    stabilities, boxes = measure_resized(logits, np.ones(1, bool), 1.0, (4.0, 2.5), 8, 6)
    assert stabilities.tolist() == [0.5]
    assert boxes.tolist() == [[0, 5, 8, 6]]


def test_thousands_of_boxes_are_compared():
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 4, (9000, 2)) * 10
    boxes = np.concatenate([corners, corners + 10], 1)
    scores = rng.random(9000)
    kept = box_nms(boxes, scores, 0.7)
    assert len(kept) == 16
    for row in kept:
        assert scores[row] == scores[(boxes == boxes[row]).all(1)].max()
