"""Drawn pixels against rendering, and their masks against the label maps."""

import numpy as np
import pytest
import torch
from tests.helpers.blobs import make_scene

from gags.compare.pixels import draw_pixels
from gags.gaussians import render
from gags.progress import SILENT


@pytest.fixture(scope="module")
def scene():
    return make_scene(views=3)


def test_all_pixels_blend_to_what_is_rendered(scene):
    items = scene.items()
    size = 48 * 64
    pixels = draw_pixels(scene.gaussians, items, per_photo=10**6, top_k=64, seed=0, progress=SILENT)
    assert len(pixels) == 3 * size
    features = torch.randn(len(scene.gaussians), 5, generator=torch.Generator().manual_seed(0))
    first_mask = 0
    for number, (camera, description) in enumerate(items):
        rows = torch.arange(number * size, (number + 1) * size)
        drawn = render(scene.gaussians, camera, features).colors.flatten(0, 1)
        torch.testing.assert_close(pixels.blended(features, rows), drawn, atol=2e-3, rtol=0)
        labels = description.masks.labels.reshape(3, -1).T.astype(int)
        labels = np.where(labels >= 0, labels + first_mask, -1)
        np.testing.assert_array_equal(pixels.masks[rows].numpy(), labels)
        first_mask += len(description.masks)


def test_what_few_gaussians_leave_out_is_scaled_back_to_alpha(scene):
    whole, few = (
        draw_pixels(scene.gaussians, scene.items(), per_photo=200, top_k=k, seed=1, progress=SILENT)
        for k in (64, 2)
    )
    assert len(few) == 600
    torch.testing.assert_close(few.weights.sum(dim=1), whole.weights.sum(dim=1), atol=1e-4, rtol=0)
    other = draw_pixels(scene.gaussians, scene.items(), per_photo=200, top_k=2, seed=2, progress=SILENT)
    assert not torch.equal(few.indices, other.indices)
    chosen = few.masks[:, 1] >= 0
    assert torch.equal(few.subset(chosen).weights, few.weights[chosen])
