from dataclasses import replace

import pytest
import torch
from tests.helpers.heard import Heard
from tests.helpers.scenes import coloured_balls, photograph

from gags.reconstruct.checkpoint import load_checkpoint, run_signature, save_checkpoint
from gags.reconstruct.settings import ReconstructSettings
from gags.reconstruct.state import PARAMETERS, TrainingState


def test_state_survives(tmp_path):
    state = TrainingState.begin(coloured_balls(9))
    state.first.sh += 1
    state.second.quats += 2
    state.gradient_sum += 3
    state.step = 123
    path = tmp_path / "fit.safetensors"
    save_checkpoint(path, state, "abc")
    again = load_checkpoint(path, "abc", Heard())
    assert again is not None
    assert again.step == 123
    for part in ("gaussians", "first", "second"):
        for name in PARAMETERS:
            assert torch.equal(getattr(getattr(again, part), name), getattr(getattr(state, part), name))
    assert torch.equal(again.gradient_sum, state.gradient_sum)
    assert torch.equal(again.seen, state.seen)


@pytest.mark.parametrize("damage", [lambda data: data[:900], lambda data: b"", lambda data: b"x" * 99])
def test_damage_is_a_warning(tmp_path, damage):
    path = tmp_path / "fit.safetensors"
    save_checkpoint(path, TrainingState.begin(coloured_balls(9)), "abc")
    path.write_bytes(damage(path.read_bytes()))
    listener = Heard()
    assert load_checkpoint(path, "abc", listener) is None
    assert len(listener.warned) == 1
    assert str(path) in listener.warned[0]


def test_values_that_are_not_finite_are_a_warning(tmp_path):
    path = tmp_path / "fit.safetensors"
    state = TrainingState.begin(coloured_balls(9))
    state.gaussians.means[3, 1] = float("nan")
    save_checkpoint(path, state, "abc")
    listener = Heard()
    assert load_checkpoint(path, "abc", listener) is None
    assert "damaged" in listener.warned[0]


def test_another_run_begins_anew(tmp_path):
    path = tmp_path / "fit.safetensors"
    save_checkpoint(path, TrainingState.begin(coloured_balls(9)), "abc")
    listener = Heard()
    assert load_checkpoint(path, "abd", listener) is None
    assert "other photos or settings" in listener.said[0]
    assert load_checkpoint(tmp_path / "none.safetensors", "abc", listener) is None


def test_signature_follows_settings_and_photos(tmp_path):
    settings = ReconstructSettings()
    capture = photograph(coloured_balls(), tmp_path / "a", views=4)
    same = photograph(coloured_balls(), tmp_path / "b", views=4)
    other = photograph(coloured_balls(seed=1), tmp_path / "c", views=4)
    assert run_signature(capture, settings) == run_signature(same, settings)
    assert run_signature(capture, settings) != run_signature(other, settings)
    assert run_signature(capture, settings) != run_signature(capture, replace(settings, seed=1))
