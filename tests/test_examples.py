"""The numbered examples run as they are printed in the docs, on a finished toy scene."""

import json
import re
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import gags
from gags import pipeline, scene
from gags.embed.description import Description
from gags.gaussians import SH_C0
from gags.gaussians.ply import load_ply
from tests.helpers.blobs import ToyEncoder, make_scene
from tests.helpers.toy_capture import HEIGHT, PALETTE, WIDTH, ColorEncoder, ColorSegmenter, write_capture

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def run(finished, tmp_path, monkeypatch, capsys):
    """Runs an example in an empty folder; returns what it prints."""
    monkeypatch.setattr(scene, "load_encoder", lambda name, progress=None: ToyEncoder())
    monkeypatch.chdir(tmp_path)

    def call(name: str, *words: str) -> str:
        monkeypatch.setattr(sys, "argv", [name, str(finished), *words])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return call


def test_every_example_is_numbered_in_the_docs_and_imports_from_gags_alone():
    paths = sorted(EXAMPLES.glob("*.py"))
    assert [path.name[:3] for path in paths] == [f"{number:02d}_" for number in range(1, 17)]
    page = (EXAMPLES.parent / "docs" / "examples.md").read_text(encoding="utf-8")
    assert re.findall(r'"examples/(.+?)"', page) == [path.name for path in paths]
    for path in paths:
        text = path.read_text(encoding="utf-8")
        assert re.findall(r"^(?:from|import) gags.*$", text, flags=re.M) == ["import gags"], path.name


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The function of an example, with the toy models in place; and a capture."""
    capture = write_capture(tmp_path_factory.mktemp("examples") / "balls", views=9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "load_segmenter", lambda name, progress=None: ColorSegmenter())
        patch.setattr(pipeline, "load_encoder", lambda name, progress=None: ColorEncoder())
        patch.setattr(pipeline, "choose_models", lambda *_, **__: ("color", "color"))
        patch.setattr(scene, "load_encoder", lambda name, progress=None: ColorEncoder())
        yield lambda name, *a, **k: runpy.run_path(str(EXAMPLES / name))["main"](*a, **k), capture


FAST = {
    "reconstruct": gags.ReconstructSettings(steps=60),
    "describe": gags.DescribeSettings(min_area=6, prompts_per_patch=1),
    "distill": gags.DistillSettings(steps=80),
}


def test_run_and_stages(made, tmp_path, capsys):
    call, capture = made
    call("01_run.py", capture, tmp_path / "run", gags.RunSettings(**FAST))
    assert re.search(r"\d+ Gaussians, \d+ things and parts", capsys.readouterr().out)
    call("02_stages.py", capture, tmp_path / "stages", **FAST)
    printed = capsys.readouterr().out
    assert "held-out PSNR: " in printed
    assert "masks: {'sub-part'" in printed
    for name in ("splats.ply", "field.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "stages" / name).read_bytes()


def test_own_gaussians(made, tmp_path, capsys):
    call, capture = made
    toy = make_scene(9)
    colors = torch.from_numpy(PALETTE[toy.owner] / 255).float()
    gags.save_ply(replace(toy.gaussians, sh=((colors - 0.5) / SH_C0)[:, None]), tmp_path / "trained.ply")
    call("11_own_gaussians.py", capture, tmp_path / "trained.ply", tmp_path / "ws", gags.RunSettings(**FAST))
    assert capsys.readouterr().out.splitlines()[-1] == "644 Gaussians can be asked"


def test_query(run, tmp_path):
    lines = run("03_query.py", "red ball", "blue ball").splitlines()
    assert [line.split(":")[0] for line in lines[:-1]] == ["red ball"] * 3 + ["blue ball"] * 3
    assert all(float(line.split("relevancy ")[1].split()[0]) > 0.5 for line in lines[:-1])
    assert len(list((tmp_path / "answers").rglob("*_overlay.png"))) == 2


def test_locate(run):
    printed = run("04_locate.py", "red ball", "tractor")
    assert "red ball: 1 found" in printed
    assert "tractor: 0 found" in printed
    center = [float(value) for value in printed.split("at (")[1].split(")")[0].split(",")]
    np.testing.assert_allclose(center, [1.0, 1.0, 0.4], atol=0.12)


def test_extract(run, tmp_path):
    printed = run("05_extract.py", "green", "ball")
    piece = load_ply(tmp_path / "pieces" / "thing.ply")
    assert f"green ball: {len(piece)} of 644 Gaussians" in printed
    np.testing.assert_allclose(piece.means.mean(dim=0), [-1.0, 1.0, 0.4], atol=0.1)
    assert (tmp_path / "pieces" / "rest.splat").stat().st_size == 32 * (644 - len(piece))
    assert "nothing in the scene matches" in run("05_extract.py", "tractor")


def test_recolor(run, tmp_path):
    assert "644 Gaussians" in run("06_recolor.py", "blue ball")
    colored = load_ply(tmp_path / "recolored.ply")
    red = (0.5 + SH_C0 * colored.sh[:, 0] - torch.tensor([1.0, 0, 0])).abs().amax(dim=1) < 1e-3
    np.testing.assert_allclose(colored.means[red].mean(dim=0), [-1.0, -1.0, 0.4], atol=0.15)


def test_catalog(run):
    printed = run("07_catalog.py", "red ball", "green ball", "blue ball", "yellow ball", "floor")
    names = {line.split(": ")[1].split(",")[0] for line in printed.splitlines()[:-1]}
    assert {"red ball", "green ball", "blue ball", "yellow ball"} <= names


def test_new_view(run, tmp_path):
    assert "between view_00.png and view_01.png" in run("08_new_view.py", "yellow", "ball")
    assert cv2.imread(str(tmp_path / "new_view.png")).shape == (HEIGHT, 2 * WIDTH, 3)


def test_halfway_between_two_cameras():
    halfway = runpy.run_path(str(EXAMPLES / "08_new_view.py"))["halfway"]
    cameras = make_scene(12).cameras  # on a circle, 30° apart
    middle = halfway(cameras[0], cameras[2])
    np.testing.assert_allclose(middle.position, (cameras[0].position + cameras[2].position) / 2, atol=1e-12)
    turn = middle.viewmat[:3, :3] @ cameras[1].viewmat[:3, :3].T
    assert np.degrees(np.arccos((np.trace(turn) - 1) / 2)) < 5


def test_features(run, tmp_path):
    assert "numbers a Gaussian, seen from view_00.png" in run("09_features.py")
    picture = cv2.imread(str(tmp_path / "features.png"))
    assert picture.shape == (HEIGHT, WIDTH, 3)
    assert picture.std(axis=(0, 1)).min() > 5  # balls and floor differ in every direction


def test_pixel(run, finished):
    loaded = gags.Scene.load(finished)
    xy, depth = loaded.capture["view_00"].camera.project(np.array([1.0, 1.0, 0.4]))
    assert depth > 0
    printed = run("10_pixel.py", "view_00", *(str(round(value)) for value in xy.tolist()))
    assert "Gaussians make up" in printed
    thing = int(printed.split("thing ")[1].split(":")[0])
    center = loaded.gaussians.means[loaded.things()[thing]].mean(dim=0)
    np.testing.assert_allclose(center, [1.0, 1.0, 0.4], atol=0.15)


def test_evaluate(run, finished):
    labels = Path(json.loads((finished / "capture.json").read_text())["root"]) / "labels"
    printed = run("12_evaluate.py", str(labels))
    assert re.search(r"lerf-ovs: \d+ pairs, mAcc 100.0%", printed)
    assert "select-3d" in printed


def test_progress(run, finished):
    (finished / "things.safetensors").unlink(missing_ok=True)
    gags.Workspace.open(finished).finish("reconstruct", "made up", 0.0)
    for path in gags.Workspace.open(finished).descriptions.rglob("*.safetensors"):
        replace(Description.load(path), stamps={"masks": "", "embeddings": "made up"}).save(path)
    gags.Workspace.open(finished).finish("describe", "made up", 0.0)
    assert "Finding things: 100%" in run("13_progress.py")


def test_boxes(run, tmp_path):
    assert "boxes" in run("14_boxes_json.py")
    rows = json.loads((tmp_path / "boxes.json").read_text())
    centers = np.array([row["center"] for row in rows])
    assert np.linalg.norm(centers - [1.0, 1.0, 0.4], axis=1).min() < 0.15
    np.testing.assert_allclose(rows[0]["axes"] @ np.transpose(rows[0]["axes"]), np.eye(3), atol=1e-9)


def test_teach(run, finished):
    loaded = gags.Scene.load(finished)
    xy, _ = loaded.capture["view_00"].camera.project(np.array([1.0, 1.0, 0.4]))
    printed = run("15_teach.py", "Oma's cup", "view_00", *(str(round(value)) for value in xy.tolist()))
    first = printed.splitlines()[1]
    assert "taught: at (" in first
    center = [float(value) for value in first.split("at (")[1].split(")")[0].split(",")]
    np.testing.assert_allclose(center, [1.0, 1.0, 0.4], atol=0.15)
    loaded.forget("Oma's cup")


def test_film_and_metres(run, finished, tmp_path):
    printed = run("16_film_and_metres.py", "red ball", "0.08")
    assert ": 0.08 × 0.07" in printed  # the ball, whatever everyday word it gets
    film = cv2.VideoCapture(str(tmp_path / "tour.mp4"))
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) == 48
    assert cv2.imread(str(tmp_path / "answer.png")) is not None
    gags.Scene.load(finished).forget_unit()
