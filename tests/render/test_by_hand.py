"""Pictures of one or two Gaussians whose numbers can be worked out by hand, of each backend of the CPU."""

import math

import numpy as np
import pytest
import torch

from gags.capture.camera import Camera
from gags.render import BlendWeights, Rendering, blend_weights, rasterize
from gags.render.types import EPS2D

CAMERA = Camera(np.eye(4), np.array([[100.0, 0, 8.5], [0, 100.0, 6.5], [0, 0, 1]]), 17, 13)
UPRIGHT = [1.0, 0.0, 0.0, 0.0]
CENTRE = (6, 8)  # row and column of the pixel on the optical axis


@pytest.fixture(params=["reference", "cpu"])
def backend(request) -> str:
    return request.param


def tensors(means, scales, opacities, quats=None) -> tuple[torch.Tensor, ...]:
    values = (means, quats or [UPRIGHT] * len(means), scales, opacities)
    return tuple(torch.tensor(value, dtype=torch.float32) for value in values)


def draw(backend, means, scales, opacities, colors, quats=None, camera=CAMERA, **options) -> Rendering:
    geometry = tensors(means, scales, opacities, quats)
    return rasterize(*geometry, torch.tensor(colors), camera, backend=backend, **options)


def weigh(backend, means, scales, opacities, pixels, top_k) -> BlendWeights:
    pixels = torch.tensor(pixels).reshape(-1, 2)
    return blend_weights(*tensors(means, scales, opacities), CAMERA, pixels, top_k=top_k, backend=backend)


def test_one_gaussian_on_the_axis(backend):
    """At z = 2 a deviation of 0.04 is 100 / 2 · 0.04 = 2 px; the filter adds 0.3 px² to the variance."""
    picture = draw(backend, [[0, 0, 2]], [[0.04, 0.02, 0.5]], [0.8], [[0.5, 0.25, 1.0]])
    for dx, dy in ((0, 0), (2, 0), (0, 1), (-3, 2)):
        alpha = 0.8 * math.exp(-0.5 * (dx**2 / (4 + EPS2D) + dy**2 / (1 + EPS2D)))
        x, y = 8 + dx, 6 + dy
        assert picture.alphas[y, x] == pytest.approx(alpha, rel=1e-5)
        assert picture.colors[y, x].tolist() == pytest.approx([0.5 * alpha, 0.25 * alpha, alpha], rel=1e-5)
        assert picture.depths[y, x] == pytest.approx(2)
    # alpha reaches 1/255 at sqrt(2 ln(0.8 · 255)) deviations
    assert picture.radii.tolist() == [math.ceil(math.sqrt(2 * math.log(0.8 * 255) * (4 + EPS2D)))]
    assert picture.alphas[0, 0] == 0
    assert picture.depths[0, 0] == 0


def test_two_gaussians_and_a_background(backend):
    """The nearer one hides the farther one, whatever their order in memory."""
    scene = ([[0, 0, 4], [0, 0, 2]], [[0.1] * 3] * 2, [0.5, 0.6], [[1.0, 0, 0], [0, 1, 0]])
    picture = draw(backend, *scene, background=torch.tensor([0.0, 0.0, 1.0]))
    assert picture.colors[CENTRE].tolist() == pytest.approx([0.4 * 0.5, 0.6, 0.4 * 0.5])
    assert picture.alphas[CENTRE] == pytest.approx(0.8)
    assert picture.depths[CENTRE] == pytest.approx((0.6 * 2 + 0.2 * 4) / 0.8)


def test_gaussians_of_equal_depth_are_drawn_in_their_order(backend):
    for first in (0, 1):
        colors = torch.eye(2)[[first, 1 - first]].tolist()
        picture = draw(backend, [[0, 0, 2]] * 2, [[0.1] * 3] * 2, [0.6, 0.6], colors)
        assert picture.colors[CENTRE][first] == pytest.approx(0.6)
        assert picture.colors[CENTRE][1 - first] == pytest.approx(0.4 * 0.6)


def test_background_shows_where_nothing_is(backend):
    background = torch.tensor([0.25, 0.5])
    picture = draw(backend, [[0, 0, 2]], [[0.02] * 3], [0.9], [[1.0, 0.0]], background=background)
    assert picture.colors[0, 0].tolist() == [0.25, 0.5]
    assert picture.alphas[0, 0] == 0
    assert picture.colors[CENTRE].tolist() == pytest.approx([0.9 + 0.1 * 0.25, 0.1 * 0.5])


def test_alpha_is_limited_and_rays_stop(backend):
    """The first leaves T = 0.001; the second would leave 1e-6 and is not drawn any more."""
    picture = draw(backend, [[0, 0, 2], [0, 0, 3]], [[0.1] * 3] * 2, [1.0, 1.0], [[1.0], [1.0]])
    assert picture.alphas[CENTRE] == pytest.approx(0.999)
    assert picture.depths[CENTRE] == pytest.approx(2)


def test_a_gaussian_too_faint_to_see_is_not_drawn(backend):
    picture = draw(backend, [[0, 0, 2]] * 2, [[0.1] * 3] * 2, [0.0039, 0.004], [[1.0], [0.0]])
    assert picture.radii[0] == 0
    assert picture.radii[1] > 0
    assert picture.alphas.max() == pytest.approx(0.004, rel=1e-5)
    assert picture.colors.abs().max() == 0


def test_a_turned_gaussian(backend):
    """A quarter turn about the optical axis swaps width and height, whatever the quaternion's length."""
    quats = [[3.0, 0, 0, 3.0]]
    turned = draw(backend, [[0, 0, 2]], [[0.04, 0.02, 0.5]], [0.8], [[1.0]], quats)
    assert turned.alphas[8, 8] == pytest.approx(0.8 * math.exp(-0.5 * 4 / (4 + EPS2D)), rel=1e-5)
    assert turned.alphas[6, 10] == pytest.approx(0.8 * math.exp(-0.5 * 4 / (1 + EPS2D)), rel=1e-5)


def test_offset_moves_the_picture_and_receives_its_gradient(backend):
    """d alpha / d mean2d = alpha Σ'⁻¹ d, with d from the mean to the pixel."""
    scene = ([[0, 0, 2]], [[0.04] * 3], [0.8], [[1.0]])
    offset = torch.tensor([[3.0, -2.0]], requires_grad=True)
    moved = draw(backend, *scene, means2d_offset=offset)
    torch.testing.assert_close(moved.alphas[:-2, 3:], draw(backend, *scene).alphas[2:, :-3])
    moved.alphas[6, 8].backward()
    assert offset.grad is not None
    alpha = 0.8 * math.exp(-0.5 * (9 + 4) / (4 + EPS2D))
    expected = [alpha * -3 / (4 + EPS2D), alpha * 2 / (4 + EPS2D)]
    assert offset.grad[0].tolist() == pytest.approx(expected, rel=1e-4)


def test_a_gaussian_far_larger_than_the_picture(backend):
    """A deviation of 50 units at z = 2 is 2500 px: nearly the same alpha everywhere, and a large radius."""
    picture = draw(backend, [[0, 0, 2]], [[50.0, 50.0, 1.0]], [0.7], [[0.5]])
    torch.testing.assert_close(picture.alphas, torch.full((13, 17), 0.7), rtol=1e-4, atol=0)
    torch.testing.assert_close(picture.depths, torch.full((13, 17), 2.0))
    reach = math.sqrt(2 * math.log(0.7 * 255))
    assert picture.radii.item() == pytest.approx(reach * 2500, rel=1e-4)


def test_near_plane(backend):
    picture = draw(backend, [[0, 0, 0.0099], [0, 0, 0.0101]], [[1e-4] * 3] * 2, [0.5, 0.5], [[1.0], [0.0]])
    assert picture.radii[0] == 0
    assert picture.radii[1] > 0


@pytest.mark.parametrize("size", [(1, 1), (15, 31), (16, 32), (17, 33), (32, 64), (33, 65)])
def test_pictures_of_any_size_show_the_same(backend, size):
    """Around the size of a tile of the CPU's, 16×32: one Gaussian in the last row and column."""
    width, height = size
    K = np.array([[100.0, 0, width - 0.5], [0, 100.0, height - 0.5], [0, 0, 1]])
    camera = Camera(np.eye(4), K, width, height)
    background = torch.tensor([1.0, 0.0])
    scene = ([[0, 0, 2]], [[0.04] * 3], [0.8], [[0.0, 1.0]])
    picture = draw(backend, *scene, camera=camera, background=background)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    squared = (x - (width - 1)) ** 2 + (y - (height - 1)) ** 2
    alphas = 0.8 * torch.exp(-0.5 * squared / (4 + EPS2D))
    alphas = torch.where(alphas >= 1 / 255, alphas, 0)
    torch.testing.assert_close(picture.alphas, alphas, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(picture.colors, torch.stack([1 - alphas, alphas], -1), rtol=1e-5, atol=1e-6)


def test_blend_weights_of_two_gaussians(backend):
    scene = ([[0, 0, 4], [0, 0, 2]], [[0.1] * 3] * 2, [0.5, 0.6])
    found = weigh(backend, *scene, [[8, 6], [0, 0]], 3)
    assert found.indices[0].tolist() == [1, 0, -1]
    assert found.weights[0].tolist() == pytest.approx([0.6, 0.2, 0.0])
    assert found.alphas[0] == pytest.approx(0.8)


def test_the_rest_of_the_weights_is_left_out_but_counts_as_alpha(backend):
    """Five layers of alpha 0.3: w_i = 0.3 · 0.7^i, front to back, the same as by weight."""
    means = [[0, 0, 2 + depth] for depth in (2, 0, 4, 1, 3)]
    found = weigh(backend, means, [[0.5] * 3] * 5, [0.3] * 5, [[8, 6]], 2)
    assert found.indices.tolist() == [[1, 3]]
    assert found.weights[0].tolist() == pytest.approx([0.3, 0.3 * 0.7], rel=1e-5)
    assert found.alphas[0] == pytest.approx(1 - 0.7**5, rel=1e-5)


def test_weights_come_by_size_not_by_depth(backend):
    found = weigh(backend, [[0, 0, 2], [0, 0, 3]], [[0.5] * 3] * 2, [0.1, 0.8], [[8, 6]], 2)
    assert found.indices.tolist() == [[1, 0]]
    assert found.weights[0].tolist() == pytest.approx([0.9 * 0.8, 0.1], rel=1e-5)


def test_pixels_come_back_in_their_order_also_twice(backend):
    scene = ([[0, 0, 2]], [[0.04] * 3], [0.8])
    pixels = [[10, 6], [8, 6], [10, 6], [0, 0], [8, 8]]
    found = weigh(backend, *scene, pixels, 1)
    side = 0.8 * math.exp(-0.5 * 4 / (4 + EPS2D))
    assert found.alphas.tolist() == pytest.approx([side, 0.8, side, 0, side], rel=1e-5)
    assert found.weights[:, 0].tolist() == pytest.approx(found.alphas.tolist())
    assert found.indices[:, 0].tolist() == [0, 0, 0, -1, 0]


def test_no_pixels_are_no_weights(backend):
    found = weigh(backend, [[0, 0, 2]], [[0.04] * 3], [0.8], [], 4)
    assert found.indices.shape == found.weights.shape == (0, 4)
    assert found.alphas.shape == (0,)
