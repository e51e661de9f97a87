"""The losses for GPUs beside the readable ones and autograd, on the CPU."""

import numpy as np
import pytest
import torch
from tests.helpers.scenes import orbit_camera

from gags.reconstruct import losses, losses_gpu
from gags.reconstruct.quality import psnr, ssim


def test_photometric_loss():
    rng = np.random.default_rng(0)
    photo = torch.from_numpy(rng.integers(0, 256, (23, 31, 3), dtype=np.uint8))
    picture = (
        photo / 255 + 0.1 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))
    ).float()
    x = picture.clone().requires_grad_()
    losses.photometric_loss(x, photo / 255, 0.2).backward()
    assert x.grad is not None
    found = losses_gpu.psnr(picture, photo)
    gradient = losses_gpu.photometric_gradient(picture, photo, 0.2)
    assert gradient.is_contiguous()
    assert float(found) == pytest.approx(float(psnr(picture.clamp(0, 1), photo / 255)), abs=1e-3)
    torch.testing.assert_close(gradient, x.grad, rtol=0, atol=1e-4 * float(x.grad.abs().max()))


def test_gradient_at_sparse_points():
    rng = np.random.default_rng(1)
    camera = orbit_camera(0.4)
    points = torch.from_numpy(rng.normal(0, 0.8, (500, 3)))  # some behind the camera, some beside the picture
    points = torch.cat([points, points + 5 * torch.from_numpy(camera.position)])
    depths = torch.from_numpy(rng.uniform(0, 4, (camera.height, camera.width)).astype(np.float32))
    leaf = depths.clone().requires_grad_()
    losses.sparse_depth_loss(leaf, camera, points).backward()
    assert leaf.grad is not None
    assert leaf.grad.count_nonzero() > 50
    targets = losses_gpu.DepthTargets.of(camera, points.numpy(), torch.device("cpu"))
    assert 50 < len(targets.places) < len(points)
    found = losses_gpu.sparse_depth_gradient(depths, targets, 0.3)
    torch.testing.assert_close(found, 0.3 * leaf.grad, rtol=1e-5, atol=1e-9)


def test_no_sparse_point_in_view_pulls_nothing():
    camera = orbit_camera(0.4)
    behind = 2 * camera.position[None]
    targets = losses_gpu.DepthTargets.of(camera, behind, torch.device("cpu"))
    depths = torch.ones(camera.height, camera.width)
    assert not losses_gpu.sparse_depth_gradient(depths, targets, 1.0).any()


@pytest.mark.gpu
def test_variances_keep_their_digits_on_a_gpu():
    """SSIM of a GPU in TF32 would be off in the third digit."""
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(60, 80, 3, generator=rng)
    y = (x + 0.02 * torch.randn(x.shape, generator=rng)).clamp(0, 1)
    assert float(ssim(x.cuda(), y.cuda())) == pytest.approx(float(ssim(x, y)), abs=1e-5)
