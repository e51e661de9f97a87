"""A thing that gets another name is found by it, listed under it, and answers its former name no more."""

import numpy as np
import pytest
from tests.helpers.blobs import WORDS, ToyEncoder, make_scene
from tests.helpers.finished_scene import write_scene

from gags import scene as scene_module
from gags.errors import QueryError
from gags.query.pointed import things_under
from gags.scene import Scene


@pytest.fixture
def scene(tmp_path, monkeypatch):
    monkeypatch.setattr(scene_module, "load_encoder", lambda name, progress=None: ToyEncoder())
    return Scene.load(write_scene(tmp_path))


def _names(scene):
    return [entry.name for entry in scene.catalog(WORDS)]


def test_a_renamed_thing_is_found_and_listed_by_its_new_name(scene):
    truth = make_scene(12).owner == WORDS.index("red ball")
    (before,) = scene.locate("red ball")[0]
    assert "red ball" in _names(scene)
    taught = scene.rename(before.thing, "Oma's apple")
    assert scene.capture[taught.view]
    assert before.thing in things_under(
        scene.gaussians, scene.things(), scene.capture[taught.view], taught.at
    )
    for asked in (scene, Scene.load(scene.workspace.root)):
        (found,) = asked.locate("oma's apple")[0]
        assert found.certain
        mask = found.mask.numpy()
        assert (mask & truth).sum() / (mask | truth).sum() > 0.8
        assert "Oma's apple" in _names(asked)
        assert "red ball" not in _names(asked)


def test_a_second_name_takes_the_place_of_the_first(scene):
    (red,), (blue,) = scene.locate(["red ball", "blue ball"])
    scene.rename(red, "cherry")
    scene.rename(blue, "plum")
    scene.rename(red, "tomato")
    assert scene.taught.names() == ["plum", "tomato"]
    (found,) = scene.locate("tomato")[0]
    assert np.intersect1d(found.mask.nonzero(), red.mask.nonzero()).size > 0.8 * int(red.mask.sum())


@pytest.mark.parametrize("thing", [-1, 10_000, True, "red ball"])
def test_there_is_no_such_thing(scene, thing):
    with pytest.raises(QueryError, match="no thing"):
        scene.rename(thing, "x")


def test_a_name_that_is_none_changes_nothing(scene):
    with pytest.raises(QueryError, match="not empty"):
        scene.rename(0, " ")
    assert not scene.workspace.taught.exists()
