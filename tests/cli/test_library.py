"""The command `gags library`: four actions, JSON, one line for each fault."""

import json

import pytest
from tests.helpers.made_library import PictureEncoder, looks, put, thing

from gags import cli
from gags.errors import WorkspaceError
from gags.library import library as module
from gags.library.library import Library


@pytest.fixture
def place(tmp_path, monkeypatch) -> str:
    monkeypatch.setattr(module, "load_encoder", lambda name, progress=None: PictureEncoder())
    library = Library(tmp_path / "lib")
    put(library, "desk", [thing(1, looks("red ball")), thing(2, looks("floor"))])
    put(library, "hall", [thing(4, looks("red ball", 0.5, 1))])
    return str(tmp_path / "lib")


def test_search_prints_json_alone(place, capsys):
    assert cli.main(["library", "search", place, "red ball", "--top", "2", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["scene"], row["thing"]) for row in rows] == [("desk", 1), ("hall", 4)]
    assert rows[0]["encoder"] == "toy"
    assert rows[0]["by"] == "relevancy"


def test_search_prints_a_table_and_writes_a_page(place, capsys, tmp_path):
    page = tmp_path / "page.html"
    asked = ["library", "search", place, "--like", "desk:1", "--scene", "hall", "--scene", "desk"]
    assert cli.main([*asked, "--out", str(page)]) == 0
    text = capsys.readouterr().out
    assert "encoder toy, by cosine" in text
    assert "hall:4" in text
    assert "desk:1 " not in text
    assert "its folder is not there" in text
    assert "Like desk:1" in page.read_text()


def test_list_and_remove(place, capsys):
    assert cli.main(["library", "list", place]) == 0
    assert "desk  2 things, encoder toy  /no/such/folder  its folder is not there" in capsys.readouterr().out
    assert cli.main(["library", "remove", place, "desk"]) == 0
    capsys.readouterr()
    assert cli.main(["library", "list", place, "--json"]) == 0
    assert [row["scene"] for row in json.loads(capsys.readouterr().out)] == ["hall"]
    assert cli.main(["library", "remove", place, "hall"]) == 0
    capsys.readouterr()
    assert cli.main(["library", "list", place]) == 0
    assert "has no scenes" in capsys.readouterr().out


def test_add_goes_on_after_a_scene_that_fails_and_says_so(place, capsys, monkeypatch, tmp_path):
    def add(self, workspace, *, name="", progress=None):
        if workspace.name == "bad":
            raise WorkspaceError(f"{workspace} is not a gags scene")
        put(self, workspace.name, [thing(1, looks("floor"))])
        return self.scenes()[-1]

    monkeypatch.setattr(Library, "add", add)
    assert cli.main(["library", "add", place, "x/bad", "x/yard"]) == 1
    told = capsys.readouterr()
    assert "x/bad is not added: x/bad is not a gags scene" in told.err
    assert "yard: 1 things and parts, encoder toy" in told.out
    assert [record.name for record in Library(place).scenes()] == ["desk", "hall", "yard"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search", "{}", "cup", "--scene", "attic"], "has no scene 'attic'; it has desk, hall"),
        (["search", "{}"], "one thing"),
        (["search", "{}", "--image", "none.jpg"], "none.jpg"),
        (["search", "{}/desk", "cup"], "there is no library at"),
        (["remove", "{}", "attic"], "has no scene 'attic'"),
        (["remove", "{}"], "no SCENE is given"),
        (["add", "{}"], "no WS is given"),
        (["add", "{}", "nowhere"], "nowhere is not a gags scene"),
        (["add", "{}", "a", "b", "--name", "c"], "--name is for one scene"),
        (["teach", "{}", "mine"], "a name and --like belong together"),
        (["teach", "{}", "mine", "--forget", "mine"], "--forget takes only the name"),
        (["teach", "{}", "--forget", "mine"], "no 'mine' was taught in"),
        (["teach", "{}", "mine", "--like", "desk"], "names no thing of a scene"),
    ],
)
def test_faults_are_one_line(place, capsys, arguments, message):
    assert cli.main(["library", *(word.format(place) for word in arguments)]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert message in told.err
    assert len(Library(place).scenes()) == 2


def test_teach_list_and_forget(place, capsys):
    like = Library(place).search("red ball")[0].like
    assert cli.main(["library", "teach", place, "Oma's ball", "--like", like]) == 0
    assert cli.main(["library", "teach", place, "--list"]) == 0
    assert capsys.readouterr().out == (
        f"Oma's ball: {like}\nOma's ball  {like}, taught in the library, encoder toy\n"
    )
    assert cli.main(["library", "search", place, "oma's ball", "--json"]) == 0
    (first, *_) = json.loads(capsys.readouterr().out)
    assert f"{first['scene']}:{first['thing']}" == like
    assert cli.main(["library", "teach", place, "--forget", "oma's ball"]) == 0
    assert cli.main(["library", "teach", place, "--json"]) == 0
    assert capsys.readouterr().out == 'forgot "oma\'s ball", 1 thing\n[]\n'


def test_help_of_an_action_shows_its_options(capsys):
    assert cli.main(["library", "search", "--help"]) == 0
    text = capsys.readouterr().out
    assert all(option in text for option in ("--image", "--like", "--top", "--scene", "--out", "--json"))
