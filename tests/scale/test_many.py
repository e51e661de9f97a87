"""Many captures, one after the other: names, a failing scene, resuming; and the commands."""

import shutil
from pathlib import Path

import pytest
from tests.helpers.heard import Heard

import gags
from gags import cli
from gags.errors import GagsError
from gags.scale import many
from gags.scale.driver import has_report
from gags.workspace import Workspace

# The stages themselves are stood in for: what they do is tested elsewhere.


class Runs:
    """Stands for `gags.pipeline.run`: leaves a record, or fails as its capture wants."""

    def __init__(self):
        self.asked = []

    def __call__(self, capture, out, settings, *, photos, splats, report, progress):
        self.asked.append((capture.name, report))
        if capture.name.startswith("bad"):
            raise gags.CaptureError(f"{capture} has\nno photos")
        if capture.name.startswith("bug"):
            raise ZeroDivisionError("oh")
        progress.say("working")
        Workspace(out).finish("things", "stamp", 1.0)
        (Path(out) / "report").mkdir(exist_ok=True)
        (Path(out) / "report" / "index.html").touch()


@pytest.fixture
def runs(monkeypatch):
    stand_in = Runs()
    monkeypatch.setattr(many.pipeline, "run", stand_in)
    return stand_in


@pytest.fixture
def captures(tmp_path):
    """A function from names to folders."""

    def make(*names: str) -> list[Path]:
        folders = [tmp_path / "captures" / name for name in names]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        return folders

    return make


def test_one_that_fails_is_told_with_its_reason_and_the_others_go_on(runs, captures, tmp_path):
    heard = Heard()
    asked = captures("desk", "bad", "bug", "shelf")
    results = gags.run_many(asked, tmp_path / "out", progress=heard)
    assert [(result.name, result.error) for result in results] == [
        ("desk", None),
        ("bad", f"{asked[1]} has no photos"),
        ("bug", "unexpected ZeroDivisionError: oh; please report it"),
        ("shelf", None),
    ]
    assert [result.out for result in results] == [
        tmp_path / "out" / name for name in ("desk", "bad", "bug", "shelf")
    ]
    assert heard.warned == [
        f"bad failed: {asked[1]} has no photos",
        "bug failed: unexpected ZeroDivisionError: oh; please report it",
    ]
    assert ["in __call__" in result.details for result in results] == [False, False, True, False]
    assert heard.said == ["desk: working", "shelf: working"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["desk", "shelf"]


def test_a_scene_that_fails_keeps_what_was_there(runs, captures, tmp_path):
    workspace = Workspace.create(tmp_path / "out" / "bad")
    workspace.finish("reconstruct", "stamp", 1.0)
    before = workspace.config.read_bytes()
    gags.run_many(captures("bad"), tmp_path / "out")
    assert workspace.config.read_bytes() == before


def test_a_folder_that_is_no_scene_is_left_alone(runs, captures, tmp_path):
    (tmp_path / "out" / "desk").mkdir(parents=True)
    (tmp_path / "out" / "desk" / "letter.txt").write_text("mine")
    (result,) = gags.run_many(captures("desk"), tmp_path / "out")
    assert "holds files that are not a gags scene" in (result.error or "")
    assert [path.name for path in (tmp_path / "out" / "desk").iterdir()] == ["letter.txt"]


def test_a_report_is_written_again_only_after_a_stage(runs, captures, tmp_path):
    asked, out = captures("desk"), tmp_path / "out"
    gags.run_many(asked, out)
    gags.run_many(asked, out, report=False)
    shutil.rmtree(out / "desk" / "report")
    gags.run_many(asked, out)
    assert [report for _, report in runs.asked] == [True, False, True]
    workspace = Workspace(out / "desk")
    assert has_report(workspace)
    workspace.finish("things", "other", 1.0)
    (workspace.report / "index.html").touch()
    assert has_report(workspace)


def test_captures_that_would_share_a_folder_are_refused_before_anything_starts(runs, captures, tmp_path):
    with pytest.raises(GagsError, match=r"a/desk and .*b/Desk would both become .*; rename one of them"):
        gags.run_many(captures("a/desk", "b/Desk"), tmp_path / "out")
    with pytest.raises(GagsError, match="give --ray, too"):
        gags.run_many(captures("desk"), tmp_path / "out", gpus_per_scene=1)
    with pytest.raises(GagsError, match="there are no captures"):
        gags.run_many([], tmp_path / "out")
    assert runs.asked == []


def test_a_video_is_called_without_its_suffix(runs, captures, tmp_path):
    video = captures("x")[0].parent / "kitchen.mp4"
    video.touch()
    assert [result.name for result in gags.run_many([video], tmp_path / "out")] == ["kitchen"]


def test_the_command_prints_every_scene_and_ends_with_1_if_one_failed(runs, captures, tmp_path, capsys):
    desk, bad = map(str, captures("desk", "bad"))
    assert cli.main(["run-many", desk, bad, "--out", str(tmp_path / "out")]) == 1
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0].startswith("desk ")
    assert lines[0].endswith(" s  done")
    assert lines[1].endswith(f"failed: {bad} has no photos")
    assert lines[2].startswith("1 of 2 scenes failed")
    assert "desk: working" in printed.err
    assert cli.main(["run-many", desk, "--out", str(tmp_path / "out")]) == 0


def test_settings_reach_every_scene(captures, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(gags, "run_many", lambda *args, **kwargs: seen.append((args, kwargs)) or [
        many.SceneResult("desk", Path("desk"), Path("out/desk"), 1.0)
    ], raising=False)  # fmt: skip
    command = [
        "run-many",
        *map(str, captures("a", "b")),
        "--out",
        "out",
        "--ray",
        "local",
        "--gpus-per-scene",
        "0.5",
    ]
    command += ["--cpus-per-scene", "3", "--distill.steps", "7", "--max-size", "320", "--encoder", "lite"]
    assert cli.main(command) == 0
    ((captured, out, settings), options) = seen[0]
    assert [path.name for path in captured] == ["a", "b"]
    assert out == Path("out")
    assert settings.distill == {"steps": 7}
    assert settings.encoder == "lite"
    assert options["photos"].max_size == 320
    assert (options["ray"], options["gpus_per_scene"], options["cpus_per_scene"]) == ("local", 0.5, 3)


def test_run_goes_to_ray_when_it_is_asked_to(captures, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        gags, "run_on_ray", lambda *args, **kwargs: seen.append(kwargs) or 1 / 0, raising=False
    )
    (desk,) = captures("desk")
    assert (
        cli.main(["run", str(desk), "--out", str(tmp_path / "ws"), "--ray", "auto", "--cpus-per-scene", "2"])
        == 1
    )
    assert (seen[0]["ray"], seen[0]["cpus_per_scene"], seen[0]["gpus_per_scene"]) == ("auto", 2, None)
