"""Ignored pixels are no evidence: neither for a mask nor against one."""

import numpy as np
import pytest
import torch
from tests.helpers.scenes import HEIGHT, WIDTH, coloured_balls, orbit_camera

from gags.distill.evidence import gather_evidence, kept_pixels, pixel_grid
from gags.distill.evidence_gpu import LEAST_WEIGHT
from gags.distill.samples import collect
from gags.distill.settings import DistillSettings
from gags.embed.description import Description
from gags.gaussians import blend_weights
from gags.progress import SILENT
from gags.segment.masks import Masks


def description(kept: np.ndarray | None) -> Description:
    labels = np.full((3, HEIGHT, WIDTH), -1, np.int16)
    labels[2, 5:30, 8:40] = 0
    if kept is not None:
        labels[:, ~kept] = -1
    boxes = np.array([[8, 5, 40, 30]], np.int32)
    masks = Masks(labels, np.array([2], np.int8), boxes, np.ones(1, np.float32), kept=kept)
    return Description(masks, np.ones((1, 4), np.float16) / 2, "toy")


KEPT = np.ones((HEIGHT, WIDTH), bool)
KEPT[:, :20] = False


def test_photos_see_gaussians_by_pixels_that_count_alone():
    gaussians, camera = coloured_balls(), orbit_camera(0.5)
    evidence, _ = gather_evidence(gaussians, [(camera, description(KEPT))], stage="test")
    pixels = torch.from_numpy(np.argwhere(KEPT)[:, ::-1].copy())
    blend = blend_weights(gaussians, camera, pixels)
    rows = blend.weights > LEAST_WEIGHT
    expected = np.bincount(blend.indices[rows].numpy(), blend.weights[rows].numpy(), len(gaussians))
    np.testing.assert_allclose(evidence.seen(), expected, rtol=1e-4)
    whole, _ = gather_evidence(gaussians, [(camera, description(None))], stage="test")
    assert evidence.seen().sum() < 0.8 * whole.seen().sum()


def test_samples_and_their_evidence_leave_ignored_pixels_out():
    gaussians, camera = coloured_balls(), orbit_camera(0.5)
    settings = DistillSettings(pixels_per_photo=400, top_k=4)
    _, masked = collect(gaussians, [(camera, description(KEPT))], settings, SILENT)
    _, whole = collect(gaussians, [(camera, description(None))], settings, SILENT)
    only, _ = gather_evidence(gaussians, [(camera, description(KEPT))], stage="test")
    assert masked.sizes()[-1] < 0.8 * whole.sizes()[-1]
    assert masked.sizes()[-1] == pytest.approx(only.sizes()[-1], rel=0.1)  # of 4 Gaussians instead of 16


def test_all_pixels_stay_if_nothing_is_ignored():
    grid = pixel_grid(WIDTH, HEIGHT, 500)
    assert kept_pixels(grid, None) is grid
    assert len(kept_pixels(grid, KEPT)) == (grid[:, 0] >= 20).sum()
