"""Kernels for a processor without AVX-512 beside those for this one."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from tests.helpers.render_scenes import random_scene

from gags.render import rasterize
from gags.simd.vectors import NATIVE_LANES

SCRIPT = """
import sys
import numpy as np
from gags.simd.vectors import NATIVE_LANES
from tests.render.test_lanes import pictures_and_gradients
assert NATIVE_LANES == 8
np.savez(sys.argv[1], *pictures_and_gradients())
"""


def pictures_and_gradients() -> list[np.ndarray]:
    """Colours, depths and alphas of a scene with a ragged right edge, then the gradients of its tensors."""
    scene = random_scene(300, size=(75, 53), seed=3)
    leaves = [tensor.clone().requires_grad_() for tensor in (*scene.geometry(), scene.colors)]
    rendering = rasterize(*leaves, scene.camera, background=scene.background, backend="cpu")
    pictures = [rendering.colors, rendering.depths, rendering.alphas]
    rng = torch.Generator().manual_seed(1)
    weighted = [(picture * torch.randn(picture.shape, generator=rng)).sum() for picture in pictures]
    gradients = torch.autograd.grad(sum(weighted, torch.zeros(())), leaves)
    return [tensor.detach().numpy() for tensor in (*pictures, *gradients)]


@pytest.mark.slow
@pytest.mark.skipif(NATIVE_LANES == 8, reason="this processor has no AVX-512: its kernels are those")
def test_strips_of_half_a_tile_give_the_same(tmp_path):
    elsewhere = {
        "NUMBA_CPU_NAME": "x86-64-v3",
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_CACHE_DIR": str(tmp_path / "kernels"),
    }
    file = tmp_path / "found.npz"
    subprocess.run([sys.executable, "-c", SCRIPT, str(file)], env=os.environ | elsewhere, check=True)
    with np.load(file) as found:
        for name, here in zip(found.files, pictures_and_gradients(), strict=True):
            size = np.abs(here).max()
            assert size > 0
            np.testing.assert_allclose(found[name], here, rtol=0, atol=1e-4 * size)
