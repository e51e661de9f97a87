"""Tile lists against every Gaussian evaluated at every pixel."""

import itertools

import numpy as np
import pytest
import torch
from tests.helpers.render_scenes import Scene, all_pixels, random_scene

from gags.render.kernels import tiles
from gags.render.kernels.layout import (
    OUTLINE,
    PLANES,
    STRIP,
    STRIPS,
    TILE_HEIGHT,
    TILE_WIDTH,
    Geometry,
    Scratch,
    aligned,
    record_stride,
)
from gags.render.kernels.project import pack_camera, project
from gags.render.kernels.tiles import TileLists, list_tiles
from gags.render.kernels.weights import group_pixels
from gags.render.reference import project as project_reference
from gags.render.reference import screen_radii

SIZES = [(75, 53), (16, 32), (700, 40), (1, 1)]


def listed(scene: Scene, wanted: np.ndarray | None = None, threads: int = 2) -> tuple[TileLists, np.ndarray]:
    """Tile lists and radii of a scene."""
    arrays = [tensor.numpy().reshape(-1) for tensor in scene.geometry()]
    n = len(scene.opacities)
    rows = np.minimum(np.arange(-(-n // 16) * 16, dtype=np.int32), n - 1)
    none = np.empty(0, np.float32)
    outlines, planes = aligned(n * OUTLINE), aligned(len(rows) * PLANES)
    project(
        threads=1,
        todo=np.zeros(1, np.int64),
        rows=rows,
        geometry=Geometry(*arrays, none),
        view=pack_camera(scene.camera),
        colors=none,
        channels=0,
        records=aligned(n * record_stride(0)),
        outlines=outlines,
        planes=planes,
    )
    wanted = np.empty(0, np.bool_) if wanted is None else wanted
    size = (scene.camera.width, scene.camera.height)
    return list_tiles(outlines, planes, n, size=size, wanted=wanted, threads=threads, scratch=Scratch())


def touched(lists: TileLists, width: int, height: int, n: int) -> np.ndarray:
    """Which rows of which strips the lists name for each Gaussian, spread out to pixels. bool [N, H, W]"""
    tiles_x = -(-width // TILE_WIDTH)
    found = np.zeros((n, height, width), bool)
    for tile in range(len(lists.starts) - 1):
        x0, y0 = tile % tiles_x * TILE_WIDTH, tile // tiles_x * TILE_HEIGHT
        for i, *strips in lists.members[lists.starts[tile] : lists.starts[tile + 1]].tolist():
            assert any(strips)
            for s, row in itertools.product(range(STRIPS), range(TILE_HEIGHT)):
                if strips[s] >> row & 1:
                    x = x0 + s * STRIP
                    found[i, y0 + row : y0 + row + 1, x : x + STRIP] = True
    return found


def visible(scene: Scene) -> np.ndarray:
    """Where α of each Gaussian reaches 1/255. bool [N, H, W]"""
    camera = scene.camera
    means2d, covariances, _ = project_reference(scene.means, scene.quats, scene.scales, camera, None)
    d = all_pixels(camera) + 0.5 - means2d[:, None]
    sigmas = 0.5 * torch.einsum("npi,nij,npj->np", d, torch.linalg.inv(covariances), d)
    shown = screen_radii(*scene.geometry(), camera, None) > 0
    alphas = torch.where(shown[:, None], scene.opacities[:, None] * torch.exp(-sigmas), 0)
    return (alphas >= 1 / 255).reshape(-1, camera.height, camera.width).numpy()


@pytest.mark.parametrize("size", SIZES)
def test_lists_hold_all_that_is_visible_and_little_else(size):
    scene = random_scene(60, size=size, seed=size[0])
    lists, radii = listed(scene)
    found, true = touched(lists, *size, 60), visible(scene)
    assert not (true & ~found).any()
    assert (radii == screen_radii(*scene.geometry(), scene.camera, None).numpy()).all()
    # Rows are exact, also those of each strip; columns are whole strips.
    for width in (size[0], STRIP):
        rows_found, rows_true = (
            np.stack([mask[..., x : x + width].any(axis=2) for x in range(0, size[0], width)])
            for mask in (found, true)
        )
        assert (rows_found & ~rows_true).sum() <= 0.02 * rows_true.sum() + 60


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_members_come_by_depth_with_slots_of_their_own(threads):
    scene = random_scene(300, seed=1)
    lists, _ = listed(scene, threads=threads)
    _, _, depths = project_reference(scene.means, scene.quats, scene.scales, scene.camera, None)
    used = []
    for tile in range(len(lists.starts) - 1):
        part = slice(lists.starts[tile], lists.starts[tile + 1])
        assert np.all(np.diff(depths.numpy()[lists.members[part, 0]]) >= 0)
        used += lists.slots[part].tolist()
    assert len(set(used)) == len(used) == lists.starts[-1]
    # The slots of one Gaussian lie together.
    for index, (first, last) in zip(lists.shown, lists.spans, strict=False):
        of_gaussian = lists.slots[: lists.starts[-1]][lists.members[: lists.starts[-1], 0] == index]
        assert sorted(of_gaussian.tolist()) == list(range(first, last))


def test_threads_change_nothing():
    scene = random_scene(300, seed=2)
    one, many = listed(scene, threads=1)[0], listed(scene, threads=7)[0]
    count = one.starts[-1]
    assert (one.starts == many.starts).all()
    assert (one.members[:count] == many.members[:count]).all()
    assert (one.slots[:count] == many.slots[:count]).all()


@pytest.mark.parametrize(("threads", "most"), [(1, 4), (2, 8), (16, 32), (64, 64)])
def test_shares_do_not_grow_with_threads_times_tiles(monkeypatch, threads, most):
    scene, shares, fill = random_scene(300, seed=4), [], tiles._fill
    expected, _ = listed(scene, threads=1)
    monkeypatch.setattr(tiles, "_fill", lambda *given: shares.append(len(given[-1])) or fill(*given))
    found, _ = listed(scene, threads=threads)
    assert shares == [most]  # each has a number for every tile
    end = expected.starts[-1]
    assert np.array_equal(found.starts, expected.starts)
    assert np.array_equal(found.members[:end], expected.members[:end])
    assert np.array_equal(found.slots[:end], expected.slots[:end])


def test_tiles_that_nobody_wants_are_empty():
    scene = random_scene(300, seed=3)
    everything, _ = listed(scene)
    wanted = np.arange(len(everything.starts) - 1) % 3 == 1
    some, _ = listed(scene, wanted)
    counts, all_counts = np.diff(some.starts), np.diff(everything.starts)
    assert (counts[~wanted] == 0).all()
    assert (counts[wanted] == all_counts[wanted]).all()
    assert counts.sum() > 0


def test_nothing_in_the_picture():
    scene = random_scene(20, seed=4)
    scene.opacities[:] = 0.001
    lists, radii = listed(scene)
    assert (radii == 0).all()
    assert len(lists.shown) == lists.slot_count == 0
    assert not lists.starts.any()


@pytest.mark.parametrize("size", SIZES)
def test_pixels_are_grouped_by_tile_then_row_then_column(size):
    width, height = size
    rng = np.random.default_rng(0)
    pixels = np.stack([rng.integers(0, width, 500), rng.integers(0, height, 500)], axis=1)
    order, starts = group_pixels(pixels, width, height)
    x, y = pixels.T
    tile = y // TILE_HEIGHT * -(-width // TILE_WIDTH) + x // TILE_WIDTH
    expected = np.lexsort((x, y, tile))
    assert (order == expected).all()
    tiles = -(-width // TILE_WIDTH) * -(-height // TILE_HEIGHT)
    assert starts.tolist() == [int((tile < number).sum()) for number in range(tiles + 1)]
