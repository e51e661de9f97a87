"""Scenes that methods learn from: what is no such scene, and as many prompts spread evenly."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from gags import pipeline
from gags.compare.scenes import (
    Described,
    crops_settings,
    prompted_scene,
    shared_scene,
    take_gaussians,
    uniform_settings,
)
from gags.distill.presets import PRESETS
from gags.errors import CompareError, ModelError, WorkspaceError
from gags.pipeline import RunSettings
from gags.segment.settings import DescribeSettings
from gags.workspace import StageRecord, Workspace


def test_a_missing_model_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    nothing = None  # no capture is looked at
    with pytest.raises(ModelError, match="no segmenter is called 'no-such-model'"):
        shared_scene(nothing, tmp_path / "scene", RunSettings(segmenter="no-such-model"))  # type: ignore[arg-type]
    assert not (tmp_path / "scene" / "splats.ply").exists()


def test_a_scene_needs_gaussians_and_masks_of_them(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path)
    with pytest.raises(WorkspaceError, match="has no Gaussians yet; run `gags run` first"):
        Described.open(tmp_path)
    workspace.splats.touch()
    workspace.finish("reconstruct", "first", 1.0, {})
    with pytest.raises(WorkspaceError, match="has no masks of its Gaussians yet; run `gags describe"):
        Described.open(tmp_path)
    workspace.finish("describe", "masks", 1.0, {"splats": "another"})
    with pytest.raises(WorkspaceError, match="has no masks of its Gaussians yet"):
        Described.open(tmp_path)


def _scene(tmp_path: Path, settings: dict) -> Described:
    record = StageRecord("stamp", 1.0, "2025-01-01", {"segment": settings})
    return Described(Workspace(tmp_path), None, record, record)  # type: ignore[arg-type]


def test_settings_of_masks_come_back(tmp_path: Path) -> None:
    settings = DescribeSettings(min_area=6, prompts_per_patch=0.5)
    assert _scene(tmp_path, asdict(settings)).segment_settings() == settings
    with pytest.raises(WorkspaceError, match=r"does not know \(.*colour.*\); run `gags describe .* again"):
        _scene(tmp_path, {"colour": "red"}).segment_settings()


def test_as_many_prompts_are_spread_evenly_over_64_patches_a_photo() -> None:
    settings = DescribeSettings(exponent=2.0, prompts_per_patch=4.0, min_area=6)
    even = uniform_settings(settings, prompts=3200, photos=10)
    assert even == DescribeSettings(exponent=0.0, prompts_per_patch=5.0, min_area=6)
    released = uniform_settings(DescribeSettings(prompts="released"), prompts=640, photos=10)
    assert released == DescribeSettings(prompts="density", exponent=0.0, prompts_per_patch=1.0)


def test_langsplat_makes_5120_prompts_of_its_own_and_has_its_own_rules_for_masks() -> None:
    """Whatever the scene was described with; its rules for masks are those of the released program."""
    lite = DescribeSettings(min_area=6, exponent=0.0, prompts_per_patch=9.0)
    wanted = crops_settings(lite)
    assert wanted.prompts == "crops"
    assert 5 * wanted.grid_side**2 == 5120
    released = PRESETS["released"].describe
    expected = replace(
        released, prompts="crops", prompts_per_patch=DescribeSettings().prompts_per_patch, replacement=False
    )
    assert wanted == replace(expected, min_area=6)
    assert crops_settings(released) == expected
    assert crops_settings(wanted) == wanted


def test_a_scene_with_uniform_prompts_is_not_copied_again(tmp_path: Path) -> None:
    with pytest.raises(CompareError, match="was itself made with uniform prompts"):
        prompted_scene(
            _scene(tmp_path, asdict(DescribeSettings(exponent=0.0))), "uniform", tmp_path / "uniform"
        )
    with pytest.raises(CompareError, match="was itself made with uniform prompts"):
        prompted_scene(_scene(tmp_path, {"prompts": "grid"}), "uniform", tmp_path / "uniform")
    assert not (tmp_path / "uniform").exists()


def test_a_scene_serves_itself_if_nothing_else_is_asked_for(tmp_path: Path) -> None:
    scene = _scene(tmp_path, asdict(DescribeSettings()))
    assert prompted_scene(scene, "granularity-aware", tmp_path / "other") is scene
    own = _scene(tmp_path, asdict(crops_settings(DescribeSettings())))
    assert prompted_scene(own, "crops", tmp_path / "other") is own
    assert not (tmp_path / "other").exists()


def test_scenes_of_other_prompts_say_of_which_preset_they_are(tmp_path: Path, monkeypatch) -> None:
    """So that `gags distill` in such a folder goes on with what its masks were made with."""
    source = Workspace.create(tmp_path / "source")
    source.splats.touch()
    source.capture.touch()
    source.finish("reconstruct", "stamp", 1.0, {})
    made = []
    monkeypatch.setattr(pipeline, "describe", lambda workspace, settings, **more: made.append(more["preset"]))
    monkeypatch.setattr(Described, "open", lambda root: None)
    for before, prompts, after in (
        ("released", "crops", "released"),
        ("released", "paper", "paper"),
        ("lite", "released", "released"),
        ("of another version", "crops", "auto"),
    ):
        about = {"segment": {}, "segmenter": "some", "encoder": "other", "preset": before}
        masks = StageRecord("stamp", 1.0, "2025-01-01", about)
        prompted_scene(Described(source, None, masks, masks), prompts, tmp_path / prompts)  # type: ignore[arg-type]
        assert made.pop() == after


def test_gaussians_are_taken_once_and_again_when_they_were_made_anew(tmp_path: Path) -> None:
    source = Workspace.create(tmp_path / "source")
    with pytest.raises(WorkspaceError, match="source has no Gaussians yet; run `gags reconstruct` first"):
        take_gaussians(source.root, tmp_path / "target")
    for content in (b"first", b"second"):
        source.splats.write_bytes(content)
        source.capture.write_bytes(content)
        source.finish("reconstruct", content.decode(), 7.0, {"steps": 60})
        target = take_gaussians(source.root, tmp_path / "target")
        assert target.splats.read_bytes() == target.capture.read_bytes() == content
        made, taken = source.record("reconstruct"), target.record("reconstruct")
        assert made is not None
        assert taken is not None
        assert (taken.stamp, taken.seconds, taken.settings) == (made.stamp, 7.0, {"steps": 60})
    target.splats.write_bytes(b"kept")
    assert take_gaussians(source.root, tmp_path / "target").splats.read_bytes() == b"kept"
