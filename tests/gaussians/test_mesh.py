"""Surfaces from Gaussians: a ball of known size, closed and open; what a mesh is, by its own arithmetic."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.gaussians.test_gltf import attribute, parts_of
from tests.helpers.scenes import orbit_camera

from gags.errors import SplatsError
from gags.gaussians import SH_C0, Gaussians, mesh, render
from gags.gaussians.mesh import Grid, Mesh, joined, surface_of
from gags.gaussians.mesh_files import save_mesh

pytest.importorskip("skimage", reason="needs the extra `mesh`")
RADIUS, CENTRE = 0.4, np.array([0.1, -0.05, 0.02])


def ball(count: int = 1200) -> Gaussians:
    """Flat Gaussians on a sphere, red above and blue below."""
    row = np.arange(count) + 0.5
    height, angle = 1 - 2 * row / count, np.pi * (1 + 5**0.5) * row
    flat = np.sqrt(1 - height**2)
    out = np.stack([flat * np.cos(angle), flat * np.sin(angle), height], axis=1)
    half = np.stack([1 + out[:, 2], -out[:, 1], out[:, 0], 0 * height], axis=1)  # turns z to `out`
    colors = np.where(height[:, None] > 0, [0.9, 0.1, 0.1], [0.1, 0.1, 0.9])
    return Gaussians(
        torch.from_numpy(CENTRE + RADIUS * out).float(),
        torch.from_numpy(half).float(),
        torch.tensor([0.03, 0.03, 0.002]).log().repeat(count, 1),
        torch.full((count,), 4.0),
        torch.from_numpy((colors - 0.5) / SH_C0).float()[:, None],
    )


def cameras(count: int = 16) -> list:
    """Around, from above alone: the underside is never seen."""
    turned = [
        orbit_camera(2 * np.pi * n / count, radius=1.8, height=0.5 + 0.8 * (n % 2)) for n in range(count)
    ]
    return [camera.resized(96, 72) for camera in turned]


GRID = Grid.around(CENTRE - RADIUS, CENTRE + RADIUS, np.eye(3), 32)


@pytest.fixture(scope="module")
def solid() -> Mesh:
    return surface_of(ball(), cameras(), GRID, solid=True)


def volume(made: Mesh) -> float:
    """Enclosed by a closed surface whose triangles run anticlockwise from outside (divergence theorem)."""
    a, b, c = (made.vertices[made.faces[:, corner]].astype(np.float64) for corner in range(3))
    return float((np.cross(a, b) * c).sum() / 6)


def test_a_ball_is_closed_and_of_its_size(solid):
    assert solid.is_watertight
    distance = np.linalg.norm(solid.vertices - CENTRE, axis=1)
    assert abs(np.median(distance) - RADIUS) < GRID.size / 2
    assert np.percentile(np.abs(distance - RADIUS), 98) < 1.5 * GRID.size
    assert volume(solid) == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.05)


def test_colours_are_those_of_the_side(solid):
    height = (solid.vertices - CENTRE)[:, 2]
    above, below = (solid.colors[side].mean(axis=0) / 255 for side in (height > 0.15, height < -0.15))
    np.testing.assert_allclose(above, [0.9, 0.1, 0.1], atol=0.05)
    np.testing.assert_allclose(below, [0.1, 0.1, 0.9], atol=0.05)


def test_normals_point_outwards(solid):
    out = (solid.vertices - CENTRE) / np.linalg.norm(solid.vertices - CENTRE, axis=1, keepdims=True)
    assert np.percentile((solid.normals * out).sum(axis=1), 5) > 0.8


def test_an_open_surface_ends_where_it_is_not_seen():
    above = [orbit_camera(n, radius=0.9, height=1.6).resized(96, 72) for n in range(8)]
    made = surface_of(ball(), above, GRID, solid=False)
    assert not made.is_watertight
    distance = np.linalg.norm(made.vertices - CENTRE, axis=1)
    assert np.percentile(np.abs(distance - RADIUS), 90) < 1.5 * GRID.size
    height = (made.vertices - CENTRE)[:, 2]
    assert height.max() > 0.9 * RADIUS
    assert height.min() > -0.7 * RADIUS


def test_one_view_that_sees_through_a_hole_bores_no_tunnel():
    """Without the Gaussians of a small patch, the ball stays closed, and nearly as large."""
    g = ball()
    hole = torch.tensor(orbit_camera(0.0, radius=1.8, height=0.5).position).float()
    direction = torch.nn.functional.normalize(g.means - torch.from_numpy(CENTRE).float(), dim=1)
    kept = direction @ torch.nn.functional.normalize(hole, dim=0) < np.cos(0.12)
    made = surface_of(g[kept], cameras(), GRID, solid=True)
    assert made.is_watertight
    assert volume(made) == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.08)


def test_depth_at_edges_is_left_out():
    """Half transparent Gaussians before a wall: their mean depth lies where nothing is."""
    row = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 2.0]])
    g = Gaussians(
        row,
        torch.tensor([[1.0, 0, 0, 0]]).repeat(2, 1),
        torch.full((2, 3), -1.0),
        torch.tensor([0.0, 4.0]),
        torch.zeros(2, 1, 3),
    )
    camera = replace(orbit_camera(0.0), viewmat=np.eye(4))
    assert 1.2 < render(g, camera).depths[18, 24] < 1.8
    narrow, wide = (mesh._shot(g, camera, spread).maps[0, 1, 18, 24] for spread in (0.1, 1.0))
    assert (float(narrow), float(wide)) == (0.0, 1.0)


def test_a_grid_holds_its_box_and_its_places_are_those_of_its_cells():
    axes = np.array([[0.6, 0.8, 0], [-0.8, 0.6, 0], [0, 0, 1.0]])
    grid = Grid.around(np.array([0.0, 1, 2]), np.array([1.0, 1.5, 2.2]), axes, 10, margin=1)
    assert grid.size == pytest.approx(0.1)
    assert grid.counts == (12, 7, 4)
    points = grid.points(0, 12 * 7 * 4, torch.device("cpu")).numpy()
    index = np.stack(np.unravel_index(np.arange(12 * 7 * 4), grid.counts), axis=1)
    np.testing.assert_allclose(points, grid.world(index), atol=1e-6)
    along = points @ axes.T
    np.testing.assert_allclose(along.min(axis=0), [-0.05, 0.95, 1.95], atol=1e-6)
    np.testing.assert_allclose(along.max(axis=0), [1.05, 1.55, 2.25], atol=1e-6)


def tetrahedron() -> Mesh:
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32)
    colors = np.array([[0, 0, 0], [255, 0, 0], [0, 188, 0], [10, 10, 255]], np.uint8)
    return Mesh(vertices, faces, colors, np.array([-1, 0, 5, 7], np.int32))


def test_watertight_by_hand():
    made = tetrahedron()
    assert made.is_watertight
    assert volume(made) == pytest.approx(1 / 6)
    assert not replace(made, faces=made.faces[:3]).is_watertight
    assert not replace(made, faces=np.concatenate([made.faces[:3], made.faces[3:, ::-1]])).is_watertight
    two = joined([made, replace(made, vertices=made.vertices + 5)])
    assert two.is_watertight
    assert two.faces.max() == 7
    assert joined([made, replace(made, things=None)]).things is None


@pytest.mark.parametrize("suffix", [".glb", ".ply", ".obj"])
def test_files_are_read_by_trimesh(tmp_path, suffix):
    trimesh = pytest.importorskip("trimesh")
    made = tetrahedron()
    save_mesh(made, tmp_path / f"a{suffix}")
    again = trimesh.load(tmp_path / f"a{suffix}", process=False, force="mesh")
    assert again.is_watertight
    np.testing.assert_allclose(again.vertices, made.vertices)
    np.testing.assert_array_equal(again.faces, made.faces)
    if suffix != ".glb":
        np.testing.assert_array_equal(np.asarray(again.visual.vertex_colors)[:, :3], made.colors)
        return
    document, numbers = parts_of(tmp_path / "a.glb")
    np.testing.assert_array_equal(attribute(document, numbers, "_THING")[:, 0], made.things)
    assert document["materials"][0]["pbrMetallicRoughness"]["metallicFactor"] == 0
    colors = attribute(document, numbers, "COLOR_0")  # linear: 188 of 255 is half of the light
    assert colors[2, 1] == pytest.approx(0.503 * 255, abs=1)
    assert (colors[1, 0], colors[3, 2], colors[0, 0]) == (255, 255, 0)


def test_things_in_a_ply(tmp_path):
    plyfile = pytest.importorskip("plyfile")
    save_mesh(tetrahedron(), tmp_path / "a.ply")
    vertex = plyfile.PlyData.read(tmp_path / "a.ply")["vertex"]
    np.testing.assert_array_equal(vertex["thing"], [-1, 0, 5, 7])


def test_what_cannot_be_done_is_one_line(tmp_path, monkeypatch):
    with pytest.raises(SplatsError, match=r"none of \.glb, \.ply, \.obj"):
        save_mesh(tetrahedron(), tmp_path / "a.stl")
    away = [replace(camera, viewmat=np.diag([1.0, -1, -1, 1]) @ camera.viewmat) for camera in cameras(2)]
    with pytest.raises(SplatsError, match="no surface is found"):
        surface_of(ball(50), away, GRID, solid=False)
    huge = Grid.around(CENTRE - RADIUS, CENTRE + RADIUS, np.eye(3), 40_000)
    with pytest.raises(SplatsError, match="fewer --cells"):
        surface_of(ball(50), cameras(2), huge, solid=True)
    monkeypatch.setitem(sys.modules, "skimage.measure", None)
    with pytest.raises(SplatsError, match=r"extra `mesh`; pip install 'gags\[mesh\]'"):
        surface_of(ball(50), cameras(2), GRID, solid=True)
