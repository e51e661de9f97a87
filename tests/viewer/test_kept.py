"""The list of things that is kept in a scene's folder: used while nothing changed, else made again."""

import json
import shutil

import numpy as np
import pytest
import torch
from tests.helpers.blobs import WORDS, ToyEncoder, make_scene
from tests.helpers.finished_scene import write_scene

from gags import scene as scene_module
from gags.query.taught import load_taught
from gags.scene import Scene
from gags.store import load_tensors, save_tensors
from gags.viewer import kept as kept_module
from gags.viewer.kept import KeptList, with_pictures

RED = WORDS.index("red ball")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished scene whose things are found."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene_module, "load_encoder", lambda name, progress=None: ToyEncoder())
        root = write_scene(tmp_path_factory.mktemp("kept"))
        Scene.load(root).things()
        yield root


@pytest.fixture
def made(monkeypatch):
    """What was made and not read."""
    calls = []
    for name in ("list_of_words", "thumbnails_of"):
        function = getattr(kept_module, name)

        def counted(*args, _function=function, _name=name, **more):
            calls.append(_name)
            return _function(*args, **more)

        monkeypatch.setattr(kept_module, name, counted)
    return calls


@pytest.fixture
def root(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "ws")


def opened(root, **options):
    """List and pictures of a scene as it is opened anew."""
    kept = KeptList(Scene.load(root), WORDS, **options)
    listed = kept.listed()
    return with_pictures(listed.things, kept.pictures()), listed.owner


def named(things, name):
    return [thing for thing in things if thing["listed"] and thing["name"] == name]


def test_the_second_time_it_is_read(root, made):
    first, owner = opened(root)
    assert made == ["list_of_words", "thumbnails_of"]
    again, same_owner = opened(root)
    assert made == ["list_of_words", "thumbnails_of"]
    assert json.loads(json.dumps(first)) == again
    np.testing.assert_array_equal(owner, same_owner)
    (red,) = named(again, "red ball")
    assert red["sure"]
    assert red["thumbnail"].startswith("data:image/jpeg;base64,")
    assert (make_scene(12).owner[owner == red["id"]] == RED).mean() > 0.9


def test_a_taught_name_is_shown_without_making_the_list_again(root, made):
    (red,) = named(opened(root)[0], "red ball")
    Scene.load(root).rename(red["id"], "Oma's cherry")
    (renamed,) = named(opened(root)[0], "Oma's cherry")
    assert made == ["list_of_words", "thumbnails_of"]
    assert renamed["id"] == red["id"]
    assert renamed["sure"]
    assert renamed["score"] == 0.999
    assert [word for word, _ in renamed["names"]] == ["Oma's cherry", *(word for word, _ in red["names"])][:5]
    assert renamed["thumbnail"] == red["thumbnail"]
    Scene.load(root).forget("Oma's cherry")
    assert named(opened(root)[0], "red ball") == [red]


def test_what_is_kept_with_taught_names_is_what_is_made_with_them(root, made):
    (red,) = named(opened(root)[0], "red ball")
    Scene.load(root).rename(red["id"], "cherry")
    kept, _ = opened(root)
    shutil.rmtree(root / "viewer")
    fresh, _ = opened(root)
    assert made.count("list_of_words") == 2
    assert json.loads(json.dumps(kept)) == json.loads(json.dumps(fresh))


def test_a_taught_word_of_the_list_makes_it_anew(root, made):
    (red,) = named(opened(root)[0], "red ball")
    Scene.load(root).rename(red["id"], "The blue ball")  # from now on another thing than the word says
    things, _ = opened(root)
    assert made.count("list_of_words") == 2
    assert red["id"] in [thing["id"] for thing in named(things, "The blue ball")]
    (entry,) = load_taught(root / "taught.safetensors")
    assert kept_module.taught_among([entry], ["blue ball lid"])
    assert not kept_module.taught_among([entry], ["blue balloon", "ball"])


def test_other_words_things_or_features_make_it_anew(root, made):
    opened(root)
    KeptList(Scene.load(root), WORDS[1:]).listed()
    assert made.count("list_of_words") == 2
    opened(root)  # the file holds the last one
    assert made.count("list_of_words") == 3
    scene = Scene.load(root)
    with torch.no_grad():
        scene.field.features[5] += 1
    assert not KeptList(scene, WORDS).is_known()
    scene = Scene.load(root)
    scene.things().photos[0] += 1
    assert not KeptList(scene, WORDS).is_known()
    scene = Scene.load(root)
    assert KeptList(scene, WORDS).is_known()
    (scene.workspace.description(scene.capture.train[0].name)).rename(root / "away")  # fewer photos
    assert not KeptList(scene, WORDS).is_known()


@pytest.mark.parametrize("name", ["names", "pictures"])
def test_a_damaged_file_is_made_again(root, made, name):
    before, _ = opened(root)
    path = root / "viewer" / f"{name}.safetensors"
    whole = path.read_bytes()
    for damage in (whole[:100], whole[:-1] + bytes([whole[-1] ^ 1]), b"", b"x" * 5000):
        path.write_bytes(damage)
        made.clear()
        after, _ = opened(root)
        assert made == ["list_of_words" if name == "names" else "thumbnails_of"]
        assert json.loads(json.dumps(after)) == json.loads(json.dumps(before))
        assert path.read_bytes() == whole


@pytest.mark.parametrize("text", [b"[", b"[]", b"{}", b'[{"id": 0}]', b"[" * 3000])
def test_a_list_of_another_form_is_made_again(root, made, text):
    opened(root)
    path = root / "viewer" / "names.safetensors"
    stored = load_tensors(path, remedy="", kind="numpy")
    tensors = stored.tensors | {"things": np.frombuffer(text, np.uint8)}
    save_tensors(path, tensors, stored.metadata)
    opened(root)
    assert made.count("list_of_words") == 2


def test_a_file_of_a_newer_version_stays(root, made):
    opened(root)
    path = root / "viewer" / "names.safetensors"
    stored = load_tensors(path, remedy="", kind="numpy")
    save_tensors(path, stored.tensors, stored.metadata | {"format": "gags-list-2"})
    newer = path.read_bytes()
    opened(root)
    assert made.count("list_of_words") == 2
    assert path.read_bytes() == newer


def test_nothing_is_kept_where_it_must_not_or_cannot_be(root, made):
    opened(root, write=False)
    assert not (root / "viewer").exists()
    (root / "viewer").write_text("a file in the way")
    things, _ = opened(root)
    assert named(things, "red ball")
    assert (root / "viewer").read_text() == "a file in the way"
    assert made.count("list_of_words") == 2
    scene = Scene.load(root)
    scene.things()
    shutil.rmtree(root)  # while the viewer shows the scene
    assert named(KeptList(scene, WORDS).listed().things, "red ball")
    assert not root.exists()
