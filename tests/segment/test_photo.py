"""The masks of a whole photo with made-up segmenters."""

from typing import Any

import numpy as np
import pytest

from gags.segment.photo import segment_photo
from gags.segment.segmenter import PromptedMasks
from gags.segment.settings import DescribeSettings


class _Rectangles:
    """A segmenter that answers every prompt with the given rectangles of cells, one a level."""

    name = "rectangles"

    def __init__(self, boxes: list[tuple[int, int, int, int] | None], iou: float = 0.9) -> None:
        self.boxes = boxes
        self.iou = iou
        self.asked = 0

    def encode(self, image: np.ndarray) -> Any:
        return image.shape

    def predict(self, encoded: Any, points: np.ndarray, *, min_iou: float = 0.0) -> PromptedMasks:
        self.asked += len(points)
        height, width = encoded[0] // 4, encoded[1] // 4
        logits, levels, prompts = [], [], []
        for prompt in range(len(points)):
            for level, box in enumerate(self.boxes):
                if box is not None:
                    x1, y1, x2, y2 = box
                    picture = np.full((height, width), -20, np.float32)
                    picture[y1:y2, x1:x2] = 20
                    logits.append(picture)
                    levels.append(level)
                    prompts.append(prompt)
        count = len(logits)
        return PromptedMasks(
            np.array(logits, np.float32).reshape(count, height, width),
            np.full(count, self.iou, np.float32),
            np.array(levels, np.int8),
            np.array(prompts, np.int32),
            (float(width), float(height)),
        )


def test_a_photo_with_an_empty_level_gives_valid_masks():
    segmenter = _Rectangles([(2, 2, 10, 8), None, (0, 0, 20, 12)])
    image = np.zeros((60, 100, 3), np.uint8)
    masks = segment_photo(image, np.full((130, 2), 5, np.float32), segmenter, DescribeSettings())
    assert segmenter.asked == 130
    assert len(masks) == 2
    assert masks.levels.tolist() == [0, 2]
    assert masks.boxes.tolist() == [[8, 8, 40, 32], [0, 0, 80, 48]]
    np.testing.assert_allclose(masks.scores, 0.9)
    # Bilinear interpolation cuts the px at each corner that lies inside the photo.
    assert (masks.labels[0, 9:31, 8:40] == 0).all()
    assert (masks.labels[0] == 0).sum() == 24 * 32 - 4
    assert (masks.labels[1] == -1).all()
    assert (masks.labels[2] == 1).sum() == 48 * 80 - 1
    assert masks.labels.dtype == np.int16
    assert masks.mask(1).sum() == 48 * 80 - 1


@pytest.mark.parametrize(
    "segmenter",
    [
        _Rectangles([None, None, None]),
        _Rectangles([(2, 2, 10, 8)] * 3, iou=0.65),  # not sure enough
        _Rectangles([(2, 2, 4, 4)] * 3),  # 64 px, under min_area
    ],
)
@pytest.mark.parametrize("prompts", [0, 3])
def test_a_photo_without_masks_is_empty_but_valid(segmenter: _Rectangles, prompts: int):
    image = np.zeros((60, 100, 3), np.uint8)
    masks = segment_photo(image, np.full((prompts, 2), 5, np.float32), segmenter, DescribeSettings())
    assert len(masks) == 0
    assert masks.labels.shape == (3, 60, 100)
    assert (masks.labels == -1).all()
    assert masks.boxes.shape == (0, 4)
    assert masks.scores.shape == (0,)
    assert masks.levels.dtype == np.int8
