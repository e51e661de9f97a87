"""The rooms of the package: imports go one way, and the drawing in the docs shows them as they are."""

import importlib.util
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def rooms():
    spec = importlib.util.spec_from_file_location("draw_rooms", ROOT / "tools" / "draw_rooms.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def imports(rooms):
    return rooms.read_imports()


@pytest.fixture
def package(tmp_path):
    """Writes a small package called `house`, and returns its folder."""

    def write(**files: str) -> Path:
        for name, text in files.items():
            path = tmp_path / "house" / f"{name.replace('__of__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return tmp_path / "house"

    return write


def test_the_house_keeps_its_rules(rooms, imports):
    assert rooms.problems(imports) == []


def test_every_module_is_read(rooms, imports):
    assert len(imports) == len(list(rooms.SOURCE.rglob("*.py")))
    assert {"gags.errors", "gags.progress"} <= imports["gags.pipeline"]


def test_the_drawing_is_up_to_date(rooms, imports):
    drawn = rooms.PICTURE.read_text(encoding="utf-8")
    assert drawn == rooms.picture(imports), "run: python tools/draw_rooms.py"


def test_the_drawing_names_every_room_once(rooms, imports):
    drawing = ElementTree.fromstring(rooms.picture(imports))
    texts = [element.text for element in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert sorted(text for text in texts if text in rooms.ROOMS) == sorted(rooms.ROOMS)


def test_the_docs_tell_every_room(rooms):
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert [room for room in rooms.ROOMS if f"`{room}" not in page] == []
    assert "images/rooms.svg" in page


def test_imports_in_functions_and_relative_ones_count(rooms, package):
    source = package(
        __init__="",
        low="import os\n",
        high="def call():\n    from house import low\n    return low\n",
        room__of____init__="from .inner import name\n",
        room__of__inner="from .. import low\nname = low\n",
    )
    assert rooms.read_imports(source) == {
        "house": set(),
        "house.low": set(),
        "house.high": {"house.low"},
        "house.room": {"house.room.inner"},
        "house.room.inner": {"house.low"},
    }


def test_imports_for_type_checkers_do_not_count(rooms, package):
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house import other\n"
    assert rooms.read_imports(package(__init__="", one=text, other=""))["house.one"] == set()


@pytest.mark.parametrize(
    ("imports", "problem"),
    [
        (
            {"gags.low.a": {"gags.high.b"}, "gags.high.b": set()},
            "gags.low.a imports gags.high.b: high comes after low",
        ),
        ({"gags.low": {"gags"}, "gags": set()}, "gags.low imports gags: gags comes after low"),
        ({"gags.attic": set()}, "gags.attic belongs to no room"),
        (
            {"gags.low.a": {"gags.low.b"}, "gags.low.b": {"gags.low.c"}, "gags.low.c": {"gags.low.a"}},
            "gags.low.a → gags.low.b → gags.low.c → gags.low.a: a circle",
        ),
        ({"gags.low": set(), "gags.high": set()}, "3 files outside of folders, more than 2"),
    ],
)
def test_what_breaks_the_rules_is_named(rooms, imports, problem):
    assert rooms.problems(imports, rooms=("low", "high"), most=2) == [problem]


def test_what_keeps_the_rules_is_no_problem(rooms):
    imports = {"gags.low": set(), "gags.high": {"gags.low"}, "gags": {"gags.high"}}
    assert rooms.problems(imports, rooms=("low", "high"), most=3) == []


def test_two_circles_are_told_apart(rooms):
    imports = {"a": {"b"}, "b": {"a"}, "c": {"d", "a"}, "d": {"c"}}
    assert rooms.circles(imports) == [["a", "b", "a"], ["c", "d", "c"]]


def test_arrows_that_others_imply_are_left_out(rooms):
    between = {"cli": {"pipeline", "capture", "errors"}, "pipeline": {"capture"}, "capture": {"errors"}}
    assert rooms.arrows(between) == [("pipeline", "capture"), ("cli", "pipeline")]
