"""The page of what a scene consists of: every node that photos cut out once, below what it lies in."""

import re
from dataclasses import replace

import numpy as np
import pytest
from tests.helpers.blobs import WORDS, ToyEncoder
from tests.helpers.finished_scene import write_scene
from tests.helpers.html_page import Page
from tests.helpers.made_report import full_report

from gags import scene as scene_module
from gags.progress import SILENT
from gags.report import things as module
from gags.report.pages import write_report
from gags.report.things import shown_nodes, views_of_nodes, write_things_page
from gags.scene import Scene
from gags.things.things import Things


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Scene:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene_module, "load_encoder", lambda name, progress=None: ToyEncoder())
        patch.setattr(scene_module, "EVERYDAY", WORDS)
        loaded = Scene.load(write_scene(tmp_path_factory.mktemp("things")))
        assert loaded.encoder.name == "toy"
    return loaded


def nested(parents: list[int], photos: list[int]) -> Things:
    """Nodes of one Gaussian each."""
    count = len(parents)
    things = Things.build(np.arange(count), np.arange(count), [np.arange(n) for n in photos])
    things.parents[:] = parents
    return things


def test_the_page_shows_every_thing_with_a_picture(scene, monkeypatch):
    monkeypatch.setattr(scene_module, "EVERYDAY", WORDS)
    page = Page(write_things_page(scene).read_text())
    things = scene.things()
    assert len(things) > 3
    shown = shown_nodes(things, len(scene.capture.train))
    assert page.tags.count("figure") == len(shown)
    assert len(page.images) == len(shown)
    for word in ("red ball", "blue ball"):
        assert any(word in line for line in page.lines), word
    assert not page.links() or all(link.startswith("#") for link in page.links())


def test_sizes_are_told_in_the_unit_that_was_set_and_only_then(scene, monkeypatch):
    monkeypatch.setattr(scene_module, "EVERYDAY", WORDS)
    before = Page(write_things_page(scene).read_text())
    assert not any("×" in line for line in before.lines)
    unit = scene.set_unit(2.0, 50, "cm")
    try:
        lines = " ".join(Page(write_things_page(scene).read_text()).lines)
    finally:
        scene.forget_unit()
    sides = re.findall(r"([\d.e+-]+) × ([\d.e+-]+) × ([\d.e+-]+) cm", lines)
    things, space = scene.things(), scene.space()
    shown = shown_nodes(things, len(scene.capture.train))
    boxes = [space.box(space.without_floaters(things[node])) for node in shown]
    expected = [tuple(f"{unit.per_scene_unit * side:.3g}" for side in box.size) for box in boxes]
    assert sorted(sides) == sorted(expected)


def test_nodes_below_others_are_nested(scene, monkeypatch):
    monkeypatch.setattr(scene_module, "EVERYDAY", WORDS)
    things = scene.things()
    page = Page(write_things_page(scene).read_text())
    holders = {int(parent) for parent in things.parents if parent >= 0}
    assert holders, "the balls have caps"
    assert page.tags.count("details") == len(holders)


def test_what_few_photos_cut_out_is_left_out_unless_it_holds_what_many_do():
    things = nested([-1, -1, 0, 0, 1, 5 - 1], [0, 1, 40, 30, 1, 40])
    assert shown_nodes(things, 100) == [0, 2, 3, 5]


def test_of_too_many_those_of_most_photos_are_shown(monkeypatch):
    monkeypatch.setattr(module, "MOST_SHOWN", 2)
    assert shown_nodes(nested([-1] * 4, [20, 40, 30, 10]), 40) == [1, 2]


def test_the_photo_that_shows_most_is_taken(scene):
    """A node of all Gaussians on one side is best seen from there."""
    things = scene.things()
    views = views_of_nodes(scene, things, list(range(len(things))), SILENT)
    assert all(view is not None and view.split == "train" for view in views)


@pytest.mark.parametrize("has_things", [True, False])
def test_the_report_leads_to_the_page_if_there_is_one(tmp_path, has_things):
    page = write_report(tmp_path, replace(full_report(), has_things=has_things))
    assert ("things.html" in Page(page.read_text()).links()) == has_things
