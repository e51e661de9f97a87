"""`convert`, `render`, `mesh` and `--ids` on a toy scene: results, and clear errors that lose nothing."""

import json
import sys

import numpy as np
import pytest
import torch
from tests.helpers.blobs import WORDS, ToyEncoder, make_scene
from tests.helpers.varied import varied

import gags
from gags import cli, scene
from gags.gaussians.files import load_gaussians, save_gaussians
from gags.gaussians.ply import load_ply

RED_CENTRE, RADIUS = [1.0, 1.0, 0.4], 0.4


@pytest.fixture(autouse=True)
def encoder(monkeypatch):
    monkeypatch.setattr(scene, "load_encoder", lambda name, progress=None: ToyEncoder())


def _main(*words) -> int:
    return cli.main([str(word) for word in words])


def test_convert_from_format_to_format(tmp_path, capsys):
    gaussians = varied(degree=1)
    save_gaussians(gaussians, tmp_path / "a.ply")
    for source, out in [("a.ply", "b.glb"), ("b.glb", "c.spz"), ("c.spz", "d.splat"), ("d.splat", "e.ply")]:
        assert _main("convert", tmp_path / source, tmp_path / out) == 0
        shown = capsys.readouterr()
        assert shown.out == f"{tmp_path / out}: 60 Gaussians\n"
        lost = {"c.spz": "rounded", "d.splat": "without spherical harmonics above degree 0 (of degree 1)"}
        assert lost.get(out, "") in shown.err
        assert len(shown.err.splitlines()) == (out in lost)
    again = load_ply(tmp_path / "e.ply")
    torch.testing.assert_close(again.means, gaussians.means, atol=1e-5, rtol=0)


def test_spz_versions(tmp_path):
    save_gaussians(varied(), tmp_path / "a.ply")
    assert _main("convert", tmp_path / "a.ply", tmp_path / "a.spz") == 0
    assert (tmp_path / "a.spz").read_bytes()[:2] == b"\x1f\x8b"
    assert _main("convert", tmp_path / "a.ply", tmp_path / "a.spz", "--spz-version", 4) == 0
    assert (tmp_path / "a.spz").read_bytes()[:8] == b"NGSP\x04\0\0\0"
    assert _main("convert", tmp_path / "a.ply", tmp_path / "a.spz", "--spz-version", 2) == 2


def test_a_scene_is_converted_by_its_folder(finished, tmp_path):
    before = (finished / "splats.ply").read_bytes()
    assert _main("convert", finished, tmp_path / "a.glb") == 0
    assert torch.equal(load_gaussians(tmp_path / "a.glb").means, load_ply(finished / "splats.ply").means)
    assert (finished / "splats.ply").read_bytes() == before


@pytest.mark.parametrize(
    ("source", "out", "options", "message"),
    [
        ("a.ply", "a.ply", (), "never changed"),
        ("a.ply", "link.ply", (), "never changed"),
        ("a.ply", "b.obj", (), "ends in none of .ply"),
        ("missing.ply", "kept.spz", (), "missing.ply is not there"),
        ("broken.ply", "kept.spz", (), "broken.ply is not a PLY file"),
        ("a.ply", "b.ply", ("--ids",), "is no scene"),
        ("a.usda", "b.ply", (), ".usda is written, not read"),
    ],
)
def test_convert_refuses_in_one_line_and_loses_nothing(tmp_path, capsys, source, out, options, message):
    save_gaussians(varied(), tmp_path / "a.ply")
    (tmp_path / "link.ply").symlink_to(tmp_path / "a.ply")
    (tmp_path / "kept.spz").write_bytes(b"kept")
    (tmp_path / "broken.ply").write_bytes(b"PK")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert _main("convert", tmp_path / source, tmp_path / out, *options) == 1
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_scene_itself_is_not_written_over(finished, capsys):
    before = (finished / "splats.ply").read_bytes()
    assert _main("convert", finished, finished / "splats.ply") == 1
    assert _main("convert", finished, finished / "splats.ply", "--ids") == 1
    assert capsys.readouterr().err.count("never changed") == 2
    assert (finished / "splats.ply").read_bytes() == before


def test_ids_of_a_scene_and_what_they_mean(finished, tmp_path):
    assert _main("convert", finished, tmp_path / "all.ply", "--ids") == 0
    plyfile = pytest.importorskip("plyfile")
    numbers = plyfile.PlyData.read(tmp_path / "all.ply")["vertex"]["thing"]
    entries = json.loads((tmp_path / "all.things.json").read_text())["things"]
    things = gags.Scene.load(finished).things()
    red = make_scene(12).owner == WORDS.index("red ball")
    (most,) = (
        np.unique(numbers[red])[np.bincount(np.unique(numbers[red], return_inverse=True)[1]).argmax()],
    )
    assert (numbers[red] == most).mean() > 0.9
    (entry,) = [entry for entry in entries if entry["id"] == most]
    np.testing.assert_allclose(entry["center"], RED_CENTRE, atol=0.12)
    assert entry["gaussians"] == len(things[most])
    assert entry["part_of"] is None
    assert {entry["id"] for entry in entries} >= set(numbers[numbers >= 0].tolist())


def test_ids_of_what_is_cut_out(finished, tmp_path, capsys):
    assert _main("extract", finished, "red ball", "--out", tmp_path / "ball.ply", "--ids") == 0
    numbers = pytest.importorskip("plyfile").PlyData.read(tmp_path / "ball.ply")["vertex"]["thing"]
    assert len(numbers) == len(load_ply(tmp_path / "ball.ply"))
    assert "things" in json.loads((tmp_path / "ball.things.json").read_text())
    assert _main("extract", finished, "red ball", "--out", tmp_path / "ball.splat", "--ids") == 1
    assert "in .ply alone" in capsys.readouterr().err
    assert not (tmp_path / "ball.splat").exists()


def test_render_writes_what_is_named(finished, tmp_path, capsys):
    arguments = ("--view", "view_00.png", "--what", "depth", "--what", "relevancy", "--text", "red ball")
    assert _main("render", finished, *arguments, "--text", "blue ball", "--out", tmp_path) == 0
    names = sorted(path.name for path in (tmp_path / "view_00").iterdir())
    stems = ("blue-ball_relevancy", "depth", "red-ball_relevancy")
    assert names == [f"{stem}{end}" for stem in stems for end in (".npy", ".png")]
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert _main("render", finished, "--view", "nowhere.png", "--out", tmp_path / "b") == 1
    assert "nowhere.png" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_mesh_of_a_thing_is_closed_and_knows_its_thing(finished, tmp_path, capsys):
    trimesh = pytest.importorskip("trimesh")
    pytest.importorskip("skimage")
    assert _main("mesh", finished, "red ball", "--out", tmp_path / "ball.glb", "--cells", "32") == 0
    assert "closed" in capsys.readouterr().out
    made = trimesh.load(tmp_path / "ball.glb", force="mesh", process=False)
    assert made.is_watertight
    assert made.volume == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.3)
    np.testing.assert_allclose(made.centroid, RED_CENTRE, atol=0.1)
    entries = json.loads((tmp_path / "ball.things.json").read_text())["things"]
    assert set(np.unique(made.vertex_attributes["_THING"]).astype(int)) - {-1} <= {e["id"] for e in entries}


def test_mesh_says_what_is_wrong(finished, tmp_path, capsys, monkeypatch):
    out = tmp_path / "a.glb"
    assert _main("mesh", finished, "red ball", "--out", tmp_path / "a.stl") == 1
    assert ".glb, .ply, .obj" in capsys.readouterr().err
    assert _main("mesh", finished, "red ball", "--out", out, "--cells", "0") == 2
    assert "--cells must be a whole number from 8 to 4096" in capsys.readouterr().err
    pytest.importorskip("skimage")
    assert _main("mesh", finished, "tractor", "--out", out) == 0
    assert "nothing in the scene matches" in capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "skimage.measure", None)
    assert _main("mesh", finished, "red ball", "--out", out) == 1
    assert "pip install 'gags[mesh]'" in capsys.readouterr().err
    assert not out.exists()
