"""Time the CPU rasteriser, beside OpenSplat's if a checkout of it is at hand.

    python benchmarks/rasterize.py [--garden FILE.npz] [--threads N] [--repeats N] [--clock processor]
    python benchmarks/rasterize.py --peer CHECKOUT [--march x86-64-v3] [--pairs N]

The scene is 111,785 points of mip-NeRF 360's garden (those within ±2 of its centre) as Gaussians with random
rotations, opacities and scales in [1e-4, 0.02], seen by the first camera at 648×420; where the file is
missing, a made-up scene of about the same numbers. With `--peer`, OpenSplat's CPU rasteriser is compiled from
the checkout with -O3 -march=native -ffast-math (`opensplat.py`), and calls of both alternate in this process.

To time what a processor without AVX-512 would run: NUMBA_CPU_NAME=znver3 NUMBA_CPU_FEATURES= in the
environment (both: by the name alone, Numba keeps the features of the processor it runs on).
"""

import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numba
import numpy as np
import torch
import tyro
from torch import Tensor

from gags.capture.camera import Camera
from gags.render import blend_weights, rasterize
from gags.simd.vectors import NATIVE_LANES

from opensplat import Geometry, Peer, build, print_agreement  # isort: skip

GARDEN = Path(__file__).parents[2] / "shared/captures/garden_points.npz"
LARGEST_SCALE = 0.02  # world units
LARGE = (1_000_000, 1600, 1200)  # Gaussians, width, height

Job = Callable[[], object]


def main(
    garden: Path = GARDEN,
    threads: int = 0,
    repeats: int = 30,
    peer: Path | None = None,
    march: str = "native",
    pairs: int = 9,
    clock: Literal["wall", "processor"] = "wall",
    large: bool = True,
) -> None:
    """Print the tables.

    Args:
        garden: Points, colours and cameras; a made-up scene is used if the file does not exist.
        threads: Threads for the kernels; 0 for Numba's default.
        repeats: Timed calls a row where OpenSplat is not called.
        peer: Folder of a checkout of OpenSplat.
        march: Processor to compile OpenSplat for, as g++ names it.
        pairs: Timed pairs of calls, where OpenSplat is called in turn.
        clock: What is timed: wall time, or processor time of all threads, which other work on the machine
            changes less.
        large: Whether 1,000,000 Gaussians at 1600×1200 are timed, too.
    """
    if threads:
        numba.set_num_threads(threads)
    threads = numba.get_num_threads()
    now = time.perf_counter if clock == "wall" else time.process_time
    print(f"{processor()}, vectors of {NATIVE_LANES}, {threads} threads, {clock} time")
    scene = garden_scene(garden) if garden.is_file() else made_up_scene()
    scenes = {"garden" if garden.is_file() else "made up": scene}
    if large:
        scenes["large"] = large_scene()
    if peer is not None:
        module = build(peer, march)
        for name, (geometry, colors, camera) in scenes.items():
            print_heading(name, geometry, camera)
            print_pairs(geometry, colors, camera, Peer(module, camera), pairs, now)
            print_agreement(geometry, colors, camera, module)
        return
    for name, (geometry, colors, camera) in scenes.items():
        print_heading(name, geometry, camera)
        print("| projection included | median ms | best ms |\n|---|---:|---:|")
        few = name == "large"
        for row, job in jobs(geometry, colors, camera, few).items():
            times = timed([job], repeats // 3 if few else repeats, now)[0]
            print(f"| {row} | {statistics.median(times):.1f} | {min(times):.1f} |")


def print_heading(name: str, geometry: Geometry, camera: Camera) -> None:
    print(f"\n{name}: {len(geometry[0]):,} Gaussians, {camera.width}×{camera.height}\n")


def print_pairs(
    geometry: Geometry, colors: Tensor, camera: Camera, peer: Peer, pairs: int, now: Callable[[], float]
) -> None:
    """The table of calls that alternate."""
    print("| projection included | ms | OpenSplat ms | times faster |\n|---|---:|---:|---:|")
    leaves, upstream = gradient_setting(geometry, colors, camera)

    def peer_both() -> object:
        picture = peer.differentiable(leaves[:4], leaves[4])
        return torch.autograd.grad(picture, leaves, upstream)

    ours = jobs(geometry, colors, camera, few=True)
    theirs = {"forward": lambda: peer.forward(geometry, colors), "forward and backward": peer_both}
    for row, job in theirs.items():
        a, b = timed([ours[row], job], pairs, now)
        ratio = statistics.median(y / x for x, y in zip(a, b, strict=True))
        print(f"| {row} | {statistics.median(a):.1f} | {statistics.median(b):.0f} | {ratio:.1f} |")


def timed(each: list[Job], repeats: int, now: Callable[[], float]) -> list[list[float]]:
    """Milliseconds of calls that alternate, after two of each to warm up (the first compiles)."""
    times: list[list[float]] = [[] for _ in each]
    for turn in range(repeats + 2):
        for job, found in zip(each, times, strict=True):
            start = now()
            result = job()
            found += [1000 * (now() - start)] * (turn > 1)
            del result  # after the clock: freeing it is no part of the job
    return times


def jobs(geometry: Geometry, colors: Tensor, camera: Camera, few: bool) -> dict[str, Job]:
    """What is timed, by the name of its row."""
    n, rng = len(geometry[0]), torch.Generator().manual_seed(1)
    some = {
        "forward": forward(geometry, colors, camera, None),
        "forward and backward": forward_and_backward(geometry, colors, camera, None),
    }
    if few:
        return some
    sh, features = 0.3 * torch.randn(n, 16, 3, generator=rng), torch.rand(n, 16, generator=rng)
    pixels = torch.cartesian_prod(torch.arange(camera.width), torch.arange(camera.height))
    some_pixels = pixels[torch.randperm(len(pixels), generator=rng)[:4096]]
    return some | {
        "forward, harmonics of degree 3": forward(geometry, sh, camera, 3),
        "forward and backward, harmonics": forward_and_backward(geometry, sh, camera, 3),
        "forward, 16 features": forward(geometry, features, camera, None),
        "forward and backward, 16 features": forward_and_backward(geometry, features, camera, None),
        "16 weights of 4,096 pixels": lambda: blend_weights(*geometry, camera, some_pixels, top_k=16),
        "16 weights of all pixels": lambda: blend_weights(*geometry, camera, pixels, top_k=16),
    }


def forward(geometry: Geometry, colors: Tensor, camera: Camera, sh_degree: int | None) -> Job:
    return lambda: rasterize(*geometry, colors, camera, sh_degree=sh_degree)


def forward_and_backward(geometry: Geometry, colors: Tensor, camera: Camera, sh_degree: int | None) -> Job:
    leaves, upstream = gradient_setting(geometry, colors, camera)

    def job() -> object:
        picture = rasterize(*leaves[:4], leaves[4], camera, sh_degree=sh_degree)
        return torch.autograd.grad(picture.colors, leaves, upstream)

    return job


def gradient_setting(
    geometry: Geometry, colors: Tensor, camera: Camera
) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]:
    """Geometry and colours that want gradients, and a gradient of the picture."""
    means, quats, scales, opacities = (tensor.clone().requires_grad_() for tensor in geometry)
    rng = torch.Generator().manual_seed(1)
    upstream = torch.randn(camera.height, camera.width, colors.shape[-1], generator=rng)
    return (means, quats, scales, opacities, colors.clone().requires_grad_()), upstream


def garden_scene(path: Path) -> tuple[Geometry, Tensor, Camera]:
    """Points, colours and the first camera of gsplat's test file."""
    file = np.load(path)
    near = (np.abs(file["means3d"]) <= 2).all(1)
    camera = Camera(
        file["viewmats"][0].astype(np.float64),
        file["Ks"][0].astype(np.float64),
        int(file["width"]),
        int(file["height"]),
    )
    means, colors = torch.from_numpy(file["means3d"][near]), torch.from_numpy(file["colors"][near])
    return random_gaussians(means, LARGEST_SCALE), colors.float() / 255, camera


def made_up_scene(n: int = 111_785, width: int = 648, height: int = 420) -> tuple[Geometry, Tensor, Camera]:
    """Points on and above a floor, about two thirds of them in the picture of an oblique camera.

    With more points or pixels than in garden, a Gaussian covers about as many pixels as there.
    """
    rng = np.random.default_rng(0)
    means = np.column_stack([rng.uniform(-2, 2, (n, 2)), np.abs(rng.normal(0, 0.3, n))])
    back, up = np.array([0.0, -0.8, 0.6]), np.array([0.0, 0.6, 0.8])
    R = np.stack([np.cross(up, back), -up, -back])
    viewmat = np.eye(4)
    viewmat[:3, :3], viewmat[:3, 3] = R, -R @ (2.4 * back)
    focal = 480.0 * width / 648
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    colors = torch.from_numpy(rng.random((n, 3), dtype=np.float32))
    geometry = random_gaussians(torch.from_numpy(means.astype(np.float32)), LARGEST_SCALE * 648 / width)
    return geometry, colors, Camera(viewmat, K, width, height)


def large_scene() -> tuple[Geometry, Tensor, Camera]:
    """1,000,000 Gaussians at 1600×1200."""
    return made_up_scene(*LARGE)


def random_gaussians(means: Tensor, largest_scale: float) -> Geometry:
    """Random rotations, scales and opacities for given centres."""
    rng, n = torch.Generator().manual_seed(0), len(means)
    quats = torch.nn.functional.normalize(torch.randn(n, 4, generator=rng), dim=1)
    scales = torch.rand(n, 3, generator=rng) * (largest_scale - 1e-4) + 1e-4
    return means, quats, scales, torch.rand(n, generator=rng)


def processor() -> str:
    """What the machine calls its processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    wide = ", AVX-512" if any("avx512f" in line for line in lines) else ""
    return (models[0] if models else platform.processor()) + wide


if __name__ == "__main__":
    tyro.cli(main)
