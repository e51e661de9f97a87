"""`locate`, `catalog`, `extract`, `delete` and `recolor` on a toy scene: results, and clear errors."""

import json
import shutil

import cv2
import numpy as np
import pytest
from tests.helpers.blobs import WORDS, ToyEncoder, make_scene

from gags import cli, scene
from gags.gaussians.ply import load_ply

RED_CENTRE = [1.0, 1.0, 0.4]


@pytest.fixture(autouse=True)
def encoder(monkeypatch):
    monkeypatch.setattr(scene, "load_encoder", lambda name, progress=None: ToyEncoder())


def _main(*words) -> int:
    return cli.main([str(word) for word in words])


def test_locate_tells_where_each_ball_is(finished, capsys):
    assert _main("locate", finished, "red ball", "blue ball", "tractor", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["text"] for row in rows] == ["red ball", "blue ball"]
    np.testing.assert_allclose(rows[0]["center"], RED_CENTRE, atol=0.12)
    np.testing.assert_allclose(rows[0]["box"]["size"], 0.8, atol=0.15)
    assert rows[0]["views"] == 12
    assert (finished / "things.safetensors").exists()
    assert _main("locate", finished, "red ball", "tractor") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert "12 photos" in lines[0]
    assert "nothing in the scene matches" in lines[1]


def test_extract_and_delete_share_out_the_scene_which_stays(finished, tmp_path):
    before = (finished / "splats.ply").read_bytes()
    ball, rest, other = tmp_path / "ball.ply", tmp_path / "rest.ply", tmp_path / "other.ply"
    assert _main("extract", finished, "red ball", "blue ball", "--out", ball) == 0
    assert _main("delete", finished, "red ball", "blue ball", "--out", rest) == 0
    assert _main("extract", finished, "red ball", "blue ball", "--invert", "--out", other) == 0
    whole = load_ply(finished / "splats.ply")
    means = np.concatenate([load_ply(ball).means, load_ply(rest).means])
    assert sorted(map(tuple, means.tolist())) == sorted(map(tuple, whole.means.tolist()))
    assert other.read_bytes() == rest.read_bytes()
    assert 130 < len(load_ply(ball)) < 190  # two balls of 80
    assert (finished / "splats.ply").read_bytes() == before


def test_recolor_changes_the_ball_alone(finished, tmp_path):
    out = tmp_path / "green.ply"
    assert _main("recolor", finished, "red ball", "--color", "#00ff00", "--out", out) == 0
    before, after = load_ply(finished / "splats.ply"), load_ply(out)
    changed = (before.sh != after.sh).any(dim=2).any(dim=1).numpy()
    truth = make_scene(12).owner == WORDS.index("red ball")
    assert (changed & truth).sum() > 0.9 * truth.sum() > 0.7 * changed.sum()
    colors = 0.5 + 0.28209479 * after.sh[changed, 0]
    np.testing.assert_allclose(colors, np.tile([0, 1, 0], (changed.sum(), 1)), atol=1e-6)
    np.testing.assert_array_equal(before.means, after.means)


def test_nothing_found_is_said_and_is_no_failure(finished, tmp_path, capsys):
    assert _main("extract", finished, "tractor", "--out", tmp_path / "a.ply") == 0
    assert "nothing in the scene matches" in capsys.readouterr().out
    assert not (tmp_path / "a.ply").exists()
    assert _main("delete", finished, "tractor", "--out", tmp_path / "b.ply") == 0
    assert len(load_ply(tmp_path / "b.ply")) == len(load_ply(finished / "splats.ply"))
    assert _main("locate", finished, "tractor", "--json") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "[]"


def test_catalog_lists_the_balls(finished, tmp_path, capsys):
    words = tmp_path / "words.txt"
    words.write_text("\n".join([*WORDS, "tractor"]))
    assert _main("catalog", finished, "--words", words, "--out", tmp_path / "out", "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content == json.loads((tmp_path / "out" / "catalog.json").read_text())
    wholes = [thing for thing in content["things"] if thing["part_of"] is None]
    assert sorted(thing["name"] for thing in wholes) == sorted(WORDS)
    assert cv2.imread(str(tmp_path / "out" / "catalog.png")).shape == (5 * 192, 5 * 256, 3)
    assert _main("catalog", finished, "--words", words, "--out", tmp_path / "out") == 0
    assert "red ball" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["locate", "{none}", "mug"], "not a gags scene"),
        (["locate", "{ws}", " "], "not empty"),
        (["locate", "{ws}"], "nothing to look for"),
        (["extract", "{ws}", "", "--out", "a.ply"], "not empty"),
        (["extract", "{ws}", "red ball", "--out", "{ws}/splats.ply"], "never changed"),
        (["delete", "{ws}", "red ball", "--out", "{link}"], "never changed"),
        (["delete", "{ws}", "red ball", "--out", "a.obj"], ".ply, .spz, .splat"),
        (["delete", "{ws}", "red ball", "--out", "{file}/a.ply"], "cannot be written"),
        (["recolor", "{ws}", "red ball", "--color", "blurple", "--out", "a.ply"], "no colour"),
        (["catalog", "{ws}", "--words", "{none}"], "cannot be read"),
        (["catalog", "{ws}", "--out", "{file}/folder"], "choose another --out"),
        (["extract", "{broken}", "red ball", "--out", "a.ply"], "ends too early"),
    ],
)
def test_bad_input_is_one_line_and_leaves_the_scene(command, expected, finished, tmp_path, capsys):
    broken = tmp_path / "broken"
    shutil.copytree(finished, broken)
    (broken / "splats.ply").write_bytes((finished / "splats.ply").read_bytes()[:-10])
    (tmp_path / "file").write_text("")
    (tmp_path / "link.ply").symlink_to(finished / "splats.ply")
    names = {name: tmp_path / name for name in ("none", "file", "broken")}
    names |= {"ws": finished, "link": tmp_path / "link.ply"}
    before = (finished / "splats.ply").read_bytes()
    assert _main(*(word.format(**names) for word in command)) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("gags ")]
    assert len(lines) == 1
    assert expected in lines[0]
    assert (finished / "splats.ply").read_bytes() == before
