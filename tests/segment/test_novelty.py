"""Which prompts are answered, and which are left out because they repeat others."""

from typing import Any

import numpy as np
import pytest

from gags.segment.candidates import candidate_masks
from gags.segment.frames import Frame
from gags.segment.novelty import FIRST_SHARE, PROMPTS_A_ROUND, Novelty
from gags.segment.segmenter import PromptedMasks
from gags.segment.settings import DescribeSettings

SIZE = (300, 400)  # of a photo, px; its diagonal is 500


def _novelty(directions: list[float], points: list[tuple[float, float]]) -> Novelty:
    """Prompts whose looks are unit vectors of these directions, in degrees."""
    angles = np.radians(directions)
    features = 3 * np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    return Novelty(features, np.array(points, np.float32), SIZE, levels=2)


def test_novelty_is_the_difference_from_the_nearest_answer_that_holds_a_prompt():
    novelty = _novelty([0, 60, 60, 90], [(0, 0), (0, 0), (30, 40), (0, 100)])
    holds = np.ones((2, 1, 4), bool)
    novelty.answered(np.array([0]), holds, np.ones((2, 1), bool))
    # 1 − cos 60° = 0.5; the third lies 50 of 500 px off; 1 − cos 90° = 1, and 100 of 500 px.
    np.testing.assert_allclose(novelty._least, [[0, 0.5, 0.6, 1.2]] * 2, atol=1e-6)
    assert novelty.next(0.55).tolist() == [3, 2]
    assert novelty.next(2).tolist() == []


def test_the_level_that_is_least_known_decides():
    novelty = _novelty([0, 60], [(0, 0), (0, 0)])
    holds = np.array([[[True, True]], [[True, False]]])  # on the second level the mask does not hold it
    novelty.answered(np.array([0]), holds, np.ones((2, 1), bool))
    assert novelty.next(100.0).tolist() == [1]


def test_a_level_without_a_mask_says_half_as_much_again():
    novelty = _novelty([0, 60], [(0, 0), (0, 0)])
    holds, there = np.array([[[True, True]], [[False, False]]]), np.array([[True], [False]])
    novelty.answered(np.array([0]), holds, there)
    assert novelty._least[:, 1] == pytest.approx([0.5, 0.75])
    # A mask on this level from a prompt that looks the same takes its place.
    novelty.answered(np.array([1]), np.ones((2, 1, 2), bool), np.ones((2, 1), bool))
    assert novelty._least[1, 1] == pytest.approx(0, abs=1e-6)
    assert novelty.next(-1).tolist() == []  # both are answered


def test_the_first_prompts_are_unlike_each_other():
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 10, 600)
    angles = np.linspace(0, 300, 10)[kinds] + rng.normal(0, 0.1, 600)
    novelty = _novelty(angles.tolist(), [(5.0, 5.0)] * 600)
    first = novelty.first()
    assert len(first) == len(set(first.tolist())) == round(FIRST_SHARE * 600)
    assert set(kinds[first[:10]].tolist()) == set(range(10))


@pytest.mark.parametrize("count", [0, 1, 5])
def test_few_prompts_are_all_answered_first(count: int):
    first = _novelty([0.0] * count, [(1.0, 1.0)] * count).first()
    assert sorted(first.tolist()) == list(range(count))


class _Halves:
    """Cuts a photo in two: left and right of the middle are one mask each, on all three levels."""

    name = "halves"

    def __init__(self) -> None:
        self.asked: list[list[float]] = []

    def encode(self, image: np.ndarray) -> Any:
        return None

    def predict(self, encoded: Any, points: np.ndarray, *, min_iou: float = 0.0) -> PromptedMasks:
        self.asked += points.tolist()
        right = np.arange(32) >= 16
        masks = np.where(points[:, :1] >= 160, right, ~right)
        logits = np.broadcast_to(np.where(masks, 8.0, -8.0)[:, None, None], (len(points), 3, 24, 32))
        count = len(points)
        return PromptedMasks(
            logits=logits.reshape(-1, 24, 32).astype(np.float32),
            ious=np.full(3 * count, 0.9, np.float32),
            levels=np.tile(np.arange(3, dtype=np.int8), count),
            prompts=np.repeat(np.arange(count, dtype=np.int32), 3),
            extent=(32.0, 24.0),
        )


class _SeeingHalves(_Halves):
    """The same; both halves look plain but for a small thing in the left one."""

    def features_at(self, encoded: Any, points: np.ndarray) -> np.ndarray:
        inside = (np.abs(points - (40, 40)) < 10).all(1)
        look = np.select([inside, points[:, 0] >= 160], [2, 1], 0)
        return np.eye(3, dtype=np.float32)[look]


def _ask(segmenter: _Halves, points: np.ndarray, least_novelty: float) -> int:
    settings = DescribeSettings(least_novelty=least_novelty)
    return len(candidate_masks(None, points, segmenter, settings, Frame(0, 0, 320, 240), (320, 240)))


def test_prompts_that_repeat_others_are_left_out_and_what_looks_different_is_not():
    rng = np.random.default_rng(3)
    points = rng.uniform((0, 0), (320, 240), (1000, 2)).astype(np.float32)
    segmenter = _SeeingHalves()
    _ask(segmenter, points, 0.2)
    asked = np.array(segmenter.asked)
    assert PROMPTS_A_ROUND < len(asked) < 300
    assert ((np.abs(asked - (40, 40)) < 10).all(1)).any()
    assert len(np.unique(asked, axis=0)) == len(asked)


def test_without_a_novelty_or_a_segmenter_that_sees_places_all_are_answered_in_order():
    points = np.random.default_rng(3).uniform((0, 0), (320, 240), (300, 2)).astype(np.float32)
    for segmenter, least in ((_SeeingHalves(), 0.0), (_Halves(), 0.2)):
        assert _ask(segmenter, points, least) == 900
        np.testing.assert_array_equal(segmenter.asked, points)


def test_candidates_come_in_the_order_of_their_prompts():
    points = np.array([[200, 50], [40, 40], [10, 200], [250, 100]], np.float32)
    settings = DescribeSettings(least_novelty=0.2)
    found = candidate_masks(None, points, _SeeingHalves(), settings, Frame(0, 0, 320, 240), (320, 240))
    assert [candidate.x for candidate in found] == [15] * 3 + [0] * 6 + [15] * 3
