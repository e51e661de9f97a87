"""A scene made by gags 0.1.0 opens, answers as it did there, and is not made again without need."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

import gags
from gags import cli, pipeline, scene
from gags.query.answers import answer_view
from gags.workspace import Workspace
from tests.helpers.toy_capture import ColorEncoder

# Made by 0.1.0: `gags run` on the balls of `toy_capture` with `SETTINGS`, `gags evaluate`, `gags locate`.
ARCHIVE = Path(__file__).parent / "data" / "scene_0_1_0.zip"
SETTINGS = ["--fit.steps", "60", "--distill.steps", "80"]
SETTINGS += ["--segment.min-area", "6", "--segment.prompts-per-patch", "1"]


@pytest.fixture
def former(tmp_path, monkeypatch):
    """Folder of the old scene, with its photos where it expects them."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(tmp_path)
    record = tmp_path / "scene" / "capture.json"
    record.write_text(record.read_text().replace("@ROOT@", str(tmp_path)))
    monkeypatch.setattr(pipeline, "load_encoder", lambda name, progress=None: ColorEncoder())
    monkeypatch.setattr(scene, "load_encoder", lambda name, progress=None: ColorEncoder())
    return tmp_path / "scene"


def test_it_answers_as_it_did(former):
    expected = json.loads((former.parent / "expected.json").read_text())
    assert expected["version"] == "0.1.0"
    loaded = gags.Scene.load(former)
    for row in expected["answers"]:
        queries, camera = loaded.queries(row["text"]), loaded.capture["view_00"].camera
        (answer,) = answer_view(loaded.gaussians, loaded.field, camera, queries)
        assert list(answer.peak) == row["peak"]
        assert answer.score == pytest.approx(row["score"], abs=1e-5)
        assert int(answer.mask.sum()) == pytest.approx(row["mask"], abs=3)
        (found,) = loaded.locate(row["text"])
        assert len(found) == len(row["instances"])
        for instance, was in zip(found, row["instances"], strict=True):
            # Things are found anew: a Gaussian at a border may have changed sides.
            assert int(instance.mask.sum()) == pytest.approx(was["gaussians"], rel=0.2)
            assert instance.views == was["views"]
            assert np.abs(instance.box.center - was["center"]).max() < 0.1
    words = ["red ball", "green ball", "blue ball", "yellow ball", "floor"]
    assert sorted(entry.name for entry in loaded.catalog(words)) == sorted(expected["catalog"])


def test_stages_on_record_are_found_under_their_new_names(former):
    workspace = Workspace.open(former)
    assert workspace.record("reconstruct").settings["steps"] == 60
    assert workspace.record("distill").settings["steps"] == 80
    assert workspace.record("things") is None


def test_the_same_command_makes_nothing_again(former, capsys):
    made = [path for path in former.rglob("*.safetensors") if path.name != "things.safetensors"]
    pieces = {path: path.read_bytes() for path in made}  # things are found anew, in a new format
    pieces[former / "splats.ply"] = (former / "splats.ply").read_bytes()
    capture = former.parent / "capture"
    models = ["--segmenter", "mobile-sam", "--encoder", "lite"]
    monkey = pytest.MonkeyPatch()
    monkey.setattr("gags.pipeline.choose_models", lambda *_, **__: ("mobile-sam", "lite"))
    try:
        assert cli.main(["run", str(capture), "--out", str(former), *SETTINGS, *models, "--debug"]) == 0
    finally:
        monkey.undo()
    said = capsys.readouterr().err
    assert said.count("done already") == 3
    assert {path: path.read_bytes() for path in pieces} == pieces
    assert Workspace.open(former).record("things") is not None
