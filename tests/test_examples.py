"""The numbered examples run as they are printed in the docs, on a finished toy scene."""

import re
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from gags import scene
from gags.gaussians.ply import load_ply
from tests.helpers.blobs import ToyEncoder, make_scene
from tests.helpers.toy_capture import HEIGHT, WIDTH

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


def test_every_example_is_numbered_and_in_the_docs():
    names = sorted(path.name for path in EXAMPLES.glob("*.py"))
    assert [name[:3] for name in names] == ["01_", "02_", "03_", "04_", "05_"]
    page = (EXAMPLES.parent / "docs" / "examples.md").read_text(encoding="utf-8")
    assert re.findall(r'"examples/(.+?)"', page) == names


def test_ask(run, tmp_path):
    lines = run("01_ask.py", "red ball", "blue ball").splitlines()
    assert [line.split(":")[0] for line in lines] == ["red ball", "blue ball"]
    assert all(float(line.split("relevancy ")[1].split()[0]) > 0.5 for line in lines)
    assert len(list((tmp_path / "answers").glob("*.png"))) == 2


def test_locate(run):
    printed = run("02_locate.py", "red ball", "tractor")
    assert "red ball: 1 found" in printed
    centre = [float(value) for value in printed.split("at (")[1].split(")")[0].split(",")]
    np.testing.assert_allclose(centre, [1.0, 1.0, 0.4], atol=0.12)


def test_extract(run, tmp_path):
    printed = run("03_extract.py", "green", "ball")
    piece = load_ply(tmp_path / "pieces" / "thing.ply")
    assert f"green ball: {len(piece)} of 644 Gaussians" in printed
    np.testing.assert_allclose(piece.means.mean(dim=0), [-1.0, 1.0, 0.4], atol=0.1)
    assert (tmp_path / "pieces" / "rest.splat").stat().st_size == 32 * (644 - len(piece))
    assert "nothing in the scene matches" in run("03_extract.py", "tractor")


def test_new_view(run, tmp_path):
    assert "between view_00.png and view_01.png" in run("04_new_view.py", "yellow", "ball")
    assert cv2.imread(str(tmp_path / "new_view.png")).shape == (HEIGHT, 2 * WIDTH, 3)


def test_halfway_between_two_cameras():
    halfway = runpy.run_path(str(EXAMPLES / "04_new_view.py"))["halfway"]
    cameras = make_scene(12).cameras  # on a circle, 30° apart
    middle = halfway(cameras[0], cameras[2])
    np.testing.assert_allclose(middle.position, (cameras[0].position + cameras[2].position) / 2, atol=1e-12)
    turn = middle.viewmat[:3, :3] @ cameras[1].viewmat[:3, :3].T
    assert np.degrees(np.arccos((np.trace(turn) - 1) / 2)) < 5


def test_catalog(run):
    printed = run("05_catalog.py", "red ball", "green ball", "blue ball", "yellow ball", "floor")
    names = {line.split(": ")[1].split(",")[0] for line in printed.splitlines()[:-1]}
    assert {"red ball", "green ball", "blue ball", "yellow ball"} <= names
