"""A view that is kept renders any values as if they were rendered anew, to the bit."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from tests.helpers.render_scenes import random_scene

import gags.render.cpu as cpu
from gags.render import Rendering, keep_view, rasterize


def assert_equal(found: Rendering, wanted: Rendering) -> None:
    for name in ("colors", "depths", "alphas", "radii"):
        assert torch.equal(getattr(found, name), getattr(wanted, name)), name


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_values_are_those_of_a_rendering_anew(backend, monkeypatch):
    scene = random_scene(n=300, channels=3, size=(61, 45))
    kept = keep_view(*scene.geometry(), scene.camera, backend=backend)
    monkeypatch.setattr(cpu, "project", None)  # from here on nothing is projected by the kernels
    found = {}
    for channels in (1, 2, 3, 8, 16):
        values = torch.randn(300, channels, generator=torch.Generator().manual_seed(channels))
        found[channels] = values, kept(values)
    monkeypatch.undo()
    for values, rendering in found.values():
        assert_equal(rendering, rasterize(*scene.geometry(), values, scene.camera, backend=backend))


def test_two_views_and_two_threads_do_not_mix():
    one, two = (random_scene(n=200, channels=2, size=(50, 40), seed=seed) for seed in (1, 2))
    kept = [keep_view(*scene.geometry(), scene.camera) for scene in (one, two)]
    wanted = [rasterize(*scene.geometry(), scene.colors, scene.camera) for scene in (one, two)]
    with ThreadPoolExecutor(2) as pool:
        for _ in range(10):
            found = list(pool.map(lambda each: kept[each](one.colors if each == 0 else two.colors), (0, 1)))
            for rendering, truth in zip(found, wanted, strict=True):
                assert_equal(rendering, truth)


def test_nothing_in_the_picture_is_black():
    scene = random_scene(n=20, channels=2, size=(30, 20))
    far = scene.means + 1e6
    drawn = keep_view(far, *scene.geometry()[1:], scene.camera)(torch.ones(20, 2))
    assert not drawn.colors.any()
    assert not drawn.alphas.any()


def test_values_of_another_number_of_gaussians_are_refused():
    scene = random_scene(n=20, channels=2, size=(30, 20))
    kept = keep_view(*scene.geometry(), scene.camera)
    with pytest.raises(ValueError, match=r"colors must be \[20, C\]"):
        kept(torch.ones(19, 2))
