"""The controlled experiment from start to end, on the toy capture."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from benchmarks.controlled import run
from tests.helpers.blobs import WORDS, make_scene
from tests.helpers.toy_capture import write_capture, write_objects

from gags.capture import load_capture, save_capture
from gags.compare.methods import field
from gags.distill.presets import PRESETS
from gags.distill.train import train_field
from gags.embed.description import Description
from gags.gaussians.ply import save_ply
from gags.workspace import Workspace

VIEWS = 12


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Path:
    """A capture with instance maps, a scene of it with Gaussians, text vectors with the balls' names."""
    root = tmp_path_factory.mktemp("controlled")
    scene = make_scene(VIEWS)
    capture = write_capture(root / "capture", VIEWS)
    (capture / "instance").mkdir()
    for row, ids in enumerate(scene.ids):
        cv2.imwrite(str(capture / "instance" / f"view_{row:02d}.png"), (ids + 1).astype(np.uint8))
    write_objects(capture)
    workspace = Workspace.create(root / "scene")
    save_capture(load_capture(capture), workspace.capture)
    save_ply(scene.gaussians, workspace.splats)
    (root / "text").mkdir()
    names = [*WORDS[1:], *(f"thing {number}" for number in range(40))]  # "floor" is mapped by hand
    names += ["runner (carpet)", "doormat"]
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((len(names), 512)) / np.sqrt(512) + 1.6 * np.eye(512)[0]
    np.save(root / "text" / "lvis_v1.npy", vectors)
    table = [{"name": name, "synonyms": []} for name in names]
    (root / "text" / "lvis_v1.json").write_text(json.dumps(table))
    return root


def _run(toy: Path, monkeypatch: pytest.MonkeyPatch, *extra: str) -> int:
    paths = ["--clip-text", "text", "--scene", "scene", "--out", "out"]
    monkeypatch.chdir(toy)
    monkeypatch.setattr(sys, "argv", ["run.py", "capture", *paths, *extra])
    return run.main()


def test_methods_learn_from_controlled_masks(toy: Path, monkeypatch, capsys):
    methods = ["uplift", "uniform-uplift"]
    assert _run(toy, monkeypatch, "--methods", *methods, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [entry["method"] for entry in found["methods"]] == methods
    assert found["methods"][0]["mAcc"] > 80
    assert found["methods"][0]["mIoU"] > 40
    aware, uniform = found["masks"]["granularity-aware"], found["masks"]["uniform"]
    assert abs(aware["prompts"] - uniform["prompts"]) <= VIEWS  # as many, but for what rounding adds a photo
    folder = toy / "out" / "features" / "granularity-aware_0"
    files = sorted(folder.iterdir())
    features = [Description.load(file) for file in files]
    assert sum(len(view.prompts) for view in features) == aware["prompts"]
    assert (
        np.sum([np.bincount(v.masks.levels, minlength=3) for v in features], axis=0).tolist()
        == aware["masks"]
    )
    times = [file.stat().st_mtime_ns for file in files]
    assert _run(toy, monkeypatch, "--methods", "uplift") == 0
    assert "| uplift |" in capsys.readouterr().out
    assert [file.stat().st_mtime_ns for file in files] == times  # masks are made once


def test_settings_reach_the_methods_and_papers_rows_are_shown(toy: Path, monkeypatch, capsys):
    assert _run(toy, monkeypatch, "--methods", "average", "no-consensus", "--set", "steps=20") == 0
    printed = capsys.readouterr().out
    assert "| averaged |" in printed
    assert "59.45 | 84.88 |" in printed  # the paper's averaged levels
    assert "| no-consensus |" in printed


def test_mistakes_are_one_line(toy: Path, monkeypatch, capsys):
    assert _run(toy, monkeypatch, "--methods", "nonsense") == 1
    assert "nonsense" in capsys.readouterr().err
    assert _run(toy, monkeypatch, "--methods", "gags", "--set", "wings=2") == 1
    assert "wings" in capsys.readouterr().err
    assert _run(toy, monkeypatch, "--methods", "langsplat-own-prompts") == 1
    assert "crops" in capsys.readouterr().err
    for wrong in (("--patches-grow", "1"), ("--shared-noise", "2"), ("--preset", "nonsense")):
        with pytest.raises(SystemExit):
            _run(toy, monkeypatch, *wrong)
    changed = run.changed_settings(["levels=averaged", "entropy_weight=0.002", "consensus=false"])
    assert changed == {"levels": "averaged", "entropy_weight": 0.002, "consensus": False}


def _files(toy: Path, seed: int = 0) -> dict[str, Description]:
    folder = toy / "out" / "features" / f"granularity-aware_{seed}"
    return {file.name: Description.load(file) for file in folder.iterdir()}


def test_worlds_with_shared_noise_and_growing_patches(toy: Path, monkeypatch, capsys):
    """Shared noise moves embeddings and no mask; growing patches change masks at "sub-part"."""
    assert _run(toy, monkeypatch, "--methods", "uplift") == 0
    plain = _files(toy)
    assert _run(toy, monkeypatch, "--methods", "uplift", "--shared-noise", "0.5") == 0
    for name, shared in _files(toy).items():
        np.testing.assert_array_equal(shared.masks.labels, plain[name].masks.labels)
        cosines = (shared.embeddings.astype(float) * plain[name].embeddings).sum(axis=1)
        assert (cosines > 0.5).all()
        assert (cosines < 0.9999).all()
    grown_by = "0.6"
    assert _run(toy, monkeypatch, "--methods", "uplift", "--patches-grow", grown_by) == 0
    grown = _files(toy)
    fine = {True: 0, False: 0}
    for name, view in grown.items():
        for more, features in ((True, view), (False, plain[name])):
            areas = np.bincount(features.masks.labels[0][features.masks.labels[0] >= 0])
            fine[more] += int(((areas > 0) & (areas < 400)).sum())
    assert fine[True] > fine[False]
    assert _run(toy, monkeypatch, "--methods", "uplift") == 0  # the plain world is as it was
    for name, again in _files(toy).items():
        np.testing.assert_array_equal(again.embeddings, plain[name].embeddings)


def test_prompt_seeds_of_one_world(toy: Path, monkeypatch, capsys):
    """With --world, seeds draw other prompts into the same photos, and nothing else."""
    assert _run(toy, monkeypatch, "--methods", "uplift", "--seeds", "2", "--world", "0") == 0
    first, second = _files(toy), _files(toy, seed=1)
    moved = alike = 0
    for name, view in first.items():
        moved += not np.array_equal(view.prompts, second[name].prompts)
        # A prompt at the same place brings up the same masks: what both seeds cut out is embedded alike.
        one, other = (
            {(view.masks.labels[level] == row).tobytes(): view.embeddings[row] for row, level in _rows(view)}
            for view in (view, second[name])
        )
        for mask in one.keys() & other.keys():
            alike += 1
            np.testing.assert_array_equal(one[mask], other[mask])
    assert moved
    assert alike
    assert _run(toy, monkeypatch, "--methods", "uplift", "--seeds", "2") == 0
    fresh = _files(toy, seed=1)
    assert any(not np.array_equal(fresh[name].embeddings, second[name].embeddings) for name in fresh)


def test_results_are_taken_only_where_they_are_the_same(toy: Path, monkeypatch, capsys):
    seen = []
    evaluate = run.evaluate
    monkeypatch.setattr(run, "evaluate", lambda *a, **k: seen.append(a) or evaluate(*a, **k))
    assert _run(toy, monkeypatch, "--methods", "uplift", "--json") == 0
    first = capsys.readouterr().out
    assert _run(toy, monkeypatch, "--methods", "uplift", "--json", "--resume") == 0
    assert (len(seen), capsys.readouterr().out) == (1, first)
    assert _run(toy, monkeypatch, "--methods", "uplift", "--resume", "--recognised", "1") == 0
    assert len(seen) == 2
    assert _run(toy, monkeypatch, "--methods", "uplift", "--resume", "--set", "top_k=3") == 0
    assert len(seen) == 3
    assert _run(toy, monkeypatch, "--methods", "uplift") == 0
    assert len(seen) == 4


def _rows(view: Description) -> list[tuple[int, int]]:
    """Row and level of every mask."""
    return list(enumerate(view.masks.levels.tolist()))


def test_the_papers_own_distillation_with_intervals(toy: Path, monkeypatch, capsys):
    learnt = []

    def train(gaussians, items, settings, **others):
        learnt.append(settings)
        return train_field(gaussians, items, replace(settings, steps=5, batch_regions=8), **others)

    monkeypatch.setattr(field, "train_field", train)
    methods = ["gags", "average", "uniform-gags"]
    arguments = ("--preset", "paper", "--prompts-per-patch", "4", "--methods", *methods, "--json")
    assert _run(toy, monkeypatch, *arguments) == 0
    paper = PRESETS["paper"].distill
    assert learnt[0] == replace(paper, seed=0)
    assert (learnt[0].granularity, learnt[0].region_aware) == ("distance", True)
    assert min(learnt[0].entropy_weight, learnt[0].consistency_weight) > 0
    assert learnt[1].levels == "averaged"
    found = json.loads(capsys.readouterr().out)
    everywhere = [effect for effect in found["effects"] if effect["ring"] == "all"]
    titles = [effect["compared"] for effect in everywhere]
    assert titles == ["prompts: gags less uniform-gags", "levels: gags less average"]
    means = {entry["method"]: entry["mIoU"] for entry in found["methods"]}
    for effect, other in zip(everywhere, ("uniform-gags", "average"), strict=True):
        iou = effect["mIoU"]
        assert 100 * iou["mean"] == pytest.approx(means["gags"] - means[other], abs=0.02)
        assert iou["low"] <= iou["mean"] <= iou["high"]
