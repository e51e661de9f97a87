"""What a camera sees of a near ball and of one hidden behind it."""

import numpy as np
import torch

import gags.query.maps as maps_module
from gags.capture.camera import Camera
from gags.gaussians import Gaussians, render
from gags.query.maps import KNOWN_ALPHA, Renderer, render_values, seen_in, visible


def _row_of_balls() -> Gaussians:
    """Three balls: at depth 2, hidden behind it at depth 4, and beside the picture at depth 2."""
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(3, 200, 3))
    shells = 0.3 * directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    shells[1] *= 0.25
    shells += np.array([[0, 0, 2.0], [0, 0, 4.0], [5.0, 0, 2.0]])[:, None]
    means = torch.from_numpy(shells.reshape(-1, 3)).float()
    n = len(means)
    quats = torch.tensor([[1.0, 0, 0, 0]]).repeat(n, 1)
    scales = torch.full((n, 3), 0.05).log()
    return Gaussians(means, quats, scales, torch.full((n,), 4.0), torch.zeros(n, 1, 3))


def test_hidden_and_outside_things_are_not_seen():
    K = np.array([[60.0, 0, 32], [0, 60.0, 32], [0, 0, 1]])
    front, side = np.eye(4), np.eye(4)
    side[:3, :3] = [[0, 0, -1], [0, 1, 0], [1, 0, 0]]  # from (-4, 0, 3), along x
    side[:3, 3] = [3, 0, 4]
    masks = [torch.arange(600) // 200 == ball for ball in range(3)]
    cameras = [Camera(front, K, 64, 64), Camera(side, K, 64, 64)]
    seen = seen_in(_row_of_balls(), cameras, masks)
    assert seen.tolist() == [[True, False, False], [True, True, True]]
    assert seen_in(_row_of_balls(), cameras, []).shape == (2, 0)


def camera_of(depth: float) -> Camera:
    viewmat = np.eye(4)
    viewmat[2, 3] = depth
    return Camera(viewmat, np.array([[60.0, 0, 32], [0, 60.0, 32], [0, 0, 1]]), 64, 48)


def test_the_view_asked_last_is_kept(monkeypatch):
    balls, made = _row_of_balls(), []
    keep = maps_module.keep_view
    monkeypatch.setattr(maps_module, "keep_view", lambda *given: made.append(given[1]) or keep(*given))
    renderer = Renderer(balls)
    for depth in (0.0, 0.0, 1.0, 1.0, 0.0):
        values = torch.rand(600, 3, generator=torch.Generator().manual_seed(int(depth)))
        found = render_values(balls, values, camera_of(depth), renderer=renderer)
        wanted = render_values(balls, values, camera_of(depth))
        assert torch.equal(found.values, wanted.values)
        assert torch.equal(found.known, wanted.known)
    assert [camera.viewmat[2, 3] for camera in made] == [0.0, 1.0, 0.0]


def test_maps_are_means_of_what_pixels_show_and_zero_where_nothing_is_known():
    balls, camera = _row_of_balls(), camera_of(0.5)
    values = torch.randn(600, 35, generator=torch.Generator().manual_seed(0))  # more than one call renders
    found = render_values(balls, values, camera)
    drawn = render(balls, camera, values)
    known = drawn.alphas >= KNOWN_ALPHA
    assert torch.equal(found.known, known)
    assert 0 < known.sum() < known.numel()
    means = drawn.colors / drawn.alphas.clamp(min=0.1)[..., None]
    wanted = torch.where(known[..., None], means, 0.0).permute(2, 0, 1)
    torch.testing.assert_close(found.values, wanted, rtol=1e-5, atol=1e-6)
    assert (found.values[:, ~known] == 0).all()


def test_visible_is_what_projection_and_depth_say():
    balls, camera = _row_of_balls(), camera_of(0.5)
    means = balls.means.double().numpy()
    xy, z = camera.project(means)
    inside = (z > 0) & (xy >= 0).all(axis=1) & (xy < [64, 48]).all(axis=1)
    surface = render(balls, camera, torch.zeros(600, 1)).depths.numpy()
    wanted = np.zeros(600, bool)
    for row in np.flatnonzero(inside):
        column, line = xy[row].astype(int)
        wanted[row] = surface[line, column] > 0 and z[row] <= surface[line, column] * 1.05
    assert 50 < wanted.sum() < inside.sum() < 600
    assert np.array_equal(visible(balls, means, camera), wanted)
