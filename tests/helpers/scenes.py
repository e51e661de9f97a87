"""A tiny scene with known Gaussians, photographed by rendering them."""

from pathlib import Path

import cv2
import numpy as np
import torch

from gags.capture import Capture, View
from gags.capture.camera import Camera
from gags.gaussians import Gaussians, render

WIDTH, HEIGHT = 48, 36


def orbit_camera(angle: float, *, radius: float = 2.0, height: float = 0.7) -> Camera:
    """A camera on a circle, looking at the origin; z is up."""
    position = np.array([radius * np.cos(angle), radius * np.sin(angle), height])
    forward = -position / np.linalg.norm(position)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    viewmat = np.eye(4)
    viewmat[:3, :3] = np.stack([right, np.cross(forward, right), forward])
    viewmat[:3, 3] = -viewmat[:3, :3] @ position
    return Camera(viewmat, np.array([[48.0, 0, 24], [0, 48, 18], [0, 0, 1]]), WIDTH, HEIGHT)


def coloured_balls(count: int = 40, seed: int = 0) -> Gaussians:
    """Round opaque Gaussians of random colours in a cube of side 1."""
    rng = torch.Generator().manual_seed(seed)
    quats = torch.zeros(count, 4)
    quats[:, 0] = 1
    return Gaussians(
        means=torch.rand(count, 3, generator=rng) - 0.5,
        quats=quats,
        log_scales=torch.full((count, 3), -2.3),
        logit_opacities=torch.full((count,), 3.0),
        sh=3 * torch.rand(count, 1, 3, generator=rng) - 1.5,
    )


def photograph(gaussians: Gaussians, folder: Path, views: int = 8) -> Capture:
    """Render Gaussians into PNG files; every fourth view is held out, the points are their noisy centres."""
    folder.mkdir(parents=True, exist_ok=True)
    taken = []
    for index in range(views):
        camera = orbit_camera(2 * np.pi * index / views)
        picture = (render(gaussians, camera).colors.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        path = folder / f"{index}.png"
        cv2.imwrite(str(path), picture[..., ::-1])
        taken.append(View(path.name, path, camera, "test" if index % 4 == 3 else "train"))
    noise = np.random.default_rng(0).normal(0, 0.02, gaussians.means.shape)
    points = (gaussians.means.numpy() + noise).astype(np.float32)
    return Capture(folder, taken, points, np.full(points.shape, 128, np.uint8))
