"""Random scenes that the tests of all backends share."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gags.capture.camera import Camera


@dataclass
class Scene:
    """Tensors that `rasterize` takes, by name, and a camera that sees most of them."""

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    colors: Tensor
    means2d_offset: Tensor
    background: Tensor
    camera: Camera

    def tensors(self) -> dict[str, Tensor]:
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    def geometry(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.means, self.quats, self.scales, self.opacities


def look(width: int, height: int, focal: float, seed: int) -> Camera:
    """A turned camera near the origin with its principal point off the centre."""
    R, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    viewmat = np.eye(4)
    viewmat[:3, :3] = R * np.sign(np.linalg.det(R))
    viewmat[:3, 3] = [0.1, -0.2, 0.3]
    K = np.array([[focal, 0, 0.42 * width], [0, 1.1 * focal, 0.57 * height], [0, 0, 1]])
    return Camera(viewmat, K, width, height)


def random_scene(
    n: int,
    channels: int = 3,
    sh_degree: int | None = None,
    size: tuple[int, int] = (75, 53),
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Scene:
    """Gaussians of very different sizes in front of, beside and behind a camera."""
    camera = look(*size, focal=60.0 * size[0] / 75, seed=seed)
    rng = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    xyz_camera = normal(n, 3) * torch.tensor([1.0, 1.0, 1.5]) + torch.tensor([0.0, 0.0, 4.0])
    viewmat = torch.from_numpy(camera.viewmat)
    means = (xyz_camera - viewmat[:3, 3]) @ viewmat[:3, :3]
    if sh_degree is None:
        colors = torch.rand(n, channels, generator=rng, dtype=torch.float64)
    else:
        channels, colors = 3, 0.4 * normal(n, (sh_degree + 1) ** 2, 3)
    values = (
        *(means, 2 * normal(n, 4), torch.exp(0.7 * normal(n, 3) - 2.3)),
        torch.rand(n, generator=rng, dtype=torch.float64),
        *(colors, 0.5 * normal(n, 2), torch.rand(channels, generator=rng, dtype=torch.float64)),
    )
    return Scene(*(value.to(dtype) for value in values), camera)


def all_pixels(camera: Camera) -> Tensor:
    """Every pixel (x, y), row by row. [H·W, 2]"""
    y, x = torch.meshgrid(torch.arange(camera.height), torch.arange(camera.width), indexing="ij")
    return torch.stack([x, y], -1).reshape(-1, 2)
