"""Colours of modes."""

import numpy as np
import pytest

from gags.draw.colors import LEVEL_COLORS
from gags.viewer.modes import embedding_colors, stretched_levels


def test_weights_that_lie_close_together_are_told_apart():
    rng = np.random.default_rng(0)
    weights = 1 / 3 + 0.01 * rng.normal(size=(1000, 3))  # as in real scenes: all nearly alike
    for level in range(3):
        weights[level] = 1 / 3 - 0.02
        weights[level, level] = 1 / 3 + 0.04
    drawn = stretched_levels(weights)
    for level in range(3):
        assert np.abs(drawn[level].astype(int) - LEVEL_COLORS[level]).max() <= 3
    plain = np.round(weights @ LEVEL_COLORS.astype(float))
    assert drawn.std(axis=0).mean() > 10 * plain.std(axis=0).mean()


def test_weights_that_are_all_alike_have_one_colour():
    drawn = stretched_levels(np.full((5, 3), 1 / 3))
    assert (drawn == drawn[0]).all()


@pytest.mark.parametrize("dim", [2, 16])
def test_alike_features_have_alike_colours(dim):
    rng = np.random.default_rng(0)
    kinds = np.repeat([0, 1, 2], 40)
    vectors = (rng.normal(size=(3, dim))[kinds] + 0.01 * rng.normal(size=(120, dim))).astype(np.float32)
    colors = embedding_colors(vectors, np.ones(120)).astype(float)
    means = np.stack([colors[kinds == kind].mean(axis=0) for kind in range(3)])
    apart = min(np.linalg.norm(means[a] - means[b]) for a, b in [(0, 1), (0, 2), (1, 2)])
    assert apart > 5 * max(np.linalg.norm(colors - means[kinds], axis=1).mean(), 1.0)
