"""What a benchmark settles once: what "auto" stands for, and which data a scene has."""

from dataclasses import replace

import pytest
from tests.helpers.heard import Heard
from tests.helpers.toy_capture import write_capture

from gags.capture import load_capture
from gags.compare.chosen import choose_once, chosen_for, chosen_in, data_stamp
from gags.compare.harness import CompareSettings
from gags.compare.methods.goi import GoiSettings
from gags.compare.methods.grouping import GroupingSettings
from gags.models import choose
from gags.pipeline import RunSettings
from gags.workspace import Workspace


@pytest.fixture(autouse=True)
def hub(monkeypatch):
    """Every segmenter and encoder can be fetched; of detectors, whatever is named is there."""
    monkeypatch.setattr(choose, "_have", lambda name, kind, progress: f"{name}@1")

    def ready(self, progress):
        return replace(self, detector=f"{self.detector}@1")

    monkeypatch.setattr(GroupingSettings, "ready", ready)
    monkeypatch.setattr(GoiSettings, "ready", ready)


def _of_stages(found):
    return found.stages.segmenter, found.stages.encoder, found.stages.preset


def test_auto_stays_with_what_is_there():
    heard = Heard()
    before = {"segmenter": "sam", "encoder": "lite", "preset": "released", "grouping.detector": "none"}
    found = choose_once(CompareSettings(), RunSettings(), ["gags", "grouping", "goi"], before, heard)
    assert _of_stages(found) == (
        "sam@1",
        "lite@1",
        "released",
    )
    assert found.settings.grouping.detector == "none@1"
    assert found.settings.goi.detector == "auto@1"
    assert found.names == {
        "segmenter": "sam@1",
        "encoder": "lite@1",
        "preset": "released",
        "grouping.detector": "none@1",
        "goi.detector": "auto@1",
    }
    assert (
        "Models as in the results so far: segmenter sam, encoder lite, grouping.detector none" in heard.said
    )


def test_the_preset_goes_with_its_models():
    """Other models are named now: their own preset is chosen, not that of what is there."""
    before = {"segmenter": "sam", "encoder": "lite", "preset": "released"}
    found = choose_once(CompareSettings(), RunSettings(encoder="clip"), ["gags"], before)
    assert _of_stages(found) == ("sam@1", "clip@1", "lite")


def test_what_is_named_counts_and_models_that_nobody_needs_are_not_looked_for():
    before = {"segmenter": "sam", "encoder": "lite", "preset": "released", "grouping.detector": "none"}
    settings = CompareSettings(goi=GoiSettings(detector="dino"))
    stages = RunSettings(segmenter="other", encoder="clip", preset="paper")
    found = choose_once(settings, stages, ["gags"], before)
    assert _of_stages(found) == (
        "other@1",
        "clip@1",
        "paper",
    )
    assert found.settings.goi.detector == "dino"
    assert found.names["grouping.detector"] == "none"
    assert "goi.detector" not in found.names


def test_scenes_of_a_benchmark_say_what_was_chosen(tmp_path):
    assert chosen_in(tmp_path, ("ramen", "teatime")) == {}
    Workspace.create(tmp_path / "ramen" / "run_0" / "scene")  # not described yet
    record = {"segmenter": "sam", "encoder": "lite", "preset": "paper", "splats": "stamp"}
    workspace = Workspace.create(tmp_path / "teatime" / "run_1" / "scene")
    workspace.finish("describe", "stamp", 1.0, record)
    wanted = {"segmenter": "sam", "encoder": "lite", "preset": "paper"}
    assert chosen_in(tmp_path, ("ramen", "teatime")) == wanted
    assert chosen_for({"encoder": "lite", "preset": "of another version"}) == {"encoder": "lite"}


def test_data_are_told_apart_by_content_alone(tmp_path):
    folders = [write_capture(tmp_path / name / "capture", views=2) for name in "ab"]
    first, second = (data_stamp(load_capture(folder), folder / "labels") for folder in folders)
    assert first == second
    label = next((folders[1] / "labels").glob("*.json"))
    label.write_text(label.read_text() + " ")
    assert data_stamp(load_capture(folders[1]), folders[1] / "labels") != first
    photo = next(view.path for view in load_capture(folders[0]))
    photo.write_bytes(photo.read_bytes() + b" ")
    assert data_stamp(load_capture(folders[0]), folders[0] / "labels") != first
