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


def test_what_would_be_larger_than_a_gib_is_kept_in_half_precision():
    assert kept_dtype(1 << 18, 1, 1 << 10) == torch.float32  # 4 · 2²⁸ bytes
    assert kept_dtype(1 << 18, 2, 1 << 10) == torch.float16
