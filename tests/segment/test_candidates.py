"""Masks that are good enough on their own, and how they are resized to the photo."""

import threading
from typing import Any

import numpy as np
import pytest

from gags.segment.candidates import Candidate, candidate_masks, to_photo
from gags.segment.frames import Frame
from gags.segment.segmenter import PromptedMasks
from gags.segment.settings import DescribeSettings


def _candidate(logits: np.ndarray, x: int, y: int, frame: Frame, extent: tuple[float, float]) -> Candidate:
    return Candidate(
        logits=logits,
        x=x,
        y=y,
        box=np.array([x, y, x + logits.shape[1], y + logits.shape[0]]),
        iou=1.0,
        score=1.0,
        level=0,
        frame=frame,
        extent=extent,
    )


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
    cropped = to_photo(
        _candidate(logits[top:bottom, left:right], int(left), int(top), Frame(0, 0, width, height), extent)
    )
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
    cropped = to_photo(_candidate(logits, 0, 0, Frame(0, 0, 962, 539), (256.0, 143.5)))
    assert cropped.mask.shape == (539, 962)
    assert cropped.mask.all()


def test_a_mask_of_a_crop_comes_out_at_its_place_in_the_photo():
    logits = np.full((10, 20), -8, np.float16)
    logits[4:7, 6:9] = 8
    cropped = to_photo(_candidate(logits, 0, 0, Frame(100, 30, 40, 20), (20.0, 10.0)))
    # Two px a cell: the corners are cut, for there −8 and 8 mix to less than 0.
    y, x = np.nonzero(cropped.mask)
    assert (x.min() + cropped.x, x.max() + cropped.x) == (112, 117)
    assert (y.min() + cropped.y, y.max() + cropped.y) == (38, 43)


class _Given:
    """A segmenter that gives the same masks of level 0 at every call, and remembers the prompts.

    Args:
        logits: float32 [K, h, w]
        ious: Predicted IoU of each.
    """

    name = "given"

    def __init__(self, logits: np.ndarray, ious: list[float]) -> None:
        self.logits = logits
        self.ious = ious
        self.points: list[list[float]] = []

    def encode(self, image: np.ndarray) -> Any:
        return None

    def predict(self, encoded: Any, points: np.ndarray, *, min_iou: float = 0.0) -> PromptedMasks:
        self.points += points.tolist()
        count = len(self.logits)
        height, width = self.logits.shape[1:]
        return PromptedMasks(
            logits=self.logits,
            ious=np.array(self.ious, np.float32),
            levels=np.zeros(count, np.int8),
            prompts=np.zeros(count, np.int32),
            extent=(float(width), float(height)),
        )


ONE = np.array([[5, 5]], np.float32)


def _found(
    segmenter: _Given, settings: DescribeSettings, frame: Frame, size: tuple[int, int]
) -> list[Candidate]:
    return candidate_masks(None, ONE, segmenter, settings, frame, size)


def _column(height: float) -> np.ndarray:
    """Logits of one column of ±`height`: at |d| cells from its middle, height · (1 − 2 |d|)."""
    logits = np.full((1, 8, 8), -height, np.float32)
    logits[0, :, 3] = height
    return logits


def test_stability_at_photo_size_decides_there():
    # On the grid both have stability 1. In the photo, four px a cell, pixels lie at |d| = 1/8, 3/8, 5/8, 7/8:
    # of 9 that is 6.75, 2.25, −2.25: 4 px above 1, and as many above −1;
    # of 3 that is 2.25, 0.75, −0.75, −2.25: 2 px above 1, and 6 above −1.
    steep, flat = _column(9), _column(3)
    frame, size = Frame(0, 0, 32, 32), (32, 32)
    on_grid = DescribeSettings(min_stability=0.5)
    at_photo = DescribeSettings(min_stability=0.5, stability_at="photo")
    for logits, passes in ((steep, True), (flat, False)):
        segmenter = _Given(logits, [0.9])
        assert len(_found(segmenter, on_grid, frame, size)) == 1
        assert len(_found(segmenter, at_photo, frame, size)) == passes
    lower = DescribeSettings(min_stability=0.3, min_score=0.25, stability_at="photo")
    (found,) = _found(_Given(flat, [0.9]), lower, frame, size)
    assert found.score == pytest.approx(0.9 * 2 / 6)
    assert found.box.tolist() == [12, 0, 16, 32]  # px
    (found,) = _found(_Given(flat, [0.9]), on_grid, frame, size)
    assert found.box.tolist() == [3, 0, 4, 8]  # cells


@pytest.mark.parametrize("at", ["grid", "photo"])
def test_the_score_may_be_asked_for_later(at: str):
    logits = np.full((3, 8, 8), -9, np.float32)
    logits[:, 2:6, 2:6] = 9
    logits[1, 2:4, 2:6] = 0.5  # half of it uncertain: stability 0.5 on the grid, about that in the photo
    segmenter = _Given(logits, [0.75, 0.95, 0.6])
    frame, size = Frame(0, 0, 32, 32), (32, 32)
    first = DescribeSettings(min_stability=0.3, min_score=0.7, stability_at=at)
    later = DescribeSettings(min_stability=0.3, min_score=0.7, stability_at=at, score_first=False)
    assert [round(c.iou, 2) for c in _found(segmenter, first, frame, size)] == [0.75]
    found = _found(segmenter, later, frame, size)
    assert [round(c.iou, 2) for c in found] == [0.75, 0.95]
    assert found[1].score < 0.7


@pytest.mark.parametrize("at", ["grid", "photo"])
def test_masks_that_a_crop_cuts_off_are_dropped_and_prompts_are_shifted(at: str):
    logits = np.full((3, 20, 20), -9, np.float32)
    logits[0, 4:16, 4:16] = 9  # px 40 to 160 of the crop
    logits[1, 4:16, 0:16] = 9  # at its left edge
    logits[2, 4:16, 4:20] = 9  # at its right edge, which is the photo's
    segmenter = _Given(logits, [0.9] * 3)
    frame = Frame(200, 50, 200, 200)
    settings = DescribeSettings(prompts="crops", stability_at=at)
    found = candidate_masks(None, ONE + 300, segmenter, settings, frame, (400, 300))
    assert segmenter.points == [[105, 255]]
    assert [c.box.round().tolist() for c in found] == [[240, 90, 360, 210], [240, 90, 400, 210]]


class _TwoAtOnce(_Given):
    """Answers only when it is asked twice at once, the first call last."""

    prompts_a_call, calls_at_once = 3, 2

    def __init__(self) -> None:
        logits = np.stack([np.full((8, 8), -9, np.float32)] * 3)
        for row in range(3):
            logits[row, 2:6, 2 : 4 + row] = 9
        super().__init__(logits, [0.9, 0.9, 0.9])
        self.both, self.second_done = threading.Barrier(2, timeout=10), threading.Event()

    def predict(self, encoded: Any, points: np.ndarray, *, min_iou: float = 0.0) -> PromptedMasks:
        assert len(points) == 3
        self.both.wait()
        if points[0, 0] == 0:
            assert self.second_done.wait(10)
        answers = super().predict(encoded, points)
        answers.prompts[:] = range(3)
        answers.ious[:] -= points[0, 0] / 100
        if points[0, 0] > 0:
            self.second_done.set()
        return answers


def test_calls_at_once_give_candidates_in_the_order_of_the_prompts():
    prompts = np.array([[x, 5] for x in range(6)], np.float32)
    found = candidate_masks(None, prompts, _TwoAtOnce(), DescribeSettings(), Frame(0, 0, 32, 32), (32, 32))
    assert [round(candidate.iou, 3) for candidate in found] == [0.9] * 3 + [0.87] * 3
    assert [candidate.box[2] for candidate in found] == [4, 5, 6] * 2
