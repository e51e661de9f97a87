"""The whole pipeline and its commands on a toy capture: right answers, resume, clear errors."""

import json
import shutil
import tomllib
from dataclasses import fields, replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import cv2
import numpy as np
import pytest
import tomli_w
import torch

import gags
from gags import cli, models, pipeline, scene
from gags.compare import job
from gags.compare.scenes import Described
from gags.distill.presets import PRESETS
from gags.distill.settings import DistillSettings
from gags.embed.description import Description
from gags.errors import SplatsError
from gags.files import write_json
from gags.gaussians.ply import load_ply
from gags.models import device
from gags.pipeline.describing import DescribePlan, SpentTime
from gags.progress import Bar, StageClock
from gags.segment.settings import DescribeSettings
from gags.workspace import Workspace
from tests.helpers.heard import Heard
from tests.helpers.html_page import Page
from tests.helpers.toy_capture import HEIGHT, WIDTH, ColorEncoder, ColorSegmenter, write_capture

FAST = [
    "--reconstruct.steps",
    "60",
    "--distill.steps",
    "80",
    "--describe.min-area",
    "6",
    "--describe.prompts-per-patch",
    "1",
]


@pytest.fixture(scope="session")
def toy_capture(tmp_path_factory):
    return write_capture(tmp_path_factory.mktemp("toy") / "balls")


@pytest.fixture(autouse=True)
def segmenter(monkeypatch):
    """Stands in for the models that need weights; counts the photos it sees."""
    chosen = ColorSegmenter()
    monkeypatch.setattr(pipeline, "load_segmenter", lambda name, progress=None: chosen)
    monkeypatch.setattr(pipeline, "load_encoder", lambda name, progress=None: ColorEncoder())
    monkeypatch.setattr(scene, "load_encoder", lambda name, progress=None: ColorEncoder())
    monkeypatch.setattr(job, "load_encoder", lambda name, progress=None: ColorEncoder())
    monkeypatch.setattr(models, "ensure", lambda name, progress=None: None)
    return chosen


def _run(capture, out, *more):
    return cli.main(["run", str(capture), "--out", str(out), *FAST, *more, "--debug"])


@pytest.fixture(scope="session")
def finished(toy_capture, tmp_path_factory):
    """A finished scene, made once; tests that change it copy it."""
    out = tmp_path_factory.mktemp("finished") / "ws"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "load_segmenter", lambda name, progress=None: ColorSegmenter())
        patch.setattr(pipeline, "load_encoder", lambda name, progress=None: ColorEncoder())
        patch.setattr(scene, "load_encoder", lambda name, progress=None: ColorEncoder())
        patch.setattr(models, "ensure", lambda name, progress=None: None)
        assert _run(toy_capture, out) == 0
    return out


@pytest.fixture
def workspace(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "ws")
    return tmp_path / "ws"


def test_run_leaves_every_piece(finished):
    workspace = Workspace.open(finished)
    pieces = [workspace.capture, workspace.splats, workspace.field, workspace.metrics]
    assert all(path.exists() for path in pieces)
    assert (workspace.report / "index.html").exists()
    assert not workspace.reconstruct_checkpoint.exists()
    assert len(list((finished / "features").iterdir())) == 10  # 12 photos, every 8th held out
    assert {"psnr", "ssim", "gaussians", "masks"} <= workspace.read_metrics().keys()
    assert list(finished.rglob("*.tmp*")) == []


def test_every_way_says_once_why_gaussians_stay_on_the_cpu(workspace, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(device, "gpu_computes", lambda: False)
    monkeypatch.setattr(device, "scene_problem", lambda progress, *, again: "no gsplat")
    made = Workspace.open(workspace)
    shutil.rmtree(made.descriptions)
    made.things.unlink()

    def told(work) -> list[str]:
        listener = Heard()
        work(listener)
        return [line for line in listener.said if line == "Gaussians stay on the CPU: no gsplat"]

    settings = DescribeSettings(min_area=6, prompts_per_patch=1)
    ways = [
        lambda progress: gags.describe(workspace, settings, progress=progress),
        lambda progress: gags.distill(workspace, DistillSettings(steps=2), progress=progress),
        lambda progress: gags.things(workspace, progress=progress),
        lambda progress: gags.Scene.load(workspace, progress=progress),
        lambda progress: gags.report(workspace, progress=progress),
        lambda progress: job._inputs(Described.open(workspace), StageClock(progress)),
    ]
    assert [len(told(way)) for way in ways] == [1] * len(ways)


def test_query_finds_each_ball(finished, toy_capture, tmp_path, capsys):
    texts = ["red ball", "blue ball"]
    command = ["query", str(finished), *texts, "--view", "view_00", "--view", "view_06.png"]
    assert cli.main([*command, "--out", str(tmp_path), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["text"], row["view"]) for row in rows] == list(
        product(texts, ["view_00.png", "view_06.png"])
    )
    for row in rows:
        truth = _truth(toy_capture, row["view"], row["text"])
        mask = cv2.imread(row["mask"], cv2.IMREAD_UNCHANGED)
        relevancy = np.load(row["relevancy"])
        assert mask.dtype == np.uint8
        assert set(np.unique(mask)) <= {0, 255}
        assert mask.shape == relevancy.shape == truth.shape
        assert relevancy.dtype == np.float32
        x, y = row["peak"]
        assert truth[y, x]
        assert ((mask > 0) & truth).sum() / ((mask > 0) | truth).sum() > 0.5
        assert row["score"] == pytest.approx(relevancy[y, x], abs=1e-4)
        overlay = cv2.imread(row["overlay"])
        assert overlay.shape[0] > truth.shape[0]


def _truth(capture, view, text):
    labels = json.loads((capture / "labels" / view.replace("png", "json")).read_text())
    canvas = np.zeros((HEIGHT, WIDTH), np.uint8)
    for thing in labels["objects"]:
        if thing["category"] == text:
            cv2.fillPoly(canvas, [np.array(thing["segmentation"])], 1)
    return canvas > 0


def test_query_without_views_takes_those_with_the_best_scores(finished, tmp_path, capsys):
    assert cli.main(["query", str(finished), "red ball", "--out", str(tmp_path), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len({row["view"] for row in rows}) == 3


def test_extract_cuts_out_the_ball(finished, tmp_path):
    assert cli.main(["extract", str(finished), "green ball", "--out", str(tmp_path / "green.ply")]) == 0
    ball = load_ply(tmp_path / "green.ply")
    assert 10 < len(ball) < len(load_ply(finished / "splats.ply")) / 3
    weights = ball.opacities.numpy()
    centre = np.average(ball.means.numpy(), axis=0, weights=weights)
    assert np.linalg.norm(centre - [-1.0, 1.0, 0.4]) < 0.3


def test_evaluate_scores_against_labels(workspace, toy_capture, tmp_path, capsys):
    out = tmp_path / "figures.json"
    command = ["evaluate", str(workspace), "--labels", str(toy_capture / "labels"), "--json", str(out)]
    assert cli.main(command) == 0
    figures = json.loads(out.read_text())
    assert figures["protocol"] == "lerf-ovs"
    assert figures["overall"]["pairs"] == len(figures["rows"]) >= 8
    balls = [row for row in figures["rows"] if row["category"] != "floor"]
    assert np.mean([row["hit"] for row in balls]) == 1.0
    assert np.mean([row["iou"] for row in balls]) > 0.5
    for row in figures["rows"]:
        union = row["mask_pixels"] + row["truth_pixels"] - row["common_pixels"]
        assert row["iou"] == row["common_pixels"] / union
        assert row["truth_pixels"] == _truth(toy_capture, row["frame"], row["category"]).sum()
        assert row["hit"] == any(
            x1 <= row["peak"][0] <= x2 and y1 <= row["peak"][1] <= y2 for x1, y1, x2, y2 in row["boxes"]
        )
    pages = workspace / "report"
    assert json.loads((pages / "evaluation_lerf-ovs.json").read_text()) == figures
    means = json.loads((pages / "metrics.json").read_text())["lerf-ovs"]
    assert means == {key: value for key, value in figures.items() if key != "rows"}
    printed = capsys.readouterr().out
    page = pages / "evaluation_lerf-ovs.html"
    assert "red ball" in printed
    assert str(page) in printed.replace("\n", "")
    assert len(Page(page.read_text()).images) == min(len(figures["rows"]), 24)


def test_evaluate_by_every_protocol_prints_only_json(workspace, toy_capture, capsys):
    labels = str(toy_capture / "labels")
    command = ["evaluate", str(workspace), "--labels", labels, "--protocol", "all", "--json", "-"]
    assert cli.main(command) == 0
    figures = json.loads(capsys.readouterr().out)
    assert list(figures) == ["lerf-ovs", "lerf-ovs-strict", "held-out", "select-3d", "things"]
    for name, result in figures.items():
        assert result["protocol"] == name
        assert (workspace / "report" / f"evaluation_{name}.html").exists()
        assert json.loads((workspace / "report" / f"evaluation_{name}.json").read_text()) == result
    assert set(figures) < set(json.loads((workspace / "report" / "metrics.json").read_text()))
    balls = [row for row in figures["select-3d"]["rows"] if row["category"] != "floor"]
    assert np.mean([row["iou"] for row in balls]) > 0.5
    assert {row["frame"] for row in figures["held-out"]["rows"]} == {"view_00.png"}


def test_a_scene_of_which_nothing_is_held_out(workspace, toy_capture, capsys):
    """The split of a finished scene is taken back: figures of the old one are gone, all protocols work."""
    command = ["reconstruct", str(toy_capture), "--out", str(workspace), "--reconstruct.steps", "60"]
    metrics = workspace / "report" / "metrics.json"
    assert {"psnr", "ssim"} < set(json.loads(metrics.read_text()))
    assert cli.main([*command, "--test-every", "0"]) == 0
    assert not {"psnr", "ssim"} & set(json.loads(metrics.read_text()))
    assert json.loads(metrics.read_text())["psnr_of_photo"] == {}
    assert cli.main(["describe", str(workspace), *FAST[-4:]]) == 0
    assert cli.main(["distill", str(workspace), "--distill.steps", "40"]) == 0
    labels = ["--labels", str(toy_capture / "labels")]
    capsys.readouterr()
    assert cli.main(["evaluate", str(workspace), *labels, "--protocol", "all", "--json", "-"]) == 0
    printed = capsys.readouterr()
    assert "protocol held-out is left out: no labelled photo was held out" in printed.err
    figures = json.loads(printed.out)
    assert list(figures) == ["lerf-ovs", "lerf-ovs-strict", "select-3d", "things"]
    assert all(result["held_out"]["pairs"] == 0 for result in figures.values())
    assert all(result["trained_on"] == result["overall"] for result in figures.values())
    page = Page((workspace / "report" / "evaluation_lerf-ovs-strict.html").read_text())
    assert not any(line.startswith("held out ") for line in page.lines)
    assert cli.main(["evaluate", str(workspace), *labels, "--protocol", "held-out"]) == 1
    assert "no labelled photo was held out" in capsys.readouterr().err
    report = Page(gags.report(workspace, ["red ball"]).read_text())
    assert "things.html" in report.links()
    assert (workspace / "report" / "things.html").exists()
    assert not any("held out" in line or "PSNR, held-out" in line for line in report.lines)


def test_evaluate_by_position(workspace, toy_capture, tmp_path, capsys):
    """Labels called as Mip-NeRF360-OVS calls them: `frame_00007` is the seventh photo, `view_06`."""
    for row in (0, 6):
        content = (toy_capture / "labels" / f"view_{row:02d}.json").read_bytes()
        (tmp_path / f"frame_{row + 1:05d}.json").write_bytes(content)
    command = ["evaluate", str(workspace), "--json", "-", "--labels"]
    assert cli.main([*command, str(toy_capture / "labels")]) == 0
    by_name = json.loads(capsys.readouterr().out)
    assert cli.main([*command, str(tmp_path), "--labels-by", "position"]) == 0
    assert json.loads(capsys.readouterr().out) == by_name
    result = gags.Scene.load(workspace).evaluate(tmp_path, "held-out", labels_by="position")["held-out"]
    assert {row.frame for row in result.rows} == {"view_00.png"}
    assert cli.main([*command, str(tmp_path)]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("gags evaluate:")]
    assert "labels 'frame_00001', but no photo of that name" in line
    assert cli.main([*command, str(toy_capture / "labels"), "--labels-by", "position"]) == 1
    assert "view_00.json labels photo 0 by position" in capsys.readouterr().err


def test_python_answers_like_the_command_line(finished, tmp_path, capsys):
    loaded = gags.Scene.load(finished)
    (answer,) = loaded.query("red ball", "view_00")
    assert (
        cli.main(["query", str(finished), "red ball", "--view", "view_00", "--out", str(tmp_path), "--json"])
        == 0
    )
    (row,) = json.loads(capsys.readouterr().out)
    assert row["peak"] == list(answer.peak)
    np.testing.assert_array_equal(cv2.imread(row["mask"], cv2.IMREAD_UNCHANGED) > 0, answer.mask)
    (from_camera,) = loaded.query("red ball", loaded.capture["view_00"].camera)
    np.testing.assert_array_equal(from_camera.relevancy, answer.relevancy)
    best = loaded.query("red ball")
    assert [one.view for one in best] == [
        view.name for view in loaded.best_views(loaded.queries("red ball"))[0]
    ]
    assert cli.main(["extract", str(finished), "red ball", "--out", str(tmp_path / "command.ply")]) == 0
    ball = loaded.extract("red ball", tmp_path / "python.ply")
    assert (tmp_path / "command.ply").read_bytes() == (tmp_path / "python.ply").read_bytes()
    rest = loaded.delete(loaded.locate("red ball")[0])
    assert len(ball) + len(rest) == len(loaded.gaussians)
    for wanted in (["red ball"], [["red ball"]], loaded.queries("red ball"), (t for t in ["red ball"])):
        assert len(loaded.extract(wanted)) == len(ball)
    with pytest.raises(gags.QueryError, match="not an object of type int"):
        loaded.extract([3])
    for nothing in (None, ["red ball", None]):
        with pytest.raises(gags.QueryError, match="not an object of type NoneType"):
            loaded.locate(nothing)
    other = replace(loaded.locate("red ball")[0][0], mask=torch.ones(3, dtype=torch.bool))
    with pytest.raises(gags.QueryError, match="located in another scene"):
        loaded.extract(other)
    with pytest.raises(gags.QueryError, match="not an object of type PosixPath"):
        loaded.query("red ball", tmp_path)
    with pytest.raises(gags.QueryError, match="from 0 to 1"):
        loaded.recolor("red ball", (255, 0, 0))


def test_run_in_python_leaves_what_the_command_leaves(finished, toy_capture, tmp_path):
    settings = gags.RunSettings(
        gags.ReconstructSettings(steps=60),
        gags.DescribeSettings(min_area=6, prompts_per_patch=1),
        gags.DistillSettings(steps=80),
    )
    gags.run(toy_capture, tmp_path / "ws", settings)
    there = [{path.relative_to(root) for path in root.rglob("*")} for root in (finished, tmp_path / "ws")]
    assert there[0] - there[1] == set()
    same = [
        "splats.ply",
        "field.safetensors",
        "things.safetensors",
        *(f"features/view_{n:02d}.png.safetensors" for n in (1, 5)),
    ]
    for name in same:
        assert (finished / name).read_bytes() == (tmp_path / "ws" / name).read_bytes(), name


def test_things_is_a_stage_of_its_own(workspace, capsys):
    (workspace / "things.safetensors").unlink()
    assert cli.main(["things", str(workspace)]) == 0
    assert "things with" in capsys.readouterr().out
    found = gags.things(workspace)
    assert len(found) == len(gags.Scene.load(workspace).things()) > 3
    assert Workspace.open(workspace).record("things") is not None


def test_things_stay_when_masks_are_given_away_without_them(workspace, capsys):
    """Features are the largest files of a scene; who leaves them out still has its things."""
    before = len(gags.things(workspace))
    shutil.rmtree(workspace / "features")
    assert len(gags.Scene.load(workspace).things()) == before
    assert gags.Scene.load(workspace).locate("red ball")[0]


def test_files_can_be_read_by_whoever_can_read_new_files(workspace, tmp_path):
    (tmp_path / "new").touch()
    mode = (tmp_path / "new").stat().st_mode
    for name in ("field.safetensors", "things.safetensors", "splats.ply", "config.toml"):
        assert (workspace / name).stat().st_mode == mode, name


def test_query_says_that_nothing_matches(workspace, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(gags.Scene, "_instances", lambda self, queries, progress: [[] for _ in queries.texts])
    assert cli.main(["query", str(workspace), "red ball", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("nothing in the scene matches in view_") == 3


def test_what_a_run_that_was_killed_after_its_record_left_does_not_stay(workspace, toy_capture):
    record, spent = Workspace.open(workspace).record("describe"), Workspace(workspace).describe_time
    assert record is not None
    write_json(spent, {"stamp": record.stamp, "photos": 10, "seconds": 5000.0})
    assert _run(toy_capture, workspace) == 0
    assert not spent.parent.exists()
    assert Workspace.open(workspace).record("describe") == record


def test_second_run_does_nothing(workspace, toy_capture, segmenter, capsys):
    before = {path: path.stat().st_mtime_ns for path in _pieces(workspace)}
    assert _run(toy_capture, workspace) == 0
    assert {path: path.stat().st_mtime_ns for path in _pieces(workspace)} == before
    assert segmenter.encoded == 0
    assert capsys.readouterr().err.count("done already") == 3


def _pieces(workspace):
    return [workspace / "splats.ply", workspace / "field.safetensors", *(workspace / "features").iterdir()]


def test_a_lost_photo_is_described_again_alone(workspace, toy_capture, segmenter):
    features = workspace / "features" / "view_03.png.safetensors"
    before = Description.load(features).masks.labels
    config = tomllib.loads((workspace / "config.toml").read_text())
    config["stages"]["describe"]["seconds"] = 1000.0
    (workspace / "config.toml").write_text(tomli_w.dumps(config))
    features.write_bytes(b"damaged")
    assert _run(toy_capture, workspace) == 0
    assert segmenter.encoded == 1
    np.testing.assert_array_equal(Description.load(features).masks.labels, before)
    record = Workspace(workspace).record("describe")
    assert record is not None
    assert 900 < record.seconds < 1000  # nine of ten photos are those of then


def test_describe_reads_the_stamps_of_every_photo_once(workspace, monkeypatch):
    read = []
    stamps_of = Description.stamps_of
    monkeypatch.setattr(Description, "stamps_of", lambda path: read.append(path) or stamps_of(path))
    lost = next((workspace / "features").glob("*.safetensors"))
    lost.unlink()
    pipeline.describe(Workspace.open(workspace), DescribeSettings(min_area=6, prompts_per_patch=1))
    assert lost.exists()
    assert len(read) == len(set(read)) == len(list((workspace / "features").iterdir()))


def test_changed_distillation_keeps_gaussians_and_masks(workspace, toy_capture, segmenter):
    splats = (workspace / "splats.ply").read_bytes()
    field = (workspace / "field.safetensors").read_bytes()
    assert cli.main(["run", str(toy_capture), "--out", str(workspace), *FAST, "--distill.seed", "1"]) == 0
    assert segmenter.encoded == 0
    assert (workspace / "splats.ply").read_bytes() == splats
    assert (workspace / "field.safetensors").read_bytes() != field


def test_a_scene_has_the_preset_it_was_last_asked_for_with(workspace, segmenter, capsys):
    """Also where two presets come to the same settings and nothing is made again: `distill` goes by it."""
    describe = ["describe", str(workspace), "--describe.min-area", "6", "--describe.prompts-per-patch", "1"]
    distill = ["distill", str(workspace), "--distill.steps", "3"]
    assert cli.main([*describe, "--preset", "released"]) == 0
    seen = segmenter.encoded
    assert cli.main([*describe, "--preset", "paper", "--describe.prompts", "released"]) == 0
    assert segmenter.encoded == seen
    assert "describe has the preset paper now, not released" in " ".join(capsys.readouterr().err.split())
    described = Workspace.open(workspace).record("describe").settings
    assert described["preset"] == "paper"
    assert described["changed"] == ["prompts", "prompts_per_patch", "min_area"]
    assert cli.main(distill) == 0
    record = Workspace.open(workspace).record("distill")
    assert (record.settings["preset"], record.settings["decoder"]) == ("paper", "one-net")
    # The same of the language field, whose settings are spelled out as changes to another preset.
    changes = {name: record.settings[name] for name in record.settings["changed"]}
    assert changes == {"steps": 3}
    paper, lite = PRESETS["paper"].distill, PRESETS["lite"].distill
    differing = {
        f.name: getattr(paper, f.name)
        for f in fields(paper)
        if getattr(paper, f.name) != getattr(lite, f.name)
    }
    gags.distill(workspace, differing | {"steps": 3}, preset="lite")
    again = Workspace.open(workspace).record("distill")
    assert (again.stamp, again.finished, again.seconds) == (record.stamp, record.finished, record.seconds)
    assert again.settings["preset"] == "lite"
    assert set(again.settings["changed"]) == {*differing, "steps"}


@pytest.mark.parametrize(
    ("segmenter", "encoder", "told"),
    [
        ("mobile-sam", "lite", "Preset: lite, for mobile-sam and lite"),
        (
            "facebook/sam-vit-huge@a1",
            "laion/CLIP-ViT-B-16-laion2B-s34B-b88K@b2",
            "Preset: paper, for facebook/sam-vit-huge",
        ),
    ],
)
def test_the_preset_that_the_models_get_is_told_in_one_line(tmp_path, segmenter, encoder, told):
    heard, workspace = Heard(), Workspace.create(tmp_path / "ws")
    models = {"segmenter": segmenter, "encoder": encoder}
    chosen = pipeline.chosen_settings(workspace, pipeline.RunSettings(), **models, progress=heard)
    (line,) = heard.said
    assert line.startswith(told)
    assert line.endswith("(--preset chooses another)")
    assert f" {chosen.preset}," in line
    pipeline.chosen_settings(workspace, pipeline.RunSettings(preset="released"), **models, progress=heard)
    assert len(heard.said) == 1  # whoever names one knows it


def test_a_scene_keeps_its_preset_and_says_so(workspace):
    heard = Heard()
    models = {"segmenter": "facebook/sam-vit-huge", "encoder": "openai/clip-vit-base-patch16"}
    chosen = pipeline.chosen_settings(Workspace(workspace), pipeline.RunSettings(), **models, progress=heard)
    assert chosen.preset == "lite"
    assert heard.said == ["Preset: lite, as before (--preset chooses another)"]


def test_stopped_run_goes_on_where_it_was(finished, toy_capture, tmp_path, monkeypatch):
    out = tmp_path / "ws"
    stopping = ColorSegmenter(fail_after=4)
    monkeypatch.setattr(pipeline, "load_segmenter", lambda name, progress=None: stopping)
    assert _run(toy_capture, out) == 130
    assert len(list((out / "features").iterdir())) == 4
    spent = out / ".run" / "describe.json"
    noted = json.loads(spent.read_text())
    assert noted["photos"] == 4
    assert 0 < noted["seconds"] < 1000
    spent.write_text(json.dumps(noted | {"seconds": 1000.0}))  # as if these four had taken so long
    second = ColorSegmenter()
    monkeypatch.setattr(pipeline, "load_segmenter", lambda name, progress=None: second)
    assert _run(toy_capture, out) == 0
    assert second.encoded == 6
    expected = Description.load(finished / "features" / "view_10.png.safetensors")
    actual = Description.load(out / "features" / "view_10.png.safetensors")
    np.testing.assert_array_equal(actual.masks.labels, expected.masks.labels)
    record = Workspace(out).record("describe")
    assert record is not None
    assert 1000 < record.seconds < 2000
    assert not spent.parent.exists()


NOTED = {"stamp": "of it", "photos": 8, "seconds": 1000.0}


@pytest.mark.parametrize(
    ("noted", "done", "expected"),
    [
        (NOTED, 8, 1000.0),
        (NOTED, 2, 250.0),  # six of them were lost
        (NOTED, 9, 1000.0),  # killed between a photo and its note
        (NOTED, 0, 0.0),
        (NOTED | {"stamp": "other"}, 8, 0.0),
        (NOTED | {"photos": 0}, 8, 0.0),
        (NOTED | {"photos": None}, 8, 0.0),
        (NOTED | {"seconds": "long"}, 8, 0.0),
        (NOTED | {"seconds": float("nan")}, 8, 0.0),
        (NOTED | {"seconds": -1.0}, 8, 0.0),
        ([], 8, 0.0),
        (None, 8, 0.0),
    ],
)
def test_seconds_of_earlier_runs_count_for_the_photos_that_are_left_of_them(tmp_path, noted, done, expected):
    workspace, bar = Workspace.create(tmp_path), Bar(20)
    if noted is not None:
        write_json(workspace.describe_time, noted)
    plan = SimpleNamespace(stamp="of it")
    spent = SpentTime(workspace, cast(DescribePlan, plan))
    spent.begin(bar, done)
    assert (bar.done, bar.earlier) == (done, expected)
    spent.save()
    kept = json.loads(workspace.describe_time.read_text())
    assert kept == {"stamp": "of it", "photos": done + 1, "seconds": pytest.approx(expected, abs=60)}


def test_adopted_gaussians_are_kept_by_later_runs(finished, toy_capture, tmp_path, capsys):
    out = tmp_path / "ws"
    shutil.copy(finished / "splats.ply", tmp_path / "mine.ply")
    command = ["reconstruct", str(toy_capture), "--out", str(out), "--splats", str(tmp_path / "mine.ply")]
    assert cli.main(command) == 0
    adopted = (out / "splats.ply").read_bytes()
    assert len(load_ply(out / "splats.ply")) == len(load_ply(tmp_path / "mine.ply"))
    assert _run(toy_capture, out) == 0
    assert (out / "splats.ply").read_bytes() == adopted
    assert "keeping the ones adopted" in capsys.readouterr().err


def darkened(photo: Path) -> None:
    """Write another photo under the same name."""
    cv2.imwrite(str(photo), cv2.imread(str(photo)) // 2)


@pytest.mark.parametrize("stage", ["describe", "distill", "things"])
def test_a_photo_that_changed_is_refused_by_a_stage_alone(finished, toy_capture, tmp_path, capsys, stage):
    out, capture = tmp_path / "ws", tmp_path / "capture"
    shutil.copytree(toy_capture, capture)
    shutil.copytree(finished, out)
    saved = (out / "capture.json").read_text().replace(str(toy_capture), str(capture))
    (out / "capture.json").write_text(saved)
    assert cli.main([stage, str(out)]) == 0
    darkened(capture / "images" / "view_03.png")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert cli.main([stage, str(out)]) == 1
    assert f"1 of 12 photos in {capture} have changed since the scene was made of them (view_03.png)" in (
        capsys.readouterr().err
    )
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_photo_that_changed_under_adopted_gaussians_is_described_again(
    finished, toy_capture, tmp_path, capsys
):
    out, capture = tmp_path / "ws", tmp_path / "capture"
    shutil.copytree(toy_capture, capture)
    shutil.copy(finished / "splats.ply", tmp_path / "mine.ply")
    assert _run(capture, out, "--splats", str(tmp_path / "mine.ply")) == 0
    features = out / "features" / "view_03.png.safetensors"
    before, splats = features.read_bytes(), (out / "splats.ply").read_bytes()
    darkened(capture / "images" / "view_03.png")
    capsys.readouterr()
    assert _run(capture, out) == 0
    assert "1 photos or their cameras have changed (first view_03.png)" in capsys.readouterr().err
    assert features.read_bytes() != before
    assert (out / "splats.ply").read_bytes() == splats
    assert _run(capture, out) == 0
    assert "done already for 10 photos" in capsys.readouterr().err


def test_adopted_gaussians_with_other_cameras(finished, toy_capture, tmp_path, capsys):
    """Masks are those of the photos as they are seen now, and cameras that do not fit are refused."""
    out, photo = tmp_path / "ws", "view_10.png.safetensors"
    shutil.copytree(finished, out)
    shutil.copy(finished / "splats.ply", tmp_path / "mine.ply")
    assert _run(toy_capture, out, "--splats", str(tmp_path / "mine.ply")) == 0
    psnr = Workspace(out).read_metrics()["psnr"]
    features = (out / "features" / photo).read_bytes()
    assert _run(toy_capture, out, "--test-every", "5") == 0
    assert (out / "features" / "view_06.png.safetensors").exists()
    assert Workspace(out).read_metrics()["psnr"] != psnr
    assert _run(toy_capture, out, "--test-every", "6", "--max-size", "128") == 0
    assert "12 photos or their cameras have changed (first view_00.png)" in capsys.readouterr().err
    assert Description.load(out / "features" / photo).masks.labels.shape == (3, 96, 128)
    assert (out / "features" / photo).read_bytes() != features
    assert _run(toy_capture, out, "--test-every", "6", "--max-size", "128") == 0
    assert "done already for 10 photos" in capsys.readouterr().err
    moved = tmp_path / "moved"
    shutil.copytree(toy_capture, moved)
    transforms = json.loads((moved / "transforms.json").read_text())
    poses = [frame["transform_matrix"] for frame in transforms["frames"]]
    for frame, pose in zip(transforms["frames"], poses[3:] + poses[:3], strict=True):
        frame["transform_matrix"] = pose
    (moved / "transforms.json").write_text(json.dumps(transforms))
    before = (out / "capture.json").read_bytes()
    with pytest.raises(SplatsError, match=r"mine.ply (do not look like|fill only .* of) the photos of"):
        _run(moved, out)
    assert (out / "capture.json").read_bytes() == before


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["query", "{ws}", ""], "not empty"),
        (["query", "{ws}"], "nothing to look for"),
        (["query", "{ws}", "mug", "--view", "view_99"], "no view 'view_99'"),
        (["query", "{none}", "mug"], "not a gags scene"),
        (["extract", "{ws}", "mug", "--out", "mug.xyz"], "ends in none of .ply, .spz, .splat"),
        (["describe", "{none}"], "not a gags scene"),
        (["distill", "{none}"], "not a gags scene"),
        (["evaluate", "{ws}", "--labels", "{none}"], "no label files"),
        (["evaluate", "{none}", "--labels", "{capture}/labels"], "not a gags scene"),
        (
            ["evaluate", "{ws}", "--labels", "{capture}/labels", "--protocol", "mine"],
            "unknown protocol 'mine'; known: lerf-ovs, ",
        ),
        (["run", "{none}", "--out", "{none}"], "{none}"),
        (["reconstruct", "{capture}", "--out", "{ws}", "--splats", "{none}"], "cannot be read"),
    ],
)
def test_bad_input_is_one_line_and_loses_nothing(command, expected, finished, toy_capture, tmp_path, capsys):
    names = {"ws": str(finished), "none": str(tmp_path / "none"), "capture": str(toy_capture)}
    before = {path: path.stat().st_mtime_ns for path in _pieces(finished)}
    assert cli.main([word.format(**names) for word in command]) == 1
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("gags ")]
    assert len(lines) == 1
    assert expected.format(**names) in lines[0]
    assert "Traceback" not in error
    assert {path: path.stat().st_mtime_ns for path in _pieces(finished)} == before


def test_query_with_another_encoder_is_an_error(finished, monkeypatch, capsys):
    class Other(ColorEncoder):
        name = "other"

    monkeypatch.setattr(scene, "load_encoder", lambda name, progress=None: Other())
    assert cli.main(["query", str(finished), "red ball"]) == 1
    assert "encoder 'color'" in capsys.readouterr().err


def test_distill_refuses_masks_of_other_gaussians(workspace, toy_capture, capsys):
    command = ["reconstruct", str(toy_capture), "--out", str(workspace), "--reconstruct.steps", "20"]
    assert cli.main(command) == 0
    assert cli.main(["distill", str(workspace)]) == 1
    assert "gags describe" in capsys.readouterr().err
