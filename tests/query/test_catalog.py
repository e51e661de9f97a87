"""Names and lists of things."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from blobs import WORDS, ToyEncoder, make_scene
from gags.distill.train import DistillSettings, distill
from gags.errors import QueryError
from gags.evaluate.metrics import iou
from gags.query import catalog as catalog_module
from gags.query.catalog import catalog, names_of, names_of_gaussians, read_words
from gags.query.grouping import find_things, gather_evidence
from gags.query.relevancy import Queries


def test_names_are_the_words_of_the_highest_weighted_mean():
    table = torch.tensor([[0.9, 0.2, 0.5], [0.1, 0.4, 0.5]])
    words = SimpleNamespace(texts=("mug", "lamp", "cup"), relevancy=lambda features, field: table)
    assert names_of(table, None, words, count=2) == [("mug", pytest.approx(0.5)), ("cup", pytest.approx(0.5))]
    weighted = names_of(table, None, words, weights=torch.tensor([1.0, 3.0]))
    assert [word for word, _ in weighted] == ["cup", "lamp", "mug"]
    assert [score for _, score in weighted] == pytest.approx([0.5, 0.35, 0.3])


def test_many_gaussians_are_named_by_a_regular_sample_weighted_by_opacity(monkeypatch):
    monkeypatch.setattr(catalog_module, "NAMED_ON", 2)
    table = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [1.0, 1.0], [0.0, 1.0]])
    field = SimpleNamespace(features=table)
    words = SimpleNamespace(texts=("mug", "lamp"), relevancy=lambda features, field: features)
    opacities = np.array([1.0, 0.25, 0.9, 0.9, 0.75])
    found = names_of_gaussians(np.array([1, 2, 4]), opacities, field, words)  # of which 1 and 4 are looked at
    assert found == [("lamp", pytest.approx(0.75)), ("mug", pytest.approx(0.25))]


def test_the_balls_are_listed_with_their_names():
    scene = make_scene()
    items = scene.items()
    field = distill(scene.gaussians, items, DistillSettings(steps=100, batch_regions=64))
    things = find_things(*gather_evidence(scene.gaussians, items, len(items)))
    words = Queries.encode([*WORDS, "horse", "violin"], ToyEncoder(), field)
    entries = catalog(scene.gaussians, field, words, things, len(items))
    wholes = [entry for entry in entries if entry.part_of is None]
    assert sorted(entry.name for entry in wholes) == sorted(WORDS)
    for entry in wholes:
        truth = scene.owner == WORDS.index(entry.name)
        assert iou(entry.mask.numpy(), truth) > 0.8
        assert entry.photos == 8
        assert len(entry.names) == 5
        record = entry.to_json()
        assert record["name"] == entry.name
        assert record["score"] == pytest.approx(entry.names[0][1], abs=1e-4)
        assert np.abs(np.array(record["center"]) - entry.box.center).max() == 0


def test_words_are_read_one_a_line(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("\ufeffred  mug\n\n# comment\nlamp\nred mug\n", encoding="utf-8")
    assert read_words(path) == ["red mug", "lamp"]


def test_lists_without_words_are_errors(tmp_path):
    with pytest.raises(QueryError, match="cannot be read"):
        read_words(tmp_path / "none.txt")
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(QueryError, match="is empty"):
        read_words(tmp_path / "empty.txt")
