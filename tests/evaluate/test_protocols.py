"""Evaluation of a whole scene: frames matched by name, splits kept apart."""

import dataclasses
import json

import cv2
import numpy as np
import pytest
import torch

from blobs import WORDS, ToyEncoder, make_scene
from gags.capture import Capture, View
from gags.distill.train import DistillSettings, distill
from gags.errors import LabelError
from gags.evaluate.answerer import FieldAnswerer, RelevancyMaps
from gags.evaluate.labels import load_labels
from gags.evaluate.protocols import evaluate
from gags.evaluate.results import summarise
from gags.query.relevancy import Queries


@pytest.fixture(scope="module")
def scene():
    return make_scene(views=6)


@pytest.fixture(scope="module")
def answerer(scene) -> FieldAnswerer:
    settings = DistillSettings(steps=40, batch_regions=64)
    return FieldAnswerer(scene.gaussians, distill(scene.gaussians, scene.items(), settings))


@pytest.fixture
def capture(scene, tmp_path) -> Capture:
    # Names in the order opposite to that of the labels' file names would trap matching by position.
    views = [
        View(f"ring/{'fedcba'[k]}.jpg", tmp_path / "x.jpg", camera, "test" if k == 2 else "train")
        for k, camera in enumerate(scene.cameras)
    ]
    return Capture(tmp_path, views)


@pytest.fixture
def labels(scene, tmp_path):
    folder = tmp_path / "labels"
    for k, name in ((0, "f"), (2, "d")):
        objects = []
        for number, word in enumerate(WORDS):
            where = scene.ids[k] == number
            ys, xs = np.nonzero(where)
            box = [int(v) for v in (xs.min(), ys.min(), xs.max(), ys.max())]
            objects.append({"category": word, "segmentation": [[0, 0], [1, 0], [1, 1]], "bbox": box})
            (folder / name).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / name / f"{word}.png"), where.astype(np.uint8) * 255)
        info = {"name": f"{name}.jpg", "width": 64, "height": 48}
        (folder / f"{name}.json").write_text(json.dumps({"info": info, "objects": objects}))
    return load_labels(folder)


def test_evaluation(answerer, capture, labels):
    result = evaluate(answerer, capture, labels, ToyEncoder())
    assert result.overall.pairs == 10
    assert (result.held_out.pairs, result.trained_on.pairs) == (5, 5)
    assert {(r.frame, r.split) for r in result.rows} == {("ring/d.jpg", "test"), ("ring/f.jpg", "train")}
    assert result.overall.mean_best_iou > 0.85
    assert result.overall.mean_average_precision > 0.95
    assert result.overall.mean_iou == pytest.approx(np.mean([r.iou for r in result.rows]))
    assert set(result.categories) == set(WORDS)
    assert result.categories["floor"].pairs == 2
    assert json.loads(json.dumps(result.to_json()))["rows"][0]["frame"] in ("ring/d.jpg", "ring/f.jpg")


def test_labels_of_no_view_are_an_error(answerer, capture, labels):
    frame = dataclasses.replace(labels[0], frame="elsewhere")
    with pytest.raises(LabelError, match="'elsewhere', but no photo of that name"):
        evaluate(answerer, capture, [frame], ToyEncoder())
    with pytest.raises(LabelError, match="unknown protocol 'other'; known: lerf-ovs"):
        evaluate(answerer, capture, labels, ToyEncoder(), "other")


def test_a_name_in_two_folders_is_an_error(scene, answerer, labels, tmp_path):
    views = [View(f"{folder}/d.jpg", tmp_path, scene.cameras[0]) for folder in ("left", "right")]
    with pytest.raises(LabelError, match="2 photos of that name"):
        evaluate(answerer, Capture(tmp_path, views), labels, ToyEncoder())


def test_empty_splits_become_none_in_json():
    result = summarise("lerf-ovs", [])
    assert result.to_json()["overall"] == {
        "pairs": 0,
        "frames": 0,
        "mean_accuracy": None,
        "mean_iou": None,
        "mean_average_precision": None,
        "mean_best_iou": None,
    }


class Oracle:
    """Knows the truth; anything that answers can be scored."""

    def __init__(self, scene) -> None:
        self.truth = dict(zip(map(id, scene.cameras), scene.ids, strict=True))

    def prepare(self, texts, encoder) -> Queries:
        vectors = torch.from_numpy(encoder.encode_texts(texts))
        return Queries(tuple(texts), vectors, vectors[:1], encoder.temperature)

    def relevancy(self, camera, queries) -> RelevancyMaps:
        ids = self.truth[id(camera)]
        maps = np.stack([ids == WORDS.index(text) for text in queries.texts])
        return RelevancyMaps(maps.astype(np.float32), ids >= 0)


def test_anything_that_answers_is_scored(scene, capture, labels):
    result = evaluate(Oracle(scene), capture, labels, ToyEncoder())
    assert result.overall.mean_best_iou == result.overall.mean_average_precision == 1
