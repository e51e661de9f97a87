"""`gags benchmark` on made-up data sets: tables that can be recomputed, resume, failures, clear errors."""

import json
import shutil
import statistics
from dataclasses import replace

import pytest
from tests.compare.test_harness import FAST, STAGES, _patch
from tests.helpers.made_datasets import write_lerf_ovs, write_mip360_ovs

from gags import cli, pipeline
from gags.cli.score import benchmark_table
from gags.cli.terminal import ResultConsole
from gags.compare import benchmark as module
from gags.compare import harness, job
from gags.compare.benchmark import Benchmark, BenchmarkSettings, benchmark, default_methods, preset_of
from gags.compare.datasets import named_dataset
from gags.compare.methods import all_methods
from gags.compare.methods.autoencoder import AutoencoderSettings
from gags.compare.methods.field import OneField
from gags.compare.methods.langsplat import LangSplatSettings
from gags.compare.methods.uplift import Uplift
from gags.compare.paper import published
from gags.compare.results import MethodResult, SeedResult
from gags.compare.scenes import Described
from gags.compare.standings import Entry
from gags.embed.description import Description
from gags.errors import CompareError, WorkspaceError
from gags.files.locks import take
from gags.models import choose
from gags.models.known import PAPER_ENCODER
from gags.pipeline import CaptureSettings
from gags.workspace import Workspace

SCENES = ("ramen", "teatime")
METHODS = ("--methods", "gags", "uplift")
TWO = BenchmarkSettings(
    LangSplatSettings(steps=40, autoencoder=AutoencoderSettings(steps=200)), runs=2
)  # as FAST


@pytest.fixture(scope="session")
def lerf(tmp_path_factory):
    """LERF-OVS with two of its scenes."""
    return write_lerf_ovs(tmp_path_factory.mktemp("lerf") / "lerf_ovs", SCENES)


@pytest.fixture(autouse=True)
def calls(monkeypatch):
    """Stands in for models that need weights and for processes of their own; notes the jobs that are run."""
    _patch(monkeypatch)
    made = []

    def call(function, wanted, progress):
        made.append((wanted.folder.parts[-5], wanted.method.name, wanted.seed))
        function(wanted, progress)

    monkeypatch.setattr(harness, "in_own_process", call)
    return made


def _command(folder, out, *more):
    return [
        "benchmark",
        "lerf-ovs",
        str(folder),
        "--out",
        str(out),
        "--scenes",
        *SCENES,
        *METHODS,
        *FAST,
        *more,
    ]


@pytest.fixture(scope="session")
def finished(lerf, tmp_path_factory):
    """Folder of a benchmark of two scenes, two runs and two methods."""
    out = tmp_path_factory.mktemp("benchmark") / "out"
    with pytest.MonkeyPatch.context() as patch:
        _patch(patch)
        patch.setattr(harness, "in_own_process", lambda function, *arguments: function(*arguments))
        assert cli.main([*_command(lerf.parent, out, "--runs", "2"), "--debug"]) == 0
    return out


def recomputed(content: dict) -> dict[tuple[str, str, str], list[float]]:
    """Our cells of Tables 1 and 2 from the labelled pairs alone, by table, method and statistic, %."""
    found: dict[tuple[str, str, str], list[float]] = {}
    for method in {entry["method"] for entry in content["entries"]}:
        cells: dict[tuple[str, str], list[float]] = {}
        for scene in content["scenes"]:
            runs = []
            for entry in content["entries"]:
                if (entry["method"], entry["scene"]) == (method, scene):
                    hits = [100 * row["hit"] for row in entry["rows"]]
                    ious = [100 * row["iou"] for row in entry["rows"]]
                    runs.append((sum(ious) / len(ious), sum(hits) / len(hits)))
            for column, table in enumerate("21"):
                cells.setdefault((table, "best"), []).append(max(runs)[column])
                cells.setdefault((table, "median"), []).append(statistics.median(run[column] for run in runs))
        for (table, statistic), figures in cells.items():
            found[table, method, statistic] = [*figures, sum(figures) / len(figures)]
    return found


def test_the_tables_can_be_recomputed_from_the_json(finished):
    content = json.loads((finished / "benchmark.json").read_text())
    assert content["scenes"] == list(SCENES)
    printed = {
        (table["number"], row["method"], row["source"].split(", ")[1].split()[0]): row["cells"]
        for table in content["tables"]
        for row in table["rows"]
        if table["number"] in "12" and row["method"]
    }
    expected = recomputed(content)
    assert len(expected) == 8  # two tables, two methods, best and median
    assert printed.keys() == expected.keys()
    for key, cells in expected.items():
        assert printed[key] == pytest.approx(cells)
        assert cells[2] == pytest.approx((cells[0] + cells[1]) / 2)
    overall = content["standings"]["gags"]["overall"]["median"]
    assert 100 * overall["mIoU"] == pytest.approx(expected["2", "gags", "median"][2])


def test_every_entry_has_all_its_pairs_and_times(finished):
    content = json.loads((finished / "benchmark.json").read_text())
    entries = content["entries"]
    assert [(entry["scene"], entry["run"], entry["method"]) for entry in entries] == [
        (scene, run, method) for scene in SCENES for run in (0, 1) for method in ("gags", "uplift")
    ]
    pairs = {scene: [len(e["rows"]) for e in entries if e["scene"] == scene] for scene in SCENES}
    assert pairs["ramen"][0] > pairs["teatime"][0] > 0  # two labelled photos, and one
    for entry in entries:
        assert entry["mAcc"] >= 0.5
        assert entry["seconds"].keys() == {"gaussians", "masks", "language"}
        assert entry["query_seconds"].keys() == {"Rend.", "Pred."}
        assert all(seconds > 0 for seconds in entry["query_seconds"].values())
        assert entry["preset"] == "lite"
        assert {row["split"] for row in entry["rows"]} == {"train"}  # all photos are trained on
    assert content["failures"] == []
    assert content["versions"].keys() >= {"gags", "python", "torch"}
    assert content["machine"]["cores"] >= 1
    assert content["benchmark"]["runs"] == 2
    assert content["ran"]["reconstruct"]["steps"] == 60
    assert content["ran"]["describe"]["segment"]["min_area"] == 6


def test_each_run_makes_everything_anew(finished):
    first, second = (Described.open(finished / "ramen" / f"run_{run}" / "scene") for run in (0, 1))
    for run, scene in enumerate((first, second)):
        assert scene.splats.settings["seed"] == scene.segment_settings().seed == run
        language = finished / "ramen" / f"run_{run}" / "methods" / "gags" / f"seed_{run}"
        assert (language / "language.safetensors").exists()
        compared = json.loads((finished / "ramen" / f"run_{run}" / "compare.json").read_text())
        assert [row["method"] for row in compared["methods"]] == ["gags", "uplift"]
    assert first.workspace.splats.read_bytes() != second.workspace.splats.read_bytes()
    assert _prompts(first) != _prompts(second)


def _prompts(scene: Described) -> bytes:
    view = scene.capture.train[0]
    return Description.load(scene.workspace.description(view.name)).prompts.tobytes()


def test_the_page_is_complete_and_has_the_tables(finished):
    page = (finished / "index.html").read_text()
    assert "http" not in page.split("<body>")[1]
    for words in (
        "LERF-OVS",
        "Table 1. Localisation",
        "Table 3. Training",
        "gags (lite), median of 2",
        "88.14",
    ):
        assert words in page
    content = json.loads((finished / "benchmark.json").read_text())
    cells = [row["cells"] for table in content["tables"][:2] for row in table["rows"] if row["method"]]
    assert all(f'<td class="n">{cell:.2f}</td>' in page for row in cells for cell in row)
    assert "What could not be done" not in page
    assert "prompts_per_patch = 1" in page


def test_what_is_done_is_not_done_again(finished, lerf, calls, capsys):
    before = json.loads((finished / "benchmark.json").read_text())
    assert cli.main(_command(lerf, finished, "--runs", "2", "--json")) == 0
    assert calls == []
    assert json.loads(capsys.readouterr().out) == before


def test_tables_are_printed(finished, lerf, capsys):
    assert cli.main(_command(lerf, finished, "--runs", "2")) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["paper", "69.01", "88.14", "78.58"] in lines
    assert ["paper", "25.0", "10.0", "50.0", "85.0"] in lines
    assert sum(line[:3] == ["gags", "(lite),", "best"] for line in lines) == 2


def test_shared_gaussians_are_made_once(finished, lerf, tmp_path, calls):
    """From the first run of a finished benchmark; the second has its Gaussians and prompts of its own."""
    shutil.copytree(finished / "ramen" / "run_0", tmp_path / "out" / "ramen" / "run_0")
    more = ["--runs", "2", "--share-gaussians", "--scenes", "ramen", "--methods", "uplift"]
    assert cli.main(_command(lerf, tmp_path / "out", *more)) == 0
    assert calls == [("ramen", "uplift", 1)]
    first, second = (Described.open(tmp_path / "out" / "ramen" / f"run_{run}" / "scene") for run in (0, 1))
    assert first.workspace.splats.read_bytes() == second.workspace.splats.read_bytes()
    assert first.splats.stamp == second.splats.stamp
    assert _prompts(first) != _prompts(second)


def test_a_killed_benchmark_goes_on(lerf, finished, tmp_path, monkeypatch, calls):
    """Killed while the second method learns; what was finished stays."""
    out = tmp_path / "out"
    shutil.copytree(finished / "teatime" / "run_0" / "scene", out / "teatime" / "run_0" / "scene")
    genuine = Uplift.learn

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Uplift, "learn", stop)
    command = _command(lerf, out, "--runs", "1", "--scenes", "teatime")
    assert cli.main(command) == cli.INTERRUPTED
    monkeypatch.setattr(Uplift, "learn", genuine)
    assert cli.main(command) == 0
    assert calls == [("teatime", "gags", 0), ("teatime", "uplift", 0), ("teatime", "uplift", 0)]
    entries = json.loads((out / "benchmark.json").read_text())["entries"]
    assert [entry["method"] for entry in entries] == ["gags", "uplift"]


def _reasons(out, capsys, command, code=1):
    """What failed, from the JSON; each is one line on stderr too, and on the page."""
    assert cli.main(command) == code
    failures = json.loads((out / "benchmark.json").read_text())["failures"]
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("gags benchmark:")]
    assert len(lines) == len(failures)
    assert all(failure["reason"] in line for failure, line in zip(failures, lines, strict=True))
    page = (out / "index.html").read_text()
    assert ("What could not be done" in page) == bool(failures)
    return [(f["scene"], f["run"], f["method"], f["reason"]) for f in failures]


def test_a_method_that_fails_does_not_stop_the_others(lerf, finished, tmp_path, monkeypatch, calls, capsys):
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    shutil.rmtree(out / "ramen" / "run_1" / "methods" / "gags")
    shutil.rmtree(out / "teatime" / "run_0" / "methods" / "uplift")
    genuine = OneField.learn

    def fail(*_):
        raise WorkspaceError("no photo has\na single mask")

    monkeypatch.setattr(OneField, "learn", fail)
    command = _command(lerf, out, "--runs", "2")
    found = _reasons(out, capsys, command)
    assert found == [("ramen", 1, "gags", "no photo has a single mask")]
    assert calls == [("ramen", "gags", 1), ("teatime", "uplift", 0)]
    content = json.loads((out / "benchmark.json").read_text())
    assert len(content["entries"]) == 7
    assert content["standings"]["gags"]["ramen"]["runs"] == 1
    assert content["standings"]["gags"]["overall"]["runs"] == 1
    monkeypatch.setattr(OneField, "learn", genuine)
    assert _reasons(out, capsys, command, code=0) == []
    assert len(json.loads((out / "benchmark.json").read_text())["entries"]) == 8


def test_an_error_that_nobody_expected_is_listed_like_others(lerf, finished, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    shutil.rmtree(out / "ramen" / "run_0" / "methods" / "uplift")

    def fail(*_):
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(job, "run_job", fail)
    monkeypatch.setattr(harness, "run_job", fail)
    found = _reasons(out, capsys, _command(lerf, out, "--runs", "2"))
    assert found == [("ramen", 0, "uplift", "unexpected RuntimeError: CUDA out of memory")]


def test_scenes_that_cannot_be_used_are_said_first_and_the_others_done(
    lerf, finished, tmp_path, calls, capsys
):
    """Teatime labels a photo that is not there; figurines was not downloaded; waldo_kitchen has no poses."""
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(lerf, data)
    shutil.copytree(finished / "ramen", out / "ramen")
    (data / "label" / "teatime" / "frame_00001.json").rename(data / "label" / "teatime" / "frame_00099.json")
    shutil.copytree(data / "ramen" / "images", data / "waldo_kitchen" / "images")
    shutil.copytree(data / "label" / "ramen", data / "label" / "waldo_kitchen")
    command = ["benchmark", "lerf-ovs", str(data), "--out", str(out), *METHODS, *FAST, "--runs", "2"]
    found = {(scene, run, method): reason for scene, run, method, reason in _reasons(out, capsys, command)}
    assert list(found) == [("teatime", None, None), ("waldo_kitchen", None, None), ("figurines", None, None)]
    assert "frame_00099.json labels 'frame_00099', but no photo of that name" in found["teatime", None, None]
    assert "COLMAP" in found["waldo_kitchen", None, None]
    assert "figurines is not there" in found["figurines", None, None]
    assert calls == []  # ramen was done already
    content = json.loads((out / "benchmark.json").read_text())
    assert len(content["entries"]) == 4
    row = next(row for row in content["tables"][0]["rows"] if row["method"] == "gags")
    assert row["cells"][1:] == [None, None, None, None]  # the other scenes, and so the mean over all


def test_mip360_ovs_has_photos_of_half_the_size_and_labels_by_position(tmp_path, calls, capsys):
    """Answers are scored at the size of the labels, which is the full one, in the first and seventh photo."""
    data, out = write_mip360_ovs(tmp_path / "data", ("counter", "room")), tmp_path / "out"
    command = ["benchmark", "mip360-ovs", str(data), "--out", str(out), "--scenes", "room", "counter"]
    assert cli.main([*command, "--methods", "uplift", "--runs", "1", *FAST]) == 0
    assert calls == [("room", "uplift", 0), ("counter", "uplift", 0)]
    capture = Described.open(out / "counter" / "run_0" / "scene").capture
    assert {view.path.parent.name for view in capture} == {"images_2"}
    assert {(view.camera.width, view.camera.height) for view in capture} == {(128, 96)}
    content = json.loads((out / "benchmark.json").read_text())
    room, counter = content["entries"]
    assert {row["frame"] for row in counter["rows"]} == {"DSCF4667.JPG", "DSCF4679.JPG"}
    assert {row["frame"] for row in room["rows"]} == {"DSCF4667.JPG"}
    assert max(max(box) for row in counter["rows"] for box in row["boxes"]) > 128
    assert min(room["mAcc"], counter["mAcc"]) >= 0.5
    first, *_ = content["tables"]
    assert first["columns"] == ["room", "counter", "overall"]
    (ours,) = [row for row in first["rows"] if row["method"]]
    scenes = [100 * room["mAcc"], 100 * counter["mAcc"]]
    assert ours["cells"] == pytest.approx([*scenes, sum(scenes) / 2])
    (data / "label" / "room" / "frame_00001.json").rename(data / "label" / "room" / "frame_00009.json")
    found = _reasons(out, capsys, [*command, "--methods", "uplift", "--runs", "1", *FAST])
    [(scene, _, _, reason)] = found
    assert scene == "room"
    assert "frame_00009.json labels photo 9 by position" in reason
    assert "1 to 8" in reason


def test_python_does_what_the_command_does(lerf, finished, tmp_path, calls):
    """All settings of the stages are the same as the few that the command changed."""
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    found = benchmark("lerf-ovs", str(lerf), str(out), ["gags", "uplift"], TWO, scenes=SCENES, stages=STAGES)
    assert calls == []
    assert cli.main(_command(lerf, out, "--runs", "1", "--scenes", "ramen", "--methods", "gags")) == 0
    assert found.to_json()["entries"] == json.loads((finished / "benchmark.json").read_text())["entries"]
    assert found.page.exists()


def test_rows_with_a_preset_of_their_own_are_named_by_it():
    def preset(prompts: str) -> str:
        return preset_of(MethodResult("some", "Some", prompts, {}, ()), "lite")

    assert [preset(prompts) for prompts in ("granularity-aware", "uniform", "paper")] == [
        "lite",
        "lite",
        "paper",
    ]


def test_printed_tables_and_the_page_say_what_our_langsplat_is(tmp_path, capsys):
    """The paper's has prompts of its own."""
    overall = {"pairs": 1, "mean_accuracy": 0.5, "mean_iou": 0.5}
    seed = SeedResult(0, {"rows": [], "overall": overall}, 1.0, {}, 1.0, 1.0, None)
    method = all_methods()["langsplat"]
    seconds = {"seconds": {"gaussians": 1.0, "masks": 1.0}, "prompts": 1, "masks": {}}
    result = MethodResult(method.name, method.title, method.prompts, seconds, (seed,))
    known, settings = named_dataset("lerf-ovs"), BenchmarkSettings(runs=1)
    entries = [Entry("ramen", 0, "lite", result)]
    found = Benchmark(known, ("ramen",), settings, STAGES, CaptureSettings(), tmp_path, entries)
    found.write()
    note = "langsplat: LangSplat (three fields, masks of all methods)"
    assert note in (tmp_path / "index.html").read_text()
    ResultConsole().print(benchmark_table(found.tables[0]))
    assert note in " ".join(capsys.readouterr().out.split())


def test_default_methods_are_the_systems_of_the_papers_tables():
    assert default_methods() == ["grouping", "legaussians", "goi", "langsplat", "gags", "n2f2"]
    assert all(row.methods[0] in default_methods() for row in published("times").rows.values())


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (["--methods", "gags", "lerf"], "no method 'lerf'"),
        (["--scenes", "kitchen"], "lerf-ovs has no scene 'kitchen'; --scenes takes some of: ramen,"),
        (["--protocol", "select-3d"], "compare with --protocol lerf-ovs"),
        (["--protocol", "lerf"], "unknown protocol 'lerf'"),
        (["--preset", "peper"], "there is no preset 'peper'; --preset takes auto, lite, paper, released"),
        (["--preset", "paper", "--distill.hidden", "64"], "hidden has no effect with decoder one-net"),
        (["--reconstruct.seed", "7"], "--reconstruct.seed 7 would have no effect: the seeds of a benchmark"),
        (["--describe.seed", "7"], "--describe.seed 7 would have no effect: the seeds of a benchmark"),
        (["--distill.seed", "1"], "--distill.seed 1 would have no effect: the seeds of a benchmark are"),
    ],
)
def test_bad_input_is_one_line_before_any_work(change, expected, lerf, calls, tmp_path, capsys):
    assert cli.main(_command(lerf, tmp_path / "out", *change)) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("gags benchmark:")]
    assert expected in line
    assert calls == []
    assert not (tmp_path / "out").exists()


def test_a_file_is_no_place_for_a_benchmark(lerf, calls, tmp_path, capsys):
    (tmp_path / "out").write_text("mine")
    assert cli.main(_command(lerf, tmp_path / "out")) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line]
    assert "out is a file; choose a folder for the benchmark (--out)" in line
    assert calls == []


@pytest.mark.parametrize("place", ["", "lerf_ovs", "lerf_ovs/ramen", "lerf_ovs/ramen/images"])
def test_the_data_are_no_place_for_a_benchmark(place, lerf, calls, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(lerf, data / "lerf_ovs")
    before = set(data.rglob("*"))
    assert cli.main(_command(data, data / place)) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line]
    assert line.endswith("holds the data; choose a folder of its own for the benchmark (--out)")
    assert set(data.rglob("*")) == before
    assert calls == []


def test_a_scene_is_no_place_for_a_benchmark(lerf, finished, tmp_path, calls, capsys):
    shutil.copytree(finished / "ramen" / "run_0" / "scene", tmp_path / "scene")
    assert cli.main(_command(lerf, tmp_path / "scene")) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line]
    assert "scene is a scene; choose a folder of its own for the benchmark (--out)" in line
    assert calls == []
    assert not (tmp_path / "scene" / "benchmark.json").exists()


def test_unknown_data_sets_and_empty_folders_are_one_line(lerf, tmp_path, capsys):
    command = _command(lerf, tmp_path / "out")
    assert cli.main([command[0], "lerf", *command[2:]]) == 1
    assert "there is no data set 'lerf'; there are: lerf-ovs, mip360-ovs" in capsys.readouterr().err
    with pytest.raises(CompareError, match="holds no scene of LERF-OVS"):
        benchmark("lerf-ovs", tmp_path, tmp_path / "out", ["uplift"])
    assert not Workspace(tmp_path / "out").root.exists()


def _entries(out):
    return [
        (entry["scene"], entry["run"], entry["method"])
        for entry in json.loads((out / "benchmark.json").read_text())["entries"]
    ]


def test_scenes_methods_and_runs_can_be_asked_for_one_after_the_other(lerf, finished, tmp_path, calls):
    """Each call does its own, and the tables in the end are those of one call."""
    out = tmp_path / "out"
    shutil.copytree(
        finished, out, ignore=shutil.ignore_patterns("benchmark.json", "index.html", "compare.json")
    )
    together = json.loads((finished / "benchmark.json").read_text())
    for scenes, methods, runs in [
        (["teatime"], ["gags"], "2"),
        (["ramen"], ["gags", "uplift"], "1"),
        (["ramen", "teatime"], ["uplift"], "2"),
        (["ramen"], ["gags"], "2"),
    ]:
        more = ["--scenes", *scenes, "--methods", *methods, "--runs", runs]
        assert cli.main(_command(lerf, out, *more)) == 0
    assert calls == []
    content = json.loads((out / "benchmark.json").read_text())
    assert content["scenes"] == list(SCENES)
    by_key = {(e["scene"], e["run"], e["method"]): e for e in content["entries"]}
    assert by_key == {(e["scene"], e["run"], e["method"]): e for e in together["entries"]}
    assert content["standings"].keys() == together["standings"].keys()
    assert all(content["standings"][name] == together["standings"][name] for name in content["standings"])
    for table, expected in zip(content["tables"], together["tables"], strict=True):
        assert {str(row) for row in table["rows"]} == {str(row) for row in expected["rows"]}
    compared = json.loads((out / "teatime" / "run_1" / "compare.json").read_text())
    assert {row["method"] for row in compared["methods"]} == {"gags", "uplift"}
    assert "teatime" in (out / "index.html").read_text()


def test_a_call_whose_every_scene_fails_loses_nothing(lerf, finished, tmp_path, calls, capsys):
    """The photos are gone; once they are back, the failure goes from the list."""
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(lerf, data)
    shutil.copytree(finished, out)
    for scene in SCENES:
        (data / scene / "images").rename(data / scene / "away")
    before = _entries(out)
    found = _reasons(out, capsys, _command(data, out, "--runs", "2"))
    assert [(scene, run, method) for scene, run, method, _ in found] == [(s, None, None) for s in SCENES]
    assert _entries(out) == before
    assert "88.14" in (out / "index.html").read_text()
    (data / "ramen" / "away").rename(data / "ramen" / "images")
    assert cli.main(_command(data, out, "--scenes", "ramen", "--runs", "1")) == 0  # teatime was not asked for
    failures = json.loads((out / "benchmark.json").read_text())["failures"]
    assert [failure["scene"] for failure in failures] == ["teatime"]
    assert "What could not be done" in (out / "index.html").read_text()
    assert _entries(out) == before
    assert calls == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (["--protocol", "lerf-ovs"], "(protocol)"),
        (["--distill.steps", "41"], "(stages)"),
        (["--langsplat.steps", "41"], "(langsplat)"),
        (["--test-every", "8"], "(photos)"),
        (["--share-gaussians"], "(share_gaussians)"),
    ],
)
def test_figures_of_other_settings_are_not_mixed(change, named, lerf, finished, tmp_path, calls, capsys):
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert cli.main(_command(lerf, out, "--runs", "1", *change)) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("gags benchmark:")]
    assert f"benchmark.json holds results made with other settings {named}" in line
    assert "would not make 4 anew (the first: scene, run, method ramen, 1, gags)" in line
    assert line.endswith("choose another --out")
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert calls == []


def test_all_can_be_scored_by_other_rules(lerf, finished, tmp_path, calls, capsys):
    """What was learnt stays; figures of the former rules go with the first new one, not before."""
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(lerf, data)
    shutil.copytree(finished, out)
    before = (out / "benchmark.json").read_bytes()
    command = _command(data, out, "--runs", "2", "--protocol", "lerf-ovs")
    for scene in SCENES:
        (data / scene / "images").rename(data / scene / "away")
    assert cli.main(command) == 1
    assert (out / "benchmark.json").read_bytes() == before
    for scene in SCENES:
        (data / scene / "away").rename(data / scene / "images")
    capsys.readouterr()
    assert cli.main(command) == 0
    assert len(calls) == 8
    content = json.loads((out / "benchmark.json").read_text())
    assert content["benchmark"]["protocol"] == "lerf-ovs"
    assert len(content["entries"]) == 8
    assert content["entries"] != json.loads(before)["entries"]


def test_results_of_another_data_set_are_not_overwritten(finished, tmp_path, calls, capsys):
    data, out = write_mip360_ovs(tmp_path / "data", ("room",)), tmp_path / "out"
    shutil.copytree(finished, out)
    before = (out / "benchmark.json").read_bytes()
    command = ["benchmark", "mip360-ovs", str(data), "--out", str(out), *METHODS, *FAST]
    assert cli.main(command) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("gags benchmark:")]
    assert "holds results of lerf-ovs; choose another --out for mip360-ovs" in line
    assert (out / "benchmark.json").read_bytes() == before
    assert not (out / "room").exists()
    assert calls == []


@pytest.mark.parametrize("content", ["", "[]", '{"dataset": "lerf-ovs"}', '{"dataset": 3, "entries": [1]}'])
def test_damaged_results_are_one_line(content, lerf, finished, tmp_path, calls, capsys):
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    (out / "benchmark.json").write_text(content)
    assert cli.main(_command(lerf, out, "--runs", "2")) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("gags benchmark:")]
    assert "benchmark.json, the results so far, cannot be read" in line
    assert (out / "benchmark.json").read_text() == content
    (out / "benchmark.json").unlink()
    assert cli.main(_command(lerf, out, "--runs", "2")) == 0
    assert _entries(out) == _entries(finished)
    assert calls == []


def test_results_that_cannot_be_written_do_not_stop_the_other_scenes(
    lerf, finished, tmp_path, monkeypatch, capsys
):
    """The disk is full for a while: what was learnt counts, and is in the file in the end."""
    out, genuine, times = tmp_path / "out", module.write_json, []
    shutil.copytree(finished, out, ignore=shutil.ignore_patterns("benchmark.json"))

    def write_json(path, content):
        times.append(path)
        if path.name == "benchmark.json" and len(times) < 4:
            raise OSError(28, "No space left on device")
        return genuine(path, content)

    monkeypatch.setattr(module, "write_json", write_json)
    found = _reasons(out, capsys, _command(lerf, out, "--runs", "2"))
    assert [(scene, run) for scene, run, *_ in found] == [("ramen", 0)]
    assert "No space left on device" in found[0][3]
    assert _entries(out) == _entries(finished)


def test_without_gaussians_of_the_first_run_the_others_say_so(lerf, tmp_path, monkeypatch, calls, capsys):
    """With --share-gaussians; each run is listed, and nothing is trained in their stead."""
    out, trained = tmp_path / "out", []

    def fail(*_, **__):
        trained.append(1)
        raise WorkspaceError("training came apart")

    monkeypatch.setattr(module, "shared_scene", fail)
    command = _command(lerf, out, "--runs", "2", "--share-gaussians", "--scenes", "ramen")
    first, second = _reasons(out, capsys, command)
    assert first == ("ramen", 0, None, "training came apart")
    assert second[:3] == ("ramen", 1, None)
    assert "run 0 has no Gaussians to share" in second[3]
    assert len(trained) == 1
    assert calls == []


def test_two_at_once_in_one_folder_are_one_too_many(lerf, finished, tmp_path, calls, capsys):
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    before = (out / "benchmark.json").read_bytes()
    with (out / ".lock").open("w") as held:
        assert take(held.fileno())
        assert cli.main(_command(lerf, out, "--runs", "2", "--protocol", "lerf-ovs")) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("gags benchmark:")]
    assert line.endswith("is being worked on by another gags process; wait until that one ends, or stop it")
    assert (out / "benchmark.json").read_bytes() == before
    assert calls == []
    assert cli.main(_command(lerf, out, "--runs", "2")) == 0
    assert not (out / ".lock").exists()


# --- what a benchmark settles once ---


def _changed_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def _without_records(content):
    """As an earlier version wrote it: without what "auto" stood for, and without what the data were."""
    del content["chosen"]
    for entry in content["entries"]:
        del entry["data"]


def _hub_is_there(monkeypatch):
    """As if every model could be fetched now."""
    monkeypatch.setattr(choose, "_have", lambda name, kind, progress: name)


def _refused(command, capsys):
    assert cli.main(command) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("gags benchmark:")]
    return line


def test_every_scene_and_run_has_the_models_of_the_first(lerf, tmp_path, monkeypatch, calls, capsys):
    """The hub is there for the first scene only; "auto" is asked once for all."""
    asked = []

    def shared(capture, folder, stages, **more):
        asked.append((stages.segmenter, stages.encoder, stages.preset))
        monkeypatch.setattr(choose, "_have", genuine)
        raise WorkspaceError("enough")

    genuine = choose._have
    _hub_is_there(monkeypatch)
    monkeypatch.setattr(module, "shared_scene", shared)
    assert cli.main(_command(lerf, tmp_path / "out", "--runs", "2")) == 1
    assert asked == [("mobile-sam", PAPER_ENCODER, "lite")] * 4
    chosen = json.loads((tmp_path / "out" / "benchmark.json").read_text())["chosen"]
    assert chosen == {"segmenter": "mobile-sam", "encoder": PAPER_ENCODER, "preset": "lite"}


@pytest.mark.parametrize("earlier_version", [False, True])
def test_later_calls_have_the_models_of_the_results(
    earlier_version, lerf, finished, tmp_path, monkeypatch, calls, capsys
):
    """Made offline with the small models; the hub is there now. Another encoder is refused if it is named."""
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    if earlier_version:
        _changed_json(out / "benchmark.json", _without_records)
    _hub_is_there(monkeypatch)
    few = ["--runs", "1", "--methods", "gags"]
    assert cli.main(_command(lerf, out, *few)) == 0
    content = json.loads((out / "benchmark.json").read_text())
    assert content["chosen"] == {"segmenter": "mobile-sam", "encoder": "lite", "preset": "lite"}
    assert len(content["entries"]) == 8
    assert cli.main(_command(lerf, out, *few, "--encoder", "lite", "--preset", "lite")) == 0  # what "auto" is
    before = (out / "benchmark.json").read_bytes()
    line = _refused(_command(lerf, out, *few, "--encoder", "some/clip"), capsys)
    assert "made with other settings (encoder lite, now some/clip), of which this call would not" in line
    line = _refused(_command(lerf, out, *few, "--preset", "paper"), capsys)
    assert "made with other settings (preset lite, now paper), of which" in line
    assert (out / "benchmark.json").read_bytes() == before
    assert calls == []


def test_without_results_nothing_is_settled(lerf, tmp_path, monkeypatch, calls, capsys):
    """A first call made nothing; the hub is there in the second."""
    asked = []

    def shared(capture, folder, stages, **more):
        asked.append(stages.encoder)
        raise WorkspaceError("enough")

    monkeypatch.setattr(module, "shared_scene", shared)
    assert cli.main(_command(lerf, tmp_path / "out", "--runs", "1")) == 1
    _hub_is_there(monkeypatch)
    assert cli.main(_command(lerf, tmp_path / "out", "--runs", "1")) == 1
    assert asked == ["lite", "lite", PAPER_ENCODER, PAPER_ENCODER]


def test_without_its_json_a_benchmark_has_the_models_of_its_scenes(
    lerf, finished, tmp_path, monkeypatch, calls
):
    out = tmp_path / "out"
    shutil.copytree(finished, out, ignore=shutil.ignore_patterns("benchmark.json"))
    _hub_is_there(monkeypatch)
    assert cli.main(_command(lerf, out, "--runs", "2")) == 0
    assert _entries(out) == _entries(finished)
    assert calls == []


def test_data_that_were_moved_are_the_same(lerf, finished, tmp_path, calls):
    data, labels, out = tmp_path / "data", tmp_path / "labels", tmp_path / "out"
    shutil.copytree(lerf, data)
    (data / "label").rename(labels)
    shutil.copytree(finished, out)
    assert cli.main(_command(data, out, "--runs", "1", "--labels", str(labels))) == 0
    assert calls == []
    assert (data / "teatime").rename(tmp_path / "away")  # made already, and gone to make room
    few = ["--runs", "1", "--scenes", "ramen", "--methods", "gags"]
    assert cli.main(_command(data, out, *few, "--labels", str(labels))) == 0
    assert _entries(out) == _entries(finished)


def _fewer_labels(data, scene):
    (path, *_) = sorted((data / "label" / scene).glob("*.json"))
    _changed_json(path, lambda content: content["objects"].pop())


def _another_photo(data, scene):
    (path, *_) = sorted((data / scene / "images").glob("*.jpg"))
    path.write_bytes(path.read_bytes() + b" ")


@pytest.mark.parametrize("change", [_fewer_labels, _another_photo])
@pytest.mark.parametrize("few", [["--scenes", "teatime"], ["--methods", "gags"], ["--runs", "1"]])
def test_figures_of_other_data_are_not_mixed(change, few, lerf, finished, tmp_path, calls, capsys):
    """Whether the scene that has changed is asked for or stays in the tables."""
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(lerf, data)
    change(data, "ramen")
    shutil.copytree(finished, out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    line = _refused(_command(data, out, "--runs", "2", *few), capsys)
    assert "holds results of ramen made from other photos, points or labels than it has now, of which" in line
    assert line.endswith("choose another --out")
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert calls == []


def test_a_scene_whose_labels_changed_can_be_made_anew(lerf, finished, tmp_path, calls):
    """One run of two fails: nothing of the former labels stays beside the other."""
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(lerf, data)
    _fewer_labels(data, "ramen")
    shutil.copytree(finished, out)
    (out / "ramen" / "run_1" / "scene" / "config.toml").write_text("damaged")
    assert cli.main(_command(data, out, "--runs", "2", "--scenes", "ramen")) == 1
    assert calls == [("ramen", "gags", 0), ("ramen", "uplift", 0)]
    kept = [key for key in _entries(finished) if key[:2] != ("ramen", 1)]
    assert _entries(out) == kept
    stamps = {e["scene"]: e["data"] for e in json.loads((out / "benchmark.json").read_text())["entries"]}
    former = {e["scene"]: e["data"] for e in json.loads((finished / "benchmark.json").read_text())["entries"]}
    assert stamps["teatime"] == former["teatime"]
    assert stamps["ramen"] != former["ramen"]


def test_figures_go_with_the_gaussians_that_they_were_made_from(
    lerf, finished, tmp_path, monkeypatch, capsys
):
    """A photo has changed. What fails before the Gaussians are replaced loses nothing."""
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(lerf, data)
    shutil.copytree(finished, out)
    _another_photo(data, "ramen")

    def fail(*_, **__):
        raise WorkspaceError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "reconstruct", fail)
        found = _reasons(out, capsys, _command(data, out, "--runs", "2"))
    scenes = [(scene, run, None) for scene in SCENES for run in (0, 1)]
    assert [failure[:3] for failure in found] == scenes
    assert _entries(out) == _entries(finished)
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "describe", fail)
        found = _reasons(out, capsys, _command(data, out, "--runs", "2"))
    assert [failure[:3] for failure in found] == scenes
    assert _entries(out) == [key for key in _entries(finished) if key[0] == "teatime"]  # as it was


def test_methods_that_are_not_asked_for_lose_figures_of_masks_that_are_gone(lerf, finished, tmp_path, capsys):
    """A file of masks was damaged, and is made again."""
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    masks = next((out / "ramen" / "run_0" / "scene" / "features").rglob("*.safetensors"))
    masks.write_bytes(masks.read_bytes()[:100])
    assert cli.main(_command(lerf, out, "--scenes", "ramen", "--runs", "1", "--methods", "gags")) == 0
    assert _entries(out) == [key for key in _entries(finished) if key != ("ramen", 0, "uplift")]
    told = " ".join(capsys.readouterr().err.split())
    assert "ramen, run 0: Gaussians or masks were made again, so figures of uplift from the former" in told


def test_figures_of_replaced_masks_are_gone_though_the_call_is_stopped(lerf, finished, tmp_path, monkeypatch):
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    masks = next((out / "ramen" / "run_0" / "scene" / "features").rglob("*.safetensors"))
    masks.write_bytes(masks.read_bytes()[:100])

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "compare", stop)
    with pytest.raises(KeyboardInterrupt):
        benchmark("lerf-ovs", lerf, out, ["gags"], replace(TWO, runs=1), scenes=["ramen"], stages=STAGES)
    assert _entries(out) == [key for key in _entries(finished) if key[:2] != ("ramen", 0)]


@pytest.mark.slow
def test_all_systems_of_the_papers_tables_and_its_ablations_fill_them(lerf, tmp_path, calls):
    out, scene = tmp_path / "out", "teatime"
    command = ["benchmark", "lerf-ovs", str(lerf.parent), "--out", str(out), "--scenes", scene, *FAST]
    command += ["--runs", "1", "--preset", "paper", "--ablations", "--share-gaussians", "--debug"]
    for system in ("grouping", "goi", "legaussians"):
        command += [f"--{system}.steps", "30"]
    assert cli.main([*command, "--legaussians.codebook-steps", "30"]) == 0
    content = json.loads((out / "benchmark.json").read_text())
    entries = {entry["method"]: entry for entry in content["entries"]}
    assert set(default_methods()) <= entries.keys()
    filled = {
        table["number"]: {
            row["method"]
            for row in table["rows"]
            if row["method"] and any(c is not None for c in row["cells"])
        }
        for table in content["tables"]
    }
    assert all(set(default_methods()) <= filled[number] for number in "123")
    assert filled["4"] == {"sub-part", "part", "whole"} | {
        f"{prompts}{row}"
        for prompts in ("", "uniform-", "crops-")
        for row in ("average", "by-distance-alone")
    }
    assert filled["5"] == {"gags", "n2f2"}
    assert filled["6"] == {f"losses-{which}" for which in ("none", "region", "entropy", "all")}
    assert entries["goi"]["query_seconds"].keys() == {"Rend.", "Pred.", "OSH"}
    pairs = {
        method: [(row["frame"], row["category"]) for row in entry["rows"]]
        for method, entry in entries.items()
    }
    assert all(found == pairs["gags"] for found in pairs.values())
