"""The masks of a whole photo with made-up segmenters."""

from collections import deque
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from gags.distill.presets import PRESETS
from gags.segment.frames import zoomed_frames, zoomed_grids
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


RELEASED = replace(PRESETS["released"].describe, min_area=20)


@pytest.mark.parametrize("preset", ["lite", "paper", "released", "crops"])
def test_a_photo_with_an_empty_level_or_none_at_all_under_every_preset(preset: str):
    crops = replace(PRESETS["paper"].describe, prompts="crops", grid_side=2)
    settings = crops if preset == "crops" else PRESETS[preset].describe
    image = np.zeros((60, 100, 3), np.uint8)
    prompts = zoomed_grids(2, 100, 60)
    for boxes, levels in (([(2, 2, 10, 8), None, (0, 0, 14, 12)], [0, 2]), ([None] * 3, [])):
        masks = segment_photo(image, prompts, _Rectangles(boxes), settings)
        assert sorted(set(masks.levels.tolist())) == levels
        assert (masks.labels[1] == -1).all()
        assert (masks.whole is None) == (preset == "lite")
        assert masks.whole is None or len(masks.whole) == len(masks)


class _Ellipses:
    """A segmenter whose masks are ellipses on a coarse grid, many of them alike, with specks and holes.

    Logits are kept in half precision, so that an independent computation gets the same ones.
    """

    name = "ellipses"

    def __init__(self, seed: int, count: int, rows: int, columns: int) -> None:
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[:rows, :columns] + 0.5
        low, high = [0, 0, 1.5, 1.5], [columns, rows, columns / 3, rows / 3]  # centre and radii
        kinds = rng.uniform(low, high, (count // 4, 4))[rng.integers(0, count // 4, count)]
        cx, cy, rx, ry = (kinds * rng.normal(1, 0.05, kinds.shape)).T[..., None, None]
        logits = 40 * (1 - ((x - cx) / rx) ** 2 - ((y - cy) / ry) ** 2)
        flipped = rng.random(logits.shape) < 0.01
        logits = np.where(flipped, -np.sign(logits) * 20, logits.clip(-20, 20))
        self.logits = logits.astype(np.float16).astype(np.float32)
        # Multiples of 1/512, no two alike: as exact in single precision as in double. Some are under 0.7.
        self.ious = ((rng.permutation(count) + 480 - count) / 512).astype(np.float32)
        self.levels = rng.integers(0, 3, count).astype(np.int8)

    def encode(self, image: np.ndarray) -> Any:
        return None

    def predict(self, encoded: Any, points: np.ndarray, *, min_iou: float = 0.0) -> PromptedMasks:
        height, width = self.logits.shape[1:]
        return PromptedMasks(
            logits=self.logits,
            ious=self.ious,
            levels=self.levels,
            prompts=np.zeros(len(self.ious), np.int32),
            extent=(float(width), float(height)),
        )


def _regions(mask: np.ndarray) -> list[list[tuple[int, int]]]:
    """Pixels of each connected piece, neighbours at a corner included, found one by one."""
    left = set(map(tuple, np.argwhere(mask).tolist()))
    found = []
    while left:
        waiting, piece = deque([left.pop()]), []
        while waiting:
            y, x = waiting.popleft()
            piece.append((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            waiting.extend(near)
        found.append(piece)
    return found


def _plainly_cleaned(mask: np.ndarray, min_area: int) -> np.ndarray:
    """Holes filled, specks dropped, the largest island kept; pixel by pixel."""
    mask = np.pad(mask, 1)
    for hole in _regions(~mask):
        if len(hole) < min_area and (0, 0) not in hole:
            mask[tuple(np.transpose(hole))] = True
    islands = _regions(mask)
    for island in islands:
        if len(island) < min_area and island != max(islands, key=len):
            mask[tuple(np.transpose(island))] = False
    return mask[1:-1, 1:-1]


def _boxes_repeat(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether the boxes around two masks have an IoU above 0.7, by painting them."""
    filled = []
    for mask in (a, b):
        y, x = np.nonzero(mask)
        box = np.zeros_like(mask)
        box[y.min() : y.max() + 1, x.min() : x.max() + 1] = True
        filled.append(box)
    # In the form in which an IoU of exactly 0.7 is rounded as in the package.
    return bool((filled[0] & filled[1]).sum() > 0.7 * (filled[0] | filled[1]).sum())


def _greedy(masks: list[dict], order: list[dict]) -> list[dict]:
    kept: list[dict] = []
    for mask in order:
        if not any(_boxes_repeat(mask["mask"], better["mask"]) for better in kept):
            kept.append(mask)
    return kept


def _released_level(segmenter: _Ellipses, level: int, height: int, width: int) -> list[dict]:
    """Masks of one level in the released order, in falling predicted IoU: whole arrays and double loops."""
    full = torch.nn.functional.interpolate(
        torch.from_numpy(segmenter.logits)[None], (height, width), mode="bilinear", align_corners=False
    )[0].numpy()
    found = []
    for k in np.flatnonzero(segmenter.levels == level):
        iou, above = float(segmenter.ious[k]), (full[k] > -1).sum()
        stability = float((full[k] > 1).sum() / max(above, 1))
        if iou > 0.7 and stability >= 0.85 and (full[k] > 0).any():
            found.append({"iou": iou, "score": iou * stability, "mask": full[k] > 0})
    found = _greedy(found, sorted(found, key=lambda m: -m["iou"]))
    for mask in found:
        mask["cleaned"] = _plainly_cleaned(mask["mask"], RELEASED.min_area)
        mask["touched"] = bool((mask["cleaned"] != mask["mask"]).any())
        mask["mask"] = mask["cleaned"]
    found = _greedy(found, sorted(found, key=lambda m: m["touched"]))
    stays = []
    for a in found:
        out = a["score"] <= 0.7
        for b in found:
            if a is not b:
                shared, area, other = (a["mask"] & b["mask"]).sum(), a["mask"].sum(), b["mask"].sum()
                out |= b["score"] > a["score"] and shared / (area + other - shared) > 0.8
                out |= area < other and shared / other < 0.5 and shared / area >= 0.85
        if not out:
            stays.append(a)
    return sorted(stays, key=lambda m: -m["iou"])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_released_order_agrees_with_whole_arrays_and_double_loops(seed: int):
    height, width = 64, 96
    segmenter = _Ellipses(seed, 120, height // 4, width // 4)
    one = np.array([[5, 5]], np.float32)
    masks = segment_photo(np.zeros((height, width, 3), np.uint8), one, segmenter, RELEASED)
    total, wholes = 0, masks.whole
    assert wholes is not None
    for level in range(3):
        expected = np.full((height, width), -1)
        found = _released_level(segmenter, level, height, width)
        for number, mask in enumerate(found):
            expected[mask["mask"]] = number
        seen = [number for number in range(len(found)) if (expected == number).any()]
        assert len(seen) > 2
        rows = np.flatnonzero(masks.levels == level)
        assert len(rows) == len(seen)
        for row, number in zip(rows, seen, strict=True):
            assert (masks.mask(int(row)) == (expected == number)).all()
            np.testing.assert_allclose(masks.scores[row], found[number]["score"], rtol=1e-6)
            whole = np.zeros((height, width), bool)
            whole[wholes[int(row)].window] = wholes[int(row)].mask
            assert (whole == found[number]["mask"]).all()
        total += len(seen)
    assert len(masks) == total


def _squares(*squares: tuple[int, tuple[int, int, int, int], float]) -> _Ellipses:
    """A segmenter of rectangles of cells on a grid of 16 × 24: level, box and predicted IoU of each."""
    made = _Ellipses(0, 4, 16, 24)
    made.logits = np.full((len(squares), 16, 24), -9, np.float32)
    for logits, (_, (x1, y1, x2, y2), _) in zip(made.logits, squares, strict=True):
        logits[y1:y2, x1:x2] = 9
    made.levels = np.array([level for level, _, _ in squares], np.int8)
    made.ious = np.array([iou for _, _, iou in squares], np.float32)
    return made


PHOTO, ONE = np.zeros((64, 96, 3), np.uint8), np.array([[5, 5]], np.float32)


def test_after_the_clean_up_boxes_are_suppressed_again():
    segmenter = _squares((0, (2, 2, 10, 10), 0.8), (0, (2, 2, 10, 10), 0.9))
    segmenter.logits[1, 14, 20] = 9  # a speck far away, which makes the box of the better one large
    once = replace(RELEASED, second_box_nms=False, mask_nms_iou=1.0, min_area=50)
    assert len(segment_photo(PHOTO, ONE, segmenter, replace(once, paint_by="area", crop="visible"))) == 1
    assert segment_photo(PHOTO, ONE, segmenter, once).scores.tolist() == [
        pytest.approx(0.8, abs=0.03)
    ]  # on top
    twice = replace(once, second_box_nms=True)
    # The one that the clean-up left alone is preferred to the better one.
    assert segment_photo(PHOTO, ONE, segmenter, twice).scores.tolist() == [pytest.approx(0.8, abs=0.03)]
    segmenter.logits[1, 14, 20] = -9
    assert segment_photo(PHOTO, ONE, segmenter, twice).scores.tolist() == [pytest.approx(0.9, abs=0.03)]


def test_a_small_mask_stays_where_the_largest_island_does():
    segmenter = _squares((0, (2, 2, 4, 4), 0.9))  # 8 × 8 px less its corners
    assert len(segment_photo(PHOTO, ONE, segmenter, replace(RELEASED, min_area=100))) == 1
    for smaller in (DescribeSettings(), replace(RELEASED, min_area=100, keep_largest=False)):
        assert len(segment_photo(PHOTO, ONE, segmenter, smaller)) == 0


def test_a_mask_of_a_low_score_still_contains_others():
    segmenter = _squares((0, (1, 1, 20, 15), 0.75), (0, (3, 3, 9, 9), 0.95))
    segmenter.logits[0, 1:3, 1:20] = 0.5  # stability about 0.9: score 0.67
    first = replace(RELEASED, score_first=True, min_stability=0.8)
    assert segment_photo(PHOTO, ONE, segmenter, first).scores.tolist() == [pytest.approx(0.95, abs=0.03)]
    later = replace(first, score_first=False)
    assert len(segment_photo(PHOTO, ONE, segmenter, later)) == 0
    on_grid = DescribeSettings(score_first=False, drop_contained=True, min_stability=0.8)
    assert len(segment_photo(PHOTO, ONE, segmenter, on_grid)) == 0
    assert len(segment_photo(PHOTO, ONE, segmenter, replace(on_grid, drop_contained=False))) == 1


class _Colours:
    """A segmenter that sees what it is shown: pixels of the colour under a prompt, at half the size."""

    name = "colours"

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []
        self.points = 0

    def encode(self, image: np.ndarray) -> np.ndarray:
        self.seen.append(image.shape[:2])
        return image[..., 0]

    def predict(self, encoded: np.ndarray, points: np.ndarray, *, min_iou: float = 0.0) -> PromptedMasks:
        assert ((points >= 0) & (points < encoded.shape[::-1])).all()
        self.points += len(points)
        at = [encoded[int(y), int(x)] for x, y in points]
        cells = encoded[1::2, 1::2]
        logits = np.stack([np.where(cells == value, 9, -9) for value in at]).astype(np.float32)
        ious = np.array([0.95 if value else 0.3 for value in at], np.float32)
        size = (encoded.shape[1] / 2, encoded.shape[0] / 2)
        logits = np.pad(logits, ((0, 0), (0, encoded.shape[0] % 2), (0, encoded.shape[1] % 2)), mode="edge")
        return PromptedMasks(
            logits=logits[:, : int(np.ceil(size[1])), : int(np.ceil(size[0]))],
            ious=ious,
            levels=np.full(len(at), 1, np.int8),
            prompts=np.arange(len(at), dtype=np.int32),
            extent=size,
        )


@pytest.mark.parametrize("base", ["lite", "paper"])
def test_crops_are_encoded_anew_and_their_masks_put_back_and_merged(base: str):
    # 320 × 240 px: crops share 81, the last starts at (120, 80).
    photo = np.zeros((240, 320, 3), np.uint8)
    photo[100:130, 150:180] = 60  # in the middle: every crop and the photo see all of it
    photo[30:70, 40:90] = 120  # in the first crop
    photo[90:200, 20:300] = np.where(
        photo[90:200, 20:300] == 0, 180, photo[90:200, 20:300]
    )  # cut by each crop
    photo[210:240, 280:320] = 240  # in the corner: it touches the photo's edges
    segmenter = _Colours()
    settings = replace(PRESETS[base].describe, prompts="crops", grid_side=16, drop_contained=False)
    masks = segment_photo(photo, zoomed_grids(16, 320, 240), segmenter, settings)
    assert segmenter.seen == [(f.height, f.width) for f in zoomed_frames(320, 240)]
    assert segmenter.points == 5 * 256
    assert len(masks) == 4
    for value in (60, 120, 180, 240):
        rows = set(masks.labels[1][photo[..., 0] == value].tolist()) - {-1}
        (row,) = {row for row in rows if (masks.labels[1][photo[..., 0] == value] == row).mean() > 0.5}
        mask, truth = masks.mask(row), photo[..., 0] == value
        # Half the size: a border of a px may differ.
        assert (mask & truth).sum() / (mask | truth).sum() > 0.9, value


def test_prompts_must_be_shared_out_evenly():
    settings = DescribeSettings(prompts="crops", grid_side=2)
    with pytest.raises(ValueError, match="21 prompts for a photo and its 4 crops"):
        segment_photo(PHOTO, np.ones((21, 2), np.float32), _squares((0, (1, 1, 5, 5), 0.9)), settings)
