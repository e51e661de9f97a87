"""What a library keeps of a scene: embeddings, boxes, pictures, names."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from tests.helpers.blobs import NEGATIVES, WORDS, word_vector
from tests.helpers.finished_scene import write_scene
from tests.helpers.made_library import PictureEncoder

from gags import scene as scene_module
from gags.library import rows as module
from gags.library.nodes import Means, embeddings_of_things
from gags.library.rank import Phrases
from gags.library.rows import THUMBNAIL_SIDE, jpeg, rows_of_scene
from gags.scene import Scene


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Scene:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene_module, "load_encoder", lambda name, progress=None: PictureEncoder())
        loaded = Scene.load(write_scene(tmp_path_factory.mktemp("rows")))
        assert loaded.encoder.name == "toy"
    return loaded


@pytest.fixture(scope="module")
def rows(scene) -> list[dict]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "EVERYDAY", WORDS)
        rows, nodes = rows_of_scene(scene)
        assert np.flatnonzero(nodes.kept).tolist() == [row["thing"] for row in rows]
        return rows


def test_every_thing_that_photos_cut_out_is_a_row(scene, rows):
    things = scene.things()
    assert [row["thing"] for row in rows] == np.flatnonzero(things.photos > 0).tolist()
    for row in rows:
        assert row["chain"] == things.chain(row["thing"])
        assert row["kind"] == things.kinds()[row["thing"]]
        assert row["photos"] == things.photos[row["thing"]]
        assert row["seen_by"] == things.seen_by[row["thing"]]
        assert len(row["names"]) == 3


def test_vectors_lie_halfway_between_masks_and_gaussians(scene, rows):
    things, field = scene.things(), scene.field
    for row in rows:
        members = things[row["thing"]]
        with torch.no_grad():
            decoded = field.decoder.embeddings(field.features[torch.from_numpy(members.astype(np.int64))])
        mean = np.average(decoded.numpy(), axis=0, weights=scene.gaussians.opacities[members].numpy())
        own = things.embeddings[row["thing"]].astype(np.float64)
        both = mean / np.linalg.norm(mean) + own / np.linalg.norm(own)
        expected = both / np.linalg.norm(both)
        np.testing.assert_allclose(row["vector"][:-1], expected, atol=2e-3)
        against = max(expected @ word_vector(word) for word in NEGATIVES)
        assert row["vector"][-1] == pytest.approx(against, abs=2e-3)


def test_embeddings_are_of_length_one(scene):
    things = scene.things()
    vectors = embeddings_of_things(things, Means.of_scene(scene, things, Phrases.of(scene.encoder)))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_boxes_hold_the_balls(scene, rows):
    centers = {"red ball": (1, 1), "green ball": (-1, 1), "blue ball": (-1, -1), "yellow ball": (1, -1)}
    for word, (x, y) in centers.items():
        best = max(rows, key=lambda row: float(row["vector"][:-1].astype(np.float64) @ word_vector(word)))
        low, high = np.array(best["low"]), np.array(best["high"])
        assert (low < high).all()
        assert (low[:2] - 0.05 <= (x, y)).all()
        assert (high[:2] + 0.05 >= (x, y)).all()
        assert np.prod(best["size"]) <= np.prod(high - low) * 1.001


def test_thumbnails_are_small_pictures_of_the_thing(scene, rows):
    names = {view.name for view in scene.capture.train}
    for row in rows:
        with Image.open(io.BytesIO(row["thumbnail"])) as picture:
            assert picture.format == "JPEG"
            assert 0 < max(picture.size) <= THUMBNAIL_SIDE
        assert row["view"] in names
    red = max(rows, key=lambda row: float(row["vector"][:-1].astype(np.float64) @ word_vector("red ball")))
    with Image.open(io.BytesIO(red["thumbnail"])) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    middle = pixels[pixels.shape[0] // 2, pixels.shape[1] // 2]
    assert middle[0] > middle[1] + 60
    assert middle[0] > middle[2] + 60


def test_large_pictures_shrink_and_small_ones_stay():
    for size, kept in (((400, 1024), (100, 256)), ((30, 20), (30, 20))):
        with Image.open(io.BytesIO(jpeg(np.zeros((*size, 3), np.uint8)))) as picture:
            assert picture.size == kept[::-1]
