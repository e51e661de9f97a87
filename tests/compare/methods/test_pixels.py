"""Sampled pixels: which are drawn, what they are made of, what covers them."""

import numpy as np
import pytest
import torch
from tests.helpers.blobs import DIM, make_scene

from gags.compare.methods.pixels import sample_pixels
from gags.embed.description import Description
from gags.errors import WorkspaceError
from gags.gaussians import render
from gags.progress import SILENT
from gags.segment.masks import Masks


@pytest.fixture(scope="module")
def scene():
    return make_scene(views=2)


def _sample(scene, items, pixels=10_000, top_k=16):
    return sample_pixels(scene.gaussians, items, pixels=pixels, top_k=top_k, seed=0, progress=SILENT)


def test_weights_blend_as_rendering_does_without_a_division_by_alpha(scene):
    """Every covered pixel of one photo, against the rasteriser; with few Gaussians kept, alpha stays."""
    (camera, described), *_ = items = scene.items()
    values = torch.rand(len(scene.gaussians), 3, generator=torch.Generator().manual_seed(0))
    drawn = render(scene.gaussians, camera, values)
    covered = torch.from_numpy((described.masks.labels >= 0).any(axis=0))
    found = _sample(scene, items[:1], top_k=64)
    blended = (values[found.indices.long()] * found.weights[..., None]).sum(dim=1)
    torch.testing.assert_close(blended, drawn.colors[covered], atol=1e-4, rtol=0)
    few = _sample(scene, items[:1], top_k=2)
    torch.testing.assert_close(few.weights.sum(-1), drawn.alphas[covered], atol=1e-4, rtol=0)


def test_masks_count_through_all_photos(scene):
    items = scene.items()
    first, second = (described.masks for _, described in items)
    found = _sample(scene, items)
    count = int((first.labels >= 0).any(axis=0).sum())
    expected = first.labels[:, (first.labels >= 0).any(axis=0)].T
    np.testing.assert_array_equal(found.targets[:count].numpy(), expected)
    labels = second.labels[:, (second.labels >= 0).any(axis=0)].T
    expected = np.where(labels >= 0, labels + len(first), -1)
    np.testing.assert_array_equal(found.targets[count:].numpy(), expected)


def test_at_most_so_many_pixels_of_a_photo_are_drawn_and_none_twice(scene):
    items = scene.items()
    found = _sample(scene, items, pixels=50)
    assert len(found) == 100
    assert (found.targets >= 0).any(dim=1).all()
    rows = torch.cat([found.indices, (found.weights * 1e6).int()], dim=1)
    assert len(torch.unique(rows, dim=0)) == 100


def test_photos_without_a_mask_are_left_out(scene):
    nothing = Masks(np.full((3, 48, 64), -1, np.int16), *(np.zeros(0, np.int8),) * 3)
    empty = Description(nothing, np.zeros((0, DIM), np.float16), "toy")
    items = [(scene.cameras[0], empty), *scene.items()]
    assert len(_sample(scene, items)) == len(_sample(scene, items[1:]))
    with pytest.raises(WorkspaceError, match="no photo has a single mask"):
        _sample(scene, items[:1])
