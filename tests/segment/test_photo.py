"""Masks resized to the photo, and a whole photo with a made-up segmenter."""

from typing import Any

import numpy as np
import pytest

from gags.segment.photo import Candidate, segment_photo, to_photo
from gags.segment.segmenter import PromptedMasks
from gags.segment.settings import DescribeSettings


@pytest.mark.parametrize(
    ("size", "extent"),
    [
        ((962, 539), (256.0, 143.5)),
        ((539, 962), (143.5, 256.0)),
        ((640, 480), (256.0, 192.0)),
        ((90, 61), (256.0, 173.5)),
    ],
)
def test_an_edge_in_the_logits_comes_out_at_its_pixel(size: tuple[int, int], extent: tuple[float, float]):
    width, height = size
    x1, x2, y1, y2 = 0.2 * width, 0.7 * width, 0.3 * height, 0.95 * height
    columns, rows = (int(np.ceil(n)) for n in extent)
    x = (np.arange(columns) + 0.5) * width / extent[0]
    y = (np.arange(rows) + 0.5) * height / extent[1]
    # Signed distance in px to the nearer edge, less steep than a cell, so that bilinear finds the edge.
    logits = np.minimum(np.minimum(x - x1, x2 - x), np.minimum(y - y1, y2 - y)[:, None]).astype(np.float16)
    inside = np.argwhere(logits > 0)
    (top, left), (bottom, right) = inside.min(0) - 1, inside.max(0) + 2
    candidate = Candidate(
        logits[top:bottom, left:right], int(left), int(top), np.array([left, top, right, bottom]), 1.0, 1.0, 0
    )
    cropped = to_photo(candidate, extent, width, height)
    mask = np.zeros((height, width), bool)
    mask[cropped.window] = cropped.mask
    px, py = np.arange(width) + 0.5, np.arange(height) + 0.5
    expected = ((px > x1) & (px < x2)) & ((py > y1) & (py < y2))[:, None]
    # Corners are rounded by bilinear interpolation; rows and columns through the middle are not.
    assert (mask[height // 2] == expected[height // 2]).all()
    assert (mask[:, width // 2] == expected[:, width // 2]).all()
    assert (mask != expected).mean() < 2e-4


def test_a_mask_over_the_whole_photo_reaches_every_border():
    logits = np.ones((144, 256), np.float16)
    whole = Candidate(logits, 0, 0, np.array([0, 0, 256, 144]), 1.0, 1.0, 0)
    cropped = to_photo(whole, (256.0, 143.5), 962, 539)
    assert cropped.mask.shape == (539, 962)
    assert cropped.mask.all()


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
