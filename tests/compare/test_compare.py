"""`gags compare` on a toy capture: figures, JSON, resume, clear errors."""

import json
import statistics

import pytest
from tests.helpers.toy_capture import ColorEncoder, ColorSegmenter, write_capture

from gags import cli, models, pipeline
from gags.compare import job, run
from gags.compare.methods import DEFAULT
from gags.compare.scenes import Described
from gags.embed.description import Description

FAST = [
    *("--reconstruct.steps", "60", "--describe.min-area", "6", "--describe.prompts-per-patch", "1"),
    *("--distill.steps", "40", "--distill.batch-regions", "64"),
    *("--langsplat.steps", "40", "--langsplat.autoencoder.steps", "200"),
]


@pytest.fixture(scope="session")
def toy_capture(tmp_path_factory):
    return write_capture(tmp_path_factory.mktemp("toy") / "balls")


@pytest.fixture(autouse=True)
def calls(monkeypatch):
    """Stands in for models that need weights and for processes of their own; notes the jobs that are run."""
    _patch(monkeypatch)
    made = []

    def call(function, wanted):
        made.append((wanted.method.name, wanted.seed))
        function(wanted)

    monkeypatch.setattr(run, "in_own_process", call)
    return made


def _patch(monkeypatch):
    monkeypatch.setattr(pipeline, "load_segmenter", lambda name: ColorSegmenter())
    monkeypatch.setattr(pipeline, "load_encoder", lambda name, progress=None: ColorEncoder())
    monkeypatch.setattr(job, "load_encoder", lambda name: ColorEncoder())
    monkeypatch.setattr(models, "ensure", lambda name, progress=None: None)


def _command(capture, out, *more):
    return ["compare", str(capture), "--labels", str(capture / "labels"), "--out", str(out), *FAST, *more]


@pytest.fixture(scope="session")
def finished(toy_capture, tmp_path_factory):
    """Folder of a comparison of all methods."""
    out = tmp_path_factory.mktemp("compare") / "out"
    with pytest.MonkeyPatch.context() as patch:
        _patch(patch)
        patch.setattr(run, "in_own_process", lambda function, wanted: function(wanted))
        assert cli.main([*_command(toy_capture, out, "--seeds", "1"), "--debug"]) == 0
    return out


def test_json_on_stdout_holds_every_method(finished, toy_capture, calls, capsys):
    assert cli.main(_command(toy_capture, finished, "--seeds", "1", "--json")) == 0
    assert calls == []  # all of it was done already
    content = json.loads(capsys.readouterr().out)
    assert content == json.loads((finished / "compare.json").read_text())
    assert [row["method"] for row in content["methods"]] == list(DEFAULT)
    for row in content["methods"]:
        assert 0 <= row["mIoU"] <= 1
        assert row["mAcc"] >= (0.5 if row["method"] != "sub-part" else 0)
        assert row["query_ms"] > 0
        assert row["peak_memory_mb"] > 10
        assert row["seconds"].keys() == {"gaussians", "masks", "language"}
        (seed,) = row["seeds"]
        assert len(seed["rows"]) == seed["overall"]["pairs"]
        hits = [pair["hit"] for pair in seed["rows"]]
        assert row["mAcc"] == pytest.approx(sum(hits) / len(hits))
    sizes = {row["method"]: row["bytes_per_gaussian"] for row in content["methods"]}
    assert (sizes["gags"], sizes["langsplat"], sizes["uplift"]) == (32, 18, 2 * ColorEncoder.dim)


def test_seeds_and_methods_are_added_to_what_is_there(finished, toy_capture, calls, capsys):
    command = _command(toy_capture, finished, "--methods", "part", "uplift", "--seeds", "3", "--json")
    assert cli.main(command) == 0
    assert calls == [("part", 1), ("part", 2), ("uplift", 1), ("uplift", 2)]
    part, _ = json.loads(capsys.readouterr().out)["methods"]
    assert [seed["seed"] for seed in part["seeds"]] == [0, 1, 2]
    for figure in ("mIoU", "query_ms"):
        assert part[figure] == statistics.median(seed[figure] for seed in part["seeds"])


def test_a_killed_run_goes_on_and_new_labels_only_score_again(toy_capture, finished, tmp_path, monkeypatch):
    """On the masks of a finished scene, which stay as they are."""
    scene, learnt = finished / "scene", []
    before = {path: path.stat().st_mtime_ns for path in scene.rglob("*") if path.is_file()}
    command = ["compare", "--scene", str(scene), "--out", str(tmp_path / "out"), "--seeds", "2", *FAST]
    command += ["--methods", "whole", "--labels"]

    def learn(wanted, *rest):
        if len(learnt) == 1 and not (tmp_path / "killed").exists():
            (tmp_path / "killed").touch()
            raise KeyboardInterrupt
        learnt.append(wanted.seed)
        genuine(wanted, *rest)

    genuine = job._learn
    monkeypatch.setattr(job, "_learn", learn)
    assert cli.main([*command, str(toy_capture / "labels")]) == cli.INTERRUPTED
    assert cli.main([*command, str(toy_capture / "labels")]) == 0
    assert learnt == [0, 1]
    fewer = tmp_path / "labels"
    fewer.mkdir()
    (fewer / "view_00.json").write_bytes((toy_capture / "labels" / "view_00.json").read_bytes())
    assert cli.main([*command, str(fewer)]) == 0
    assert learnt == [0, 1]
    content = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert content["methods"][0]["seeds"][0]["overall"]["frames"] == 1
    assert cli.main([*command, str(fewer), "--distill.top-k", "8"]) == 0
    assert learnt == [0, 1, 0, 1]
    assert {path: path.stat().st_mtime_ns for path in scene.rglob("*") if path.is_file()} == before


def test_uniform_prompts_are_as_many_on_the_same_gaussians(finished, toy_capture, capsys):
    methods = ["--methods", "part", "uniform-part", "--seeds", "1"]
    assert cli.main(_command(toy_capture, finished, *methods)) == 0
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines() if "part" in line][:2] == [
        "part",
        "uniform-part",
    ]
    ours, uniform = Described.open(finished / "scene"), Described.open(finished / "scene-uniform")
    assert uniform.segment_settings().exponent == 0
    assert uniform.prompts() == pytest.approx(ours.prompts(), abs=len(ours.capture.train))
    assert uniform.workspace.splats.read_bytes() == ours.workspace.splats.read_bytes()
    counts = [
        len(Description.load(uniform.workspace.description(view.name)).prompts)
        for view in uniform.capture.train
    ]
    assert len(set(counts)) == 1  # near or far, every photo has as many


def test_ablations_print_the_papers_figures_beside_ours(toy_capture, finished, monkeypatch, capsys):
    """The tables alone: the methods' results are taken from one that is there."""
    one = run.compare(
        Described.open(finished / "scene"),
        toy_capture / "labels",
        finished,
        ["uplift"],
        run.CompareSettings(seeds=1),
    ).methods[0]
    monkeypatch.setattr(run.Comparison, "__getitem__", lambda self, method: one)
    monkeypatch.setattr(run, "ablation_methods", list)
    methods = ["--methods", "uplift", "--seeds", "1", "--ablations"]
    assert cli.main(_command(toy_capture, finished, *methods)) == 0
    printed = capsys.readouterr().out
    for words in ("Losses, one added after the other", "55.14", "77.31", "averaged, without", "Eq. 9"):
        assert words in printed
    content = json.loads((finished / "compare.json").read_text())
    assert content["tables"][1]["rows"][0]["paper"] == {"mean_iou": 55.14, "mean_accuracy": 77.31}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (["--methods", "gags", "lerf"], "no method 'lerf'"),
        (["--seeds", "0"], "--seeds must be at least 1"),
        (["--protocol", "select-3d"], "compare with --protocol lerf-ovs"),
        (["--labels", "{none}"], "no label files"),
        (["--scene", "{scene}"], "give either a CAPTURE"),
        (["--out", "{scene}"], "is a scene; give --out a folder of its own"),
    ],
)
def test_bad_input_is_one_line_before_any_work(
    change, expected, finished, toy_capture, calls, tmp_path, capsys
):
    names = {"none": str(tmp_path / "none"), "scene": str(finished / "scene")}
    command = _command(toy_capture, tmp_path / "out", *(word.format(**names) for word in change))
    assert cli.main(command) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("gags compare:")]
    assert len(lines) == 1
    assert expected in lines[0]
    assert calls == []
    assert not (tmp_path / "out" / "scene").exists()
