"""What a camera sees of a near ball and of one hidden behind it."""

import numpy as np
import torch

from gags.capture.camera import Camera
from gags.gaussians import Gaussians
from gags.query.maps import seen_in


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
