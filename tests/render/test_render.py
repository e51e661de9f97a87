"""The signature that all backends share: what is refused, and which backend is taken."""

import pytest
import torch
from tests.helpers.render_scenes import Scene, random_scene

from gags.errors import GagsError
from gags.render import blend_weights, cpu, keep_view, largest_weights, rasterize, reference


@pytest.fixture
def scene() -> Scene:
    return random_scene(5)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"means": torch.zeros(5, 2)}, r"means must have shape \[5, 3\], got \[5, 2\]"),
        ({"quats": torch.zeros(3, 4)}, r"quats must have shape \[5, 4\], got \[3, 4\]"),
        ({"scales": torch.zeros(5, 1)}, r"scales must have shape \[5, 3\]"),
        ({"opacities": torch.zeros(5, 1)}, r"opacities must have shape \[5\], got \[5, 1\]"),
        ({"colors": torch.zeros(4, 3)}, r"colors must be \[5, C\] without sh_degree, got \[4, 3\]"),
        ({"colors": torch.zeros(5, 0)}, r"colors must be \[5, C\]"),
        ({"colors": torch.zeros(5, 4, 3)}, r"colors must be \[5, C\] without sh_degree"),
        ({"background": torch.zeros(4)}, r"background must have shape \[3\], got \[4\]"),
        ({"means2d_offset": torch.zeros(5, 3)}, r"means2d_offset must have shape \[5, 2\]"),
        ({"opacities": torch.zeros(5, device="meta")}, "opacities is on meta, but means are on cpu"),
        ({"background": torch.zeros(3, device="meta")}, "background is on meta"),
    ],
)
def test_shapes_and_devices_that_do_not_fit(scene, changed, message):
    arguments = scene.tensors() | {"camera": scene.camera} | changed
    with pytest.raises(ValueError, match=message):
        rasterize(**arguments)


@pytest.mark.parametrize(
    ("sh_degree", "shape", "message"),
    [
        (2, (5, 4, 3), r"colors must be \[5, K >= 9, 3\] for sh_degree 2, got \[5, 4, 3\]"),
        (1, (5, 4, 4), r"K >= 4, 3\] for sh_degree 1"),
        (0, (5, 3), r"for sh_degree 0"),
        (4, (5, 25, 3), "sh_degree must be 0, 1, 2 or 3, got 4"),
        (-1, (5, 25, 3), "sh_degree must be 0, 1, 2 or 3, got -1"),
    ],
)
def test_harmonics_that_do_not_fit(scene, sh_degree, shape, message):
    with pytest.raises(ValueError, match=message):
        rasterize(*scene.geometry(), torch.zeros(shape), scene.camera, sh_degree=sh_degree)


@pytest.mark.parametrize(
    ("pixels", "top_k", "message"),
    [
        (torch.tensor([[0, 0]]), 0, "top_k must be at least 1, got 0"),
        (torch.tensor([0, 0]), 1, r"pixels must be \[P, 2\] \(x, y\), got \(2,\)"),
        (torch.zeros(4, 3, dtype=torch.int64), 1, r"pixels must be \[P, 2\]"),
        (torch.tensor([[75, 0]]), 1, "inside the 75x53 image"),
        (torch.tensor([[0, 53]]), 1, "inside the 75x53 image"),
        (torch.tensor([[0, -1]]), 1, "inside the 75x53 image"),
    ],
)
def test_pixels_that_do_not_fit(scene, pixels, top_k, message):
    with pytest.raises(ValueError, match=message):
        blend_weights(*scene.geometry(), scene.camera, pixels, top_k=top_k)


def test_backends_that_do_not_fit(scene):
    with pytest.raises(ValueError, match="backend must be auto, reference, cpu or cuda, got 'gpu'"):
        rasterize(*scene.geometry(), scene.colors, scene.camera, backend="gpu")  # pyright: ignore
    with pytest.raises(GagsError, match="cuda rasteriser needs tensors on cuda, these are on cpu"):
        rasterize(*scene.geometry(), scene.colors, scene.camera, backend="cuda")
    with pytest.raises(GagsError, match="cuda rasteriser needs tensors on cuda"):
        blend_weights(*scene.geometry(), scene.camera, torch.tensor([[0, 0]]), backend="cuda")


def test_tensors_on_the_cpu_are_drawn_by_its_kernels(scene, monkeypatch):
    used = []
    for module in (cpu, reference):
        for name in ("rasterize", "blend_weights"):
            monkeypatch.setattr(module, name, lambda *_, module=module, **__: used.append(module))
    rasterize(*scene.geometry(), scene.colors, scene.camera)
    blend_weights(*scene.geometry(), scene.camera, torch.tensor([[0, 0]]))
    rasterize(*scene.geometry(), scene.colors, scene.camera, backend="reference")
    assert used == [cpu, cpu, reference]


def test_harmonics_of_a_lower_degree_ignore_the_rest(scene):
    """Degree 1 of harmonics held up to degree 3, by both backends."""
    sh = 0.4 * torch.randn(5, 16, 3, generator=torch.Generator().manual_seed(0))
    for backend in ("reference", "cpu"):
        whole = rasterize(*scene.geometry(), sh, scene.camera, sh_degree=1, backend=backend)
        cut = rasterize(*scene.geometry(), sh[:, :4], scene.camera, sh_degree=1, backend=backend)
        assert torch.equal(whole.colors, cut.colors)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_no_gaussians_or_no_pixels(scene, backend):
    none, size = [value[:0] for value in scene.geometry()], (scene.camera.height, scene.camera.width)
    pixel = torch.tensor([[1, 2]])
    for picture in (
        rasterize(*none, scene.colors[:0], scene.camera, backend=backend),
        keep_view(*none, scene.camera, backend=backend)(scene.colors[:0]),
    ):
        assert picture.colors.shape == (*size, scene.colors.shape[1])
        assert not picture.alphas.any()
        assert picture.radii.shape == (0,)
    found = blend_weights(*none, scene.camera, pixel, top_k=3, backend=backend)
    assert found.indices.tolist() == [[-1, -1, -1]]
    assert largest_weights(*none, scene.camera, backend=backend).shape == (0,)
    nowhere = torch.zeros(0, dtype=torch.int64)
    assert largest_weights(*none, scene.camera, places=nowhere, backend=backend).shape == (0,)
    found = largest_weights(*scene.geometry(), scene.camera, places=nowhere, backend=backend)
    assert found.tolist() == [0.0] * 5
    found = blend_weights(*scene.geometry(), scene.camera, pixel[:0], top_k=3, backend=backend)
    assert found.indices.shape == (0, 3)
