"""Painting and clean-up of masks."""

import numpy as np

from gags.segment.masks import CroppedMask, paint, remove_specks


def _rectangle(x1: int, y1: int, x2: int, y2: int) -> CroppedMask:
    return CroppedMask(np.ones((y2 - y1, x2 - x1), bool), x1, y1)


def test_smaller_masks_are_painted_over_larger_ones():
    labels = np.zeros((10, 10), np.int16)
    rows = paint([_rectangle(2, 2, 5, 5), _rectangle(0, 0, 8, 8), _rectangle(4, 4, 10, 10)], labels, first=7)
    assert rows == [1, 2, 0]
    expected = np.full((10, 10), -1)
    expected[0:8, 0:8] = 7
    expected[4:10, 4:10] = 8
    expected[2:5, 2:5] = 9
    assert (labels == expected).all()


def test_a_wholly_covered_mask_is_dropped_and_labels_stay_dense():
    labels = np.empty((4, 12), np.int16)
    # The one of 24 px is hidden by two smaller ones side by side.
    rows = paint(
        [_rectangle(0, 0, 12, 4), _rectangle(2, 0, 8, 4), _rectangle(2, 0, 5, 4), _rectangle(5, 0, 8, 4)],
        labels,
    )
    assert rows == [0, 2, 3]
    assert labels[0].tolist() == [0, 0, 1, 1, 1, 2, 2, 2, 0, 0, 0, 0]


def test_what_a_dropped_mask_covered_is_visible_again():
    labels = np.empty((1, 30), np.int16)
    # Of the second, 2 px would be visible: it is dropped, and they show the first.
    masks = [_rectangle(0, 0, 30, 1), _rectangle(10, 0, 20, 1), _rectangle(12, 0, 20, 1)]
    assert paint(masks, labels, min_area=5) == [0, 2]
    assert labels[0].tolist() == [0] * 12 + [1] * 8 + [0] * 10


def test_nothing_to_paint_leaves_an_empty_map():
    labels = np.zeros((3, 3), np.int16)
    assert paint([], labels) == []
    assert (labels == -1).all()


def test_small_holes_are_filled_and_small_islands_dropped():
    mask = np.zeros((20, 30), bool)
    mask[2:14, 2:14] = True  # 144 px
    mask[5:7, 5:7] = False  # hole of 4 px: filled
    mask[8:12, 8:12] = False  # hole of 16 px: stays
    mask[16:18, 20:24] = True  # island of 8 px: dropped
    mask[2:6, 20:24] = True  # island of 16 px: stays
    expected = mask.copy()
    expected[5:7, 5:7] = True
    expected[16:18, 20:24] = False
    assert (remove_specks(mask, 10) == expected).all()


def test_background_at_the_border_is_no_hole():
    mask = np.ones((5, 5), bool)
    mask[0, 0] = False
    assert (remove_specks(mask, 10) == mask).all()
    assert not remove_specks(np.ones((3, 3), bool), 10).any()


def test_the_largest_island_stays_if_all_are_small():
    mask = np.zeros((20, 30), bool)
    mask[2:4, 2:4] = True  # 4 px
    mask[10:13, 10:13] = True  # 9 px ...
    mask[11, 11] = False  # ... with a hole, which is filled
    expected = np.zeros_like(mask)
    expected[10:13, 10:13] = True
    assert (remove_specks(mask, 100, keep_largest=True) == expected).all()
    mask[5:9, 20:24] = True  # 16 px: now the others go, for it is large enough
    expected = np.zeros_like(mask)
    expected[5:9, 20:24] = True
    assert (remove_specks(mask, 16, keep_largest=True) == expected).all()
    assert (remove_specks(np.ones((3, 3), bool), 10, keep_largest=True)).all()
    assert not remove_specks(np.zeros((3, 3), bool), 10, keep_largest=True).any()


def test_by_predicted_iou_the_worst_comes_on_top():
    labels = np.zeros((1, 10), np.int16)
    masks = [_rectangle(0, 0, 6, 1), _rectangle(2, 0, 10, 1), _rectangle(4, 0, 8, 1)]
    assert paint(masks, labels, first=3, ious=np.array([0.7, 0.9, 0.8])) == [1, 2, 0]
    assert labels[0].tolist() == [5] * 6 + [4] * 2 + [3] * 2
    # Nothing is seen of the best one: it has no row.
    assert paint(masks, labels, first=3, ious=np.array([0.8, 0.7, 0.9])) == [0, 1]
    assert labels[0].tolist() == [3] * 2 + [4] * 8


def test_many_hidden_masks_have_no_row():
    labels = np.zeros((1, 10), np.int16)
    masks = [_rectangle(0, 0, 4, 1), _rectangle(1, 0, 3, 1), _rectangle(0, 0, 9, 1), _rectangle(6, 0, 10, 1)]
    assert paint(masks, labels, ious=np.array([0.9, 0.8, 0.7, 0.6])) == [2, 3]
    assert labels[0].tolist() == [0] * 6 + [1] * 4
