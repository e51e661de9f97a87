"""The readable losses against numbers by hand and against formulas written out pixel by pixel."""

import numpy as np
import pytest
import torch
from tests.helpers.scenes import HEIGHT, WIDTH, orbit_camera

from gags.reconstruct.losses import photometric_loss, sparse_depth_loss, ssim
from gags.reconstruct.settings import ReconstructSettings


def plain_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """SSIM pixel by pixel, as Wang et al. 2004 write it; what lies outside the picture is 0."""
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    height, width, channels = x.shape
    x, y = (np.pad(z.astype(np.float64), ((5, 5), (5, 5), (0, 0))) for z in (x, y))
    values = []
    for row in range(height):
        for column in range(width):
            for channel in range(channels):
                a = x[row : row + 11, column : column + 11, channel]
                b = y[row : row + 11, column : column + 11, channel]
                mu_a, mu_b = (window * a).sum(), (window * b).sum()
                var_a, var_b = (window * a**2).sum() - mu_a**2, (window * b**2).sum() - mu_b**2
                covariance = (window * a * b).sum() - mu_a * mu_b
                values.append(
                    (2 * mu_a * mu_b + 1e-4)
                    * (2 * covariance + 9e-4)
                    / ((mu_a**2 + mu_b**2 + 1e-4) * (var_a + var_b + 9e-4))
                )
    return float(np.mean(values))


def noisy(height: int, width: int, channels: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(height, width, channels, generator=rng, dtype=torch.float64)
    noise = torch.randn(height, width, channels, generator=rng, dtype=torch.float64)
    return x, (x + 0.1 * noise).clamp(0, 1)


@pytest.mark.parametrize("size", [(17, 23, 3), (4, 30, 1), (1, 1, 2)])
def test_ssim_is_that_of_wang(size):
    x, y = noisy(*size)
    assert float(ssim(x, y)) == pytest.approx(plain_ssim(x.numpy(), y.numpy()), abs=1e-12)


def test_photometric_loss_of_flat_pictures():
    """Far from the border SSIM of flat pictures is the luminance term alone."""
    x, y = torch.full((400, 500, 3), 0.5), torch.full((400, 500, 3), 0.25)
    luminance = (2 * 0.5 * 0.25 + 1e-4) / (0.5**2 + 0.25**2 + 1e-4)
    assert float(photometric_loss(x, y, 0.0)) == pytest.approx(0.25)
    assert float(photometric_loss(x, y, 1.0)) == pytest.approx(1 - luminance, abs=0.01)
    expected = 0.8 * 0.25 + 0.2 * float(photometric_loss(x, y, 1.0))
    assert ReconstructSettings().lambda_dssim == 0.2  # Kerbl et al. 2023
    assert float(photometric_loss(x, y, 0.2)) == pytest.approx(expected)
    assert float(photometric_loss(x, x, 0.2)) == pytest.approx(0, abs=1e-6)


def test_photometric_gradient_by_finite_differences():
    x, y = noisy(9, 8)
    assert torch.autograd.gradcheck(lambda picture: photometric_loss(picture, y, 0.2), (x.requires_grad_(),))


# Depths of the two points are 2 (the origin, in the middle of the picture) and 1.5.
POINTS = torch.tensor([[0.0, 0, 0], [0.5, 0, 0.1]], dtype=torch.float64)
CAMERA = orbit_camera(0.0, radius=2.0, height=0.0)


@pytest.mark.parametrize(
    ("depth", "value", "gradient"),
    [
        (2.0, 0.0, 0.0),
        (2.5, 0.25, 0.5),  # behind the surface: |2.5 − 2| / 2, gradient 1 / 2
        (1.9, 0.05, -0.5),  # a little before it
        (1.5, 0.0, 0.0),  # something hides the point
        (0.0, 0.0, 0.0),  # nothing was hit
    ],
)
def test_depth_at_one_point(depth, value, gradient):
    depths = torch.full((HEIGHT, WIDTH), depth, requires_grad=True)
    loss = sparse_depth_loss(depths, CAMERA, POINTS[:1])
    loss.backward()
    assert loss.item() == pytest.approx(value)
    assert depths.grad is not None
    assert depths.grad[18, 24] == pytest.approx(gradient)
    assert depths.grad.count_nonzero() == (gradient != 0)


def test_depth_is_a_mean_over_the_points_in_view():
    behind, outside = torch.tensor([[5.0, 0, 0]]), torch.tensor([[0.0, 9, 0]])
    depths = torch.full((HEIGHT, WIDTH), 2.0)
    depths[14, 24] = 3.0  # where the second point is: 18 − 48 · 0.1 / 1.5 = 14.8
    loss = sparse_depth_loss(depths, CAMERA, torch.cat([POINTS, behind, outside]))
    assert float(loss) == pytest.approx((0 + 1.0) / 2)
    assert float(sparse_depth_loss(depths, CAMERA, outside)) == 0
