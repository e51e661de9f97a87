import math

import numpy as np
import pytest
import torch
from tests.helpers.render_scenes import random_scene

from gags.capture.camera import Camera
from gags.errors import GagsError
from gags.render import blend_weights, rasterize
from gags.render.reference import rotation_matrices, sh_colors
from gags.render.types import EPS2D

CAMERA = Camera(np.eye(4), np.array([[100.0, 0, 8.5], [0, 100.0, 6.5], [0, 0, 1]]), 17, 13)
UPRIGHT = [1.0, 0.0, 0.0, 0.0]


def draw(means, scales, opacities, colors, **options):
    n = len(means)
    return rasterize(
        *(torch.tensor(v, dtype=torch.float64) for v in (means, [UPRIGHT] * n, scales, opacities, colors)),
        CAMERA,
        backend="reference",
        **options,
    )


def test_one_gaussian_on_the_axis():
    """At z = 2 a deviation of 0.04 is 100 / 2 · 0.04 = 2 px; the filter adds 0.3 px² to the variance."""
    picture = draw([[0, 0, 2]], [[0.04, 0.02, 0.5]], [0.8], [[0.5, 0.25, 1.0]])
    for dx, dy in ((0, 0), (2, 0), (0, 1), (-3, 2)):
        alpha = 0.8 * math.exp(-0.5 * (dx**2 / (4 + EPS2D) + dy**2 / (1 + EPS2D)))
        x, y = 8 + dx, 6 + dy
        assert picture.alphas[y, x] == pytest.approx(alpha)
        assert picture.colors[y, x].tolist() == pytest.approx([0.5 * alpha, 0.25 * alpha, alpha])
        assert picture.depths[y, x] == pytest.approx(2)
    # alpha reaches 1/255 at sqrt(2 ln(0.8 · 255)) deviations
    assert picture.radii.tolist() == [math.ceil(math.sqrt(2 * math.log(0.8 * 255) * (4 + EPS2D)))]
    assert picture.alphas[0, 0] == 0
    assert picture.depths[0, 0] == 0


def test_two_gaussians_and_a_background():
    """The nearer one hides the farther one, whatever their order in memory."""
    background = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    picture = draw(
        [[0, 0, 4], [0, 0, 2]], [[0.1] * 3] * 2, [0.5, 0.6], [[1, 0, 0], [0, 1, 0]], background=background
    )
    assert picture.colors[6, 8].tolist() == pytest.approx([0.4 * 0.5, 0.6, 0.4 * 0.5])
    assert picture.alphas[6, 8] == pytest.approx(0.8)
    assert picture.depths[6, 8] == pytest.approx((0.6 * 2 + 0.2 * 4) / 0.8)


def test_alpha_is_limited_and_rays_stop():
    """The first leaves 0.001 of the light; the second would leave 1e-6 and is not drawn any more."""
    picture = draw([[0, 0, 2], [0, 0, 3]], [[0.1] * 3] * 2, [1.0, 1.0], [[1.0], [1.0]])
    assert picture.alphas[6, 8] == pytest.approx(0.999)


def test_a_turned_gaussian():
    """A quarter turn about the optical axis swaps width and height, whatever the quaternion's length."""
    q = torch.tensor([[3.0, 0, 0, 3.0]])
    assert torch.allclose(
        rotation_matrices(q)[0], torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), atol=1e-6
    )
    inputs = [torch.tensor([[0.0, 0, 2]]), torch.tensor([[0.04, 0.02, 0.5]]), torch.tensor([0.8])]
    turned = rasterize(inputs[0], q, *inputs[1:], torch.ones(1, 1), CAMERA, backend="reference")
    assert turned.alphas[8, 8] == pytest.approx(0.8 * math.exp(-0.5 * 4 / (4 + EPS2D)), rel=1e-5)
    assert turned.alphas[6, 10] == pytest.approx(0.8 * math.exp(-0.5 * 4 / (1 + EPS2D)), rel=1e-5)


def test_offset_moves_the_picture():
    inputs = ([[0, 0, 2]], [[0.04] * 3], [0.8], [[1.0]])
    moved = draw(*inputs, means2d_offset=torch.tensor([[3.0, -2.0]], dtype=torch.float64))
    assert torch.allclose(moved.alphas[:-2, 3:], draw(*inputs).alphas[2:, :-3])


def test_harmonics_of_degree_one_point_along_the_axes():
    sh = torch.zeros(1, 4, 3)
    sh[0, 0] = 1.0
    sh[0, 1], sh[0, 2], sh[0, 3] = torch.eye(3)  # y, z, x
    colors = sh_colors(sh, torch.tensor([[0.0, 2.0, 0.0]]), 1)[0]
    base = 0.5 + 0.5 / math.sqrt(math.pi)
    assert colors.tolist() == pytest.approx([base - math.sqrt(3 / (4 * math.pi)), base, base])


def test_harmonics_are_orthonormal():
    """On an even sphere the products of the 16 basis functions average to the identity / 4π."""
    k = torch.arange(20000, dtype=torch.float64) + 0.5
    z, angle = 1 - 2 * k / len(k), math.pi * (1 + math.sqrt(5)) * k
    ring = torch.sqrt(1 - z * z)
    directions = torch.stack([ring * torch.cos(angle), ring * torch.sin(angle), z], 1)
    basis = []
    for j in range(16):
        sh = torch.zeros(1, 16, 3, dtype=torch.float64)
        sh[0, j] = 0.1  # small, so that nothing is clamped at 0
        basis.append((sh_colors(sh.expand(len(k), -1, -1), directions, 3)[:, 0] - 0.5) / 0.1)
    basis = torch.stack(basis, 1)
    gram = basis.T @ basis / len(k) * 4 * math.pi
    assert torch.allclose(gram, torch.eye(16, dtype=torch.float64), atol=1e-3)


@pytest.mark.parametrize("sh_degree", [None, 3])
def test_gradients_agree_with_finite_differences(sh_degree):
    scene = random_scene(25, sh_degree=sh_degree, size=(19, 14), seed=2, dtype=torch.float64)
    rng = torch.Generator().manual_seed(0)
    ramp = torch.rand(14, 19, 5, generator=rng, dtype=torch.float64)

    def loss(means, quats, scales, opacities, colors, offset, background):
        picture = rasterize(
            *(means, quats, scales, opacities, colors, scene.camera),
            sh_degree=sh_degree,
            background=background,
            means2d_offset=offset,
            backend="reference",
        )
        stack = torch.cat([picture.colors, picture.depths[..., None], picture.alphas[..., None]], -1)
        return (stack * ramp).sum()

    leaves = [value.clone().requires_grad_() for value in scene.tensors().values()]
    assert torch.autograd.gradcheck(loss, leaves, eps=1e-7, atol=1e-3, rtol=1e-3, fast_mode=True)


def test_blend_weights_by_hand():
    tensors = [
        torch.tensor(v) for v in ([[0.0, 0, 4], [0, 0, 2]], [UPRIGHT] * 2, [[0.1] * 3] * 2, [0.5, 0.6])
    ]
    found = blend_weights(*tensors, CAMERA, torch.tensor([[8, 6], [0, 0]]), top_k=3, backend="reference")
    assert found.indices[0].tolist() == [1, 0, -1]
    assert found.weights[0].tolist() == pytest.approx([0.6, 0.2, 0.0])
    assert found.alphas[0] == pytest.approx(0.8)


def test_wrong_input_is_named():
    scene = random_scene(5)
    with pytest.raises(ValueError, match=r"quats must have shape \[5, 4\]"):
        rasterize(scene.means, scene.quats[:3], scene.scales, scene.opacities, scene.colors, scene.camera)
    with pytest.raises(ValueError, match="sh_degree 2"):
        rasterize(*scene.geometry(), torch.zeros(5, 4, 3), scene.camera, sh_degree=2)
    with pytest.raises(ValueError, match=r"background must have shape \[3\]"):
        rasterize(*scene.geometry(), scene.colors, scene.camera, background=torch.zeros(4))
    with pytest.raises(ValueError, match="top_k"):
        blend_weights(*scene.geometry(), scene.camera, torch.tensor([[0, 0]]), top_k=0)
    with pytest.raises(GagsError, match="needs tensors on cuda"):
        rasterize(*scene.geometry(), scene.colors, scene.camera, backend="cuda")
    with pytest.raises(ValueError, match="inside the 75x53 image"):
        blend_weights(*scene.geometry(), scene.camera, torch.tensor([[75, 0]]))
