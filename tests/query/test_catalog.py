"""Names and lists of things."""

import numpy as np
import pytest
from tests.helpers.blobs import WORDS, ToyEncoder, make_scene

from gags.distill.train import DistillSettings, train_field
from gags.errors import QueryError
from gags.evaluate.metrics import iou
from gags.query.catalog import catalog
from gags.query.names import read_words
from gags.query.relevancy import Queries
from gags.things.find import find_things
from gags.things.things import Things


def test_the_balls_are_listed_with_their_names():
    scene = make_scene()
    items = scene.items()
    field = train_field(scene.gaussians, items, DistillSettings(steps=100, batch_regions=64))
    things = find_things(scene.gaussians, items)
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


def test_what_lies_in_a_union_that_hardly_any_photo_cuts_out_stands_for_itself():
    scene = make_scene()
    field = train_field(scene.gaussians, scene.items(), DistillSettings(steps=10, batch_regions=64))
    one, two = (np.flatnonzero(scene.owner == ball) for ball in (1, 2))
    halves = [np.concatenate([one, two]), one, two]
    owners = np.repeat(np.arange(3), [len(rows) for rows in halves])
    things = Things.build(np.concatenate(halves), owners, [np.arange(n) for n in (1, 50, 20)])
    things.parents = np.array([-1, 0, 0], np.int32)
    things.levels = np.array([2, 2, 1], np.float32)
    words = Queries.encode(WORDS, ToyEncoder(), field)
    entries = catalog(scene.gaussians, field, words, things, 100)
    assert [(entry.photos, entry.part_of) for entry in entries] == [(50, None), (20, None)]
