import numpy as np
import pytest
import torch

from gags.reconstruct.losses_cpu import photometric_loss
from gags.reconstruct.quality import psnr, ssim


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    photo = generator.integers(0, 256, (23, 31, 3), dtype=np.uint8)
    picture = photo / 255 + generator.normal(0, 0.1, photo.shape)
    return picture.astype(np.float32), photo


@pytest.mark.parametrize("lambda_dssim", [0.0, 0.2, 1.0])
def test_value_and_gradient_match_autograd(pair, lambda_dssim):
    picture, photo = pair
    x = torch.tensor(picture, dtype=torch.float64, requires_grad=True)
    y = torch.tensor(photo, dtype=torch.float64) / 255
    expected = (1 - lambda_dssim) * (x - y).abs().mean() + lambda_dssim * (1 - ssim(x, y))
    expected.backward()
    assert x.grad is not None

    loss = photometric_loss(picture, photo, lambda_dssim)

    assert loss.value == pytest.approx(expected.item(), rel=1e-5)
    np.testing.assert_allclose(loss.gradient, x.grad.numpy(), atol=1e-5 * float(x.grad.abs().max()))
    assert loss.psnr == pytest.approx(psnr(x.detach().clamp(0, 1), y).item(), abs=1e-3)


def test_gradient_is_the_slope_of_the_value(pair):
    picture, photo = pair
    loss = photometric_loss(picture, photo, 0.2)
    direction = np.sign(loss.gradient).astype(np.float32)
    step = 1e-3
    ahead = photometric_loss(picture + step * direction, photo, 0.2).value
    behind = photometric_loss(picture - step * direction, photo, 0.2).value
    slope = float((loss.gradient * direction).sum())
    assert (ahead - behind) / (2 * step) == pytest.approx(slope, rel=0.02)


def test_a_perfect_picture_has_no_loss():
    photo = np.random.default_rng(1).integers(0, 256, (16, 20, 3), dtype=np.uint8)
    loss = photometric_loss(photo.astype(np.float32) / np.float32(255), photo, 0.2)
    assert loss.value == pytest.approx(0, abs=1e-6)
    assert loss.psnr > 90


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="same"):
        photometric_loss(np.zeros((4, 5, 3), np.float32), np.zeros((5, 4, 3), np.uint8), 0.2)
