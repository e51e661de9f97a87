"""PSNR and SSIM against numbers by hand and the readable twin in `losses`."""

import math

import pytest
import torch

from gags.reconstruct import losses
from gags.reconstruct.quality import filter_planes, psnr, ssim


def pictures(height: int, width: int, channels: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    x = torch.rand(height, width, channels, generator=rng, dtype=torch.float64)
    noise = torch.randn(height, width, channels, generator=rng, dtype=torch.float64)
    return x, (x + 0.1 * noise).clamp(0, 1)


@pytest.mark.parametrize("size", [(17, 23), (12, 11), (4, 30), (1, 1)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_ssim_is_that_of_the_twin(size, dtype, tolerance):
    x, y = pictures(*size)
    expected = float(losses.ssim(x, y))
    assert float(ssim(x.to(dtype), y.to(dtype))) == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_ssim_of_any_number_of_channels(channels):
    x, y = pictures(13, 14, channels)
    assert float(ssim(x, y)) == pytest.approx(float(losses.ssim(x, y)), abs=1e-12)


def test_convolutions_give_the_same_as_the_cpu_filter():
    x, y = pictures(20, 21)
    half = ssim(x.half(), y.half())  # float16 takes the way that other devices take
    assert float(half) == pytest.approx(float(losses.ssim(x, y)), abs=0.02)


def test_convolutions_leave_the_flags_of_the_process_alone(monkeypatch):
    planes = torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(0))
    expected = filter_planes(planes)
    monkeypatch.setattr(torch.backends.cudnn, "flags", None)  # they hold for other threads, too
    assert torch.equal(filter_planes(planes), expected)


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="this torch has no such precision")
def test_convolutions_work_with_any_precision_that_the_caller_set():
    planes = torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(0))
    expected, precision = filter_planes(planes), getattr(torch.backends.cudnn, "conv")  # noqa: B009
    before = precision.fp32_precision
    try:
        precision.fp32_precision = "ieee"
        assert torch.equal(filter_planes(planes), expected)
    finally:
        precision.fp32_precision = before


@pytest.mark.gpu
def test_convolutions_on_a_gpu_are_in_full_precision():
    planes = torch.rand(12, 200, 300, generator=torch.Generator().manual_seed(0))
    exact = filter_planes(planes.double())
    assert (filter_planes(planes.cuda()).cpu() - exact).abs().max() < 1e-6  # TF32 would be off by 1e-4


def test_ssim_of_flat_pictures_is_the_luminance_term():
    x, y = torch.full((500, 600, 1), 0.5), torch.full((500, 600, 1), 0.25)
    luminance = (2 * 0.5 * 0.25 + 1e-4) / (0.5**2 + 0.25**2 + 1e-4)  # all there is away from the border
    assert float(ssim(x, y)) == pytest.approx(luminance, abs=0.01)
    assert float(ssim(x, x)) == pytest.approx(1.0, abs=1e-6)


def test_gradients_by_finite_differences():
    x, y = pictures(13, 12)
    assert torch.autograd.gradcheck(ssim, (x.requires_grad_(), y.requires_grad_()))


def test_gradient_is_that_of_the_twin():
    x, y = pictures(19, 20)
    gradients = []
    for measure in (ssim, losses.ssim):
        image, target = x.clone().requires_grad_(), y.clone().requires_grad_()
        (3 * measure(image, target)).backward()
        gradients.append((image.grad, target.grad))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-9, atol=1e-15)


def test_gradient_in_single_precision_follows_double():
    x, y = pictures(60, 70)
    gradients = []
    for dtype in (torch.float64, torch.float32):
        image = x.to(dtype, copy=True).requires_grad_()
        ssim(image, y.to(dtype)).backward()
        assert image.grad is not None
        gradients.append(image.grad.double())
    assert float((gradients[0] - gradients[1]).norm() / gradients[0].norm()) < 1e-4


def test_only_the_gradient_that_is_asked_for():
    x, y = pictures(12, 12)
    y.requires_grad_()
    ssim(x, y).backward()
    assert x.grad is None
    mirrored = y.detach().clone().requires_grad_()
    ssim(mirrored, x).backward()
    torch.testing.assert_close(y.grad, mirrored.grad)


def test_arguments_are_left_alone():
    x, y = pictures(12, 12)
    before = x.clone(), y.clone()
    ssim(x.requires_grad_(), y.requires_grad_()).backward()
    torch.testing.assert_close((x.detach(), y.detach()), before, rtol=0, atol=0)


def test_views_into_other_tensors():
    x, y = pictures(30, 40)
    part = (slice(3, 20), slice(5, 33))
    assert float(ssim(x[part], y[part])) == float(ssim(x[part].clone(), y[part].clone()))
    transposed = float(ssim(x.transpose(0, 1), y.transpose(0, 1)))
    assert transposed == pytest.approx(float(ssim(x, y)), abs=1e-12)


def test_psnr_by_hand():
    x = torch.zeros(2, 2, 3)
    y = x.clone()
    y[0, 0] = torch.tensor([0.1, 0.2, 0.4])  # mean square 0.21 / 12
    assert float(psnr(x, y)) == pytest.approx(10 * math.log10(12 / 0.21), abs=1e-5)
    assert float(psnr(x + 0.1, x)) == pytest.approx(20.0, abs=1e-5)
    assert float(psnr(x, x)) == math.inf


def test_psnr_gradient():
    x, y = pictures(5, 4)
    assert torch.autograd.gradcheck(psnr, (x.requires_grad_(), y))


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_shapes_must_match(measure):
    with pytest.raises(ValueError, match=r"same shape.*\[4, 5, 3\] and \[5, 4, 3\]"):
        measure(torch.zeros(4, 5, 3), torch.zeros(5, 4, 3))


def test_ssim_takes_one_picture():
    with pytest.raises(ValueError, match=r"\[H, W, C\]"):
        ssim(torch.zeros(1, 4, 5, 3), torch.zeros(1, 4, 5, 3))
