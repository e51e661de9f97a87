"""The CUDA backend: on the CPU through gsplat's own Python, and on a GPU where there is one."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.helpers.gsplat_twin import WIDTHS, gsplat_on_cpu
from tests.helpers.memory import peak_bytes
from tests.helpers.render_scenes import all_pixels, random_scene
from torch import Tensor

from gags.errors import GagsError
from gags.render import blend_weights, cuda, cuda_view, cuda_weights, largest_weights, rasterize, reference
from gags.render.cuda_view import load_gsplat
from gags.render.cuda_weights import strongest


@pytest.fixture
def kernels():
    """gsplat on the CPU; what it is made to compute is noted."""
    with gsplat_on_cpu() as kernels:
        yield kernels


def test_missing_gsplat_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "gsplat", None)
    scene = random_scene(3)
    with pytest.raises(GagsError, match=r"pip install 'gags\[cuda\]'"):
        cuda.rasterize(*scene.geometry(), scene.colors, scene.camera, None, None, None)


def fake_package(monkeypatch, kernels, version="1.5.3"):
    backend = SimpleNamespace(_C=kernels)
    package = SimpleNamespace(_backend=backend)
    monkeypatch.setitem(sys.modules, "gsplat", SimpleNamespace(cuda=package, __version__=version))
    monkeypatch.setitem(sys.modules, "gsplat.cuda", package)
    monkeypatch.setitem(sys.modules, "gsplat.cuda._backend", backend)


def test_gsplat_without_a_compiler_is_told(monkeypatch):
    fake_package(monkeypatch, None)
    with pytest.raises(GagsError, match="finds no CUDA compiler; `gags doctor` tells more"):
        load_gsplat()
    fake_package(monkeypatch, object())
    assert load_gsplat() is sys.modules["gsplat"]


@pytest.mark.parametrize(
    ("version", "works"),
    [("1.5.2", False), ("1.5.3+pt24cu124", True), ("1.5.4", True), ("1.6.0", False), ("2.0", False)],
)
def test_a_gsplat_of_another_version_is_refused(monkeypatch, version, works):
    fake_package(monkeypatch, object(), version)
    if works:
        load_gsplat()
    else:
        with pytest.raises(GagsError, match=f"below 1.6; {version.split('+')[0]}"):
            load_gsplat()


def draw(backend, tensors: dict[str, Tensor], camera, sh_degree=None, background=False):
    return backend.rasterize(
        *(tensors[name] for name in ("means", "quats", "scales", "opacities", "colors")),
        camera,
        sh_degree,
        tensors["background"] if background else None,
        tensors["means2d_offset"],
    )


def drawn_with_gradients(backend, scene, sh_degree=None, background=False, change=lambda tensor: tensor):
    """The pictures, and the gradients of a number that depends on all of them, by name."""
    leaves = {name: change(t.detach().clone()).requires_grad_() for name, t in scene.tensors().items()}
    found = draw(backend, leaves, scene.camera, sh_degree, background)
    (found.colors.square().sum() + found.depths.sum() + found.alphas.sum()).backward()
    return found, {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}


def assert_alike(found, true, gradients, true_gradients):
    for name in ("colors", "depths", "alphas"):
        torch.testing.assert_close(getattr(found, name), getattr(true, name), rtol=0, atol=1e-3)
    assert gradients.keys() == true_gradients.keys()
    for name, truth in true_gradients.items():
        assert (gradients[name] - truth).norm() / truth.norm() <= 1e-2, name


@pytest.mark.parametrize("sh_degree", [None, 0, 3])
@pytest.mark.parametrize("background", [False, True])
def test_pictures_and_gradients_agree_with_the_reference(kernels, sh_degree, background):
    scene = random_scene(200, sh_degree=sh_degree, size=(45, 37), seed=1)
    found = drawn_with_gradients(cuda, scene, sh_degree, background)
    true = drawn_with_gradients(reference, scene, sh_degree, background)
    assert_alike(found[0], true[0], found[1], true[1])
    assert kernels.calls["rasterize_to_pixels_3dgs_fwd"] == 1


def not_contiguous(tensor: Tensor) -> Tensor:
    return torch.stack([tensor, tensor], -1)[..., 0]


@pytest.mark.parametrize("change", [Tensor.double, not_contiguous])
def test_doubles_and_strides_are_taken_as_on_the_cpu(kernels, change):
    plain = random_scene(60, size=(33, 21), seed=1)
    found, gradients = drawn_with_gradients(cuda, plain, background=True, change=change)
    true, true_gradients = drawn_with_gradients(cuda, plain, background=True)
    assert found.colors.dtype == found.depths.dtype == torch.float32
    assert torch.equal(found.colors, true.colors)
    for name, truth in true_gradients.items():
        assert gradients[name].dtype == change(truth).dtype
        torch.testing.assert_close(gradients[name].float(), truth, rtol=1e-6, atol=0)
    pixels = all_pixels(plain.camera)[::9]
    geometry = [change(tensor) for tensor in plain.geometry()]
    weights = cuda.blend_weights(*geometry, plain.camera, pixels, 4)
    assert torch.equal(
        weights.weights, cuda.blend_weights(*plain.geometry(), plain.camera, pixels, 4).weights
    )


@pytest.mark.parametrize(
    ("channels", "widths"),
    [(1, [2]), (3, [4]), (5, [8]), (10, [16]), (32, [33]), (33, [33, 1]), (40, [33, 8]), (70, [33, 32, 8])],
)
@pytest.mark.parametrize("background", [False, True])
def test_features_of_any_width_are_padded_to_what_has_a_kernel(
    kernels, monkeypatch, channels, widths, background
):
    """Which widths gsplat pads differs between its versions; we hand over none that it has to."""
    package, given = load_gsplat(), []
    own = package.rasterize_to_pixels

    def watched(**arguments):
        given.append(arguments["colors"].shape[-1])
        return own(**arguments)

    monkeypatch.setattr(package, "rasterize_to_pixels", watched)
    scene = random_scene(40, channels=channels, size=(33, 21), seed=4)
    found = drawn_with_gradients(cuda, scene, background=background)
    assert given == kernels.widths == widths
    assert set(widths) <= set(WIDTHS)
    true = drawn_with_gradients(reference, scene, background=background)
    assert_alike(found[0], true[0], found[1], true[1])


def test_a_view_that_is_kept_is_projected_once(kernels):
    scene, rng = random_scene(150, size=(45, 37), seed=7), torch.Generator().manual_seed(0)
    blended = cuda.keep_view(*scene.geometry(), scene.camera)
    for channels in (1, 3, 40, 1):
        values = torch.rand(150, channels, generator=rng, dtype=torch.float64)
        found = blended(values)
        true = reference.rasterize(*scene.geometry(), values.float(), scene.camera, None, None, None)
        for name in ("colors", "depths", "alphas"):
            torch.testing.assert_close(getattr(found, name), getattr(true, name), rtol=0, atol=1e-3)
        assert torch.equal(found.radii > 0, true.radii > 0)
    assert kernels.calls["projection_ewa_3dgs_fused_fwd"] == kernels.calls["intersect_tile"] == 1
    none = cuda.keep_view(*(tensor[:0] for tensor in scene.geometry()), scene.camera)(values[:0])
    assert not none.colors.any()


def behind_the_camera(scene):
    return scene.means - 1000 * torch.from_numpy(scene.camera.viewmat[2, :3]).float()


@pytest.mark.parametrize("sh_degree", [None, 2])
def test_a_view_without_gaussians_keeps_its_gradient(kernels, sh_degree):
    scene = random_scene(20, sh_degree=sh_degree, seed=4)
    scene.means = behind_the_camera(scene)
    out_of_sight = drawn_with_gradients(cuda, scene, sh_degree, background=True)
    none = random_scene(20, sh_degree=sh_degree, seed=4)
    for name, tensor in none.tensors().items():
        setattr(none, name, tensor if name == "background" else tensor[:0])
    for found, gradients in (out_of_sight, drawn_with_gradients(cuda, none, sh_degree, background=True)):
        assert torch.equal(found.colors, scene.background.expand(*found.colors.shape))
        assert found.alphas.abs().max() == found.depths.abs().max() == 0
        assert gradients.keys() == scene.tensors().keys()
        for name, gradient in gradients.items():
            if name == "background":  # of its square, at each pixel
                pixels = found.alphas.numel()
                torch.testing.assert_close(gradient, 2 * pixels * scene.background)
            else:
                assert torch.equal(gradient, torch.zeros_like(gradient))


def test_a_camera_that_was_first_used_for_inference_can_be_trained_with(kernels):
    scene = random_scene(20)
    cuda_view._camera_tensors.cache_clear()
    with torch.inference_mode():
        draw(cuda, scene.tensors(), scene.camera)
    found, gradients = drawn_with_gradients(cuda, scene)
    true, true_gradients = drawn_with_gradients(reference, scene)
    assert_alike(found, true, gradients, true_gradients)


def test_no_gaussians_and_no_pixels(kernels):
    scene = random_scene(4, seed=5)
    none = [value[:0] for value in scene.geometry()]
    for geometry, pixels in ((none, all_pixels(scene.camera)[:7]), (scene.geometry(), torch.zeros(0, 2))):
        found = cuda.blend_weights(*geometry, camera=scene.camera, pixels=pixels.long(), top_k=3)
        assert found.indices.tolist() == [[-1, -1, -1]] * len(pixels)
        assert found.weights.shape == (len(pixels), 3)
        assert np.count_nonzero(found.alphas) == 0
    assert len(cuda.largest_weights(*none, scene.camera)) == 0
    assert not cuda.largest_weights(behind_the_camera(scene), *scene.geometry()[1:], scene.camera).any()


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


@pytest.mark.parametrize("top_k", [1, 4, 200])
@pytest.mark.parametrize("most_hits", [1 << 24, 2000, 100])
def test_weights_agree_with_the_reference_in_any_number_of_parts(kernels, monkeypatch, top_k, most_hits):
    monkeypatch.setattr(cuda_weights, "MOST_HITS", most_hits)
    scene = random_scene(120, size=(33, 21), seed=3)
    pixels = all_pixels(scene.camera)[::5]
    pixels = torch.cat([pixels, pixels[:4]])  # the same pixel twice is two rows
    found = cuda.blend_weights(*scene.geometry(), camera=scene.camera, pixels=pixels, top_k=top_k)
    true = reference.blend_weights(*scene.geometry(), camera=scene.camera, pixels=pixels, top_k=top_k)
    torch.testing.assert_close(found.weights, true.weights, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.alphas, true.alphas, rtol=1e-4, atol=1e-5)
    apart = (true.weights[:, :-1] - true.weights[:, 1:] > 1e-4).all(
        1
    )  # ranks of equal weights may be swapped
    assert torch.equal(found.indices[apart], true.indices[apart])
    listings = kernels.calls["rasterize_to_indices_3dgs"]
    assert kernels.most_hits <= most_hits
    assert (listings == 1) == (most_hits == 1 << 24)


@pytest.mark.parametrize("most_hits", [1 << 24, 3000])
def test_largest_weights_agree_with_the_reference(kernels, monkeypatch, most_hits):
    monkeypatch.setattr(cuda_weights, "MOST_HITS", most_hits)
    scene = random_scene(300, size=(45, 37), seed=2)
    found = cuda.largest_weights(*scene.geometry(), scene.camera)
    true = reference.largest_weights(*scene.geometry(), scene.camera)
    torch.testing.assert_close(found, true, rtol=1e-3, atol=1e-5)
    assert 50 < true.count_nonzero() < 300
    assert kernels.most_hits <= most_hits
    # The truth by another way: the strongest of all at each pixel.
    every = reference.blend_weights(*scene.geometry(), scene.camera, all_pixels(scene.camera), 300)
    by_pixels = torch.zeros(300).scatter_reduce_(
        0, every.indices.flatten().long().clamp_min(0), every.weights.flatten(), "amax"
    )
    assert torch.equal(true, by_pixels)


@pytest.mark.parametrize("what", ["weights of pixels", "largest weights"])
@pytest.mark.parametrize("most_hits", [1 << 24, 1 << 15, 1 << 13])
def test_memory_of_weights_is_bounded_by_the_hits_held_at_a_time(kernels, monkeypatch, what, most_hits):
    monkeypatch.setattr(cuda_weights, "MOST_HITS", most_hits)
    scene = random_scene(400, size=(128, 96), seed=6)
    pixels, returned = all_pixels(scene.camera), 0

    def compute():
        if what == "largest weights":
            return cuda.largest_weights(*scene.geometry(), scene.camera)
        return cuda.blend_weights(*scene.geometry(), scene.camera, pixels, 8)

    if what == "weights of pixels":
        returned = (8 * 8 + 4) * len(pixels)
    peak = peak_bytes(compute, kernels)
    assert kernels.most_hits <= most_hits
    assert peak - returned <= cuda_weights.BYTES_A_HIT * kernels.most_hits + 100 * len(pixels)
    if most_hits == 1 << 24:  # what would be held without the bound, and that the figure is no guess
        assert kernels.most_hits > 100_000
        assert peak - returned > 0.4 * cuda_weights.BYTES_A_HIT * kernels.most_hits
    else:
        assert peak - returned < 2_500_000


@pytest.mark.gpu
@pytest.mark.parametrize("sh_degree", [None, 3])
def test_agrees_with_the_reference(sh_degree):
    scene = random_scene(300, sh_degree=sh_degree, seed=1)
    found, gradients = drawn_with_gradients(cuda, scene, sh_degree, background=True, change=Tensor.cuda)
    true, true_gradients = drawn_with_gradients(reference, scene, sh_degree, background=True)
    for name in ("colors", "depths", "alphas"):
        setattr(found, name, getattr(found, name).cpu())
    assert_alike(found, true, {name: g.cpu() for name, g in gradients.items()}, true_gradients)


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
    tensors = [v.cuda() for v in (behind_the_camera(scene), *scene.geometry()[1:], scene.colors)]
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


@pytest.mark.gpu
def test_memory_of_weights_is_bounded_on_a_gpu(monkeypatch):
    scene = random_scene(3000, size=(1600, 1200), seed=6)
    geometry = [value.cuda() for value in scene.geometry()]
    monkeypatch.setattr(cuda_weights, "MOST_HITS", 1 << 20)
    largest_weights(*geometry, scene.camera, backend="cuda")
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    largest_weights(*geometry, scene.camera, backend="cuda")
    taken = torch.cuda.max_memory_allocated() - before
    assert taken <= cuda_weights.BYTES_A_HIT * (1 << 20) + 100 * 1600 * 1200


def test_kernels_refuse_what_the_compiled_ones_refuse(kernels):
    """So that the twin cannot hide what would fail on a GPU."""
    numbers = torch.zeros(4, 3)
    mask = torch.ones(4, dtype=torch.bool)
    with pytest.raises(AssertionError, match="must be contiguous"):
        kernels.spherical_harmonics_fwd(0, torch.zeros(3, 4).T, torch.zeros(4, 1, 3), mask)
    with pytest.raises(AssertionError, match="expected scalar type Float"):
        kernels.spherical_harmonics_fwd(0, numbers.double(), torch.zeros(4, 1, 3), mask)
    colors = kernels.spherical_harmonics_fwd(
        0, numbers + 1, torch.ones(4, 1, 3), mask & (torch.arange(4) > 0)
    )
    assert colors[0].isnan().all()
    assert colors[1:].isfinite().all()


def test_gsplat_is_as_it_was_afterwards():
    own = {name for name in sys.modules if name.split(".")[0] == "gsplat"}
    with gsplat_on_cpu() as kernels:
        assert sys.modules["gsplat.csrc"] is kernels
        assert sys.modules["gsplat.cuda._backend"]._C is kernels
        assert load_gsplat().__version__.startswith("1.5.")
    assert {name for name in sys.modules if name.split(".")[0] == "gsplat"} == own
