"""Colours of the viewer's Gaussians, mode by mode."""

import numpy as np
import pytest

from gags.draw.colors import LEVEL_COLORS
from gags.query.edit import SH_C0
from gags.viewer.splat_colors import (
    base_colors,
    depth_colors,
    embedding_colors,
    granularity_colors,
    highlighted,
    relevancy_colors,
)
from gags.viewer.state import Layer

RED, BLUE = (255, 0, 0), (0, 0, 255)


def _layer(color, *relevancy, visible=True):
    values = np.array(relevancy, np.float32)
    return Layer("text", values, values, 1.0, color, visible)


def test_base_colors_take_degree_0_alone_and_clip():
    sh = np.random.default_rng(0).normal(size=(3, 4, 3))
    sh[:, 0] = (np.array([[0.2, 0.5, 1.0], [-0.3, 1.7, 0.0], [0.5, 0.5, 0.5]]) - 0.5) / SH_C0
    np.testing.assert_array_equal(base_colors(sh), [[51, 128, 255], [0, 255, 0], [128, 128, 128]])


def test_without_layers_the_colours_stay():
    base = np.array([[1, 2, 3]], np.uint8)
    np.testing.assert_array_equal(relevancy_colors(base, [], 0.5), base)


def test_the_best_match_has_the_layers_colour_and_the_rest_is_dim():
    base = np.full((4, 3), 200, np.uint8)
    colors = relevancy_colors(base, [_layer(RED, 0.1, 0.5, 0.7, 0.9)], 0.5)
    np.testing.assert_array_equal(colors[0], [110, 110, 110])  # 0.55 of the brightness
    np.testing.assert_array_equal(colors[3], RED)
    redness = colors[:, 0].astype(int) - colors[:, 1]
    assert (np.diff(redness) > 0).all()


def test_where_two_layers_match_the_better_one_is_shown():
    base = np.full((3, 3), 100, np.uint8)
    layers = [_layer(RED, 0.9, 0.6, 0.1), _layer(BLUE, 0.6, 0.8, 0.1)]
    for shown in (layers, layers[::-1]):
        colors = relevancy_colors(base, shown, 0.5)
        np.testing.assert_array_equal(colors[0], RED)
        np.testing.assert_array_equal(colors[1], BLUE)
        assert np.ptp(colors[2]) == 0


def test_granularity_mixes_the_colours_of_the_levels():
    weights = np.array([[1, 0, 0], [0, 0, 1], [0.5, 0.5, 0]])
    colors = granularity_colors(weights)
    np.testing.assert_array_equal(colors[:2], LEVEL_COLORS[[0, 2]])
    np.testing.assert_allclose(colors[2], LEVEL_COLORS[:2].mean(axis=0), atol=0.5)


@pytest.mark.parametrize("dim", [2, 16])
def test_alike_features_have_alike_colours(dim):
    rng = np.random.default_rng(0)
    kinds = np.repeat([0, 1, 2], 40)
    vectors = (rng.normal(size=(3, dim))[kinds] + 0.01 * rng.normal(size=(120, dim))).astype(np.float32)
    colors = embedding_colors(vectors, np.ones(120)).astype(float)
    means = np.stack([colors[kinds == kind].mean(axis=0) for kind in range(3)])
    apart = min(np.linalg.norm(means[a] - means[b]) for a, b in [(0, 1), (0, 2), (1, 2)])
    assert apart > 5 * max(np.linalg.norm(colors - means[kinds], axis=1).mean(), 1.0)


def test_depth_is_bright_where_near():
    means = np.array([[0, 0, z] for z in (1.0, 2.0, 4.0, 8.0)])
    brightness = depth_colors(means, np.zeros(3), np.ones(4, bool)).astype(int).sum(axis=1)
    assert (np.diff(brightness) < 0).all()
    turned = depth_colors(means, np.array([0, 0, 9.0]), np.ones(4, bool)).astype(int).sum(axis=1)
    assert (np.diff(turned) > 0).all()


def test_highlighted_gaussians_are_brighter_and_the_rest_darker():
    colors = np.full((2, 3), 100, np.uint8)
    np.testing.assert_array_equal(highlighted(colors, np.array([True, False])), [[139] * 3, [35] * 3])
