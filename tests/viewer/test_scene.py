"""What the viewer asks a scene: texts, names, changes, on a scene with exact truth."""

import numpy as np
import pytest
from tests.helpers.blobs import WORDS, ToyEncoder, make_scene
from tests.helpers.finished_scene import write_scene

from gags import scene as scene_module
from gags.errors import QueryError
from gags.gaussians import SH_C0
from gags.scene import Scene
from gags.viewer.scene import Edits, ViewerScene, best_score, matches

RED = WORDS.index("red ball")


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene_module, "load_encoder", lambda name, progress=None: ToyEncoder())
        yield ViewerScene(Scene.load(write_scene(tmp_path_factory.mktemp("shown"))), WORDS)


@pytest.fixture(scope="module")
def owner():
    return make_scene(12).owner


def test_asking_finds_the_ball_and_nothing_else(shown, owner):
    answer = shown.ask("  red   ball ")
    assert answer.text == "red ball"
    means = [answer.relevancy[owner == number].mean() for number in range(len(WORDS))]
    assert np.argmax(means) == RED
    assert means[RED] > 0.9
    assert answer.score > 0.6
    assert matches(answer, shown.solid)
    assert not matches(shown.ask("tractor"), shown.solid)
    with pytest.raises(QueryError, match="not empty"):
        shown.ask("  ")


@pytest.mark.parametrize("same_meaning", [2.0, 0.9, -2.0])
def test_asking_quickly_is_asking(shown, monkeypatch, same_meaning):
    monkeypatch.setattr(shown.scene.encoder, "same_meaning", same_meaning, raising=False)
    for text in ("blue ball", "object"):  # which is a canonical phrase itself
        expected = shown.scene.queries(text).of_gaussians(shown.scene.field)[:, 0].detach()
        np.testing.assert_allclose(shown.ask(text).relevancy, expected, atol=1e-5)


def test_a_byte_a_gaussian_says_what_matches_in_the_pages_order(shown):
    answer = shown.ask("red ball")
    sent = np.frombuffer(shown.strength_bytes(answer), np.uint8)
    strength = answer.strength[shown.packed.order]
    np.testing.assert_array_equal(sent >= 128, strength >= 0.5)
    np.testing.assert_allclose(sent / 256, strength, atol=1 / 256)


def test_masks_go_to_the_page_and_back(shown, owner):
    mask = owner == RED
    rows = shown.page_rows(mask)
    assert rows.dtype == np.uint32
    assert len(rows) == mask.sum()
    page = np.zeros(len(shown), bool)
    page[rows] = True
    np.testing.assert_array_equal(shown.mask(page), mask)


def test_names_of_a_thing_are_sure_and_of_a_mixture_are_not(shown, owner):
    names, sure = shown.names(owner == RED)
    assert names[0][0] == "red ball"
    assert sure
    with pytest.raises(QueryError, match="nothing is selected"):
        shown.names(np.zeros(len(shown), bool))


def test_alike_is_the_ball_around_a_click(shown, owner):
    rows = np.flatnonzero(owner == RED)[:3]
    found = shown.alike(rows, np.array([0.5, 0.3, 0.1], np.float32), np.ones(len(shown), bool))
    assert (owner[found] == RED).mean() > 0.9
    assert found.sum() > 60


def test_changes_are_applied_and_all_else_stays(shown, owner):
    g = shown.scene.gaussians
    nothing = Edits(np.ones(len(g), bool), np.zeros(len(g), np.uint8)).apply(g)
    assert nothing.means is g.means
    paint = np.where(owner == RED, 2, 0).astype(np.uint8)
    edited = Edits(owner != 0, paint, ((1, 2, 3), (255, 0, 51))).apply(g)
    assert len(edited) == (owner != 0).sum()
    red = (owner == RED)[owner != 0]
    np.testing.assert_allclose(
        0.5 + SH_C0 * edited.sh[red][:, 0].numpy(), [[1, 0, 0.2]] * red.sum(), atol=1e-6
    )
    np.testing.assert_array_equal(edited.sh[~red], g.sh[(owner != 0) & (owner != RED)])
    only = Edits(owner != 0, paint, ()).apply(g, owner <= RED)
    assert len(only) == (owner == RED).sum()


def test_what_the_page_reads_first(shown):
    first = shown.scene_json()
    assert first["count"] == len(shown)
    assert len(first["cameras"]) == 12
    np.testing.assert_allclose(first["up"], [0, 0, 1], atol=1e-3)
    assert first["unit"] is None
    assert set(first["modes"]) == {"granularity", "features"}
    upside = ViewerScene(shown.scene, WORDS, np.array([0, 0, -1.0])).scene_json()
    np.testing.assert_allclose(upside["start"]["up"], [0, 0, -1])


def test_the_list_names_things_and_a_corrected_name_is_kept(shown, owner):
    listed = {thing["name"]: thing for thing in shown.things_json()[0] if thing["listed"]}
    assert {"red ball", "blue ball"} <= set(listed)
    kept = shown.rename(listed["red ball"]["id"], " my   cherry ")
    try:
        assert kept == "my cherry"
        assert "my cherry" in [thing["name"] for thing in shown.things_json()[0] if thing["listed"]]
        (found,) = shown.instances("cherry")
        assert (owner[found.mask.numpy()] == RED).mean() > 0.8
        assert shown.names(owner == RED)[0][0][0] == "my cherry"
        assert shown.suggest("my ch") == ["my cherry"]
    finally:
        shown.scene.forget("my cherry")
    assert shown.suggest("ball")[:1] != []


def test_modes_colour_every_gaussian(shown):
    levels, legend = shown.mode_colors("granularity")
    meanings, none = shown.mode_colors("features")
    assert len(levels) == len(meanings) == 3 * len(shown)
    assert levels != meanings
    assert [name for name, _ in legend] == ["sub-part", "part", "whole"]
    assert none == []
    with pytest.raises(QueryError, match="no mode"):
        shown.mode_colors("depth")


def test_the_score_is_of_the_best_solid_ones():
    relevancy = np.linspace(0, 1, 1000).astype(np.float32)
    solid = relevancy < 0.5
    assert best_score(relevancy, solid) == pytest.approx(relevancy[solid][-10:].mean())
    assert best_score(relevancy, np.zeros(1000, bool)) == pytest.approx(relevancy[-10:].mean())
