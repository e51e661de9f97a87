"""Gaussians with embeddings on several levels: relevancy by hand, the rule for the level."""

import math

import numpy as np
import pytest
import torch
from tests.helpers.blobs import make_scene

from gags.compare.methods import embedded
from gags.compare.methods.embedded import EmbeddedGaussians, best_level, kept_dtype
from gags.gaussians import render
from gags.query import lerf_ovs
from gags.query.relevancy import Queries

# Texts, then canonical phrases, are the axes of a space of four dimensions.
AXES = torch.eye(4)
QUERIES = Queries(("first", "second"), AXES[:2], AXES[2:], 10.0)


def test_each_text_takes_the_level_of_the_highest_smoothed_peak():
    maps = np.zeros((3, 2, 80, 80), np.float32)
    maps[0, 0, 5, 5] = 1.0  # one bright pixel is no peak after smoothing
    maps[2, 0, 20:60, 20:60] = 0.6
    maps[1, 1, 20:60, 20:60] = 0.5
    maps[0, 1, 20:60, 20:60] = 0.4
    best = best_level(maps)
    np.testing.assert_array_equal(best[0], maps[2, 0])
    np.testing.assert_array_equal(best[1], maps[1, 1])
    assert lerf_ovs.smooth(best[0]).max() == pytest.approx(0.6)
    assert torch.equal(best_level(torch.from_numpy(maps)), torch.from_numpy(best))


def test_levels_are_relevancies_of_the_gaussians_rendered():
    scene = make_scene(views=1)
    camera = scene.cameras[0]
    count = len(scene.gaussians)
    features = torch.zeros(count, 3, 4)
    features[:, 0, 2] = 1.0  # the phrase itself: sigmoid(10 · (0 − 1)) for both texts
    features[:, 1, 0] = 1.0  # the first text: sigmoid(10), and 0.5 for the second
    features[:, 2] = torch.tensor([0.0, 0.6, 0.8, 0.0])  # sigmoid(10 · (0.6 − 0.8)) for the second
    found = EmbeddedGaussians(scene.gaussians, features, "toy").relevancy(camera, QUERIES)
    known = render(scene.gaussians, camera, torch.ones(count, 1)).alphas >= 0.5
    assert torch.equal(found.known, known)
    expected = [[-10, -10], [10, 0], [10 * (0 - 0.8), 10 * (0.6 - 0.8)]]
    for level, row in enumerate(expected):
        for text, logit in enumerate(row):
            there = found.levels[level, text][known]
            torch.testing.assert_close(there, torch.full_like(there, 1 / (1 + math.exp(-logit))))
    assert torch.equal(found.values[0], found.levels[1, 0])  # sigmoid(10) is the largest
    assert torch.equal(found.values[1], found.levels[1, 1])  # 0.5 is


def test_one_level_needs_no_choice_and_chunks_change_nothing(monkeypatch):
    scene = make_scene(views=1)
    rng = torch.Generator().manual_seed(0)
    features = torch.nn.functional.normalize(torch.randn(len(scene.gaussians), 1, 4, generator=rng), dim=-1)
    answerer = EmbeddedGaussians(scene.gaussians, features, "toy")
    found = answerer.relevancy(scene.cameras[0], QUERIES)
    assert found.levels is None
    assert found.values.shape == (2, 48, 64)
    monkeypatch.setattr(embedded, "DECODED_AT_ONCE", 100)
    torch.testing.assert_close(answerer.relevancy(scene.cameras[0], QUERIES).values, found.values)
    halves = EmbeddedGaussians(scene.gaussians, features.half(), "toy")
    torch.testing.assert_close(
        halves.relevancy(scene.cameras[0], QUERIES).values, found.values, atol=0.01, rtol=0
    )


def _relevancies(camera, scene, features):
    return EmbeddedGaussians(scene.gaussians, features, "toy").relevancy(camera, QUERIES)


UNLIKE = torch.tensor([0.0, 0.0, 0.3, math.sqrt(1 - 0.3**2)])  # of both texts: sigmoid(−10 · 0.954) = 7e-5


def test_a_level_without_a_mask_takes_no_part():
    """Its cosines of 0 would be a relevancy of 0.5, above all that is really there."""
    scene = make_scene(views=1)
    features = torch.zeros(len(scene.gaussians), 3, 4)
    features[:, 1] = UNLIKE
    found = _relevancies(scene.cameras[0], scene, features)
    assert (found.levels[[0, 2]] == 0).all()
    assert torch.equal(found.values, found.levels[1])
    logit = torch.tensor(-10 * math.sqrt(1 - 0.3**2))
    there = found.values[:, found.known]
    torch.testing.assert_close(there, logit.sigmoid().expand_as(there))
    for text in range(2):
        levels = list(found.levels[:, text])
        assert (lerf_ovs.level_for_mask(levels), lerf_ovs.level_for_peak(levels)) == (1, 1)


@pytest.mark.parametrize("levels", [1, 2])
def test_gaussians_that_no_mask_shows_have_no_say(levels):
    """A ball is in no mask: its pixels have the least value there is, and its edge none of its own."""
    scene = make_scene(views=1)
    camera, owner = scene.cameras[0], torch.from_numpy(scene.owner)
    unseen = owner == 1
    features = torch.zeros(len(scene.gaussians), levels, 4)
    features[:] = UNLIKE
    features[owner == 2] = torch.tensor([0.8, 0.0, 0.6, 0.0])  # the first text: sigmoid(2)
    everywhere = _relevancies(camera, scene, features)
    features[unseen] = 0
    found = _relevancies(camera, scene, features)
    assert torch.equal(found.known, everywhere.known)
    values, sigmoids = found.values[0], torch.sigmoid(torch.tensor([-10 * math.sqrt(1 - 0.3**2), 2.0]))
    drawn = render(scene.gaussians, camera, torch.stack([(~unseen).float(), (owner == 2).float()], dim=1))
    share = drawn.colors / drawn.alphas.clamp(min=1e-6)[..., None]
    counts = found.known & (share[..., 0] >= 0.5)
    mixed = sigmoids[0] + (sigmoids[1] - sigmoids[0]) * share[..., 1] / share[..., 0].clamp(min=0.5)
    torch.testing.assert_close(values[counts], mixed[counts], atol=1e-5, rtol=0)
    hidden = found.known & ~counts
    assert hidden.sum() > 20
    assert (values[hidden] == values[counts].min()).all()
    assert lerf_ovs.peak(values) == lerf_ovs.peak(everywhere.values[0])
    assert (values[~found.known] == 0).all()


def test_where_nothing_is_in_any_mask_there_is_no_relevancy():
    scene = make_scene(views=1)
    found = _relevancies(scene.cameras[0], scene, torch.zeros(len(scene.gaussians), 1, 4))
    assert found.known.any()
    assert (found.values == 0).all()


def test_what_would_be_larger_than_a_gib_is_kept_in_half_precision():
    assert kept_dtype(1 << 18, 1, 1 << 10) == torch.float32  # 4 · 2²⁸ bytes
    assert kept_dtype(1 << 18, 2, 1 << 10) == torch.float16
