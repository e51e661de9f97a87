"""Grounding DINO: a tiny one in the hub's format, its sizes, its thresholds, and which one is chosen."""

import json

import numpy as np
import pytest
import torch
from tests.helpers.heard import Heard
from tests.helpers.tiny_models import MEAN, STD, write_detector, write_sam
from tests.helpers.turns import Turns

from gags import models
from gags.compare import detector
from gags.compare.detector import GroundingDino, caption, choose_detector, detections, load_detector, resized
from gags.errors import ModelError

INFINITE = float("inf")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_detector(tmp_path_factory.mktemp("detector"))


def _photo(width=90, height=60):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_answers_are_those_of_the_plain_model(folder):
    """Pixels, tokens and boxes by hand, through the model class itself."""
    import transformers
    from PIL import Image

    photo = _photo()
    found = load_detector(str(folder)).detect(photo, "Red ball", 0.0)
    model = transformers.GroundingDinoForObjectDetection.from_pretrained(folder).eval()
    picture = np.asarray(Image.fromarray(photo).resize((96, 64), Image.Resampling.BILINEAR))
    pixels = (torch.tensor(picture).float() / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    ids = torch.tensor([[101, 5, 9, 1012, 102]])  # [CLS] red ball . [SEP]
    with torch.no_grad():
        output = model(pixel_values=pixels.permute(2, 0, 1)[None], input_ids=ids)
    scores = output.logits[0].sigmoid().max(dim=1).values.numpy()
    order = np.argsort(-scores)
    np.testing.assert_allclose(found.scores, scores[order], atol=1e-6)
    x, y, w, h = output.pred_boxes[0].numpy()[order].T
    expected = np.stack([90 * (x - w / 2), 60 * (y - h / 2), 90 * (x + w / 2), 60 * (y + h / 2)], axis=1)
    np.testing.assert_allclose(found.boxes, expected, atol=1e-3)
    assert len(found) == 7


def test_a_text_changes_the_answer_and_a_threshold_cuts_it(folder):
    finder = GroundingDino(folder)
    red, green = (finder.detect(_photo(), text, 0.0) for text in ("red ball", "green mug"))
    assert not np.allclose(red.scores, green.scores)
    middle = float(red.scores[3])
    assert finder.detect(_photo(), "red ball", middle).scores.tolist() == red.scores[:3].tolist()
    assert finder.detect(_photo(), "red ball", 1.0).boxes.shape == (0, 4)


def test_boxes_and_scores_by_hand():
    logits = torch.tensor([[0.0, -1.0, -INFINITE], [2.0, 3.0, -INFINITE], [-2.0, -3.0, -INFINITE]])
    boxes = torch.tensor([[0.5, 0.5, 1.0, 1.0], [0.25, 0.5, 0.1, 0.2], [0.1, 0.1, 0.1, 0.1]])
    found = detections(logits, boxes, 0.3, width=200, height=100)
    np.testing.assert_allclose(found.scores, [1 / (1 + np.exp(-3)), 0.5], atol=1e-6)
    np.testing.assert_allclose(found.boxes, [[40, 40, 60, 60], [0, 0, 200, 100]], atol=1e-4)
    assert len(detections(logits, boxes, 0.5, width=200, height=100)) == 1  # 0.5 is not above 0.5


def test_sizes_are_those_of_the_published_program():
    from transformers.image_transforms import get_size_with_aspect_ratio

    assert resized(640, 480, 800, 1333) == (1066, 800)
    assert resized(4000, 1000, 800, 1333) == (1333, 333)
    assert resized(4000, 1, 800, 1333) == (1333, 1)
    for width, height in [(640, 480), (480, 640), (1440, 1080), (962, 539), (1000, 3000), (800, 800), (7, 5)]:
        columns, rows = resized(width, height, 800, 1333)
        assert (rows, columns) == get_size_with_aspect_ratio((height, width), 800, 1333)


def test_texts_are_written_as_in_training():
    assert [caption(text) for text in (" Red Ball ", "red ball.", "a mug . ")] == [
        "red ball.", "red ball.", "a mug.",
    ]  # fmt: skip


def test_auto_takes_the_published_one_only_if_it_is_there(folder, monkeypatch):
    heard = Heard()
    assert choose_detector("auto", "IDEA-Research/grounding-dino-base", heard) == "none"
    (line,) = heard.said
    assert "Detector: none; IDEA-Research/grounding-dino-base is not on this machine" in line
    assert choose_detector("none", "IDEA-Research/grounding-dino-base", heard) == "none"
    assert len(heard.said) == 1
    name = choose_detector(str(folder), "IDEA-Research/grounding-dino-base", heard)
    assert name == models.canonical(str(folder))
    assert choose_detector(name, "", heard) == name  # as a child process is told
    monkeypatch.setattr(detector.models, "ensure", lambda name, progress=None: folder)
    monkeypatch.setattr(detector.models, "canonical", lambda name: f"{name}@abc")
    assert choose_detector("auto", "published/one") == "published/one@abc"


def test_what_is_no_detector_is_refused(folder, tmp_path):
    with pytest.raises(ModelError, match=r"model of type 'sam'; a detector is of type 'grounding-dino'"):
        choose_detector(str(write_sam(tmp_path / "sam")), "")
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(ModelError, match=r"bare holds no model in the hub's format"):
        load_detector(str(bare))
    (bare / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:900])
    with pytest.raises(ModelError, match="cannot be loaded as GroundingDinoForObjectDetection"):
        load_detector(str(bare))
    with pytest.raises(ModelError, match="there is no folder nowhere"):
        choose_detector("nowhere/to/be/found/", "")


def test_weights_that_are_missing_are_told(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(folder / "model.safetensors")
    lost = next(name for name in weights if "query_position_embeddings" in name)
    save_file(
        {k: v for k, v in weights.items() if k != lost}, tmp_path / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(ModelError, match=r"1 are missing or of another shape \(model.query_position"):
        load_detector(str(tmp_path))
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "grounding-dino"


def test_all_that_it_computes_is_in_its_turn(folder, monkeypatch):
    turns = Turns()
    monkeypatch.setattr(detector, "net_lock", lambda device: turns.lock)
    net = GroundingDino(folder)
    with turns:
        net.detect(_photo(), "ball", 0.5)
    assert "linear" in turns.inside
    assert turns.outside == []
