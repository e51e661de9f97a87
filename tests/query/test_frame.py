"""What people say of a scene's frame: units from one known length, up, and the file that keeps both."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tests.helpers.blobs import make_scene

from gags.capture import Capture, View
from gags.errors import DamagedError, NewerError, QueryError
from gags.query.boxes import OrientedBox
from gags.query.frame import Frame, Unit, load_frame, save_frame


@pytest.fixture
def capture(tmp_path):
    views = [
        View(f"{k}.jpg", tmp_path / f"{k}.jpg", camera) for k, camera in enumerate(make_scene(3).cameras)
    ]
    return Capture(tmp_path, views)


def test_a_known_length_gives_the_unit():
    unit = Unit.of_length(2.5, 45, " cm ")
    assert unit == Unit("cm", 18.0)
    np.testing.assert_allclose(unit.of([1.0, -0.5]), [18, -9])
    box = OrientedBox(np.array([1.0, 2, 3]), np.array([0.5, 0.25, 0.1]), np.eye(3))
    told = unit.to_json(box)
    assert told["name"] == "cm"
    np.testing.assert_allclose(told["center"], [18, 36, 54])
    np.testing.assert_allclose(told["size"], [9, 4.5, 1.8])


@pytest.mark.parametrize(
    "lengths", [(0, 1), (1, 0), (-1, 1), (float("nan"), 1), (1, float("inf")), (1e-9, 1e9)]
)
def test_lengths_that_are_none_are_refused(lengths):
    with pytest.raises(QueryError, match=r"length|cannot be meant"):
        Unit.of_length(*lengths, "m")


@pytest.mark.parametrize("name", ["", "  ", "m2", "a very long unit", "m\n"[:2] + "x"])
def test_names_of_units_are_short_words(name):
    with pytest.raises(QueryError, match="no name of a unit"):
        Unit.of_length(1, 1, name)


def test_what_is_known_is_kept_and_forgotten(tmp_path, capture):
    path = tmp_path / "frame.json"
    assert load_frame(path, capture) == Frame()
    frame = Frame(Unit("m", 0.25)).with_up([0, 3, 4])
    save_frame(path, frame, capture)
    assert load_frame(path, capture) == frame
    np.testing.assert_allclose(frame.up, [0, 0.6, 0.8])
    save_frame(path, frame.with_unit(None), capture)
    assert load_frame(path, capture) == Frame(None, frame.up)
    save_frame(path, Frame(), capture)
    assert not path.exists()
    with pytest.raises(QueryError, match="up must be"):
        frame.with_up([0, 0, 0])


def test_other_poses_make_the_unit_unknown(tmp_path, capture):
    path = tmp_path / "frame.json"
    save_frame(path, Frame(Unit("m", 0.25)), capture)
    view = capture.views[0]
    viewmat = view.camera.viewmat.copy()
    viewmat[:3, 3] *= 2
    moved = replace(view, camera=replace(view.camera, viewmat=viewmat))
    assert load_frame(path, Capture(tmp_path, [moved, *capture.views[1:]])) == Frame()


@pytest.mark.parametrize(
    "change",
    [
        {"unit": {"name": "m", "per_scene_unit": -1}},
        {"unit": {"name": "m", "per_scene_unit": "1"}},
        {"unit": {"name": "", "per_scene_unit": 1}},
        {"unit": 3},
        {"up": [0, 0]},
        {"up": [0, 0, float("nan")]},
        {"version": None},
    ],
)
def test_a_damaged_file_is_one_line(tmp_path, capture, change):
    path = tmp_path / "frame.json"
    save_frame(path, Frame(Unit("m", 0.25), (0.0, 0.0, 1.0)), capture)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DamagedError, match=r"frame\.json is damaged"):
        load_frame(path, capture)
    path.write_text("[" * 5000)
    with pytest.raises(DamagedError, match=r"frame\.json is damaged"):
        load_frame(path, capture)
    path.write_text(json.dumps({"version": 2}))
    with pytest.raises(NewerError, match="newer version"):
        load_frame(path, capture)
