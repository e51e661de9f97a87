"""Masks of one bit a pixel against the masks themselves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gags.segment.packed import CroppedMask, PackedMasks
from gags.segment.suppress import overlaps

HEIGHT, WIDTH = 40, 200


def _random_masks(seed: int, count: int) -> np.ndarray:
    """Sparse noise in random boxes, each with at least one pixel. bool [count, HEIGHT, WIDTH]"""
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, HEIGHT, WIDTH), bool)
    for mask in masks:
        y, x = rng.integers(HEIGHT), rng.integers(WIDTH)
        window = mask[y : y + rng.integers(1, 30), x : x + rng.integers(1, 150)]
        window[:] = rng.random(window.shape) < 0.4
        mask[y, x] = True
    return masks


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 8))
@settings(deadline=None, max_examples=40)
def test_masks_come_back_and_overlap_as_they_did(seed: int, count: int):
    masks = _random_masks(seed, count)
    packed = PackedMasks.pack(CroppedMask(mask, 0, 0) for mask in masks)
    assert len(packed) == count
    for row, mask in enumerate(masks):
        y, x = np.nonzero(mask)
        assert packed.boxes[row].tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]
        back = np.zeros_like(mask)
        back[packed[row].window] = packed[row].mask
        assert (back == mask).all()
    expected = overlaps(masks.reshape(count, HEIGHT * WIDTH))
    assert (packed.overlaps() == expected).all()


def test_a_window_is_placed_where_it_was():
    mask = np.zeros((5, 9), bool)
    mask[1:4, 2:7] = True
    packed = PackedMasks.pack([CroppedMask(mask, 60, 7)])
    assert packed.boxes.tolist() == [[62, 8, 67, 11]]
    # Pixels 62 and 63 are the two highest bits of the first word, 64 to 66 the three lowest of the second.
    assert packed.words.tolist() == [0b11 << 62, 0b111] * 3


def test_some_masks_and_several_lots():
    masks = _random_masks(3, 6)
    packed = PackedMasks.pack(CroppedMask(mask, 0, 0) for mask in masks)
    some = PackedMasks.joined([packed.take([4, 1]), packed.take([]), packed.take([5])])
    assert (some.boxes == packed.boxes[[4, 1, 5]]).all()
    for row, wanted in enumerate([4, 1, 5]):
        assert (some[row].mask == packed[wanted].mask).all()
    assert len(PackedMasks.joined([])) == 0


def test_words_that_do_not_fit_the_boxes_are_refused():
    with pytest.raises(ValueError, match="hold 3 words, not 2"):
        PackedMasks(np.zeros(2, np.uint64), np.array([[0, 0, 10, 3]], np.int32))
