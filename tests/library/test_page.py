"""The page of results: a picture each, everything escaped, nothing loaded from anywhere."""

from dataclasses import replace

import numpy as np
import pytest
from tests.helpers.html_page import EVIL, Page
from tests.helpers.made_library import looks, thing

from gags.errors import LibraryError
from gags.library.page import write_found
from gags.library.records import Found
from gags.query.boxes import OrientedBox

FOUND = Found(
    scene="kitchen",
    thing=7,
    kind="part",
    names=("red mug", "cup"),
    score=0.876,
    by="relevancy",
    matches=True,
    box=np.array([[0.0, 0, 0], [1, 1, 1]]),
    oriented=OrientedBox(np.array([0.5, -0.25, 2.0]), np.array([1.5, 1.0, 0.5]), np.eye(3)),
    photos=12,
    seen_by=30,
    view="a.jpg",
    thumbnail=thing(1, looks("floor"))["thumbnail"],
    encoder="lite",
    path="/scenes/kitchen",
    state="unchanged",
)


def test_each_result_has_a_picture_and_what_to_know(tmp_path):
    second = replace(FOUND, scene="hall", state="changed", matches=False, score=0.2)
    path = write_found(tmp_path / "new" / "page.html", "red mug", [FOUND, second], library="lib")
    page = Page(path.read_text())
    assert [image["width"] for image in page.images] == ["8", "8"]
    assert all(image["src"].startswith("data:image/jpeg;base64,/9j/") for image in page.images)
    text = " ".join(page.text.split())
    assert "1. kitchen" in text
    assert "relevancy 0.88 · kitchen:7" in text
    assert "at 0.50, -0.25, 2.00 · 1.50 × 1.00 × 0.50" in text
    assert "a.jpg · cut out by 12 photos" in text
    assert "2. hall" in text
    assert text.count("nearest, no match") == 1
    assert text.count("changed since it was added") == 1
    assert "/scenes/kitchen" in text


def test_results_of_two_encoders_are_apart_and_counted_each(tmp_path):
    other = replace(FOUND, encoder="a/clip", scene="hall")
    page = Page(write_found(tmp_path / "page.html", "mug", [FOUND, other, FOUND]).read_text())
    assert [line for line in page.lines if line.startswith("Scenes of encoder")][-2:] == [
        "Scenes of encoder lite",
        "Scenes of encoder a/clip",
    ]
    text = " ".join(page.text.split())
    assert text.count("1. kitchen") == text.count("1. hall") == text.count("2. kitchen") == 1


def test_names_are_escaped_wherever_they_appear(tmp_path):
    evil = replace(FOUND, scene=EVIL, names=(EVIL, EVIL), view=EVIL, encoder=EVIL, path=EVIL)
    page = Page(write_found(tmp_path / "page.html", EVIL, [evil], library=EVIL).read_text())
    plain = Page(write_found(tmp_path / "plain.html", "mug", [FOUND], library="lib").read_text())
    assert page.tags == plain.tags
    assert page.code["script"] == plain.code["script"]
    assert EVIL in page.text


def test_nothing_found_is_said(tmp_path):
    page = Page(write_found(tmp_path / "page.html", "mug", []).read_text())
    assert "Nothing was found" in page.text


def test_a_result_without_picture_is_shown_all_the_same(tmp_path):
    page = Page(
        write_found(tmp_path / "page.html", "mug", [replace(FOUND, thumbnail=b"", view="")]).read_text()
    )
    assert page.images == []
    damaged = replace(FOUND, thumbnail=b"\xff\xd8 no picture")
    assert Page(write_found(tmp_path / "page.html", "mug", [damaged]).read_text()).images == []
    assert "1. kitchen" in " ".join(page.text.split())


def test_a_page_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(LibraryError, match=r"cannot write .*choose another --out"):
        write_found(tmp_path / "file" / "page.html", "mug", [FOUND])
