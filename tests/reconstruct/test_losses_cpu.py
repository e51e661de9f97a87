"""The losses of the CPU beside the readable ones and autograd."""

import numpy as np
import pytest
import torch
from numba import get_num_threads
from tests.helpers.scenes import HEIGHT, WIDTH, orbit_camera

from gags.reconstruct import losses, losses_cpu
from gags.reconstruct.losses_cpu import photometric_loss, sparse_depth_loss
from gags.reconstruct.quality import psnr


def noisy(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    picture = photo / 255 + rng.normal(0, 0.1, photo.shape)
    return picture.astype(np.float32), photo


@pytest.mark.parametrize("lambda_dssim", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("size", [(23, 31), (40, 16), (3, 2), (1, 1), (13, 85)])
def test_photometric_loss(lambda_dssim, size):
    """Also of rows that are no whole vectors, and of pictures smaller than the window."""
    picture, photo = noisy(*size)
    x = torch.tensor(picture, dtype=torch.float64, requires_grad=True)
    y = torch.tensor(photo, dtype=torch.float64) / 255
    expected = losses.photometric_loss(x, y, lambda_dssim)
    expected.backward()
    assert x.grad is not None

    loss = photometric_loss(picture, photo, lambda_dssim)

    assert loss.value == pytest.approx(expected.item(), rel=1e-5)
    np.testing.assert_allclose(loss.gradient, x.grad.numpy(), atol=1e-5 * float(x.grad.abs().max()))
    assert loss.psnr == pytest.approx(psnr(x.detach().clamp(0, 1), y).item(), abs=1e-3)


@pytest.mark.parametrize("size", [(3, 2), (61, 40)])
def test_bands_are_handed_out_and_change_nothing(monkeypatch, size):
    picture, photo = noisy(*size)
    found, bands, todo, ssim = [], [], [], losses_cpu._ssim

    def noted(**given):
        bands.append(len(given["bands"]) - 1)
        todo.append(given["todo"])
        return ssim(**given)

    monkeypatch.setattr(losses_cpu, "_ssim", noted)
    for each in (1, 4, 9):
        monkeypatch.setattr(losses_cpu, "BANDS_A_THREAD", each)
        found.append(photometric_loss(picture, photo, 0.2))
    threads = get_num_threads()
    assert bands == [threads, 4 * threads, 9 * threads]
    assert [int(taken[0]) for taken in todo] == [2 * threads, 5 * threads, 10 * threads]  # each saw the end
    for loss in found[1:]:
        assert (loss.value, loss.psnr) == (found[0].value, found[0].psnr)
        assert np.array_equal(loss.gradient, found[0].gradient)


def test_a_perfect_picture_has_no_loss():
    photo = np.random.default_rng(1).integers(0, 256, (16, 20, 3), dtype=np.uint8)
    loss = photometric_loss(photo.astype(np.float32) / np.float32(255), photo, 0.2)
    assert loss.value == pytest.approx(0, abs=1e-6)
    assert loss.psnr > 90


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="same"):
        photometric_loss(np.zeros((4, 5, 3), np.float32), np.zeros((5, 4, 3), np.uint8), 0.2)


def test_sparse_depth_loss():
    rng = np.random.default_rng(1)
    camera = orbit_camera(0.4)
    points = rng.normal(0, 0.8, (500, 3))
    points = np.concatenate([points, points + 5 * camera.position])  # behind the camera, beside the picture
    depths = torch.from_numpy(rng.uniform(0, 4, (HEIGHT, WIDTH))).requires_grad_()
    expected = losses.sparse_depth_loss(depths, camera, torch.from_numpy(points))
    expected.backward()
    assert depths.grad is not None
    assert depths.grad.count_nonzero() > 50
    loss = sparse_depth_loss(depths.detach().numpy().astype(np.float32), camera, points)
    assert loss.value == pytest.approx(expected.item(), rel=1e-5)
    np.testing.assert_allclose(loss.gradient, depths.grad, rtol=1e-5, atol=1e-9)


def test_no_point_in_view_is_no_loss():
    loss = sparse_depth_loss(np.ones((HEIGHT, WIDTH), np.float32), orbit_camera(0.0), np.array([[9.0, 0, 0]]))
    assert loss.value == 0
    assert not loss.gradient.any()
