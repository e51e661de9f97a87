"""Layers, edits and undo of one browser in the viewer."""

import numpy as np
import pytest
import torch

from gags.gaussians import Gaussians
from gags.query.edit import SH_C0
from gags.viewer.state import Layer, ViewerState, layer_score


def _layer(state: ViewerState, text: str, *relevancy: float) -> Layer:
    values = np.array(relevancy, np.float32)
    return Layer(text, values, values, 0.9, state.next_color())


def _mask(*rows: int) -> np.ndarray:
    return np.isin(np.arange(4), rows)


def _gaussians() -> Gaussians:
    means = torch.arange(12.0).reshape(4, 3)
    return Gaussians(means, torch.ones(4, 4), torch.zeros(4, 3), torch.zeros(4), torch.rand(4, 4, 3))


def test_keeping_a_draft_makes_it_a_layer_with_a_colour_of_its_own():
    state = ViewerState(4)
    assert state.keep() is None
    state.draft = _layer(state, "mug", 0, 0, 0, 1)
    assert [layer.text for layer in state.shown()] == ["mug"]
    mug = state.keep()
    state.draft = _layer(state, "plate", 1, 0, 0, 0)
    plate = state.keep()
    assert state.draft is None
    assert state.layers == [mug, plate]
    assert mug is not None
    assert plate is not None
    assert mug.color != plate.color
    mug.visible = False
    assert state.shown() == [plate]
    state.layers.remove(mug)
    assert state.next_color() == mug.color  # free again


def test_keeping_a_text_twice_shows_the_first_layer_again():
    state = ViewerState(4)
    state.draft = _layer(state, "mug", 0, 0, 0, 1)
    first = state.keep()
    assert first is not None
    first.visible = False
    state.draft = _layer(state, "mug", 0, 0, 0, 1)
    assert state.keep() is first
    assert state.layers == [first]
    assert first.visible


def test_threshold_decides_what_matches():
    layer = _layer(ViewerState(4), "mug", 0.2, 0.5, 0.49, 0.9)
    assert layer.matching(0.5).tolist() == [False, True, False, True]
    assert layer.matching(0.0).all()


def test_edits_add_up_and_undo_takes_them_back_one_by_one():
    state = ViewerState(4)
    base = np.zeros((4, 3), np.uint8)
    state.selected = _mask(1)
    assert state.edit(_mask(0, 1), (255, 0, 0)) == 2
    assert state.selected is not None
    assert state.edit(_mask(1, 2)) == 2
    assert state.selected is None  # what was selected is gone
    assert state.edit(_mask(2)) == 0  # deleted already: no change to undo
    assert state.alive.tolist() == [True, False, False, True]
    assert state.painted(base)[:, 0].tolist() == [255, 255, 0, 0]
    assert base.max() == 0
    assert state.undo() is not None
    assert state.alive.all()
    assert state.undo() is not None
    assert state.painted(base).max() == 0
    assert state.undo() is None


def test_edited_gaussians_are_coloured_and_without_the_deleted_ones():
    state, gaussians = ViewerState(4), _gaussians()
    before = gaussians.sh.clone()
    state.edit(_mask(0), (255, 0, 127))
    state.edit(_mask(1))
    edited = state.edited(gaussians)
    assert edited.means[:, 0].tolist() == [0, 6, 9]
    np.testing.assert_allclose(0.5 + SH_C0 * edited.sh[0, 0], [1, 0, 127 / 255], atol=1e-6)
    assert not edited.sh[0, 1:].any()
    np.testing.assert_array_equal(edited.sh[1:], before[2:])
    np.testing.assert_array_equal(gaussians.sh, before)
    assert state.edited(gaussians, _mask(1, 3)).means[:, 0].tolist() == [9]


@pytest.mark.parametrize(
    ("solid", "expected"),
    [(np.arange(100) < 50, np.arange(40, 50).mean()), (np.zeros(100, bool), np.arange(90, 100).mean())],
)
def test_score_is_the_mean_of_the_ten_best_solid_gaussians(solid, expected):
    relevancy = np.random.default_rng(0).permutation(100).astype(np.float32)
    order = np.argsort(relevancy)
    assert layer_score(relevancy[order], solid[relevancy[order].astype(int)]) == pytest.approx(expected)
