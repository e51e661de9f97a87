"""Evaluation of a whole scene: frames matched by name, splits kept apart."""

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tests.helpers.blobs import WORDS, ToyEncoder, make_scene
from tests.helpers.finished_scene import write_scene

from gags import scene as scene_module
from gags.capture import Camera, Capture, View
from gags.distill.train import DistillSettings, train_field
from gags.errors import LabelError
from gags.evaluate.answerer import FieldAnswerer, Selections
from gags.evaluate.labels import FrameLabels, Label, load_labels
from gags.evaluate.metrics import summarise
from gags.evaluate.score import evaluate, evaluate_scene
from gags.gaussians import Gaussians, render
from gags.query.maps import ValueMaps
from gags.query.relevancy import Queries
from gags.scene import Scene


@pytest.fixture(scope="module")
def scene():
    return make_scene(views=6)


@pytest.fixture(scope="module")
def answerer(scene) -> FieldAnswerer:
    settings = DistillSettings(steps=40, batch_regions=64)
    return FieldAnswerer(scene.gaussians, train_field(scene.gaussians, scene.items(), settings))


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


def test_labels_of_no_view_and_unknown_protocols_are_errors(answerer, capture, labels):
    frame = dataclasses.replace(labels[0], frame="elsewhere")
    with pytest.raises(LabelError, match="'elsewhere', but no photo of that name"):
        evaluate(answerer, capture, [frame], ToyEncoder())
    with pytest.raises(LabelError, match=r"unknown protocol 'other'; known: lerf-ovs, .*, all$"):
        evaluate(answerer, capture, labels, ToyEncoder(), "other")


def test_empty_splits_become_none_in_json():
    result = summarise("lerf-ovs", [])
    assert result.to_json()["overall"] == {
        "pairs": 0,
        "frames": 0,
        "mean_accuracy": None,
        "mean_iou": None,
        "mean_average_precision": None,
        "mean_best_iou": None,
        "instance_precision": None,
        "instance_recall": None,
    }


class Fixed:
    """Answers with maps made by hand, one a text, at whatever camera."""

    def __init__(self, maps: dict[str, np.ndarray], covered: np.ndarray) -> None:
        self.maps, self.covered = maps, covered

    def prepare(self, texts, encoder) -> Queries:
        vectors = torch.from_numpy(encoder.encode_texts(texts))
        return Queries(tuple(texts), vectors, vectors[:1], encoder.temperature)

    def relevancy(self, camera, queries) -> ValueMaps:
        return ValueMaps.of(np.stack([self.maps[text] for text in queries.texts]), self.covered)


def slow_lerf_ovs(relevancy: np.ndarray, covered: np.ndarray) -> tuple[tuple[int, int], np.ndarray, float]:
    """Peak, mask and threshold as docs/method.md has them, in doubles and windows."""

    def smooth(values: np.ndarray) -> np.ndarray:
        padded = np.pad(values.astype(np.float64), (15, 14), mode="reflect")
        return np.lib.stride_tricks.sliding_window_view(padded, (30, 30)).mean(axis=(2, 3))

    row, column = np.unravel_index(smooth(relevancy).argmax(), relevancy.shape)
    filled = np.where(covered, relevancy, relevancy[covered].min())
    blended = (filled + smooth(filled)) / 2
    threshold = blended.min() + 0.7 * (blended.max() - blended.min())
    above = np.pad((blended > threshold).astype(float), 3)
    inside = np.pad(np.ones(relevancy.shape), 3)
    votes, voters = (
        np.lib.stride_tricks.sliding_window_view(v, (7, 7)).sum(axis=(2, 3)) for v in (above, inside)
    )
    return (int(column), int(row)), (2 * votes > voters) & covered, float(threshold)


def frame_of(truths: dict[str, np.ndarray], folder: Path) -> FrameLabels:
    """Labels with exact masks; two boxes each, of which the second is far off."""
    labels = []
    for text, truth in truths.items():
        ys, xs = np.nonzero(truth)
        boxes = np.array([[xs.min(), ys.min(), xs.max(), ys.max()], [0, 0, 1, 1]], np.float64)
        cv2.imwrite(str(folder / f"{text}.png"), truth.astype(np.uint8) * 255)
        labels.append(Label(text, [], boxes, folder / f"{text}.png"))
    height, width = next(iter(truths.values())).shape
    return FrameLabels("a", width, height, labels, folder / "a.json")


def test_rows_of_lerf_ovs_follow_the_method(tmp_path):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:70, :90]
    near, far = (np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 300) for cx, cy in ((30, 30), (70, 45)))
    covered = (x > 4) & (y < 66)
    maps = {
        text: np.where(covered, 0.2 + 0.6 * bump + 0.02 * rng.random((70, 90)), 0).astype(np.float32)
        for text, bump in (("near", near), ("far", far))
    }
    truths = {"far": near > 0.5, "near": near > 0.5}  # the answer to "far" is wrong
    view = View("deep/a.jpg", tmp_path, Camera(np.eye(4), np.eye(3), 90, 70), "test")
    result = evaluate(
        Fixed(maps, covered), Capture(tmp_path, [view]), [frame_of(truths, tmp_path)], ToyEncoder()
    )
    assert [row.category for row in result.rows] == ["far", "near"]
    for row in result.rows:
        truth, values = truths[row.category], maps[row.category]
        peak, mask, threshold = slow_lerf_ovs(values, covered)
        assert (row.frame, row.split, row.peak) == ("deep/a.jpg", "test", peak)
        assert row.score == values[peak[1], peak[0]]
        assert row.threshold == pytest.approx(threshold, abs=1e-5)
        assert (row.mask_pixels, row.truth_pixels) == (mask.sum(), truth.sum())
        assert row.common_pixels == (mask & truth).sum()
        assert row.iou == (mask & truth).sum() / (mask | truth).sum()
        assert row.hit == any(x1 <= peak[0] <= x2 and y1 <= peak[1] <= y2 for x1, y1, x2, y2 in row.boxes)
        chosen = values >= row.best_threshold
        assert row.best_iou == (chosen & truth).sum() / (chosen | truth).sum()
        assert row.boxes[1] == (0, 0, 1, 1)
    assert [row.hit for row in result.rows] == [False, True]
    assert result.rows[1].iou > 0.5
    assert result.overall.mean_accuracy == 0.5


def test_anything_that_answers_is_scored(scene, capture, labels):
    truth = {word: (scene.ids[2] == number).astype(np.float32) for number, word in enumerate(WORDS)}
    right = Fixed(truth, scene.ids[2] >= 0)
    result = evaluate(right, capture, [f for f in labels if f.frame == "d"], ToyEncoder())
    assert result.overall.mean_best_iou == result.overall.mean_average_precision == 1
    assert evaluate(right, capture, labels, ToyEncoder()).overall.mean_best_iou < 1
    with pytest.raises(LabelError, match="select-3d scores a choice of Gaussians, Fixed makes none"):
        evaluate(right, capture, labels, ToyEncoder(), "select-3d")


def test_held_out_has_the_same_rows_of_the_held_out_frames(answerer, capture, labels):
    everything = evaluate(answerer, capture, labels, ToyEncoder())
    held_out = evaluate(answerer, capture, labels, ToyEncoder(), "held-out")
    assert {row.frame for row in held_out.rows} == {"ring/d.jpg"}
    assert held_out.rows == tuple(row for row in everything.rows if row.split == "test")
    assert held_out.overall == held_out.held_out == everything.held_out
    assert held_out.trained_on.pairs == 0
    with pytest.raises(LabelError, match=r"no labelled photo was held out: labelled are ring/f\.jpg"):
        evaluate(answerer, capture, [f for f in labels if f.frame == "f"], ToyEncoder(), "held-out")


class Knowing(FieldAnswerer):
    """Chooses the Gaussians that belong to the thing, by what the scene was made of."""

    def select(self, queries: Queries) -> Selections:
        owner = torch.from_numpy(make_scene(views=1).owner)
        return Selections(self.gaussians, torch.stack([owner == WORDS.index(t) for t in queries.texts]))


def test_select_3d_of_the_right_gaussians_is_right(answerer, capture, labels):
    result = evaluate(Knowing(answerer.gaussians, answerer.field), capture, labels, ToyEncoder(), "select-3d")
    assert result.overall.pairs == 10
    assert result.overall.mean_iou > 0.97
    assert result.overall.mean_average_precision > 0.99
    assert {row.threshold for row in result.rows} == {0.5}
    learnt = evaluate(answerer, capture, labels, ToyEncoder(), "select-3d")
    assert 0.6 < learnt.overall.mean_iou < 1


def test_select_3d_hides_what_stands_behind(tmp_path):
    # On the axis the front one takes 0.6 of the light and the one behind 0.36; around it the one behind.
    means = torch.tensor([[0.0, 0.0, 2.0], [0.0, 0.0, 4.0]])
    logits, scales = torch.tensor([0.6, 0.9]).logit(), torch.tensor([[0.2] * 3, [1.2] * 3]).log()
    gaussians = Gaussians(means, torch.tensor([[1.0, 0, 0, 0]] * 2), scales, logits, torch.zeros(2, 1, 3))

    class Both(Fixed):
        def select(self, queries: Queries) -> Selections:
            chosen = {"front": [True, False], "behind": [False, True]}
            return Selections(gaussians, torch.tensor([chosen[text] for text in queries.texts]))

    camera = Camera(np.eye(4), np.array([[20.0, 0, 20.5], [0, 20.0, 16.5], [0, 0, 1]]), 41, 33)
    drawn = render(gaussians, camera, torch.eye(2), backend="reference")
    parts = drawn.colors.numpy()
    solid = drawn.alphas.numpy() >= 0.5
    truths = {
        "behind": (parts[..., 1] > parts[..., 0]) & solid,
        "front": (parts[..., 0] > parts[..., 1]) & solid,
    }
    assert not truths["behind"][16, 20]
    assert truths["front"].sum() > 4
    answer = evaluate(
        Both({}, solid),
        Capture(tmp_path, [View("a.jpg", tmp_path, camera)]),
        [frame_of(truths, tmp_path)],
        ToyEncoder(),
        "select-3d",
    )
    assert [row.iou for row in answer.rows] == [1, 1]
    assert [row.mask_pixels for row in answer.rows] == [truths["behind"].sum(), truths["front"].sum()]
    assert [row.average_precision for row in answer.rows] == [1, 1]


def test_a_scene_s_figures_are_left_in_its_report(tmp_path, monkeypatch):
    monkeypatch.setattr(scene_module, "load_encoder", lambda name, progress=None: ToyEncoder())
    scene = Scene.load(write_scene(tmp_path))
    toy = make_scene(12)
    frames = []
    for view, ids in list(zip(scene.capture.views, toy.ids, strict=True))[:2]:
        truth = {word: ids == number for number, word in enumerate(WORDS)}
        frames.append(dataclasses.replace(frame_of(truth, tmp_path), frame=Path(view.name).stem))
    result = evaluate_scene(scene, frames, "select-3d")
    assert result.rows == scene.workspace.report / "evaluation_select-3d.json"
    assert json.loads(result.rows.read_text()) == json.loads(json.dumps(result.evaluation.to_json()))
    means = scene.workspace.read_metrics()["select-3d"]
    assert set(means) == {"protocol", "overall", "held_out", "trained_on", "categories"}
    assert means["overall"]["mean_iou"] == result.evaluation.overall.mean_iou
