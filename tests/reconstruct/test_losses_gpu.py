"""A training step's arithmetic for GPUs beside the CPU's kernels, on the CPU."""

import numpy as np
import pytest
import torch
from tests.helpers.scenes import coloured_balls, orbit_camera

from gags.reconstruct import adam, density
from gags.reconstruct import losses_gpu as gpu_steps
from gags.reconstruct.depth import sparse_depth_loss
from gags.reconstruct.losses_cpu import photometric_loss
from gags.reconstruct.quality import ssim


def test_photometric_loss():
    generator = np.random.default_rng(0)
    photo = generator.integers(0, 256, (23, 31, 3), dtype=np.uint8)
    picture = (photo / 255 + generator.normal(0, 0.1, photo.shape)).astype(np.float32)
    expected = photometric_loss(picture, photo, 0.2)
    psnr, slope = gpu_steps.photometric_loss(torch.from_numpy(picture), torch.from_numpy(photo), 0.2)
    assert float(psnr) == pytest.approx(expected.psnr, abs=1e-3)
    np.testing.assert_allclose(slope, expected.gradient, atol=1e-4 * np.abs(expected.gradient).max())


def test_slope_at_sparse_points():
    generator = np.random.default_rng(1)
    camera = orbit_camera(0.4)
    points = generator.normal(0, 0.8, (500, 3))  # some behind the camera, some beside the picture
    points = np.concatenate([points, points + 5 * camera.position])
    depths = generator.uniform(0, 4, (camera.height, camera.width)).astype(np.float32)
    expected = sparse_depth_loss(depths, camera, points).gradient
    found = gpu_steps.sparse_depth_slope(torch.from_numpy(depths), camera, torch.from_numpy(points))
    assert np.count_nonzero(expected) > 50
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("shape", [(40,), (40, 3), (40, 4, 3)])
def test_adam_steps_of_visible_rows(shape):
    chance = torch.Generator().manual_seed(0)
    width = int(np.prod(shape[1:]))
    rates = np.linspace(0.1, 0.2, width)
    ours, theirs = ([torch.full(shape, 0.5), torch.zeros(shape), torch.zeros(shape)] for _ in range(2))
    for step in range(5):
        gradient, visible = torch.randn(shape, generator=chance), torch.rand(40, generator=chance) < 0.6
        gpu_steps.adam_step(ours[0], gradient, *ours[1:], rates, visible, step)
        adam.adam_step(theirs[0], gradient, *theirs[1:], rates, visible.numpy(), step)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


def test_floaters():
    chance = torch.Generator().manual_seed(0)
    cameras = [orbit_camera(angle) for angle in (0.0, 1.0, 2.0)]
    means = 4 * torch.rand(5000, 3, generator=chance) - 2
    expected = density.floating(means, cameras, [2.0, 3.0, 1.0])
    assert 10 < expected.sum() < 4000
    assert torch.equal(gpu_steps.floating(means, cameras, [2.0, 3.0, 1.0]), expected)


def test_strongest_weights():
    gaussians, cameras = coloured_balls(), [orbit_camera(0.0), orbit_camera(2.0)]
    expected = density.strongest_weights(gaussians, cameras)
    assert (expected > 0).any()
    torch.testing.assert_close(gpu_steps.strongest_weights(gaussians, cameras), expected)


@pytest.mark.gpu
def test_variances_keep_their_digits_on_a_gpu():
    """SSIM of a GPU in TF32 would be off in the third digit."""
    chance = torch.Generator().manual_seed(0)
    x = torch.rand(60, 80, 3, generator=chance)
    y = (x + 0.02 * torch.randn(x.shape, generator=chance)).clamp(0, 1)
    assert float(ssim(x.cuda(), y.cuda())) == pytest.approx(float(ssim(x, y)), abs=1e-5)
