import math

import numpy as np
import pytest
import torch
from tests.helpers.render_scenes import random_scene

from gags.render import rasterize
from gags.render.reference import rotation_matrices, sh_colors


def test_rotation_matrix_of_a_quarter_turn():
    """About the optical axis, whatever the quaternion's length."""
    found = rotation_matrices(torch.tensor([[3.0, 0, 0, 3.0]]))[0]
    assert torch.allclose(found, torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), atol=1e-6)


def real_harmonic(degree: int, order: int, directions: np.ndarray) -> np.ndarray:
    """Y of any degree and order from associated Legendre polynomials P (Condon-Shortley phase included).

    P of degree m and order m is (-1)^m (2m - 1)!! sin^m; the recursion in the degree does the rest.
    """
    x, y, z = directions.T
    m, angle = abs(order), np.arctan2(y, x)
    before, current = np.zeros_like(z), np.full_like(z, (-1.0) ** m) * (1 - z * z) ** (m / 2)
    current *= math.prod(range(2 * m - 1, 0, -2))
    for n in range(m + 1, degree + 1):
        before, current = current, ((2 * n - 1) * z * current - (n + m - 1) * before) / (n - m)
    norm = (2 * degree + 1) / (4 * math.pi) * math.factorial(degree - m) / math.factorial(degree + m)
    around = {0: 1.0, 1: np.sqrt(2) * np.cos(m * angle), -1: np.sqrt(2) * np.sin(m * angle)}
    return math.sqrt(norm) * current * around[int(np.sign(order))]


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_harmonics_are_those_of_the_general_formula(degree):
    directions = np.random.default_rng(0).normal(size=(200, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    for order in range(-degree, degree + 1):
        sh = torch.zeros(200, 16, 3, dtype=torch.float64)
        sh[:, degree * (degree + 1) + order, 1] = 0.1  # small, so that nothing is clamped at 0
        found = (sh_colors(sh, torch.from_numpy(3 * directions), degree)[:, 1] - 0.5) / 0.1
        np.testing.assert_allclose(found, real_harmonic(degree, order, directions), atol=1e-12)


def test_colours_below_0_are_held_at_0():
    sh = torch.tensor([[[-2.0, 0.0, 2.0]]])
    black, grey, bright = sh_colors(sh, torch.ones(1, 3), 0)[0].tolist()
    assert (black, grey) == (0.0, 0.5)
    assert bright == pytest.approx(0.5 + 2 * 0.28209479)


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
            means,
            quats,
            scales,
            opacities,
            colors,
            scene.camera,
            sh_degree=sh_degree,
            background=background,
            means2d_offset=offset,
            backend="reference",
        )
        stack = torch.cat([picture.colors, picture.depths[..., None], picture.alphas[..., None]], -1)
        return (stack * ramp).sum()

    leaves = [value.clone().requires_grad_() for value in scene.tensors().values()]
    assert torch.autograd.gradcheck(loss, leaves, eps=1e-7, atol=1e-3, rtol=1e-3, fast_mode=True)
