"""A text in the photo where it scores best, boxes turned into one mask; finder and segmenter are made up."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.helpers.blobs import NEGATIVES, ToyEncoder, make_scene
from tests.helpers.heard import Heard

from gags.capture import View
from gags.compare import grounding
from gags.compare.detector import Detections
from gags.compare.grounding import Grounder, best_masks, evenly
from gags.compare.methods.learner import Inputs
from gags.query.relevancy import Queries

HIDDEN = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))


@dataclass(frozen=True, eq=False)
class Drawn(View):
    """A photo whose pixels all hold its number."""

    def image(self) -> np.ndarray:
        return np.full((48, 64, 3), int(self.name), np.uint8)


def _views(count: int) -> list[Drawn]:
    (camera, *_) = make_scene(views=1).cameras
    return [Drawn(str(number), Path(str(number)), camera) for number in range(count)]


class Finder:
    """Finds "cup" in photos 1 and 2, there twice, and better."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, str, float]] = []

    def detect(self, image: np.ndarray, text: str, threshold: float) -> Detections:
        number = int(image[0, 0, 0])
        self.asked.append((number, text, threshold))
        if text != "cup" or number not in (1, 2):
            return HIDDEN
        boxes = np.array([[4, 4, 10, 10], [30, 20, 40, 40]], np.float32)[:number]
        return Detections(boxes, np.array([0.3 * number, 0.3], np.float32)[:number])


class Filler:
    """Fills the boxes."""

    def masks(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        masks = np.zeros((len(boxes), *image.shape[:2]), bool)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.astype(int), strict=True):
            mask[y1:y2, x1:x2] = True
        return masks


@pytest.fixture
def finder(monkeypatch):
    made = Finder()
    monkeypatch.setattr(grounding, "load_detector", lambda name, progress: made)
    monkeypatch.setattr(grounding, "load_box_segmenter", lambda name, progress: Filler())
    return made


def test_the_best_photo_and_all_its_boxes(finder):
    grounder = Grounder("detector", "sam", _views(4), 0.25)
    found = grounder.find(["cup", "nothing", "cup"], Heard())
    assert list(found) == ["cup", "nothing"]
    assert found["nothing"] is None
    cup = found["cup"]
    assert (cup.view.name, round(cup.score, 6)) == ("2", 0.6)
    expected = np.zeros((48, 64), bool)
    expected[4:10, 4:10] = expected[20:40, 30:40] = True
    np.testing.assert_array_equal(cup.mask, expected)
    assert len(finder.asked) == 8
    assert {threshold for *_, threshold in finder.asked} == {0.25}


def test_without_a_box_no_segmenter_is_loaded(finder, monkeypatch):
    monkeypatch.setattr(grounding, "load_box_segmenter", None)
    assert Grounder("detector", "sam", _views(3), 0.3).find(["nothing"]) == {"nothing": None}


def test_some_photos_evenly_spread_are_looked_at(finder):
    Grounder("detector", "sam", _views(20), 0.3).find(["cup"])
    assert [number for number, *_ in finder.asked] == [0, 2, 5, 7, 10, 12, 15, 17]
    assert [view.name for view in evenly(_views(3), 8)] == ["0", "1", "2"]
    assert evenly([], 8) == []


def test_without_a_detector_the_largest_of_the_ten_best_masks_shows_what_is_named():
    scene = make_scene(views=6)
    inputs = Inputs(scene.gaussians, scene.items(noise=0.1), ToyEncoder())
    vectors, negatives = (
        torch.from_numpy(ToyEncoder().encode_texts(texts))
        for texts in (["green ball", "blue ball"], NEGATIVES)
    )
    queries = Queries(("green ball", "blue ball"), vectors, negatives, ToyEncoder.temperature)
    found = best_masks(inputs.items, inputs.embeddings(), queries)
    for text, (camera, mask) in enumerate(found):
        ranked = []
        for number, (_, description) in enumerate(inputs.items):
            embeddings = description.embeddings.astype(np.float32)
            against = (embeddings @ queries.negatives.T.numpy()).max(axis=1)
            margins = embeddings @ queries.vectors[text].numpy() - against
            ranked += [(margin, number, row) for row, margin in enumerate(margins)]
        ten = [(number, row) for _, number, row in sorted(ranked, reverse=True)[:10]]
        sizes = [inputs.items[number][1].masks.mask(row).sum() for number, row in ten]
        assert len(set(sizes)) > 2
        assert mask.sum() == max(sizes)
        number, row = ten[int(np.argmax(sizes))]
        np.testing.assert_array_equal(mask.numpy(), inputs.items[number][1].masks.mask(row))
        np.testing.assert_array_equal(camera.viewmat, inputs.items[number][0].viewmat)
