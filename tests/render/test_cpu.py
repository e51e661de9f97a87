from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest
import torch
from tests.helpers.render_scenes import Scene, all_pixels, random_scene

from gags.capture.camera import Camera
from gags.render import Backend, Rendering, blend_weights, rasterize


def render(scene: Scene, sh_degree: int | None, with_background: bool, backend: Backend) -> Rendering:
    return rasterize(
        *scene.geometry(),
        scene.colors,
        scene.camera,
        sh_degree=sh_degree,
        background=scene.background if with_background else None,
        means2d_offset=scene.means2d_offset,
        backend=backend,
    )


def with_gradients(
    scene: Scene, sh_degree: int | None, with_background: bool, backend: Backend
) -> tuple[Rendering, dict[str, torch.Tensor]]:
    """Render, send random numbers back through all three pictures, and collect the gradients by name."""
    leaves = {name: value.clone().requires_grad_() for name, value in scene.tensors().items()}
    rendering = render(Scene(**leaves, camera=scene.camera), sh_degree, with_background, backend)
    rng = torch.Generator().manual_seed(1)
    loss = torch.zeros(())
    for picture in (rendering.colors, rendering.depths, rendering.alphas):
        loss = loss + (picture * torch.randn(picture.shape, generator=rng)).sum()
    loss.backward()
    return rendering, {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}


def assert_gradients_agree(found: dict[str, torch.Tensor], true: dict[str, torch.Tensor]) -> None:
    assert found.keys() == true.keys()
    for name, truth in true.items():
        a, b = found[name].flatten().double(), truth.flatten().double()
        assert b.norm() > 0, name
        assert torch.dot(a, b) / (a.norm() * b.norm()) >= 0.999, name
        assert (a - b).norm() / b.norm() <= 1e-2, name


@pytest.mark.parametrize(
    ("channels", "sh_degree", "with_background", "size"),
    [
        (1, None, False, (75, 53)),
        (3, None, True, (64, 64)),
        (16, None, False, (33, 97)),
        (20, None, True, (75, 53)),
        (3, 0, True, (75, 53)),
        (3, 1, False, (16, 32)),
        (3, 2, True, (130, 31)),
        (3, 3, True, (75, 53)),
    ],
)
def test_agrees_with_the_reference(channels, sh_degree, with_background, size):
    scene = random_scene(300, channels, sh_degree, size, seed=channels + size[0])
    found, found_gradients = with_gradients(scene, sh_degree, with_background, "cpu")
    true, true_gradients = with_gradients(scene, sh_degree, with_background, "reference")
    assert true.alphas.max() > 0.9
    for name in ("colors", "depths", "alphas"):
        assert (getattr(found, name) - getattr(true, name)).abs().max() <= 1e-3, name
    assert torch.equal(found.radii, true.radii)
    assert_gradients_agree(found_gradients, true_gradients)


def test_agrees_on_opaque_layers():
    """Rays that are stopped early and alphas at their upper limit."""
    scene = random_scene(200, seed=3)
    scene.opacities = 0.5 + 0.5 * scene.opacities
    scene.scales *= 3
    found, found_gradients = with_gradients(scene, None, True, "cpu")
    true, true_gradients = with_gradients(scene, None, True, "reference")
    assert (true.alphas > 0.999).float().mean() > 0.5
    for name in ("colors", "depths", "alphas"):
        assert (getattr(found, name) - getattr(true, name)).abs().max() <= 1e-3, name
    assert_gradients_agree(found_gradients, true_gradients)


def test_wide_picture():
    """Gaussians that cross more columns of tiles than the kernels take at once."""
    scene = random_scene(60, size=(700, 40), seed=11)
    scene.scales *= 2
    found, found_gradients = with_gradients(scene, None, True, "cpu")
    true, true_gradients = with_gradients(scene, None, True, "reference")
    assert true.radii.max() > 300
    for name in ("colors", "depths", "alphas"):
        assert (getattr(found, name) - getattr(true, name)).abs().max() <= 1e-3, name
    assert_gradients_agree(found_gradients, true_gradients)


def test_gradient_of_one_picture_alone():
    """Only a few pixels of the depth have a gradient; whole rows and tiles have none."""
    scene = random_scene(200, seed=4)
    gradients = []
    for backend in ("cpu", "reference"):
        means = scene.means.clone().requires_grad_()
        depths = rasterize(means, *scene.geometry()[1:], scene.colors, scene.camera, backend=backend).depths
        depths[20:23, 5:40].square().sum().backward()
        gradients.append({"means": means.grad})
    assert_gradients_agree(*gradients)


@pytest.mark.parametrize("top_k", [1, 5, 80])
@pytest.mark.parametrize("count", [40, 6000])
def test_blend_weights_agree_with_the_reference(top_k, count):
    scene = random_scene(300, seed=5)
    chosen = torch.randint(0, 75 * 53, (count,), generator=torch.Generator().manual_seed(0))
    pixels = all_pixels(scene.camera)[chosen]
    found = blend_weights(*scene.geometry(), scene.camera, pixels, top_k=top_k, backend="cpu")
    true = blend_weights(*scene.geometry(), scene.camera, pixels, top_k=top_k, backend="reference")
    assert torch.allclose(found.weights, true.weights, atol=1e-5)
    assert torch.allclose(found.alphas, true.alphas, atol=1e-5)
    assert (found.indices != true.indices).float().mean() < 1e-3  # equal weights may swap
    assert found.indices.dtype == torch.int32
    if top_k == 80:
        assert (found.indices[:, -1] == -1).all()
        assert torch.allclose(found.weights.sum(1), found.alphas, atol=1e-5)


def test_blend_weights_rebuild_the_rendered_features():
    scene = random_scene(300, channels=16, seed=6)
    weights = blend_weights(*scene.geometry(), scene.camera, all_pixels(scene.camera), top_k=100)
    rebuilt = torch.einsum("pk,pkc->pc", weights.weights, scene.colors[weights.indices.clamp_min(0).long()])
    picture = rasterize(*scene.geometry(), scene.colors, scene.camera)
    assert torch.allclose(rebuilt, picture.colors.reshape(-1, 16), atol=1e-4)
    assert torch.allclose(weights.alphas, picture.alphas.flatten(), atol=1e-5)


def test_nothing_to_see():
    scene = random_scene(50, seed=7)
    none = [value[:0] for value in scene.geometry()]
    background = torch.tensor([0.1, 0.2, 0.3])
    empty = rasterize(*none, scene.colors[:0], scene.camera, background=background)
    assert torch.equal(empty.colors, background.expand(53, 75, 3))
    assert empty.radii.shape == (0,)
    assert blend_weights(*none, scene.camera, all_pixels(scene.camera)).alphas.max() == 0

    xyz_camera = torch.tensor([[0.0, 0.0, -3.0], [0.0, 0.0, 0.005], [900.0, 0.0, 3.0]])
    camera = Camera(np.eye(4), scene.camera.K, 75, 53)
    means = xyz_camera.requires_grad_()
    unseen = rasterize(means, *(v[:3] for v in scene.geometry()[1:]), scene.colors[:3], camera)
    assert unseen.alphas.max() == 0
    assert (unseen.radii == 0).all()
    unseen.colors.sum().backward()
    assert means.grad is not None
    assert (means.grad == 0).all()


def test_broken_gaussians_are_skipped():
    scene = random_scene(60, seed=8)
    good = render(Scene(**{k: v[6:] if len(v) == 60 else v for k, v in scene.tensors().items()},
                        camera=scene.camera), None, True, "cpu")  # fmt: skip
    scene.means[0, 0] = np.nan
    scene.means[1] = np.inf
    scene.quats[2, 1] = np.nan
    scene.scales[3] = np.inf
    scene.opacities[4] = np.nan
    scene.opacities[5] = 0.003
    rendering, gradients = with_gradients(scene, None, True, "cpu")
    assert (rendering.radii[:6] == 0).all()
    assert torch.equal(rendering.colors, good.colors)
    assert all(gradient.isfinite().all() for gradient in gradients.values())


def test_same_numbers_whatever_the_threads():
    scene = random_scene(9000, sh_degree=2, seed=9)  # more than a thread takes at once
    _, all_threads = with_gradients(scene, 2, True, "cpu")
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        _, one_thread = with_gradients(scene, 2, True, "cpu")
    finally:
        numba.set_num_threads(before)
    assert all(torch.equal(all_threads[name], one_thread[name]) for name in all_threads)


def test_two_python_threads_at_once():
    scene = random_scene(200, seed=12)
    alone = render(scene, None, True, "cpu").colors
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda _: render(scene, None, True, "cpu").colors, range(8)))
    assert all(torch.equal(picture, alone) for picture in together)


def test_float64_inputs_get_float64_gradients():
    scene = random_scene(100, seed=10, dtype=torch.float64)
    _, found = with_gradients(scene, None, True, "cpu")
    _, true = with_gradients(scene, None, True, "reference")
    assert all(gradient.dtype == torch.float64 for gradient in found.values())
    assert_gradients_agree(found, true)


def test_garden(captures):
    """Real points from a real camera: the sizes and depths that random scenes lack."""
    file = np.load(captures / "garden_points.npz")
    near = (np.abs(file["means3d"]) <= 2).all(1)
    means = torch.from_numpy(file["means3d"][near][::60])
    rng = torch.Generator().manual_seed(0)
    n = len(means)
    camera = Camera(file["viewmats"][0], file["Ks"][0], int(file["width"]), int(file["height"]))
    inputs = (
        means,
        torch.randn(n, 4, generator=rng),
        torch.rand(n, 3, generator=rng) * 0.05 + 1e-4,
        torch.rand(n, generator=rng),
        torch.from_numpy(file["colors"][near][::60]).float() / 255,
        camera.resized(162, 105),
    )
    found, true = rasterize(*inputs, backend="cpu"), rasterize(*inputs, backend="reference")
    # A pixel on the outline of a Gaussian (alpha = 1/255) may fall either way by rounding.
    for name in ("colors", "depths", "alphas"):
        difference = (getattr(found, name) - getattr(true, name)).abs()
        assert (difference > 1e-3).float().mean() < 1e-4, name
