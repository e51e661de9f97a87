"""`scene.show`: the picture of an answer, as notebooks show it."""

import numpy as np
import pytest
from PIL import Image
from tests.helpers.blobs import ToyEncoder
from tests.helpers.finished_scene import write_scene

from gags import scene as scene_module
from gags.errors import QueryError
from gags.scene import Scene


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene_module, "load_encoder", lambda name, progress=None: ToyEncoder())
        yield Scene.load(write_scene(tmp_path_factory.mktemp("show")))


def test_a_text_is_shown_where_it_is(scene):
    view = scene.capture.views[0]
    shown = scene.show("red ball", view.name)
    assert isinstance(shown, Image.Image)
    assert shown._repr_png_().startswith(b"\x89PNG")
    pixels = np.asarray(shown).astype(int)
    assert pixels.shape[0] > view.camera.height  # what it is of is written below
    x, y = view.camera.project(np.array([1.0, 1.0, 0.4]))[0].astype(int)
    grey = np.ptp(pixels[2, 2])
    assert np.ptp(pixels[y, x]) > grey + 50  # the heat has a colour, the rest of the photo is faded
    rendered = scene.show("red ball", view.camera)
    assert rendered.size == shown.size
    best = scene.best_views(scene.queries("red ball"))[0][0]
    assert scene.show("red ball").tobytes() == scene.show("red ball", best).tobytes()


def test_nothing_and_several_at_once_are_no_picture(scene):
    for wrong in ({}, {"text": "red ball", "like": (scene.capture.views[0].name, 32, 24)}):
        with pytest.raises(QueryError, match="one text, one image or one click"):
            scene.show(**wrong)
