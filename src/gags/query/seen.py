"""Which photos see which Gaussians, by the depth that the scene itself renders."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gags.capture.camera import Camera
from gags.gaussians import Gaussians, render

SEEN_SHARE = 0.2  # of a body that a photo must show to see it: from any side, half of a thing is hidden
DEPTH_TOLERANCE = 0.05  # of the distance, up to which what lies behind the rendered surface is seen
LONGEST_SIDE = 200  # px, of the depth maps that tell what is hidden


def seen_in(gaussians: Gaussians, cameras: Sequence[Camera], masks: Sequence[Tensor]) -> np.ndarray:
    """Which photos see which bodies: at least a fifth of the body lies in the picture and is not hidden.

    Args:
        gaussians: The scene.
        cameras: Cameras of V photos.
        masks: Gaussians of n bodies. bool [N] each

    Returns:
        bool [V, n]
    """
    means = gaussians.means.cpu().double().numpy()
    opacities = gaussians.opacities.cpu().double().numpy()
    rows = [np.flatnonzero(mask.cpu().numpy()) for mask in masks]
    seen = np.zeros((len(cameras), len(masks)), bool)
    for number, camera in enumerate(cameras if masks else ()):
        there = visible(gaussians, means, camera)
        for body, members in enumerate(rows):
            weights = opacities[members]
            seen[number, body] = weights @ there[members] >= SEEN_SHARE * max(weights.sum(), 1e-12)
    return seen


@torch.no_grad()
def visible(gaussians: Gaussians, means: np.ndarray, camera: Camera) -> np.ndarray:
    """Which Gaussians have their centre inside the picture and not behind the rendered surface.

    Args:
        gaussians: The scene.
        means: Their centres. float64 [N, 3]
        camera: The camera.

    Returns:
        bool [N]
    """
    camera = camera.within(LONGEST_SIDE)
    depths = render(gaussians, camera, gaussians.sh[:, 0]).depths.cpu().numpy()
    xy, z = camera.project(means)
    inside = (z > 0) & (xy >= 0).all(axis=1) & (xy < [camera.width, camera.height]).all(axis=1)
    columns, lines = np.where(inside[:, None], xy, 0).astype(np.int64).T
    surface = depths[lines, columns]
    return inside & (surface > 0) & (z <= surface * (1 + DEPTH_TOLERANCE))
