"""A set of Gaussians gives what its four tensors give."""

import numpy as np
import pytest
import torch
from tests.helpers.scenes import coloured_balls, orbit_camera

from gags.gaussians import Gaussians, blend_weights, render
from gags.render import blend_weights as blend_weights_of_tensors
from gags.render import rasterize

CAMERA = orbit_camera(0.3)


@pytest.fixture
def balls() -> Gaussians:
    balls = coloured_balls()
    rest = 0.3 * torch.randn(40, 3, 3, generator=torch.Generator().manual_seed(0))
    balls.sh = torch.cat([balls.sh, rest], dim=1)
    return balls


def geometry(g: Gaussians) -> tuple[torch.Tensor, ...]:
    return g.means, g.quats, g.log_scales.exp(), g.logit_opacities.sigmoid()


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_colours_come_from_the_harmonics(balls, backend):
    found = render(balls, CAMERA, backend=backend)
    true = rasterize(*geometry(balls), balls.sh, CAMERA, sh_degree=1, backend=backend)
    for name in ("colors", "depths", "alphas", "radii"):
        assert torch.equal(getattr(found, name), getattr(true, name)), name
    assert 0.1 < found.alphas.mean() < 0.9


def test_values_are_blended_instead_of_colours(balls):
    values = torch.rand(40, 7, generator=torch.Generator().manual_seed(1))
    background = torch.linspace(0, 1, 7)
    found = render(balls, CAMERA, values, background=background)
    true = rasterize(*geometry(balls), values, CAMERA, background=background)
    assert torch.equal(found.colors, true.colors)
    empty = found.alphas == 0
    assert empty.any()
    assert torch.equal(found.colors[empty], background.expand(int(empty.sum()), 7))


def test_gradients_reach_all_that_is_stored(balls):
    names = ("means", "quats", "log_scales", "logit_opacities", "sh")
    leaves = Gaussians(*(getattr(balls, name).requires_grad_() for name in names))
    offset = torch.zeros(40, 2, requires_grad=True)
    render(leaves, CAMERA, means2d_offset=offset).colors.square().sum().backward()
    for value in (*(getattr(leaves, name) for name in names), offset):
        assert value.grad is not None
        assert value.grad.abs().max() > 0


def test_sixteen_weights_a_pixel_unless_asked_for_others(balls):
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 36, (50, 2)))
    found = blend_weights(balls, CAMERA, pixels)
    assert found.indices.shape == (50, 16)
    true = blend_weights_of_tensors(*geometry(balls), CAMERA, pixels, top_k=16)
    assert torch.equal(found.indices, true.indices)
    assert torch.equal(found.weights, true.weights)
    fewer = blend_weights(balls, CAMERA, pixels, top_k=2, backend="reference")
    torch.testing.assert_close(fewer.weights, found.weights[:, :2], rtol=0, atol=1e-5)
