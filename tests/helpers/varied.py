"""Gaussians with all that a file of them has to keep: stretched, turned, half transparent, with harmonics."""

import numpy as np
import torch

from gags.gaussians import Gaussians, render
from tests.helpers.scenes import coloured_balls, orbit_camera


def varied(count: int = 60, degree: int = 3, seed: int = 3) -> Gaussians:
    """Stretched, turned balls, 20 to 97 % opaque, whose colours change with the direction."""
    rng = torch.Generator().manual_seed(seed)
    balls = coloured_balls(count, seed)
    rest = 0.4 * torch.randn(count, (degree + 1) ** 2 - 1, 3, generator=rng)
    return Gaussians(
        means=balls.means,
        quats=torch.randn(count, 4, generator=rng),
        log_scales=balls.log_scales + torch.rand(count, 3, generator=rng) - 0.5,
        logit_opacities=5 * torch.rand(count, generator=rng) - 1.4,
        sh=torch.cat([balls.sh * 0.6, rest], dim=1),
    )


def pictures(gaussians: Gaussians, views: int = 3) -> torch.Tensor:
    """What cameras around see of them. [views, H, W, 3]"""
    return torch.stack([render(gaussians, orbit_camera(2.1 * view + 0.3)).colors for view in range(views)])


def rotation(seed: int = 0) -> np.ndarray:
    """A random rotation. [3, 3]"""
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.linalg.det(q)
