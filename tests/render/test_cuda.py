import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.helpers.gsplat_twin import GsplatTwin
from tests.helpers.render_scenes import all_pixels, random_scene

from gags.errors import GagsError
from gags.render import blend_weights, cuda, rasterize, reference
from gags.render.cuda import strongest


def test_missing_gsplat_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "gsplat", None)
    scene = random_scene(3)
    with pytest.raises(GagsError, match=r"pip install 'gags\[cuda\]'"):
        cuda.rasterize(*scene.geometry(), scene.colors, scene.camera, None, None, None)


class FakeGsplat:
    """Stands in for gsplat's last step: blends five Gaussians evenly, and notes how many channels."""

    def __init__(self) -> None:
        self.widths: list[int] = []

    def rasterize_to_pixels(
        self, means2d, conics, colors, opacities, image_width, image_height, backgrounds, **more
    ):
        assert more.keys() == {"tile_size", "isect_offsets", "flatten_ids"}
        assert colors.shape[:2] == means2d.shape[:2] == opacities.shape == (1, 5)
        self.widths.append(colors.shape[-1])
        image = colors.mean(1)[:, None, None].expand(1, image_height, image_width, -1)
        image = image if backgrounds is None else image + 0.5 * backgrounds[:, None, None]
        return image, torch.full((1, image_height, image_width, 1), 0.5)


@pytest.mark.parametrize(
    ("channels", "widths"),
    [(3, [4]), (32, [33]), (33, [33, 1]), (64, [33, 32]), (600, [33, *[32] * 17, 24])],
)
@pytest.mark.parametrize("with_background", [False, True])
def test_features_of_any_width_are_blended_in_parts(channels, widths, with_background):
    scene = random_scene(5, channels=channels)
    nothing = torch.zeros(1, 5, 3)
    seen = cuda._Projected(nothing, nothing[..., :2], nothing[..., 0], nothing, nothing, nothing)
    features = torch.cat([torch.rand(5, 1), scene.colors], 1)
    background = torch.cat([torch.zeros(1), scene.background]) if with_background else None
    gsplat = FakeGsplat()
    image, alphas = cuda._blend(gsplat, seen, features, scene.opacities, scene.camera, background)
    assert gsplat.widths == widths
    assert image.shape == (scene.camera.height, scene.camera.width, 1 + channels)
    assert alphas.shape == image.shape[:2]
    expected = features.mean(0) + (0 if background is None else 0.5 * background)
    assert torch.allclose(image[3, 7], expected)


def fake_package(monkeypatch, kernels):
    backend = SimpleNamespace(_C=kernels)
    package = SimpleNamespace(_backend=backend)
    monkeypatch.setitem(sys.modules, "gsplat", SimpleNamespace(cuda=package))
    monkeypatch.setitem(sys.modules, "gsplat.cuda", package)


def test_gsplat_without_a_compiler_is_told(monkeypatch):
    fake_package(monkeypatch, None)
    with pytest.raises(GagsError, match="finds no CUDA compiler; `gags doctor` tells more"):
        cuda._gsplat()
    fake_package(monkeypatch, object())
    assert cuda._gsplat() is sys.modules["gsplat"]


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


@pytest.fixture
def twin(monkeypatch) -> None:
    """gsplat's functions in plain PyTorch: what is left to test is what the backend makes of them."""
    monkeypatch.setattr(cuda, "_gsplat", GsplatTwin)


@pytest.mark.parametrize(
    ("channels", "sh_degree", "with_background"),
    [(3, None, False), (3, None, True), (1, None, True), (40, None, True), (3, 0, False), (3, 3, True)],
)
def test_the_steps_around_gsplat_agree_with_the_reference(twin, channels, sh_degree, with_background):
    scene = random_scene(120, channels, sh_degree, (33, 21), seed=channels, dtype=torch.float64)
    pictures, gradients = [], []
    for module in (cuda, reference):
        leaves = {name: value.clone().requires_grad_() for name, value in scene.tensors().items()}
        picture = module.rasterize(
            leaves["means"],
            leaves["quats"],
            leaves["scales"],
            leaves["opacities"],
            leaves["colors"],
            camera=scene.camera,
            sh_degree=sh_degree,
            background=leaves["background"] if with_background else None,
            means2d_offset=leaves["means2d_offset"],
        )
        (picture.colors.square().sum() + picture.depths.sum() + picture.alphas.sum()).backward()
        pictures.append(picture)
        gradients.append({name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None})
    found, true = pictures
    for name in ("colors", "depths", "alphas"):
        torch.testing.assert_close(getattr(found, name), getattr(true, name), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-6, atol=1e-9)
    assert found.radii.dtype == torch.int32


@pytest.mark.parametrize("top_k", [1, 4, 200])
def test_weights_around_gsplat_agree_with_the_reference(twin, top_k):
    scene = random_scene(120, size=(33, 21), seed=3, dtype=torch.float64)
    pixels = all_pixels(scene.camera)[::5]
    pixels = torch.cat([pixels, pixels[:4]])  # the same pixel twice is two rows
    found = cuda.blend_weights(*scene.geometry(), camera=scene.camera, pixels=pixels, top_k=top_k)
    true = reference.blend_weights(*scene.geometry(), camera=scene.camera, pixels=pixels, top_k=top_k)
    assert torch.equal(found.indices, true.indices)
    torch.testing.assert_close(found.weights.float(), true.weights, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.alphas.float(), true.alphas, rtol=1e-5, atol=1e-6)


def test_no_gaussians_and_no_pixels(twin):
    scene = random_scene(4, seed=5)
    none = [value[:0] for value in (*scene.geometry(), scene.colors)]
    background = torch.tensor([0.1, 0.2, 0.3])
    size = (scene.camera.height, scene.camera.width)
    for behind, color in ((background, background), (None, torch.zeros(3))):
        empty = cuda.rasterize(
            *none, camera=scene.camera, sh_degree=None, background=behind, means2d_offset=None
        )
        assert torch.equal(empty.colors, color.expand(*size, 3))
        assert empty.alphas.abs().max() == empty.depths.abs().max() == len(empty.radii) == 0
    for geometry, pixels in ((none[:4], all_pixels(scene.camera)[:7]), (scene.geometry(), torch.zeros(0, 2))):
        found = cuda.blend_weights(*geometry, camera=scene.camera, pixels=pixels.long(), top_k=3)
        assert found.indices.tolist() == [[-1, -1, -1]] * len(pixels)
        assert found.weights.shape == (len(pixels), 3)
        assert np.count_nonzero(found.alphas) == 0


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
@pytest.mark.parametrize("channels", [1, 16, 40, 600])
def test_wide_features_agree_with_the_reference(channels):
    scene = random_scene(100, channels=channels, seed=3)
    found = rasterize(
        *(value.cuda() for value in (*scene.geometry(), scene.colors)), scene.camera, backend="cuda"
    )
    truth = rasterize(*scene.geometry(), scene.colors, scene.camera, backend="reference")
    assert (found.colors.cpu() - truth.colors).abs().max() <= 1e-3
    assert (found.depths.cpu() - truth.depths).abs().max() <= 1e-3


@pytest.mark.gpu
def test_a_view_of_nothing_is_empty():
    scene = random_scene(20, seed=4)
    behind = scene.means - 1000 * torch.from_numpy(scene.camera.viewmat[2, :3]).float()
    tensors = [value.cuda() for value in (behind, *scene.geometry()[1:], scene.colors)]
    found = rasterize(*tensors, scene.camera, backend="cuda")
    assert found.colors.abs().max() == found.alphas.abs().max() == found.depths.abs().max() == 0
    pixels = all_pixels(scene.camera)[:5].cuda()
    weights = blend_weights(*tensors[:4], scene.camera, pixels, top_k=3, backend="cuda")
    assert weights.alphas.abs().max() == 0
    assert (weights.indices == -1).all()


@pytest.mark.gpu
@pytest.mark.parametrize("top_k", [1, 8, 40])
def test_blend_weights_agree_with_the_reference(top_k):
    scene = random_scene(300, seed=2)
    pixels = all_pixels(scene.camera)[::7]
    pixels = torch.cat([pixels, pixels[:5]])  # the same pixel twice is two rows
    on_gpu = [value.cuda() for value in scene.geometry()]
    found = blend_weights(*on_gpu, scene.camera, pixels.cuda(), top_k=top_k, backend="cuda")
    true = blend_weights(*scene.geometry(), scene.camera, pixels, top_k=top_k, backend="reference")
    assert torch.allclose(found.weights.cpu(), true.weights, atol=1e-4)
    assert torch.allclose(found.alphas.cpu(), true.alphas, atol=1e-4)
    if top_k > 1:  # ranks of nearly equal weights may be swapped
        apart = (true.weights[:, 0] - true.weights[:, 1]) > 1e-3
        assert torch.equal(found.indices[:, 0].cpu()[apart], true.indices[:, 0][apart])
