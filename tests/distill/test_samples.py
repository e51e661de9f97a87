"""Sampling of pixels: how many, from where, with which targets."""

import numpy as np
import pytest
import torch

from gags.distill.samples import (
    GROUP,
    batch_for,
    draw_pixels,
    groups_per_region,
    mask_areas,
    normalised,
    one_gaussian,
)
from gags.segment.masks import Masks


@pytest.fixture
def masks() -> Masks:
    """Level 0: mask 0 (2 px). Level 1: masks 1 (50 px) and 2 (1 px). Level 2: mask 3 (all), 4: none."""
    labels = np.full((3, 10, 10), -1, np.int16)
    labels[0, 0, 0:2] = 0
    labels[1, :5] = 1
    labels[1, 9, 9] = 2
    labels[2] = 3
    return Masks(
        labels, np.array([0, 1, 1, 2, 2], np.int8), np.zeros((5, 4), np.int32), np.ones(5, np.float32)
    )


def test_mask_areas(masks):
    np.testing.assert_array_equal(mask_areas(masks), [2, 50, 1, 100, 0])


def test_regions_give_groups_by_their_area_but_never_too_few(masks):
    areas = mask_areas(masks)  # 153 px, of which mask 1 has a third and mask 3 two thirds
    np.testing.assert_array_equal(groups_per_region(areas, 30 * GROUP), [2, 10, 2, 20, 0])
    np.testing.assert_array_equal(groups_per_region(np.zeros(2), 100), [0, 0])


def test_every_group_comes_from_its_mask(masks):
    groups = np.array([1, 3, 1, 2, 0])
    drawn = draw_pixels(masks, groups, np.random.default_rng(0))
    np.testing.assert_array_equal(np.bincount(drawn.rows, minlength=5), groups)
    x, y = drawn.pixels[..., 0], drawn.pixels[..., 1]
    for group, row in enumerate(drawn.rows):
        level = masks.levels[row]
        assert (masks.labels[level, y[group], x[group]] == row).all()
    np.testing.assert_array_equal(drawn.targets, np.moveaxis(masks.labels[:, y, x], 0, -1))


def test_density_is_the_expected_number_of_samples_per_pixel(masks):
    groups = np.array([1, 3, 1, 2, 0])
    drawn = draw_pixels(masks, groups, np.random.default_rng(0))
    corner = (drawn.pixels == [0, 0]).all(-1)
    assert drawn.density[corner][0] == pytest.approx(16 / 2 + 48 / 50 + 32 / 100)
    counts = np.zeros((10, 10))
    expected = np.zeros((10, 10))
    for seed in range(300):
        drawn = draw_pixels(masks, groups, np.random.default_rng(seed))
        np.add.at(counts, (drawn.pixels[..., 1], drawn.pixels[..., 0]), 1 / 300)
        expected[drawn.pixels[..., 1], drawn.pixels[..., 0]] = drawn.density
    np.testing.assert_allclose(counts, expected, atol=0.25)


def test_a_large_mask_is_sampled_without_repetition_and_every_group_spans_it(masks):
    drawn = draw_pixels(masks, np.array([0, 0, 0, 5, 0]), np.random.default_rng(0))
    flat = drawn.pixels[..., 1] * 10 + drawn.pixels[..., 0]
    assert len(np.unique(flat)) > 60  # 80 strata of 1.25 px each
    assert (flat.min(axis=1) < 15).all()
    assert (flat.max(axis=1) > 85).all()


def test_sampling_depends_on_the_seed_alone(masks):
    groups = np.array([1, 1, 1, 1, 0])
    first, again, other = (draw_pixels(masks, groups, np.random.default_rng(s)).pixels for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_normalised_weights():
    indices = torch.tensor([[4, 2, -1], [-1, -1, -1]], dtype=torch.int32)
    weights = torch.tensor([[0.3, 0.1, 0.7], [0.0, 0.0, 0.0]])
    index, weight = normalised(indices, weights)
    torch.testing.assert_close(weight, torch.tensor([[0.75, 0.25, 0.0], [0.0, 0.0, 0.0]]))
    assert index.min() == 0


def test_one_gaussian_stands_for_a_share_of_the_pixels_as_often_as_it_weighs():
    weights = torch.tensor([[0.5, 0.3, 0.2]]).repeat(20_000, 1)
    found = one_gaussian(weights, 0.4, torch.Generator().manual_seed(0))
    alone = (found == 1).any(dim=-1)
    assert alone.float().mean() == pytest.approx(0.4, abs=0.02)
    torch.testing.assert_close(found[alone].mean(dim=0), weights[0], atol=0.02, rtol=0)
    assert torch.equal(found[~alone], weights[~alone])
    assert torch.equal(found, one_gaussian(weights, 0.4, torch.Generator().manual_seed(0)))


def test_where_the_background_shows_one_gaussian_is_drawn_all_the_same():
    """Weights that sum to alpha, as where pixels are asked: padding is not drawn, nor the last too often."""
    weights = torch.tensor([[0.3, 0.2, *[0.0] * 14]]).repeat(20_000, 1)
    found = one_gaussian(weights, 1.0, torch.Generator().manual_seed(0))
    assert torch.equal(found.sum(dim=-1), torch.ones(20_000))
    torch.testing.assert_close(found.mean(dim=0)[:2], torch.tensor([0.6, 0.4]), atol=0.02, rtol=0)


def test_padding_and_empty_pixels_never_stand_for_anything():
    weights = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]).repeat(500, 1)
    assert torch.equal(one_gaussian(weights, 1.0, torch.Generator().manual_seed(0)), weights)


def test_batches_grow_with_scenes_of_more_than_100_000_gaussians():
    assert [batch_for(64, count) for count in (1, 84_566, 100_000)] == [64] * 3
    assert [batch_for(64, count) for count in (100_001, 150_000, 3_000_000)] == [65, 96, 1920]
    assert batch_for(0, 1_000_000) == 0  # which stands for all pixels
