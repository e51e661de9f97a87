from pathlib import Path

import numpy as np
import pytest
import torch
from tests.helpers.heard import Heard
from tests.helpers.scenes import coloured_balls, photograph

from gags.capture import Capture
from gags.errors import SplatsError
from gags.gaussians import Gaussians
from gags.gaussians.files import save_gaussians
from gags.gaussians.ply import save_ply
from gags.gaussians.spz import half_turned
from gags.reconstruct.adopt import adopt, measure_likeness


@pytest.fixture(scope="module")
def capture(tmp_path_factory) -> Capture:
    return photograph(coloured_balls(), tmp_path_factory.mktemp("capture"))


def saved(gaussians: Gaussians, folder: Path) -> Path:
    save_ply(gaussians, folder / "other.ply")
    return folder / "other.ply"


def test_gaussians_of_the_scene_are_taken_as_they_are(capture, tmp_path):
    taken = adopt(saved(coloured_balls(), tmp_path), capture)
    torch.testing.assert_close(taken.means, coloured_balls().means, rtol=0, atol=0)


def test_a_part_of_the_scene_is_taken_too(capture, tmp_path):
    part = coloured_balls()[torch.arange(12)]
    assert len(adopt(saved(part, tmp_path), capture)) == 12


@pytest.mark.parametrize("written", ["in the axes of a .ply", "as the format says"])
def test_a_spz_is_taken_as_the_photos_show_it(capture, tmp_path, written):
    gaussians, heard, path = coloured_balls(), Heard(), tmp_path / "a.spz"
    as_told = written == "in the axes of a .ply"
    save_gaussians(gaussians if as_told else half_turned(gaussians), path)
    taken = adopt(path, capture, heard)
    torch.testing.assert_close(taken.means, gaussians.means, atol=1e-5, rtol=0)
    assert len(heard.warned) == (not as_told)


def test_likeness_of_the_true_gaussians_is_perfect(capture):
    likeness = measure_likeness(coloured_balls(), capture.train)
    assert likeness.correlation > 0.98
    assert 0.2 < likeness.coverage < 0.9


def test_gaussians_out_of_sight_are_refused(capture, tmp_path):
    moved = coloured_balls()
    moved.means = moved.means + torch.tensor([0.0, 0.0, 50.0])
    with pytest.raises(SplatsError, match=r"fill only 0\.0%"):
        adopt(saved(moved, tmp_path), capture)


def test_gaussians_in_another_frame_are_refused(capture, tmp_path):
    turned = coloured_balls()
    turned.means = turned.means @ torch.tensor(np.diag([1.0, -1, -1]), dtype=torch.float32)
    with pytest.raises(SplatsError, match="do not look like the photos"):
        adopt(saved(turned, tmp_path), capture)
