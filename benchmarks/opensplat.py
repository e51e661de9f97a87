"""OpenSplat's CPU rasteriser, built from the user's own checkout, to be timed beside the one of this package.

OpenSplat (https://github.com/pierotofy/OpenSplat) is AGPL-3.0, so nothing of it is kept here. What this file
writes and compiles together with the checkout's `rasterizer/gsplat-cpu/gsplat_cpu.cpp` only calls its
functions, through its own header `bindings.h`.
"""

import hashlib
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.utils import cpp_extension

from gags.capture.camera import Camera

Geometry = tuple[Tensor, Tensor, Tensor, Tensor]

SOURCE = Path("rasterizer/gsplat-cpu/gsplat_cpu.cpp")
NEAR, FAR = 0.001, 1000.0  # planes of the projection matrix, the same as in OpenSplat's training

# The lists of what made up each pixel stay in C++ between forward and backward; Python holds their address.
_GLUE = """
#include <torch/extension.h>
#include "bindings.h"

static std::vector<torch::Tensor> project(
    torch::Tensor means, torch::Tensor scales, torch::Tensor quats, torch::Tensor viewmat, torch::Tensor projmat,
    double fx, double fy, double cx, double cy, int64_t height, int64_t width
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
    """Compile OpenSplat's CPU rasteriser (about a minute; kept in the system's temporary folder).

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
    key = hashlib.sha256(repr((_GLUE, flags, source.read_bytes(), torch.__version__)).encode()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"opensplat-{key}"
    folder.mkdir(exist_ok=True)
    glue = folder / "glue.cpp"
    if not glue.is_file():
        glue.write_text(_GLUE)
    return cpp_extension.load(
        f"opensplat_{key}",
        [str(glue), str(source)],
        extra_cflags=flags,
        extra_include_paths=[str(source.parent)],
        build_directory=str(folder),
    )


def projection(camera: Camera) -> Tensor:
    """World to clip space, for planes NEAR and FAR. [4, 4]"""
    (fx, _, cx), (_, fy, cy) = camera.K[:2]
    width, height, depth = camera.width, camera.height, FAR - NEAR
    to_clip = torch.tensor(
        [
            [2 * fx / width, 0, 2 * cx / width - 1, 0],
            [0, 2 * fy / height, 2 * cy / height - 1, 0],
            [0, 0, (FAR + NEAR) / depth, -FAR * NEAR / depth],
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
    """Arguments: the module, width and height, then the tensors of its `forward`."""

    @staticmethod
    def forward(ctx: Any, module: ModuleType, width: int, height: int, *tensors: Tensor) -> Tensor:
        image, transmittances, address = module.forward(width, height, *tensors)
        ctx.save_for_backward(*tensors, transmittances)
        ctx.module, ctx.size, ctx.lists = module, (width, height), _Lists(module, address)
        return image

    @staticmethod
    def backward(ctx: Any, g_image: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        *tensors, transmittances = ctx.saved_tensors
        g_alphas = torch.zeros_like(transmittances)
        g_xys, g_conics, g_colors, g_opacities = ctx.module.backward(
            *ctx.size, *tensors, transmittances, ctx.lists.address, g_image, g_alphas
        )
        return None, None, None, g_xys, g_conics, g_colors, g_opacities, None, None, None


class Peer:
    """OpenSplat's CPU rasteriser for one camera."""

    def __init__(self, module: ModuleType, camera: Camera) -> None:
        self.module, self.camera = module, camera
        self.viewmat, self.projmat = torch.from_numpy(camera.viewmat).float(), projection(camera)
        self.background = torch.zeros(3)

    def forward(self, geometry: Geometry, colors: Tensor) -> tuple[Tensor, _Lists]:
        """The picture [H, W, 3], and what must be kept until it has been timed: it takes time to free."""
        xys, conics, cov2d, depths = self._project(geometry)
        tensors = (xys, conics, colors, geometry[3][:, None], self.background, cov2d, depths)
        image, _, address = self.module.forward(self.camera.width, self.camera.height, *tensors)
        return image, _Lists(self.module, address)

    def forward_with_gradient(self, geometry: Geometry, colors: Tensor) -> Tensor:
        """The picture, differentiable."""
        xys, conics, cov2d, depths = self._project(geometry)
        tensors = (xys, conics, colors, geometry[3][:, None], self.background, cov2d, depths)
        return _Blend.apply(self.module, self.camera.width, self.camera.height, *tensors)

    def _project(self, geometry: Geometry) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Centres, conics, covariances and depths on the screen."""
        means, quats, scales, _ = geometry
        (fx, _, cx), (_, fy, cy) = self.camera.K[:2].tolist()
        size = (self.camera.height, self.camera.width)
        xys, _, conics, cov2d, depths = self.module.project(
            means, scales, quats, self.viewmat, self.projmat, fx, fy, cx, cy, *size
        )
        return xys, conics, cov2d, depths.contiguous()
