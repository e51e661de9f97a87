"""Colours of the viewer's Gaussians in modes that the page cannot make by itself."""

import numpy as np
import pytest

from gags.draw.colors import LEVEL_COLORS
from gags.viewer.modes import embedding_colors, stretched_levels


def test_levels_are_stretched_to_what_varies():
    rng = np.random.default_rng(0)
    weights = np.full((300, 3), 1 / 3) + 0.01 * np.repeat(np.eye(3), 100, axis=0)
    weights = weights + 1e-4 * rng.normal(size=weights.shape)  # all nearly the same mixture
    weights /= weights.sum(axis=1, keepdims=True)
    colors = stretched_levels(weights).astype(float)
    for level in range(3):
        mean = colors[100 * level : 100 * (level + 1)].mean(axis=0)
        np.testing.assert_allclose(mean, LEVEL_COLORS[level], atol=12)


@pytest.mark.parametrize("dim", [2, 16])
def test_alike_features_have_alike_colours(dim):
    rng = np.random.default_rng(0)
    kinds = np.repeat([0, 1, 2], 40)
    vectors = (rng.normal(size=(3, dim))[kinds] + 0.01 * rng.normal(size=(120, dim))).astype(np.float32)
    colors = embedding_colors(vectors, np.ones(120)).astype(float)
    means = np.stack([colors[kinds == kind].mean(axis=0) for kind in range(3)])
    apart = min(np.linalg.norm(means[a] - means[b]) for a, b in [(0, 1), (0, 2), (1, 2)])
    assert apart > 5 * max(np.linalg.norm(colors - means[kinds], axis=1).mean(), 1.0)
