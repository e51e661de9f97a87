"""Values of other programs' files: infinite ones that mean something, and what was not converted."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.helpers.heard import Heard
from tests.helpers.scenes import coloured_balls

from gags.errors import SplatsError
from gags.gaussians import Gaussians
from gags.gaussians.foreign import finite_rows, in_standard_form

INF = float("inf")


def test_infinite_logits_and_flat_sizes_mean_something():
    table = np.zeros((7, 14), np.float32)
    table[:, 7:10] = -4
    table[1, 10], table[2, 10] = INF, -INF
    table[3, 8] = -INF
    table[4, 0], table[5, 9], table[6, 10] = INF, INF, np.nan  # nowhere, endless, unknown: dropped
    heard = Heard()
    kept = finite_rows(table, Path("a.ply"), heard)
    assert len(kept) == 4
    opacities = torch.sigmoid(torch.from_numpy(kept[:, 10]))
    assert opacities[0] == 0.5
    assert opacities[1] == 1
    assert opacities[2] < 1e-8
    assert np.exp(kept[3, 8]) < 1e-12
    assert heard.warned == ["a.ply: 3 of 7 Gaussians are not finite, dropped"]


def test_nothing_finite():
    with pytest.raises(SplatsError, match="no Gaussian is finite"):
        finite_rows(np.full((3, 14), np.nan, np.float32), Path("a.ply"))


def test_opacities_without_logit_beside_logarithms():
    balls, heard = coloured_balls(), Heard()
    plain = Gaussians(balls.means, balls.quats, balls.log_scales, balls.opacities, balls.sh)
    taken = in_standard_form(plain, Path("a.ply"), heard)
    torch.testing.assert_close(taken.opacities, balls.opacities, atol=1e-5, rtol=0)
    assert torch.equal(taken.log_scales, balls.log_scales)
    assert heard.warned == ["a.ply holds opacities as they are, not as logit; taking them so"]


def test_gaussians_larger_than_any_scene_are_dropped():
    balls, heard = coloured_balls(), Heard()
    balls.log_scales[2, 1] = 87.0
    assert len(in_standard_form(balls, Path("a.ply"), heard)) == len(balls) - 1
    assert f"1 of {len(balls)} Gaussians are larger than any scene" in heard.warned[0]
    balls.log_scales[:] = 87.0
    with pytest.raises(SplatsError, match="every Gaussian is larger"):
        in_standard_form(balls, Path("a.ply"), heard)


def test_sizes_and_opacities_as_they_are_become_logarithms_and_logits():
    balls, heard = coloured_balls(), Heard()
    plain = Gaussians(balls.means, balls.quats, balls.scales, balls.opacities, balls.sh)
    taken = in_standard_form(plain, Path("a.ply"), heard)
    torch.testing.assert_close(taken.scales, balls.scales)
    torch.testing.assert_close(taken.opacities, balls.opacities, atol=1e-5, rtol=0)
    assert "as they are" in heard.warned[0]


def test_what_is_stored_in_standard_form_stays():
    balls, heard = coloured_balls(), Heard()
    assert in_standard_form(balls, Path("a.ply"), heard) is balls
    assert heard.warned == []


def test_rotations_of_length_0_are_dropped():
    balls, heard = coloured_balls(), Heard()
    balls.quats[[1, 3]] = 0
    taken = in_standard_form(balls, Path("a.ply"), heard)
    assert len(taken) == len(balls) - 2
    assert f"2 of {len(balls)}" in heard.warned[0]
    balls.quats[:] = 0
    with pytest.raises(SplatsError, match="every rotation is 0"):
        in_standard_form(balls, Path("a.ply"), heard)
