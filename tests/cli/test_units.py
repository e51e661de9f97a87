"""`gags units`: one known length, and what `gags locate` tells from then on."""

import json

import numpy as np
import pytest
from tests.helpers.blobs import ToyEncoder
from tests.helpers.finished_scene import write_scene

from gags import cli
from gags import scene as scene_module


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(scene_module, "load_encoder", lambda name, progress=None: ToyEncoder())
    return str(write_scene(tmp_path))


def test_locate_tells_the_unit_once_it_is_known(folder, capsys):
    assert cli.main(["locate", folder, "red ball", "--json"]) == 0
    (before,) = json.loads(capsys.readouterr().out)
    assert "unit" not in before
    assert cli.main(["units", folder, "--from=-1,0,0", "--to", "1,0,0", "--is", "50", "--unit", "cm"]) == 0
    assert "one unit of the capture is 25 cm" in capsys.readouterr().out
    assert cli.main(["locate", folder, "red ball", "--json"]) == 0
    (after,) = json.loads(capsys.readouterr().out)
    unit = after.pop("unit")
    assert after == before
    assert (unit["name"], unit["per_scene_unit"]) == ("cm", 25.0)
    np.testing.assert_allclose(unit["size"], 25 * np.array(before["box"]["size"]))
    np.testing.assert_allclose(unit["center"], 25 * np.array(before["center"]))
    assert cli.main(["locate", folder, "red ball"]) == 0
    longest = f"({25 * before['box']['size'][0]:.3g} ×"
    assert longest in capsys.readouterr().out

    assert cli.main(["units", folder, "--forget"]) == 0
    assert "no unit is known" in capsys.readouterr().out
    assert cli.main(["locate", folder, "red ball", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [before]


def test_a_thing_can_be_what_is_known(folder, capsys):
    assert cli.main(["locate", folder, "red ball", "--json"]) == 0
    longest = json.loads(capsys.readouterr().out)[0]["box"]["size"][0]
    assert cli.main(["units", folder, "--thing", "red ball", "--is", "0.08", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["unit"]
    assert told["name"] == "m"
    assert told["per_scene_unit"] == pytest.approx(0.08 / longest)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--from", "0,0,0"], 1, "between two points or of a thing"),
        (["--from", "0,0,0", "--to", "0,0,1"], 1, "between two points or of a thing"),
        (["--from", "0,0", "--to", "0,0,1", "--is", "1"], 1, "--from '0,0' is no point"),
        (["--from", "0,0,1", "--to", "0,0,1", "--is", "1"], 1, "a length must be above 0"),
        (["--thing", "tractor", "--is", "1"], 1, "nothing in the scene matches"),
        (["--forget", "--is", "1"], 1, "--forget takes nothing else"),
        (["--is", "0"], 2, "--is must be"),
        (["--from", "0,0,0", "--to", "0,0,1", "--is", "1", "--unit", ""], 1, "no name of a unit"),
    ],
)
def test_what_is_wrong_is_one_line(folder, capsys, arguments, code, said):
    assert cli.main(["units", folder, *arguments]) == code
    *progress, error = capsys.readouterr().err.strip().split("\n")
    assert said in error
    assert all(line.startswith("Finding things") for line in progress)
