import sys

import pytest
import torch
from render_scenes import all_pixels, random_scene

from gags.errors import GagsError
from gags.render import blend_weights, cuda, rasterize
from gags.render.cuda import strongest


def test_missing_gsplat_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "gsplat", None)
    scene = random_scene(3)
    with pytest.raises(GagsError, match=r"pip install 'gags\[cuda\]'"):
        cuda.rasterize(*scene.geometry(), scene.colors, scene.camera, None, None, None)


def test_strongest_of_three_rays():
    """Ray 0 has three hits, ray 1 none, ray 2 one; weights are α times what the hits before let through."""
    found = strongest(
        gaussians=torch.tensor([7, 3, 5, 3]),
        rows=torch.tensor([0, 0, 0, 2]),
        alphas=torch.tensor([0.1, 0.5, 0.8, 0.4]),
        row_count=3,
        top_k=2,
    )
    assert found.indices.tolist() == [[3, 5], [-1, -1], [3, -1]]
    expected = [[0.9 * 0.5, 0.9 * 0.5 * 0.8], [0, 0], [0.4, 0]]
    assert torch.allclose(found.weights, torch.tensor(expected))
    assert torch.allclose(found.alphas, torch.tensor([1 - 0.9 * 0.5 * 0.2, 0, 0.4]))


def test_strongest_of_random_rays():
    rng = torch.Generator().manual_seed(0)
    alphas = 0.9 * torch.rand(20, 30, generator=rng)
    gaussians = torch.randint(0, 1000, (20, 30), generator=rng)
    through = torch.cumprod(1 - alphas, 1)
    weights = alphas * torch.cat([torch.ones(20, 1), through[:, :-1]], 1)
    best, place = weights.sort(1, descending=True)
    found = strongest(gaussians.flatten(), torch.arange(20).repeat_interleave(30), alphas.flatten(), 20, 7)
    assert torch.allclose(found.weights, best[:, :7], atol=1e-6)
    assert torch.equal(found.indices, gaussians.gather(1, place[:, :7]).int())


@pytest.mark.gpu
@pytest.mark.parametrize("sh_degree", [None, 3])
def test_agrees_with_the_reference(sh_degree):
    scene = random_scene(300, sh_degree=sh_degree, seed=1)
    pictures, gradients = [], []
    for device, backend in (("cuda", "cuda"), ("cpu", "reference")):
        leaves = {k: v.detach().to(device).requires_grad_() for k, v in scene.tensors().items()}
        picture = rasterize(
            *(leaves[k] for k in ("means", "quats", "scales", "opacities", "colors")),
            scene.camera,
            sh_degree=sh_degree,
            background=leaves["background"],
            means2d_offset=leaves["means2d_offset"],
            backend=backend,
        )
        (picture.colors.square().sum() + picture.depths.sum() + picture.alphas.sum()).backward()
        pictures.append(picture)
        gradients.append({k: v.grad.cpu() for k, v in leaves.items() if v.grad is not None})
    for name in ("colors", "depths", "alphas"):
        assert (getattr(pictures[0], name).cpu() - getattr(pictures[1], name)).abs().max() <= 1e-3, name
    for name, truth in gradients[1].items():
        assert (gradients[0][name] - truth).norm() / truth.norm() <= 1e-2, name


@pytest.mark.gpu
def test_blend_weights_agree_with_the_reference():
    scene = random_scene(300, seed=2)
    pixels = all_pixels(scene.camera)[::7]
    on_gpu = [value.cuda() for value in scene.geometry()]
    found = blend_weights(*on_gpu, scene.camera, pixels.cuda(), top_k=8, backend="cuda")
    true = blend_weights(*scene.geometry(), scene.camera, pixels, top_k=8, backend="reference")
    assert torch.allclose(found.weights.cpu(), true.weights, atol=1e-4)
    assert torch.allclose(found.alphas.cpu(), true.alphas, atol=1e-4)
