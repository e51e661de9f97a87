"""Masks of photos of which a part is to be ignored: nothing is asked there, and nothing is cut out there."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gags.embed.crops import cut_crop
from gags.embed.description import Description
from gags.embed.encoder import CropRule
from gags.errors import DamagedError
from gags.segment.candidates import LEAST_KEPT
from gags.segment.frames import zoomed_grids
from gags.segment.photo import is_kept, segment_photo
from gags.segment.segmenter import PromptedMasks
from gags.segment.settings import DescribeSettings

WIDTH, HEIGHT, CELL = 100, 60, 4
PHOTO = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
SETTINGS = DescribeSettings(min_area=20)


class Rectangles:
    """Answers every prompt with one rectangle of cells a level; remembers what it was asked."""

    name = "rectangles"

    def __init__(self, *boxes: tuple[int, int, int, int]) -> None:
        self.boxes, self.asked = boxes, list[np.ndarray]()

    def encode(self, image: np.ndarray) -> Any:
        return image.shape

    def predict(self, encoded: Any, points: np.ndarray, *, min_iou: float = 0.0) -> PromptedMasks:
        self.asked.append(points)
        height, width = encoded[0] // CELL, encoded[1] // CELL
        logits = np.full((len(points) * len(self.boxes), height, width), -20, np.float32)
        for row in range(len(logits)):
            x1, y1, x2, y2 = self.boxes[row % len(self.boxes)]
            logits[row, y1:y2, x1:x2] = 20
        levels = np.tile(np.arange(len(self.boxes), dtype=np.int8), len(points))
        prompts = np.repeat(np.arange(len(points), dtype=np.int32), len(self.boxes))
        extent = float(width), float(height)
        return PromptedMasks(logits, np.full(len(logits), 0.9, np.float32), levels, prompts, extent)


def without(x1: int, y1: int, x2: int, y2: int) -> np.ndarray:
    kept = np.ones((HEIGHT, WIDTH), bool)
    kept[y1:y2, x1:x2] = False
    return kept


def grid(step: int) -> np.ndarray:
    xs, ys = np.meshgrid(np.arange(1, WIDTH, step), np.arange(1, HEIGHT, step))
    return np.stack([xs.ravel(), ys.ravel()], 1).astype(np.float32) + 0.5


def test_prompts_on_ignored_pixels_are_not_asked():
    segmenter, kept, points = Rectangles((0, 0, 10, 10)), without(30, 0, 60, HEIGHT), grid(7)
    segment_photo(PHOTO, points, segmenter, SETTINGS, kept)
    asked = np.concatenate(segmenter.asked)
    expected = points[(points[:, 0] < 30) | (points[:, 0] >= 60)]
    assert 0 < len(expected) < len(points)
    assert np.array_equal(asked, expected)
    assert np.array_equal(points[is_kept(points, kept)], expected)


def test_ignored_pixels_belong_to_no_mask():
    segmenter = Rectangles((2, 2, 12, 12), (0, 0, 20, 14))
    kept = without(40, 0, 48, HEIGHT)  # 8 px of the 40 of the first mask, and a part of the second
    masks = segment_photo(PHOTO, grid(20), segmenter, SETTINGS, kept)
    plain = segment_photo(PHOTO, grid(20), segmenter, SETTINGS)
    assert len(masks) == len(plain) == 2
    assert np.array_equal(masks.labels, np.where(kept, plain.labels, -1))
    assert masks.boxes[0].tolist() == [8, 8, 40, 48]
    assert masks.kept is kept


@pytest.mark.parametrize("least_area", [20, 5000])
def test_a_small_island_that_is_ignored_is_no_hole_to_be_filled(least_area):
    kept = without(20, 20, 23, 23)  # 9 px, less than the least area
    settings = replace(SETTINGS, min_area=least_area, keep_largest=True, crop="whole")
    masks = segment_photo(PHOTO, grid(20), Rectangles((0, 0, 20, 14)), settings, kept)
    assert len(masks) == 1
    assert (masks.labels[0, ~kept] == -1).all()
    assert masks.labels[0, 19, 19] == 0
    whole = masks.whole
    assert whole is not None
    cropped = whole[0]
    assert not (cropped.mask & ~kept[cropped.window]).any()


@pytest.mark.parametrize(("right", "count"), [(40, 1), (60, 0)])
def test_a_mask_that_lies_for_the_most_part_in_ignored_pixels_is_dropped(right, count):
    kept = without(0, 0, right, HEIGHT)  # the mask spans 0 to 100 px of the photo's width
    assert (1 - right / WIDTH >= LEAST_KEPT) == bool(count)
    points = np.array([[90.5, 30.5]], np.float32)
    assert len(segment_photo(PHOTO, points, Rectangles((0, 0, 25, 15)), SETTINGS, kept)) == count


def test_crops_are_asked_where_photos_count():
    settings = replace(SETTINGS, prompts="crops", grid_side=4)
    kept, points = without(0, 0, 50, HEIGHT), zoomed_grids(4, WIDTH, HEIGHT)
    segmenter = Rectangles((1, 1, 5, 5))
    masks = segment_photo(PHOTO, points, segmenter, settings, kept)
    assert sum(map(len, segmenter.asked)) == (points[:, 0] >= 50).sum()
    assert (masks.labels[:, ~kept] == -1).all()


def test_a_photo_of_which_nothing_counts_has_no_masks():
    segmenter = Rectangles((0, 0, 10, 10))
    masks = segment_photo(PHOTO, grid(7), segmenter, SETTINGS, without(0, 0, WIDTH, HEIGHT))
    assert len(masks) == 0
    assert segmenter.asked == []


def test_if_all_counts_masks_are_those_without():
    segmenter = Rectangles((2, 2, 12, 12), (0, 0, 20, 14))
    masks = segment_photo(PHOTO, grid(20), segmenter, SETTINGS, np.ones((HEIGHT, WIDTH), bool))
    plain = segment_photo(PHOTO, grid(20), segmenter, SETTINGS)
    for name in ("labels", "levels", "boxes", "scores"):
        assert np.array_equal(getattr(masks, name), getattr(plain, name))


def test_the_file_of_a_photo_says_what_counts(tmp_path):
    kept = without(40, 12, 48, 40)
    masks = segment_photo(PHOTO, grid(20), Rectangles((2, 2, 12, 12)), SETTINGS, kept)
    embeddings = np.eye(4, dtype=np.float16)[: len(masks)]
    path = tmp_path / "a.png.safetensors"
    Description(masks, embeddings, "toy").save(path)
    loaded = Description.load(path).masks
    assert loaded.kept is not None
    assert np.array_equal(loaded.kept, kept)
    masks.kept = None
    Description(masks, embeddings, "toy").save(path)
    assert Description.load(path).masks.kept is None
    masks.kept = without(8, 8, 20, 20)  # pixels of a mask
    Description(masks, embeddings, "toy").save(path)
    with pytest.raises(DamagedError, match="masks hold pixels that are to be ignored"):
        Description.load(path)
    masks.kept = kept[:, :50]
    Description(masks, embeddings, "toy").save(path)
    with pytest.raises(DamagedError, match="kept has the shape"):
        Description.load(path)


@pytest.mark.parametrize("background", [False, True])
def test_crops_show_nothing_that_is_ignored(background):
    photo = np.full((HEIGHT, WIDTH, 3), 50, np.uint8)
    kept = without(30, 0, 40, HEIGHT)
    photo[~kept] = 255
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[10:30, 10:30] = True
    rule = CropRule(padding=0.5, keep_background=background, fill=7, square="box")
    box = np.array([10, 10, 30, 30])
    crop = cut_crop(photo, mask, box, rule, 40, kept=kept)  # px by px: the window is 40 px wide
    window = np.zeros((40, 40), bool)
    window[:, :30] = background
    window[10:30, 10:30] = True
    assert np.array_equal(crop, np.where(window[..., None], 50, 7) * np.ones(3))
