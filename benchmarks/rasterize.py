"""Time the CPU rasteriser: python benchmarks/rasterize.py [--garden FILE.npz] [--threads N] [--repeats N]

The scene is 111,785 points of mip-NeRF 360's garden (those within ±2 of its centre) as Gaussians with random
rotations, opacities and scales in [1e-4, 0.02], seen by the first camera at 648×420; where the file is
missing, a made-up scene of about the same numbers. OpenSplat's CPU rasteriser (C++, -O3 -march=native) was
measured on this scene on an idle machine with 2 cores; its figures are constants here, not part of the run.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
import torch
import tyro
from torch import Tensor

from gags.capture.camera import Camera
from gags.render import blend_weights, rasterize

GARDEN = Path(__file__).parents[2] / "shared/captures/garden_points.npz"
OPENSPLAT_MS = {"forward": 700.0, "forward and backward": 950.0}

Geometry = tuple[Tensor, Tensor, Tensor, Tensor]


def main(garden: Path = GARDEN, threads: int = 0, repeats: int = 30) -> None:
    """Print the table.

    Args:
        garden: Points, colours and cameras; a made-up scene is used if the file does not exist.
        threads: Threads for the kernels; 0 for Numba's default.
        repeats: Timed calls a row.
    """
    if threads:
        numba.set_num_threads(threads)
    if garden.is_file():
        means, colors, camera = garden_scene(garden)
    else:
        print(f"{garden} is not there: timing a made-up scene")
        means, colors, camera = made_up_scene()
    rng = torch.Generator().manual_seed(0)
    n = len(means)
    quats = torch.nn.functional.normalize(torch.randn(n, 4, generator=rng), dim=1)
    scales = torch.rand(n, 3, generator=rng) * (0.02 - 1e-4) + 1e-4
    geometry = (means, quats, scales, torch.rand(n, generator=rng))
    sh = 0.3 * torch.randn(n, 16, 3, generator=rng)
    features = torch.rand(n, 16, generator=rng)
    pixels = torch.cartesian_prod(torch.arange(camera.width), torch.arange(camera.height))
    some_pixels = pixels[torch.randperm(len(pixels), generator=rng)[:4096]]

    threads = numba.get_num_threads()
    print(f"{n:,} Gaussians, {camera.width}x{camera.height}, {threads} threads, {repeats} calls a row\n")
    print(f"| {'projection included':38} | median ms | best ms | OpenSplat ms | times faster |")
    print(f"|{'-' * 40}|{'-' * 10}:|{'-' * 8}:|{'-' * 13}:|{'-' * 13}:|")
    jobs: dict[str, Callable[[], object]] = {
        "forward": forward(geometry, colors, camera, None),
        "forward and backward": forward_and_backward(geometry, colors, camera, None),
        "forward, harmonics of degree 3": forward(geometry, sh, camera, 3),
        "forward and backward, harmonics": forward_and_backward(geometry, sh, camera, 3),
        "forward, 16 features": forward(geometry, features, camera, None),
        "forward and backward, 16 features": forward_and_backward(geometry, features, camera, None),
        "16 weights of 4,096 pixels": lambda: blend_weights(*geometry, camera, some_pixels, top_k=16),
        "16 weights of all pixels": lambda: blend_weights(*geometry, camera, pixels, top_k=16),
    }
    for name, job in jobs.items():
        times = sorted(timed(job, repeats))
        median, known = statistics.median(times), OPENSPLAT_MS.get(name)
        compared = f"{known:12.0f} | {known / median:12.0f}" if known else f"{'':12} | {'':12}"
        print(f"| {name:38} | {median:9.1f} | {times[0]:7.1f} | {compared} |")


def timed(job: Callable[[], object], repeats: int) -> list[float]:
    """Milliseconds of each call, after two to warm up (the first compiles)."""
    times = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        job()
        times.append(1000 * (time.perf_counter() - start))
    return times[2:]


def forward(
    geometry: Geometry, colors: Tensor, camera: Camera, sh_degree: int | None
) -> Callable[[], object]:
    return lambda: rasterize(*geometry, colors, camera, sh_degree=sh_degree)


def forward_and_backward(
    geometry: Geometry, colors: Tensor, camera: Camera, sh_degree: int | None
) -> Callable[[], object]:
    leaves = [tensor.clone().requires_grad_() for tensor in (*geometry, colors)]
    channels = colors.shape[-1]
    upstream = torch.randn(camera.height, camera.width, channels, generator=torch.Generator().manual_seed(1))

    def job() -> object:
        means, quats, scales, opacities, all_colors = leaves
        picture = rasterize(means, quats, scales, opacities, all_colors, camera, sh_degree=sh_degree)
        return torch.autograd.grad(picture.colors, leaves, upstream)

    return job


def garden_scene(path: Path) -> tuple[Tensor, Tensor, Camera]:
    """Points, colours and the first camera of gsplat's test file."""
    file = np.load(path)
    near = (np.abs(file["means3d"]) <= 2).all(1)
    camera = Camera(
        file["viewmats"][0].astype(np.float64),
        file["Ks"][0].astype(np.float64),
        int(file["width"]),
        int(file["height"]),
    )
    return (
        torch.from_numpy(file["means3d"][near]),
        torch.from_numpy(file["colors"][near]).float() / 255,
        camera,
    )


def made_up_scene() -> tuple[Tensor, Tensor, Camera]:
    """As many points on and above a floor, about two thirds of them in the picture of an oblique camera."""
    rng = np.random.default_rng(0)
    n = 111_785
    means = np.column_stack([rng.uniform(-2, 2, (n, 2)), np.abs(rng.normal(0, 0.3, n))])
    back, up = np.array([0.0, -0.8, 0.6]), np.array([0.0, 0.6, 0.8])
    R = np.stack([np.cross(up, back), -up, -back])
    viewmat = np.eye(4)
    viewmat[:3, :3], viewmat[:3, 3] = R, -R @ (2.4 * back)
    K = np.array([[480.0, 0, 324], [0, 480.0, 210], [0, 0, 1]])
    colors = torch.from_numpy(rng.random((n, 3), dtype=np.float32))
    return torch.from_numpy(means.astype(np.float32)), colors, Camera(viewmat, K, 648, 420)


if __name__ == "__main__":
    tyro.cli(main)
