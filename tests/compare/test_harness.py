"""`gags compare` on a toy capture: figures, JSON, resume, failures, clear errors."""

import json
import os
import shutil
import statistics
from dataclasses import replace

import pytest
from tests.helpers.child_process import HEARD_FILE, reporter_of_a_child
from tests.helpers.heard import Heard
from tests.helpers.toy_capture import ColorEncoder, ColorSegmenter, write_capture

from gags import cli, models, pipeline
from gags.capture import load_capture
from gags.compare import CompareSettings, Comparison, compare, harness, job
from gags.compare.measure import in_own_process
from gags.compare.methods import DEFAULT
from gags.compare.methods.autoencoder import AutoencoderSettings
from gags.compare.methods.field import OneField
from gags.compare.methods.goi import GoiSettings
from gags.compare.methods.grouping import GroupingSettings
from gags.compare.methods.langsplat import LangSplatSettings
from gags.compare.methods.uplift import Uplift
from gags.compare.scenes import Described, crops_settings, prompted_scene
from gags.distill import optimize as optimize_module
from gags.distill.mixed import MixedSchedule
from gags.distill.presets import PRESETS
from gags.distill.settings import DistillSettings
from gags.embed.description import Description
from gags.errors import CompareError, LabelError, WorkspaceError
from gags.models import hub
from gags.pipeline import RunSettings
from gags.progress import SILENT
from gags.reconstruct.settings import ReconstructSettings
from gags.segment.settings import DescribeSettings
from gags.store import load_tensors, save_tensors

FAST = [
    *("--reconstruct.steps", "60", "--describe.min-area", "6", "--describe.prompts-per-patch", "1"),
    *("--distill.steps", "40", "--distill.batch-regions", "64"),
    *("--langsplat.steps", "40", "--langsplat.autoencoder.steps", "200"),
]

ONE_SEED = CompareSettings(seeds=1)
STAGES = RunSettings(
    ReconstructSettings(steps=60),
    DescribeSettings(min_area=6, prompts_per_patch=1.0),
    DistillSettings(steps=40, batch_regions=64),
)  # as FAST


@pytest.fixture(scope="session")
def toy_capture(tmp_path_factory):
    return write_capture(tmp_path_factory.mktemp("toy") / "balls")


@pytest.fixture(autouse=True)
def calls(monkeypatch):
    """Stands in for models that need weights and for processes of their own; notes the jobs that are run."""
    _patch(monkeypatch)
    made = []

    def call(function, wanted, progress):
        made.append((wanted.method.name, wanted.seed))
        function(wanted, progress)

    monkeypatch.setattr(harness, "in_own_process", call)
    return made


def _patch(monkeypatch):
    monkeypatch.setattr(pipeline, "load_segmenter", lambda name, progress=None: ColorSegmenter())
    monkeypatch.setattr(pipeline, "load_encoder", lambda name, progress=None: ColorEncoder())
    monkeypatch.setattr(job, "load_encoder", lambda name: ColorEncoder())
    genuine = models.ensure

    def ensure(name, progress=SILENT):  # the models of the scene are toys, a detector is not
        return genuine(name, progress) if hub.is_name(name) else None

    monkeypatch.setattr(models, "ensure", ensure)


def _command(capture, out, *more):
    return ["compare", str(capture), "--labels", str(capture / "labels"), "--out", str(out), *FAST, *more]


@pytest.fixture(scope="session")
def finished(toy_capture, tmp_path_factory):
    """Folder of a comparison of all methods."""
    out = tmp_path_factory.mktemp("compare") / "out"
    with pytest.MonkeyPatch.context() as patch:
        _patch(patch)
        patch.setattr(harness, "in_own_process", lambda function, *arguments: function(*arguments))
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
    figures = {row["method"]: row["seeds"][0].get("figures") for row in content["methods"]}
    assert 0 < figures.pop("langsplat")["autoencoder_cosine"] <= 1
    assert set(figures.values()) == {None}
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


def test_the_first_seed_can_be_chosen(finished, toy_capture, calls, tmp_path):
    """Its result is the one that it has among others."""
    labels, scene = toy_capture / "labels", finished / "scene"
    one = CompareSettings(seeds=1, first_seed=2)
    found = compare(None, labels, tmp_path / "out", ["part"], one, scene=scene, stages=STAGES)
    assert calls == [("part", 2)]
    (seed,) = found["part"].seeds
    assert seed.seed == 2
    assert seed.query_seconds.keys() == {"Rend.", "Pred."}


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


def test_langsplats_own_prompts_are_made_on_the_same_gaussians(toy_capture, finished, tmp_path, monkeypatch):
    """The method learns from a scene that was described anew; here with the toy's masks, to be quick."""
    asked, genuine = [], pipeline.describe

    def describe(workspace, settings, **rest):
        asked.append((workspace.root.name, settings))
        return genuine(workspace, STAGES.describe, **rest)

    monkeypatch.setattr(pipeline, "describe", describe)
    found = compare(
        None,
        toy_capture / "labels",
        tmp_path / "out",
        ["langsplat-own-prompts"],
        replace(ONE_SEED, langsplat=LangSplatSettings(20, autoencoder=AutoencoderSettings(20))),
        scene=finished / "scene",
        stages=STAGES,
    )
    scene = Described.open(finished / "scene")
    assert asked == [("scene-crops", crops_settings(scene.segment_settings()))]
    crops = Described.open(tmp_path / "out" / "scene-crops")
    assert crops.workspace.splats.read_bytes() == scene.workspace.splats.read_bytes()
    (result,) = found.methods
    assert (result.prompts, result.scene["prompts"]) == ("crops", crops.prompts())


def _asked_of_presets(monkeypatch):
    """Learner's settings, and those of the masks, by method; nothing is made."""
    found = {}

    def results(methods, shared, labels, out, settings, presets, *rest):
        for method in methods:
            masks = presets[method.prompts].describe if method.prompts in presets else None
            found[method.name] = (method.learner.settings, masks)
        raise KeyboardInterrupt

    monkeypatch.setattr(harness, "_results", results)
    return found


def test_methods_that_are_a_preset_take_changes_that_have_an_effect_there(
    finished, toy_capture, tmp_path, monkeypatch, capsys
):
    """As `--preset released --distill.steps 500` does; what only fits others is left out and said."""
    found = _asked_of_presets(monkeypatch)
    more = ["--methods", "gags", "gags-lite", "gags-released", "--distill.hidden", "64"]
    more += ["--describe.exponent", "1.5", "--preset", "lite"]
    assert cli.main(_command(toy_capture, tmp_path / "out", *more)) == cli.INTERRUPTED
    lite, released = PRESETS["lite"], PRESETS["released"]
    changes = {"steps": 40, "batch_regions": 64, "hidden": 64}
    assert found["gags"] == (replace(lite.distill, **changes), None)
    masks = replace(lite.describe, min_area=6, prompts_per_patch=1.0, exponent=1.5)
    assert found["gags-lite"] == (replace(lite.distill, **changes), masks)
    masks = replace(released.describe, min_area=6, prompts_per_patch=1.0)
    assert found["gags-released"] == (replace(released.distill, steps=40), masks)
    told = capsys.readouterr()
    lines = [line for line in (told.out + told.err).splitlines() if "leaves a setting out" in line]
    assert [line.split(": ", 1)[1] for line in lines] == [
        "exponent has no effect with prompts released",
        "hidden has no effect with decoder two-nets",
        "batch_regions has no effect with schedule photo",
    ]


def test_changes_reach_the_prompts_and_masks_of_a_preset(finished, toy_capture, tmp_path, monkeypatch):
    scene, asked = Described.open(finished / "scene"), []
    monkeypatch.setattr(pipeline, "describe", lambda workspace, settings, **_: asked.append(settings))
    monkeypatch.setattr(Described, "open", lambda root: root.name)  # nothing was made
    own = DescribeSettings(min_area=9)
    assert prompted_scene(scene, "lite", tmp_path / "own", own=own) == "own"
    assert prompted_scene(scene, "lite", tmp_path / "preset") == "preset"
    assert asked == [own, DescribeSettings()]


def test_settings_that_stand_for_themselves_are_not_those_of_a_preset(
    finished, toy_capture, tmp_path, monkeypatch
):
    found, heard = _asked_of_presets(monkeypatch), Heard()
    arguments = [None, toy_capture / "labels", tmp_path / "out", ["gags", "gags-paper"], ONE_SEED]
    with pytest.raises(KeyboardInterrupt):
        compare(*arguments, scene=finished / "scene", stages=STAGES, progress=heard)
    paper = PRESETS["paper"]
    assert found == {"gags": (STAGES.distill, None), "gags-paper": (paper.distill, paper.describe)}
    assert "gags-paper keeps the settings of its preset for describe and distill" in heard.said


def test_a_seed_of_distillation_that_nobody_learns_with_is_refused(
    finished, toy_capture, calls, tmp_path, monkeypatch, capsys
):
    """Before, the seeds of the comparison took its place without a word."""
    command = _command(toy_capture, tmp_path / "out", "--methods", "gags", "--distill.seed", "7")
    for more in ([], ["--first-seed", "7"], ["--seeds", "1"]):
        assert cli.main([*command, *more]) == 1
        (line,) = [text for text in capsys.readouterr().err.splitlines() if text.startswith("gags compare:")]
        assert "--distill.seed 7 would have no effect: methods learn with the seeds that --seeds" in line
    assert not (tmp_path / "out").exists()
    found = _asked_of_presets(monkeypatch)
    more = ["--seeds", "1", "--first-seed", "7", "--describe.seed", "5", "--reconstruct.seed", "5"]
    assert cli.main([*command, *more]) == cli.INTERRUPTED
    assert found["gags"][0].seed == 7
    scene = Described.open(tmp_path / "out" / "scene")
    assert scene.segment_settings().seed == scene.splats.settings["seed"] == 5


def test_systems_that_ask_a_detector_say_how_they_are_asked_without_one(toy_capture, finished, tmp_path):
    """There is no network in the tests, so "auto" finds no detector; who asks for it chooses it, once."""
    settings = CompareSettings(
        seeds=1,
        grouping=GroupingSettings(steps=600, batch=256),
        goi=GoiSettings(steps=300, batch=256),
    )
    stages = replace(STAGES, distill=replace(STAGES.distill, pixels_per_photo=2000))
    names, heard = ["grouping", "goi", "goi-calibrated"], Heard()
    arguments = [None, toy_capture / "labels", tmp_path / "out", names, settings]
    found = compare(*arguments, scene=finished / "scene", stages=stages, progress=heard)
    assert [result.title for result in found.methods] == [
        "Gaussian Grouping (asked by mask embeddings)",
        "GOI (fitted to our best mask)",
        "GOI (calibrated, fitted to our best mask)",
    ]
    assert [line.split(";")[0] for line in heard.said if "Detector" in line] == ["Detector: none"] * 2
    for result, size in zip(found.methods, (32, 20, 20), strict=True):
        assert result.seeds[0].mean_accuracy >= 0.5
        assert result.seeds[0].bytes_per_gaussian == size
    heard = Heard()
    compare(
        None, toy_capture / "labels", finished, ["uplift"], ONE_SEED, scene=finished / "scene", progress=heard
    )
    assert not any("Detector" in line for line in heard.said)


def test_ablations_print_the_papers_figures_beside_ours(toy_capture, finished, monkeypatch, capsys):
    """The tables alone: the methods' results are taken from one that is there."""
    one = compare(
        None, toy_capture / "labels", finished, ["uplift"], ONE_SEED, scene=finished / "scene"
    ).methods[0]
    monkeypatch.setattr(Comparison, "__getitem__", lambda self, method: one)
    monkeypatch.setattr(harness, "ablation_methods", list)
    methods = ["--methods", "uplift", "--seeds", "1", "--ablations"]
    assert cli.main(_command(toy_capture, finished, *methods)) == 0
    printed = capsys.readouterr().out
    for words in ("Losses, one added after the other", "55.14", "77.31", "averaged, without", "Eq. 9"):
        assert words in printed
    content = json.loads((finished / "compare.json").read_text())
    assert content["tables"][1]["rows"][0]["paper"] == {"mean_iou": 55.14, "mean_accuracy": 77.31}


def test_python_does_what_the_command_does(toy_capture, finished, calls, capsys):
    """A capture as an object, a scene by its folder and the command, all with the same settings, agree."""
    assert cli.main(_command(toy_capture, finished, "--methods", "uplift", "--seeds", "1", "--json")) == 0
    printed = json.loads(capsys.readouterr().out)
    labels = toy_capture / "labels"
    heard = Heard()
    found = compare(load_capture(toy_capture), labels, finished, ["uplift"], ONE_SEED, stages=STAGES)
    again = compare(
        None, str(labels), str(finished), ["uplift"], ONE_SEED, scene=finished / "scene", progress=heard
    )
    assert found.to_json() == again.to_json() == printed
    assert heard.said == ["training-free uplift (1 of 1 methods)", "Seed 0: done already"]
    assert calls == []


def test_a_method_that_fails_keeps_what_others_learnt(toy_capture, finished, calls, tmp_path, monkeypatch):
    """Two methods; the second fails, then it is mended."""
    genuine = OneField.learn

    def fail(self, inputs, seed, path, progress):
        raise WorkspaceError("no photo has a single mask")

    monkeypatch.setattr(OneField, "learn", fail)
    arguments = [None, toy_capture / "labels", tmp_path / "out", ["uplift", "part"], ONE_SEED]
    with pytest.raises(WorkspaceError, match="no photo has a single mask"):
        compare(*arguments, scene=finished / "scene", stages=STAGES)
    assert calls == [("uplift", 0), ("part", 0)]
    assert not (tmp_path / "out" / "compare.json").exists()
    monkeypatch.setattr(OneField, "learn", genuine)
    found = compare(*arguments, scene=finished / "scene", stages=STAGES)
    assert calls == [("uplift", 0), ("part", 0), ("part", 0)]
    assert [result.method for result in found.methods] == ["uplift", "part"]
    assert (tmp_path / "out" / "compare.json").exists()


def test_labels_by_position_and_strict_rules_only_score_again(toy_capture, finished, calls, tmp_path):
    numbered = tmp_path / "numbered"
    numbered.mkdir()
    for row in (0, 6):
        content = (toy_capture / "labels" / f"view_{row:02d}.json").read_bytes()
        (numbered / f"frame_{row + 1:05d}.json").write_bytes(content)
    out, scene, found, learnt_at = tmp_path / "out", finished / "scene", [], set()
    language = out / "methods" / "uplift" / "seed_0" / "language.json"
    for labels, more in ((toy_capture / "labels", {}), (numbered, {"labels_by": "position"})):
        for protocol in ("lerf-ovs", "lerf-ovs-strict"):
            settings = CompareSettings(seeds=1, protocol=protocol, **more)
            found.append(compare(None, labels, out, ["uplift"], settings, scene=scene))
            learnt_at.add(language.stat().st_mtime_ns)
    assert len(learnt_at) == 1
    assert calls == [("uplift", 0)] * 4
    rules, strict, rules_by_place, strict_by_place = (each["uplift"].seeds[0].evaluation for each in found)
    assert rules_by_place == rules
    assert strict_by_place == strict
    assert strict["rows"] != rules["rows"]
    with pytest.raises(LabelError, match=r"view_00\.json labels photo 0 by position"):
        compare(None, toy_capture / "labels", out, ["uplift"], settings, scene=scene)


def test_nothing_needs_to_be_held_out(toy_capture, calls, tmp_path, capsys):
    """`--test-every 0`, as the paper trains: every photo is learnt from, no figure is of held-out ones."""
    out = tmp_path / "out"
    command = _command(toy_capture, out, "--test-every", "0", "--methods", "uplift", "--seeds", "1")
    assert cli.main([*command, "--protocol", "held-out"]) == 1  # before any work
    assert "no labelled photo was held out: " in capsys.readouterr().err
    assert not (out / "scene").exists()
    assert cli.main([*command, "--protocol", "lerf-ovs-strict", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["methods"]
    (seed,) = row["seeds"]
    assert seed["overall"]["pairs"] == seed["trained_on"]["pairs"] == len(seed["rows"]) > 5
    assert (seed["held_out"]["pairs"], seed["held_out"]["mean_iou"]) == (0, None)
    assert row["mIoU"] == seed["trained_on"]["mean_iou"] > 0.2
    scene = Described.open(out / "scene")
    assert (len(scene.capture.train), scene.capture.test) == (12, [])
    assert len(scene.descriptions()) == 12
    figures = scene.workspace.read_metrics()
    assert "psnr" not in figures
    assert figures["train_psnr"] > 15
    assert cli.main(command) == 0
    assert "lerf-ovs" in capsys.readouterr().out


def test_a_method_that_answers_otherwise_is_only_scored_again(toy_capture, finished, tmp_path, monkeypatch):
    arguments = [None, toy_capture / "labels", tmp_path / "out", ["uplift"], ONE_SEED]
    folder = tmp_path / "out" / "methods" / "uplift" / "seed_0"

    def written():
        compare(*arguments, scene=finished / "scene")
        return [(folder / name).stat().st_mtime_ns for name in ("language.json", "scores.json")]

    before = written()
    assert written() == before
    monkeypatch.setattr(Uplift, "answers", Uplift.answers + 1)
    learnt, scored = written()
    assert learnt == before[0]
    assert scored > before[1]


def test_a_damaged_result_is_made_again(toy_capture, finished, calls, tmp_path):
    arguments = [None, toy_capture / "labels", tmp_path / "out", ["uplift"], ONE_SEED]
    first = compare(*arguments, scene=finished / "scene")
    scores = tmp_path / "out" / "methods" / "uplift" / "seed_0" / "scores.json"
    content = json.loads(scores.read_text())
    del content["evaluation"]
    scores.write_text(json.dumps(content))
    again = compare(*arguments, scene=finished / "scene")
    assert calls == [("uplift", 0), ("uplift", 0)]
    assert again["uplift"].seeds[0].evaluation == first["uplift"].seeds[0].evaluation


def test_a_result_that_someone_else_removes_is_an_error(toy_capture, finished, tmp_path, monkeypatch):
    monkeypatch.setattr(harness, "in_own_process", lambda *_: None)
    with pytest.raises(CompareError, match="seed_0 was changed by someone else meanwhile"):
        compare(
            None, toy_capture / "labels", tmp_path / "out", ["uplift"], ONE_SEED, scene=finished / "scene"
        )


def test_a_method_runs_in_a_process_of_its_own_and_is_heard_there(
    toy_capture, finished, tmp_path, monkeypatch
):
    """No stand-in: the made-up encoder comes with what makes the child's reporter."""
    monkeypatch.setattr(harness, "in_own_process", in_own_process)
    monkeypatch.setenv(HEARD_FILE, str(tmp_path / "heard"))
    labels, scene = toy_capture / "labels", finished / "scene"
    own = compare(
        None,
        labels,
        tmp_path / "out",
        ["uplift"],
        ONE_SEED,
        scene=scene,
        progress_in_child=reporter_of_a_child,
    )
    pid, *stages = (tmp_path / "heard").read_text().splitlines()
    assert int(pid) != os.getpid()
    assert stages == ["Uplifting: 10 photos", "Evaluating (lerf-ovs): 2 frames"]
    here = compare(None, labels, finished, ["uplift"], ONE_SEED, scene=scene)
    assert own["uplift"].seeds[0].evaluation == here["uplift"].seeds[0].evaluation


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (["--methods", "gags", "lerf"], "no method 'lerf'"),
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


def test_a_field_that_was_stopped_is_learnt_further(finished, toy_capture, calls, tmp_path, monkeypatch):
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    folder = out / "methods" / "gags" / "seed_0"
    wanted, learnt = (
        (folder / "language.safetensors").read_bytes(),
        json.loads((folder / "language.json").read_text()),
    )
    shutil.rmtree(folder)
    monkeypatch.setattr(optimize_module, "CHECKPOINT_SECONDS", 0.0)
    genuine, steps = MixedSchedule.terms, []

    def terms(self, features, decoder, step):
        steps.append(step)
        if len(steps) == 30:
            raise KeyboardInterrupt
        return genuine(self, features, decoder, step)

    monkeypatch.setattr(MixedSchedule, "terms", terms)
    command = _command(toy_capture, out, "--seeds", "1", "--methods", "gags")
    assert cli.main(command) == 130
    checkpoint = folder / "checkpoint.safetensors"
    kept = load_tensors(checkpoint, remedy="")
    assert 0 < float(kept.metadata["seconds"]) < 1000
    longer = kept.metadata | {"seconds": "1000"}  # as if they had taken so long
    save_tensors(checkpoint, kept.tensors, longer)
    (folder / ".language.1.tmp.safetensors").touch()  # killed while it wrote
    assert cli.main(command) == 0
    assert steps == [*range(30), *range(29, 40)]
    assert (folder / "language.safetensors").read_bytes() == wanted
    again = json.loads((folder / "language.json").read_text())
    for record, least in ((learnt, 0), (again, 1000)):
        assert least < record["stages"]["Distilling language"] < record["seconds"] < least + 1000
    assert sorted(path.name for path in folder.iterdir()) == [
        "language.json",
        "language.safetensors",
        "scores.json",
    ]
