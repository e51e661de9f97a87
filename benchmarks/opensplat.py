"""OpenSplat's CPU rasteriser, built from the user's own checkout, to be timed beside the one of this package.

OpenSplat (https://github.com/pierotofy/OpenSplat) is AGPL-3.0, so nothing of it is kept here. What this file
writes and compiles together with the checkout's `rasterizer/gsplat-cpu/gsplat_cpu.cpp` only calls its
functions, through its own header `bindings.h`.
"""

import hashlib
import importlib.util
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from gags.capture.camera import Camera
from gags.render import rasterize

Geometry = tuple[Tensor, Tensor, Tensor, Tensor]

SOURCE = Path("rasterizer/gsplat-cpu/gsplat_cpu.cpp")
FAR = 1000.0  # far plane of the projection matrix, the same as in OpenSplat's training
FAINT = 0.35  # Gaussians of less opacity reach alpha 1/255 within 3 sigmas, where OpenSplat's boxes end

# The lists of what made up each pixel stay in C++ between forward and backward; Python holds their address.
_GLUE = """
#include <torch/extension.h>
#include "bindings.h"

static std::vector<torch::Tensor> project(
    torch::Tensor means, torch::Tensor scales, torch::Tensor quats, torch::Tensor viewmat,
    torch::Tensor projmat, double fx, double fy, double cx, double cy, int64_t height, int64_t width
) {
    auto [xys, radii, conics, cov2d, depths] = project_gaussians_forward_tensor_cpu(
        means.size(0), means, scales, 1.0f, quats, viewmat, projmat, fx, fy, cx, cy, height, width, 0.01f
    );
    return {xys, radii, conics, cov2d, depths};
}

static std::tuple<torch::Tensor, torch::Tensor, int64_t> forward(
    int64_t width, int64_t height, torch::Tensor xys, torch::Tensor conics, torch::Tensor colors,
    torch::Tensor opacities, torch::Tensor background, torch::Tensor cov2d, torch::Tensor depths
) {
    auto [image, transmittances, lists] = rasterize_forward_tensor_cpu(
        width, height, xys, conics, colors, opacities, background, cov2d, depths
    );
    return {image, transmittances, reinterpret_cast<int64_t>(lists)};
}

static std::vector<torch::Tensor> backward(
    int64_t width, int64_t height, torch::Tensor xys, torch::Tensor conics, torch::Tensor colors,
    torch::Tensor opacities, torch::Tensor background, torch::Tensor cov2d, torch::Tensor depths,
    torch::Tensor transmittances, int64_t lists, torch::Tensor g_image, torch::Tensor g_alpha
) {
    auto [g_xys, g_conics, g_colors, g_opacities] = rasterize_backward_tensor_cpu(
        height, width, xys, conics, colors, opacities, background, cov2d, depths, transmittances,
        reinterpret_cast<const std::vector<int32_t>*>(lists), g_image, g_alpha
    );
    return {g_xys, g_conics, g_colors, g_opacities};
}

static void release(int64_t lists) { delete[] reinterpret_cast<std::vector<int32_t>*>(lists); }

PYBIND11_MODULE(TORCH_EXTENSION_NAME, module) {
    module.def("project", &project);
    module.def("forward", &forward);
    module.def("backward", &backward);
    module.def("release", &release);
}
"""


def build(checkout: Path, march: str) -> ModuleType:
    """Compile OpenSplat's CPU rasteriser (a minute or two; kept in the system's temporary folder).

    Args:
        checkout: Folder of the user's checkout of OpenSplat.
        march: Processor to compile for, as g++ names it.

    Returns:
        A module with `project`, `forward`, `backward` and `release`.
    """
    source = (checkout / SOURCE).resolve()
    if not source.is_file():
        raise SystemExit(f"{source} is not there: --peer wants the folder of a checkout of OpenSplat")
    flags = ["-O3", f"-march={march}", "-ffast-math"]
    ingredients = (_GLUE, flags, source.read_bytes(), torch.__version__, sys.version)
    name = "opensplat_" + hashlib.sha256(repr(ingredients).encode()).hexdigest()[:12]
    library = Path(tempfile.gettempdir()) / f"{name}.so"
    if not library.is_file():
        _compile(source, flags, name, library)
    spec = importlib.util.spec_from_file_location(name, library)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _compile(source: Path, flags: list[str], name: str, library: Path) -> None:
    from torch.utils import cpp_extension  # wants setuptools, which the rest does not

    folders = [*cpp_extension.include_paths(), sysconfig.get_path("include"), str(source.parent)]
    common = ["-std=c++20", "-fPIC", f"-DTORCH_EXTENSION_NAME={name}", *(f"-I{each}" for each in folders)]
    libraries = [f"-L{each}" for each in cpp_extension.library_paths()]
    libraries += ["-lc10", "-ltorch_cpu", "-ltorch", "-ltorch_python"]
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        glue = Path(folder) / "glue.cpp"
        glue.write_text(_GLUE)
        objects = []
        for file in (source, glue):
            objects.append(f"{folder}/{file.stem}.o")
            subprocess.run(["g++", *common, *flags, "-c", str(file), "-o", objects[-1]], check=True)
        # Without -ffast-math: linking with it would make the whole process, ours too, treat the smallest
        # numbers as 0.
        made = f"{folder}/{name}.so"
        subprocess.run(["g++", "-shared", *objects, *libraries, "-o", made], check=True)
        Path(made).replace(library)


def projection(camera: Camera, near: float) -> Tensor:
    """World to clip space. [4, 4]"""
    (fx, _, cx), (_, fy, cy) = camera.K[:2]
    width, height, depth = camera.width, camera.height, FAR - near
    to_clip = torch.tensor(
        [
            [2 * fx / width, 0, 2 * cx / width - 1, 0],
            [0, 2 * fy / height, 2 * cy / height - 1, 0],
            [0, 0, (FAR + near) / depth, -FAR * near / depth],
            [0, 0, 1, 0],
        ],
        dtype=torch.float64,
    )
    return (to_clip @ torch.from_numpy(camera.viewmat)).float()


class _Lists:
    """What made up each pixel, in C++; freed with the last reference."""

    def __init__(self, module: ModuleType, address: int) -> None:
        self.module, self.address = module, address

    def __del__(self) -> None:
        self.module.release(self.address)


class _Blend(torch.autograd.Function):
    """Arguments: the module, how often the off-diagonal of conics counts, width, height, then tensors."""

    @staticmethod
    def forward(
        ctx: Any, module: ModuleType, off_diagonal: int, width: int, height: int, *tensors: Tensor
    ) -> Tensor:
        image, transmittances, address = module.forward(width, height, *tensors)
        ctx.save_for_backward(*tensors, transmittances)
        ctx.module, ctx.size, ctx.lists = module, (width, height), _Lists(module, address)
        ctx.off_diagonal = off_diagonal
        return image

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, g_image: Tensor
    ) -> tuple[Tensor | None, ...]:
        *tensors, transmittances = ctx.saved_tensors
        g_alphas = torch.zeros_like(transmittances)
        g_xys, g_conics, g_colors, g_opacities = ctx.module.backward(
            *ctx.size, *tensors, transmittances, ctx.lists.address, g_image, g_alphas
        )
        if ctx.off_diagonal != 1:
            g_conics[:, 1] *= ctx.off_diagonal
        return None, None, None, None, g_xys, g_conics, g_colors, g_opacities, None, None, None


class Peer:
    """OpenSplat's CPU rasteriser for one camera.

    Its functions are called as OpenSplat does in training, but for two things, without which it blends in a
    wrong or uncertain order (`print_agreement` shows both): depths are copied to memory of their own, and the
    near plane of the projection matrix, which has no other use, is at 1 and not at 0.001.
    """

    def __init__(
        self, module: ModuleType, camera: Camera, *, near: float = 1.0, copy_depths: bool = True
    ) -> None:
        self.module, self.camera, self.copy_depths = module, camera, copy_depths
        self.viewmat, self.projmat = torch.from_numpy(camera.viewmat).float(), projection(camera, near)
        self.background = torch.zeros(3)

    def forward(self, geometry: Geometry, colors: Tensor) -> tuple[Tensor, _Lists]:
        """The picture [H, W, 3], and memory of the call that takes time to be freed."""
        image, _, address = self.module.forward(*self._arguments(geometry, colors))
        return image, _Lists(self.module, address)

    def differentiable(self, geometry: Geometry, colors: Tensor, off_diagonal: int = 1) -> Tensor:
        """The picture, with its way back, on which the gradient of the conics' off-diagonal is multiplied."""
        return _Blend.apply(self.module, off_diagonal, *self._arguments(geometry, colors))

    def _arguments(self, geometry: Geometry, colors: Tensor) -> tuple[Any, ...]:
        """Width and height, then centres, conics, colours, opacities, background, covariances, depths."""
        means, quats, scales, opacities = geometry
        (fx, _, cx), (_, fy, cy) = self.camera.K[:2].tolist()
        width, height = self.camera.width, self.camera.height
        xys, _, conics, cov2d, depths = self.module.project(
            means, scales, quats, self.viewmat, self.projmat, fx, fy, cx, cy, height, width
        )
        if self.copy_depths:
            depths = depths.contiguous()
        return width, height, xys, conics, colors, opacities[:, None], self.background, cov2d, depths


def print_agreement(geometry: Geometry, colors: Tensor, camera: Camera, module: ModuleType) -> None:
    """Say how far the two pictures of a scene are apart, and which change brings them how near."""
    print("\n| OpenSplat's picture less ours | median | mean | over 1/255 |\n|---|---:|---:|---:|")
    middle = Camera(camera.viewmat, camera.K.copy(), camera.width, camera.height)
    middle.K[:2, 2] = camera.width / 2, camera.height / 2
    faint = (*geometry[:3], FAINT * geometry[3])
    ways = {
        "called as in its training": (Peer(module, middle, near=0.001, copy_depths=False), geometry),
        "and the camera's own principal point": (
            Peer(module, camera, near=0.001, copy_depths=False),
            geometry,
        ),
        "and depths copied": (Peer(module, camera, near=0.001), geometry),
        "and the near plane at 1 (as timed)": (Peer(module, camera), geometry),
        f"and opacities below {FAINT}": (Peer(module, camera), faint),
    }
    for name, (peer, gaussians) in ways.items():
        theirs, _ = peer.forward(gaussians, colors)
        apart = (theirs - rasterize(*gaussians, colors, camera).colors).abs()
        share = (apart > 1 / 255).double().mean()
        print(f"| {name} | {apart.median():.1e} | {apart.mean():.1e} | {share:.2%} |")
    _print_gradients(geometry, colors, camera, Peer(module, camera))


def _print_gradients(geometry: Geometry, colors: Tensor, camera: Camera, peer: Peer) -> None:
    """Cosines between the two gradients of a picture; OpenSplat's takes half the conics' off-diagonal."""
    print("\n| cosine of gradients | means | rotations | scales | opacities | colours |")
    print("|---|---:|---:|---:|---:|---:|")
    leaves = [tensor.clone().requires_grad_() for tensor in (*geometry, colors)]
    means, quats, scales, opacities, all_colors = leaves
    upstream = torch.randn(camera.height, camera.width, 3, generator=torch.Generator().manual_seed(1))
    ours = torch.autograd.grad(
        rasterize(means, quats, scales, opacities, all_colors, camera).colors, leaves, upstream
    )
    for name, off_diagonal in {"as it is": 1, "conics' off-diagonal doubled": 2}.items():
        picture = peer.differentiable((means, quats, scales, opacities), all_colors, off_diagonal)
        theirs = torch.autograd.grad(picture, leaves, upstream)
        pairs = zip(theirs, ours, strict=True)
        cosines = [
            torch.cosine_similarity(a.flatten().double(), b.flatten().double(), dim=0) for a, b in pairs
        ]
        print(f"| {name} |" + "".join(f" {cosine:.5f} |" for cosine in cosines))
