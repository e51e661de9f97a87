"""What the viewer asks a scene: relevancy, clicks, pictures, on a scene with exact truth."""

import io

import numpy as np
import pytest
from PIL import Image
from tests.helpers.blobs import WORDS, ToyEncoder, make_scene
from tests.helpers.finished_scene import write_scene
from tests.helpers.toy_capture import PALETTE

from gags import scene as scene_module
from gags.errors import QueryError, SplatsError
from gags.gaussians.ply import load_ply
from gags.scene import Scene
from gags.viewer.scene import BACKGROUND, ViewerScene, ply_bytes
from gags.viewer.state import ViewerState

RED = WORDS.index("red ball")
RED_CENTRE = np.array([1.0, 1.0, 0.4])


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene_module, "load_encoder", lambda name, progress=None: ToyEncoder())
        yield ViewerScene(Scene.load(write_scene(tmp_path_factory.mktemp("shown"))), WORDS)


@pytest.fixture(scope="module")
def toy():
    return make_scene(12)


@pytest.fixture
def state(shown):
    return ViewerState(len(shown))


def _ray(toy, xyz):
    origin = toy.cameras[0].position
    return origin, np.asarray(xyz) - origin


def test_asking_finds_the_ball_and_nothing_else(shown, toy, state):
    layer = shown.ask("  red   ball ", (255, 0, 0))
    assert layer.text == "red ball"
    means = [layer.relevancy[toy.owner == number].mean() for number in range(len(WORDS))]
    assert np.argmax(means) == RED
    assert means[RED] > 0.9
    assert layer.score > 0.6
    assert shown.answers(layer)
    assert not shown.answers(shown.ask("tractor", (255, 0, 0)))
    with pytest.raises(QueryError, match="not empty"):
        shown.ask("  ", (255, 0, 0))


@pytest.mark.parametrize("same_meaning", [2.0, 0.9, -2.0])
def test_asking_quickly_is_asking(shown, monkeypatch, same_meaning):
    monkeypatch.setattr(shown.scene.encoder, "same_meaning", same_meaning, raising=False)
    for text in ("blue ball", "object"):  # which is a canonical phrase itself
        expected = shown.scene.queries(text).of_gaussians(shown.scene.field)[:, 0].detach()
        np.testing.assert_allclose(shown.ask(text, (0, 0, 0)).relevancy, expected, atol=1e-5)


def test_a_click_on_a_ball_picks_it_with_its_box_and_name(shown, toy, state):
    picked = shown.pick(*_ray(toy, RED_CENTRE), state)
    assert picked is not None
    truth = toy.owner == RED
    assert (picked.mask & truth).sum() / (picked.mask | truth).sum() > 0.8
    np.testing.assert_allclose(picked.box.center, RED_CENTRE, atol=0.15)
    assert picked.names[0][0] == "red ball"
    assert len(picked.names) == 5
    assert picked.thing is not None


def test_a_click_goes_through_what_is_deleted_and_hits_no_air(shown, toy, state):
    state.edit(toy.owner == RED)
    picked = shown.pick(*_ray(toy, RED_CENTRE), state)
    assert picked is None or not (picked.mask & (toy.owner == RED)).any()
    assert shown.pick(np.array([0, 0, 5.0]), np.array([0, 0, 1.0]), state) is None


def test_where_no_thing_is_known_what_is_alike_is_picked(shown, toy, state, monkeypatch):
    from gags.query.space import Space
    from gags.things.things import Things

    space = Space.build(shown.scene.gaussians, Things.none())
    monkeypatch.setattr(shown, "find_things", lambda progress=None: (Things.none(), space))
    picked = shown.pick(*_ray(toy, RED_CENTRE), state)
    assert picked is not None
    assert picked.thing is None
    assert picked.names[0][0] == "red ball"
    assert (toy.owner[picked.mask] == RED).mean() > 0.8


def test_every_mode_colours_every_gaussian(shown, state):
    state.draft = shown.ask("red ball", (255, 0, 0))
    seen = []
    for mode in ("colour", "relevancy", "granularity", "features", "depth"):
        state.mode = mode
        colors = shown.colors(state, np.array([4.0, 0, 3]))
        assert colors.shape == (len(shown), 3)
        assert colors.dtype == np.uint8
        seen.append(colors)
    assert len({colors.tobytes() for colors in seen}) == 5
    np.testing.assert_array_equal(seen[0], shown.base)


def test_the_picture_is_what_the_camera_sees(shown, toy, state):
    camera = toy.cameras[0].resized(128, 96)
    (x, y), _ = camera.project(RED_CENTRE)
    pixels = np.asarray(Image.open(io.BytesIO(shown.picture(camera, state))))
    assert pixels.shape == (96, 128, 3)
    np.testing.assert_allclose(pixels[int(y), int(x)], PALETTE[RED], atol=30)
    np.testing.assert_array_equal(pixels[0, 0], BACKGROUND)
    state.edit(toy.owner == RED)
    without = np.asarray(Image.open(io.BytesIO(shown.picture(camera, state))))
    assert abs(without[int(y), int(x)].astype(int) - PALETTE[RED]).max() > 60


def test_a_cut_out_is_a_ply_of_the_chosen_gaussians(shown, toy, state, tmp_path):
    (tmp_path / "cut.ply").write_bytes(ply_bytes(state.edited(shown.scene.gaussians, toy.owner == RED)))
    cut = load_ply(tmp_path / "cut.ply")
    np.testing.assert_array_equal(cut.means, shown.scene.gaussians.means[toy.owner == RED])
    with pytest.raises(SplatsError, match="no Gaussian"):
        ply_bytes(state.edited(shown.scene.gaussians, np.zeros(len(shown), bool)))
