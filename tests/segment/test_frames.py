"""Even grids and zoomed crops against hand-worked numbers."""

import numpy as np
import pytest

from gags.segment.frames import Frame, cut_off, even_grid, zoomed_frames, zoomed_grids


def test_an_even_grid_has_a_point_in_the_middle_of_each_cell():
    assert even_grid(2, 8, 4).tolist() == [[2, 1], [6, 1], [2, 3], [6, 3]]
    points = even_grid(32, 640, 480)
    assert points.shape == (1024, 2)
    assert points.dtype == np.float32
    assert points[0].tolist() == [10, 7.5]
    assert points[-1].tolist() == [630, 472.5]
    with pytest.raises(ValueError, match="grid_side must be at least 1, got 0"):
        even_grid(0, 640, 480)


def test_four_crops_share_a_third_of_the_shorter_side():
    # They share ⌊512/1500 · 480⌋ = 163 px: crops of ⌈803/2⌉ = 402 by ⌈643/2⌉ = 322 px, the second ones from
    # 402 − 163 = 239 and 322 − 163 = 159 on; these end with the photo, 1 px earlier.
    assert zoomed_frames(640, 480) == [
        Frame(0, 0, 640, 480),
        Frame(0, 0, 402, 322),
        Frame(0, 159, 402, 321),
        Frame(239, 0, 401, 322),
        Frame(239, 159, 401, 321),
    ]
    # 1440 × 1080: ⌊368.64⌋ = 368 shared, 904 × 724 px, from 536 and 356 on.
    assert zoomed_frames(1440, 1080)[4] == Frame(536, 356, 904, 724)
    assert [frame.box[2:] for frame in zoomed_frames(1440, 1080)[1::3]] == [(904, 724), (1440, 1080)]
    assert all(frame.width > 0 and frame.height > 0 for frame in zoomed_frames(1, 1))


def test_every_frame_has_the_same_grid_of_its_own():
    points = zoomed_grids(32, 640, 480)
    assert len(points) == 5120
    assert (points[:1024] == even_grid(32, 640, 480)).all()
    last = points[4096:]
    np.testing.assert_allclose(last[0], [239 + 401 / 64, 159 + 321 / 64], rtol=1e-6)
    np.testing.assert_allclose(last[-1], [640 - 401 / 64, 480 - 321 / 64], rtol=1e-6)


def test_boxes_at_an_edge_of_their_crop_are_cut_off_unless_the_photo_ends_there():
    crop = Frame(239, 159, 401, 321)  # the last of 640 × 480
    boxes = [
        [300, 200, 400, 300],  # inside
        [259, 200, 400, 300],  # 20 px from the crop's left edge
        [260, 200, 400, 300],  # 21 px
        [300, 165, 400, 300],  # at the crop's top edge
        [300, 200, 640, 480],  # at the edges of the photo
        [239, 200, 640, 300],  # both
    ]
    assert cut_off(np.array(boxes), crop, 640, 480).tolist() == [False, True, False, True, False, True]
    whole = Frame(0, 0, 640, 480)
    assert not cut_off(np.array([[0, 0, 640, 480], [3, 30, 640, 470]]), whole, 640, 480).any()
