"""Asking many scenes: texts by Eq. 8, pictures and likeness by cosine, scenes of two encoders apart."""

import shutil

import numpy as np
import pytest
from PIL import Image
from tests.helpers.blobs import NEGATIVES, WORDS, word_vector
from tests.helpers.finished_scene import write_scene
from tests.helpers.heard import Heard
from tests.helpers.made_library import PictureEncoder, looks, put, thing
from tests.helpers.toy_capture import PALETTE

from gags import scene as scene_module
from gags.distill.field import LanguageField
from gags.errors import LibraryError, LibraryUnreadableError, ModelError, QueryError, WorkspaceError
from gags.library import library as module
from gags.library import rows as rows_module
from gags.library.library import Library
from gags.library.tables import Tables
from gags.scene import Scene
from gags.things.things import Things
from gags.workspace import Workspace

RED, BLUE, GREEN = "red ball", "blue ball", "green ball"


class OtherEncoder(PictureEncoder):
    """The same under another name."""

    name = "other"


@pytest.fixture(autouse=True)
def _toy_encoders(monkeypatch):
    def load(name, progress=None):
        for kind in (PictureEncoder, OtherEncoder):
            if kind.name == name:
                return kind()
        raise ModelError(f"there is no encoder {name!r}")

    monkeypatch.setattr(module, "load_encoder", load)
    monkeypatch.setattr(scene_module, "load_encoder", load)
    monkeypatch.setattr(rows_module, "EVERYDAY", WORDS)


@pytest.fixture
def made(tmp_path) -> Library:
    """Three scenes: a has a red and a blue ball, b a worse red one and its half, c a green one."""
    library = Library(tmp_path / "lib")
    put(library, "a", [thing(1, looks(RED, 0.2, 1)), thing(2, looks(BLUE, 0.2, 2))])
    halves = [thing(5, looks(RED, 0.7, 3), photos=20), thing(6, looks(RED, 1.5, 4), chain=(5,))]
    put(library, "b", halves)
    put(library, "c", [thing(3, looks(GREEN, 0.2, 5))])
    return library


def relevancy(text: str, vector: np.ndarray) -> float:
    """Eq. 8, as the paper has it."""
    kept = vector.astype(np.float16).astype(np.float64)
    of_text = np.exp(10 * kept @ word_vector(text))
    return min(of_text / (of_text + np.exp(10 * kept @ word_vector(word))) for word in NEGATIVES)


def test_a_text_finds_the_scenes_that_hold_it_best_first(made):
    found = made.search(RED)
    assert [one.like for one in found[:2]] == ["a:1", "b:5"]  # b:6 lies in b:5
    assert found[0].score == pytest.approx(relevancy(RED, looks(RED, 0.2, 1)), abs=1e-4)
    assert found[1].score == pytest.approx(relevancy(RED, looks(RED, 0.7, 3)), abs=1e-4)
    assert {one.by for one in found} == {"relevancy"}
    assert {one.matches for one in found} == {None}  # the toy encoder does not know
    assert len(found) == 4


def test_what_is_found_says_what_and_where_it_is(made):
    first = made.search(BLUE)[0]
    assert (first.scene, first.thing, first.kind, first.encoder) == ("a", 2, "thing", "toy")
    assert first.names == ("ball", "toy")
    np.testing.assert_array_equal(first.box, [[1.0, -0.5, -0.5], [3.0, 0.5, 0.5]])
    np.testing.assert_array_equal(first.oriented.bounds, first.box)
    assert (first.photos, first.seen_by, first.view) == (10, 20, "a.jpg")
    assert first.thumbnail.startswith(b"\xff\xd8")
    assert (first.path, first.state) == ("/no/such/folder", "gone")
    told = first.to_json()
    assert told["center"] == [2.0, 0.0, 0.0]
    assert told["box"]["max"] == [3.0, 0.5, 0.5]


def test_top_counts_things_and_scenes_can_be_chosen(made):
    assert [one.like for one in made.search(RED, top=1)] == ["a:1"]
    assert [one.like for one in made.search(RED, scenes=["b"])] == ["b:5"]
    assert {one.scene for one in made.search(RED, scenes=["c", "b", "c"])} == {"b", "c"}


def test_what_is_like_a_thing_is_found_elsewhere_but_not_itself(made):
    found = made.search(like="b:6")
    assert found[0].like == "a:1"
    assert not {"b:5", "b:6"} & {one.like for one in found}
    kept = [looks(RED, 1.5, 4), looks(RED, 0.2, 1)]
    one, other = (vector.astype(np.float16).astype(np.float32) for vector in kept)
    assert found[0].score == pytest.approx(float(one @ other), abs=1e-5)
    assert found[0].by == "cosine"


def test_a_picture_finds_what_it_shows(made, tmp_path):
    pixels = np.tile(PALETTE[3].astype(np.uint8), (9, 7, 1))
    assert made.search(image=pixels)[0].like == "a:2"
    Image.fromarray(pixels).save(tmp_path / "blue.png")
    found = made.search(image=tmp_path / "blue.png")
    assert found[0].like == "a:2"
    expected = looks(BLUE, 0.2, 2).astype(np.float16).astype(np.float32) @ word_vector(BLUE)
    assert found[0].score == pytest.approx(float(expected), abs=1e-5)


def test_scenes_of_two_encoders_are_asked_apart(made):
    put(made, "d", [thing(1, looks(RED, 0.4, 9))], encoder="other")
    found = made.search(RED, top=1)
    assert [(one.encoder, one.like) for one in found] == [("other", "d:1"), ("toy", "a:1")]
    assert [one.like for one in made.search(like="d:1")] == []
    with pytest.raises(LibraryError, match="described with other, the scenes to look in were not"):
        made.search(like="d:1", scenes=["a"])


def test_an_encoder_that_cannot_be_loaded_is_said_and_the_others_answer(made):
    put(made, "d", [thing(1, looks(RED))], encoder="lost")
    heard = Heard()
    assert made.search(RED, progress=heard)[0].like == "a:1"
    assert any("scenes of encoder lost are not asked" in line for line in heard.warned)
    with pytest.raises(ModelError, match="no encoder 'lost'"):
        made.search(RED, scenes=["d"])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "one thing"),
        ({"text": "a", "like": "a:1"}, "one thing"),
        ({"text": "  "}, "text that is not empty"),
        ({"text": "a", "top": 0}, "at least one"),
        ({"like": "a"}, "SCENE:THING"),
        ({"like": "a:first"}, "SCENE:THING"),
        ({"image": "no_such.jpg"}, "no_such.jpg"),
        ({"image": np.zeros((4, 4), np.uint8)}, "uint8 of"),
    ],
)
def test_questions_that_are_none(made, asked, message):
    with pytest.raises(QueryError, match=message):
        made.search(**asked)


def test_an_image_that_is_none_is_one_line(made, tmp_path):
    (tmp_path / "x.jpg").write_text("no picture")
    with pytest.raises(QueryError, match=r"x\.jpg"):
        made.search(image=tmp_path / "x.jpg")


def test_unknown_scenes_and_things_are_said_with_those_there(made):
    with pytest.raises(LibraryError, match=r"has no scene 'kitchen'; it has a, b, c"):
        made.search(RED, scenes=["a", "kitchen"])
    with pytest.raises(LibraryError, match=r"has no scene 'kitchen'"):
        made.search(like="kitchen:1")
    with pytest.raises(LibraryError, match=r"scene 'a' has no thing 77"):
        made.search(like="a:77")
    with pytest.raises(LibraryError, match=r"has no scene 'kitchen'"):
        made.remove(["a", "kitchen"])
    assert [record.name for record in made.scenes()] == ["a", "b", "c"]


def test_a_removed_scene_is_not_found(made):
    made.remove("a")
    assert {one.scene for one in made.search(RED)} == {"b", "c"}
    made.remove(["b", "c"])
    assert made.search(RED) == []
    assert made.scenes() == []


def test_a_taught_name_finds_its_thing_first_then_what_looks_like_it(made):
    before = [one.like for one in made.search(GREEN)]
    taught = made.teach("Oma's Ball", "b:6")
    assert (taught.scene, taught.thing, taught.by, taught.encoder) == ("b", 6, "library", "toy")
    found = made.search("the oma’s ball")
    assert found[0].like == "b:6"  # not b:5, in which it lies, and which more photos cut out
    assert found[0].by == "cosine"
    assert found[0].score == pytest.approx(1, abs=1e-3)
    assert [one.like for one in found[1:]] == ["a:1", *[one.like for one in found[2:]]]  # red as well
    assert [one.like for one in made.search(GREEN)] == before
    assert made.search("oma's ball cover")[0].by == "relevancy"  # a text that only holds the name


def test_several_things_may_bear_a_name_and_names_are_listed_and_forgotten(made):
    made.teach("mine", "a:2")
    made.teach("my mine", "c:3")
    assert {one.like for one in made.search("Mine")[:2]} == {"a:2", "c:3"}
    assert [(one.name, one.scene, one.thing) for one in made.names()] == [
        ("mine", "a", 2),
        ("my mine", "c", 3),
    ]
    assert made.forget("mine") == 2
    assert made.names() == []
    with pytest.raises(QueryError, match=r"no 'mine' was taught in .*; taught names: none"):
        made.forget("mine")


def test_what_bears_a_name_is_known_by_its_looks_when_its_scene_was_added_again(made):
    made.teach("mine", "a:2")
    put(made, "a", [thing(7, looks(BLUE, 0.2, 2)), thing(2, looks(RED, 0.2, 1))], run="again")
    assert [one.thing for one in made.names()] == [None]
    assert made.search("mine")[0].like == "a:7"
    made.remove("a")
    assert made.search("mine")[0].score < 0.9  # nothing that is like it is left
    assert len(made.names()) == 1


def test_other_encoders_are_asked_the_text(made):
    put(made, "d", [thing(1, looks(RED, 0.2, 1))], encoder="other")
    made.teach(RED, "c:3")
    found = made.search(RED)
    assert next(one.like for one in found if one.encoder == "toy") == "c:3"
    assert [one.by for one in found if one.encoder == "other"] == ["relevancy"]


@pytest.mark.parametrize(
    ("name", "like", "message"),
    [
        ("half \udcff", "a:1", "is no UTF-8"),
        ("", "a:1", "a name that is not empty"),
        ("mine", "a", "names no thing of a scene"),
        ("mine", "x:1", "has no scene 'x'"),
        ("mine", "a:9", "has no thing 9"),
    ],
)
def test_nothing_is_taught_that_is_nothing(made, name, like, message):
    with pytest.raises((QueryError, LibraryError), match=message):
        made.teach(name, like)
    assert made.names() == []


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return write_scene(tmp_path_factory.mktemp("finished"))


def test_a_text_finds_in_a_scene_what_locate_finds(finished, tmp_path):
    library, scene = Library(tmp_path / "lib"), Scene.load(finished)
    record = library.add(finished)
    assert (record.name, record.encoder, record.state) == ("ws", "toy", "unchanged")
    for word in WORDS[1:]:
        (first, *_), located = library.search(word), scene.locate(word)[0][0]
        assert first.thing == located.thing
        np.testing.assert_allclose(first.box, located.box.bounds)
        assert first.score == pytest.approx(located.score, abs=0.02)  # there the mean of relevancies
        assert word in first.names
        assert first.photos == scene.things().photos[first.thing]
    assert first.seen_by == scene.things().seen_by[first.thing]
    again = library.search(like=first.like)
    assert first.thing not in {one.thing for one in again}


def test_a_text_finds_the_same_however_little_of_a_scene_is_near_it(finished, tmp_path, monkeypatch):
    library = Library(tmp_path / "lib")
    library.add(finished)
    before = [one.to_json() for one in library.search(RED)]
    monkeypatch.setattr(module, "CANDIDATES", 1)
    assert [one.to_json() for one in library.search(RED)] == before
    assert len(before) > 3


def test_no_more_trees_are_read_than_fit_and_the_other_scenes_answer_too(finished, tmp_path, monkeypatch):
    library = Library(tmp_path / "lib")
    for name in ("one", "two", "three"):
        library.add(shutil.copytree(finished, tmp_path / name))
    monkeypatch.setattr(module, "MOST_LOOKED_INTO", 2)
    read = []
    nodes = Tables.nodes
    monkeypatch.setattr(Tables, "nodes", lambda self, runs: read.append(len(runs)) or nodes(self, runs))
    heard = Heard()
    found = library.search(RED, top=100, progress=heard)
    assert read == [2]
    assert {one.scene for one in found} == {"one", "two", "three"}
    assert heard.warned == []


def test_scenes_of_an_earlier_gags_rank_by_their_things_and_are_said(made, finished, tmp_path):
    heard = Heard()
    assert made.search(RED, progress=heard)[0].like == "a:1"
    (line,) = heard.warned
    assert "a, b, c came into" in line
    assert "add them again" in line
    made.add(finished)
    heard = Heard()
    found = made.search(RED, scenes=["ws", "c"], progress=heard)
    assert {one.scene for one in found} == {"ws", "c"}
    assert ["c came into" in line for line in heard.warned] == [True]


def test_a_damaged_tree_is_one_line(finished, tmp_path):
    library = Library(tmp_path / "lib")
    library.add(finished)
    library._tables._table("nodes").update(values={"nodes": b"nothing"})
    with pytest.raises(LibraryError, match=r"holds of scene .ws. cannot be read; add that scene again"):
        library.search(RED)
    library.add(finished)
    assert library.search(RED)
    assert library._tables._table("nodes").count_rows() == 1


def test_what_a_scene_was_taught_comes_with_it_and_goes_with_it(finished, tmp_path):
    folder, library = tmp_path / "kitchen", Library(tmp_path / "lib")
    shutil.copytree(finished, folder)
    scene = Scene.load(folder)
    view, thing_there = scene.capture.train[0], scene.locate(RED)[0][0]
    xy, _ = view.camera.project(thing_there.box.center)
    scene.teach("Oma's ball", view, (int(xy[0]), int(xy[1])))
    library.add(folder)
    (name,) = library.names()
    assert (name.name, name.by, name.scene) == ("Oma's ball", "scene", "kitchen")
    first = library.search("omas ball" if name.thing is None else "Oma's ball")[0]
    assert first.thing in scene.things().chain(thing_there.thing) or first.thing == name.thing
    with pytest.raises(QueryError, match=r"comes from a scene \(gags teach kitchen --forget\)"):
        library.forget("Oma's ball")
    scene.forget("Oma's ball")
    library.add(folder)
    assert library.names() == []
    scene.teach("Oma's ball", view, (int(xy[0]), int(xy[1])))
    library.add(folder)
    library.remove("kitchen")
    assert library.names() == []


def test_adding_again_replaces_and_a_changed_scene_is_noticed(finished, tmp_path):
    folder, library = tmp_path / "kitchen", Library(tmp_path / "lib")
    shutil.copytree(finished, folder)
    first = library.add(folder)
    assert [record.state for record in library.scenes()] == ["unchanged"]
    workspace = Workspace(folder)
    field = LanguageField.load(workspace.field)
    field.stamps["distill"] = "another run"
    field.save(workspace.field)
    assert [record.state for record in library.scenes()] == ["changed"]
    assert {one.state for one in library.search(RED)} == {"changed"}
    second = library.add(folder)
    assert second.things == first.things
    assert [(record.name, record.state) for record in library.scenes()] == [("kitchen", "unchanged")]
    assert library._tables._things("toy").count_rows() == first.things


def test_a_copied_scene_is_unchanged_and_a_moved_one_is_gone(finished, tmp_path):
    folder, library = tmp_path / "kitchen", Library(tmp_path / "lib")
    shutil.copytree(finished, folder)
    library.add(folder)
    for path in folder.iterdir():  # as a copy without times would be
        if path.is_file():
            path.touch()
    assert [record.state for record in library.scenes()] == ["unchanged"]
    folder.rename(tmp_path / "moved")
    assert [record.state for record in library.scenes()] == ["gone"]
    library.add(tmp_path / "moved", name="kitchen")
    assert [record.path for record in library.scenes()] == [str(tmp_path / "moved")]


def test_another_scene_of_the_same_name_needs_another_name(finished, tmp_path):
    library = Library(tmp_path / "lib")
    for room in ("one", "two"):
        shutil.copytree(finished, tmp_path / room / "ws")
    library.add(tmp_path / "one" / "ws")
    with pytest.raises(LibraryError, match=r"has a scene 'ws' already, from .*one/ws.*--name"):
        library.add(tmp_path / "two" / "ws")
    library.add(tmp_path / "two" / "ws", name="second")
    assert [record.name for record in library.scenes()] == ["second", "ws"]


@pytest.mark.parametrize("name", ["two\nlines", " ", "\x1b[31mred", "x" * 201, "half \udcff"])
def test_names_that_are_none_are_refused(finished, tmp_path, name):
    with pytest.raises(LibraryError, match=r"is no name for a scene in a library.*--name"):
        Library(tmp_path / "lib").add(finished, name=name)
    assert not (tmp_path / "lib").exists()


def test_a_scene_is_in_even_if_the_library_cannot_be_tidied(finished, tmp_path, monkeypatch):
    def conflict(self, encoder):
        raise LibraryUnreadableError("another process was faster")

    monkeypatch.setattr("gags.library.tables.Tables.tidy", conflict)
    heard = Heard()
    Library(tmp_path / "lib").add(finished, progress=heard)
    assert ["another process was faster" in line for line in heard.warned] == [True]
    assert [record.name for record in Library(tmp_path / "lib").scenes()] == ["ws"]


def test_a_scene_without_things_is_refused_and_the_library_stays(finished, tmp_path, monkeypatch):
    library = Library(tmp_path / "lib")
    library.add(finished)
    monkeypatch.setattr(Scene, "things", lambda self, progress=None: Things.none())
    with pytest.raises(LibraryError, match=r"has no things to put into a library.*gags describe"):
        library.add(finished)
    assert [record.things for record in library.scenes()] == [library._tables._things("toy").count_rows()]


def test_a_folder_that_is_no_scene_is_refused(tmp_path):
    with pytest.raises(WorkspaceError, match="is not a gags scene"):
        Library(tmp_path / "lib").add(tmp_path)
    assert not (tmp_path / "lib").exists()
