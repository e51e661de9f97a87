"""The state of a training: its tensors come back as they were, or not at all."""

import pytest
import torch
from tests.helpers.scenes import coloured_balls

from gags.reconstruct.state import PARAMETERS, PARTS, TrainingState


@pytest.fixture
def state():
    state = TrainingState.begin(coloured_balls(9))
    state.first.sh += 1
    state.second.quats += 2
    state.gradient_sum += 3
    state.step = 123
    return state


def test_tensors_come_back(state):
    again = TrainingState.of_tensors(123, state.tensors())
    assert again is not None
    assert again.step == 123
    for part in PARTS:
        for name in PARAMETERS:
            assert torch.equal(getattr(getattr(again, part), name), getattr(getattr(state, part), name))
    assert torch.equal(again.gradient_sum, state.gradient_sum)
    assert torch.equal(again.seen, state.seen)


@pytest.mark.parametrize("name", ["gaussians.means", "second.sh", "seen"])
def test_tensors_that_are_missing_or_too_short_are_no_state(state, name):
    tensors = state.tensors()
    assert TrainingState.of_tensors(1, {k: v for k, v in tensors.items() if k != name}) is None
    assert TrainingState.of_tensors(1, tensors | {name: tensors[name][:-1]}) is None
    assert TrainingState.of_tensors(1, tensors | {"more": tensors[name]}) is None


def test_values_that_are_not_finite_are_no_state(state):
    state.gaussians.means[3, 1] = float("nan")
    assert TrainingState.of_tensors(1, state.tensors()) is None
