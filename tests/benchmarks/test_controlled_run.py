"""The controlled experiment from start to end, on the toy capture."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from benchmarks.controlled import run
from tests.helpers.blobs import WORDS, make_scene
from tests.helpers.toy_capture import write_capture

from gags.capture import load_capture, save_capture
from gags.embed.description import Description
from gags.errors import CompareError
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
    entry = {"part_of": None, "queries": []}
    objects = {
        str(row): entry | {"name": word, "ids": [row], "kind": "object" if row > 1 else "stuff"}
        for row, word in enumerate(WORDS, 1)
    }
    (capture / "objects.json").write_text(json.dumps(objects))
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
    with pytest.raises(CompareError, match="wings"):
        run.distill_settings(["wings=2"])
    changed = run.distill_settings(["levels=averaged", "entropy_weight=0.002", "consensus=false"])
    assert (changed.levels, changed.entropy_weight, changed.consensus) == ("averaged", 0.002, False)
