"""The fast CPU backend: Numba kernels with hand-written SIMD, forward and backward.

A picture takes four steps: project the Gaussians (`_cpu_project`, colours from harmonics in `_cpu_sh`), sort
them by depth and list the members of each tile (`_cpu_tiles`), blend tile by tile (`_cpu_blend`). The
gradient walks the tiles front to back once more, leaves one row of sums for every Gaussian in a tile, adds
the rows up per Gaussian and goes back through the projection. No thread writes where another one does and no
sum depends on timing, so the same input gives the same numbers.
"""

import threading
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from gags.capture.camera import Camera
from gags.render import _cpu_blend, _cpu_project, _cpu_sh, _cpu_tiles, _cpu_weights
from gags.render._simd import LANES
from gags.render.types import BlendWeights, Rendering

# Numba's fallback threading layer must not be entered by two Python threads at once.
_ONE_AT_A_TIME = threading.Lock()
_NONE = np.empty(0, np.float32)


def rasterize(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    camera: Camera,
    sh_degree: int | None,
    background: Tensor | None,
    means2d_offset: Tensor | None,
) -> Rendering:
    """Render Gaussians into one view; see `gags.render.rasterize`."""
    tensors = (means, quats, scales, opacities, colors, background, means2d_offset)
    flat = [None if t is None else t.float().contiguous() for t in tensors]
    image, depths, alphas, radii = _Rasterize.apply(*flat, camera, sh_degree)
    return Rendering(image, depths, alphas, radii)


@torch.no_grad()
def blend_weights(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    camera: Camera,
    pixels: Tensor,
    top_k: int,
) -> BlendWeights:
    """The Gaussians that make up chosen pixels; see `gags.render.blend_weights`."""
    flat = [_flat(t.float().contiguous()) for t in (means, quats, scales, opacities)]
    scene = _Scene(*flat, _NONE)
    count = len(pixels)
    found = BlendWeights(
        torch.empty(count, top_k, dtype=torch.int32), torch.empty(count, top_k), torch.empty(count)
    )
    where = pixels.to(torch.int64).contiguous().numpy()
    with _ONE_AT_A_TIME:
        threads = numba.get_num_threads()
        order, starts = _cpu_weights.group_pixels(where, camera.width, camera.height)
        records, outlines = scene.project(camera, channels=0)
        size = (camera.width, camera.height)
        lists, _ = _cpu_tiles.list_tiles(records, outlines, 0, len(means), size, np.diff(starts) > 0, threads)
        results = (found.indices.numpy(), found.weights.numpy(), found.alphas.numpy())
        todo = np.zeros(1, np.int64)
        _cpu_weights.weigh(threads, todo, where, order, starts, records, lists, top_k, *results)
    return found


@dataclass(eq=False)
class _Scene:
    """The inputs of the kernels as flat arrays."""

    means: np.ndarray
    quats: np.ndarray
    scales: np.ndarray
    opacities: np.ndarray
    offsets: np.ndarray

    def project(self, camera: Camera, channels: int) -> tuple[np.ndarray, np.ndarray]:
        """Records (without colours) and outlines of all Gaussians."""
        n = len(self.opacities)
        rows = np.minimum(np.arange(-(-n // LANES) * LANES, dtype=np.int32), n - 1)
        records = _aligned(n * _cpu_project.record_stride(channels))
        outlines = _aligned(len(rows) * _cpu_project.OUTLINE)
        view = _cpu_project.pack_camera(camera)
        inputs = (self.means, self.quats, self.scales, self.opacities, self.offsets)
        _cpu_project.project(rows, *inputs, view, channels, records, outlines)
        return records, outlines


def _aligned(size: int) -> np.ndarray:
    """float32 memory that starts at a cache line, as PyTorch allots it and NumPy does not."""
    return torch.empty(size).numpy()


def _flat(tensor: Tensor | None) -> np.ndarray:
    return _NONE if tensor is None else tensor.detach().numpy().reshape(-1)


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, means, quats, scales, opacities, colors, background, offsets, camera: Camera, sh_degree
    ):
        scene = _Scene(*(_flat(t) for t in (means, quats, scales, opacities, offsets)))
        channels = colors.shape[-1]
        size = (camera.height, camera.width)
        image, depths, alphas = torch.empty(*size, channels), torch.empty(size), torch.empty(size)
        with _ONE_AT_A_TIME:
            threads = numba.get_num_threads()
            records, outlines = scene.project(camera, channels)
            everywhere = np.empty(0, np.bool_)
            lists, radii = _cpu_tiles.list_tiles(
                records, outlines, channels, len(means), (camera.width, camera.height), everywhere, threads
            )
            if sh_degree is None:
                _cpu_project.fill_colors(lists.shown, _flat(colors), channels, records)
            else:
                position = camera.position.astype(np.float32)
                harmonics = (_flat(colors), colors.shape[1], sh_degree)
                _cpu_sh.sh_colors(lists.shown, scene.means, position, *harmonics, records)
            shared = (records, channels, _flat(background), lists)
            pictures = (_flat(image), _flat(depths), _flat(alphas))
            todo = np.zeros(1, np.int64)
            _cpu_blend.blend(threads, todo, camera.width, camera.height, *shared, *pictures)
        ctx.save_for_backward(
            means, quats, scales, opacities, colors, background, offsets, image, depths, alphas
        )
        ctx.camera, ctx.sh_degree, ctx.shared = camera, sh_degree, shared
        radii = torch.from_numpy(radii)
        ctx.mark_non_differentiable(radii)
        return image, depths, alphas, radii

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Any):
        g_image, g_depths, g_alphas = (g.contiguous() for g in grad_outputs[:3])
        means, quats, scales, opacities, colors, background, offsets, *pictures = ctx.saved_tensors
        camera, sh_degree = ctx.camera, ctx.sh_degree
        records, channels, _, lists = ctx.shared
        scene = _Scene(*(_flat(t) for t in (means, quats, scales, opacities, offsets)))
        stride = _cpu_project.sums_stride(channels)
        slot_gradients = _aligned(lists.room * stride)
        gradients = [torch.zeros_like(t) for t in (means, quats, scales, opacities)]
        g_offsets = None if offsets is None else torch.zeros_like(offsets)
        g_colors = torch.zeros_like(colors)
        g_final = g_colors if sh_degree is None else torch.zeros(len(means), 3)
        view = _cpu_project.pack_camera(camera)
        geometry = (scene.means, scene.quats, scene.scales, scene.opacities)
        with _ONE_AT_A_TIME:
            start = (numba.get_num_threads(), np.zeros(1, np.int64), camera.width, camera.height)
            pictures_and_gradients = [_flat(t) for t in (*pictures, g_image, g_depths, g_alphas)]
            _cpu_blend.blend_backward(*start, *ctx.shared, *pictures_and_gradients, slot_gradients)
            sums = (lists.shown, lists.spans, slot_gradients, channels)
            written = [_flat(g) for g in (*gradients, g_offsets, g_final)]
            _cpu_project.project_backward(*sums, *geometry, view, *written)
            if sh_degree is not None:
                position = camera.position.astype(np.float32)
                harmonics = (_flat(colors), colors.shape[1], sh_degree, records)
                written = [_flat(g) for g in (g_final, g_colors, gradients[0])]
                _cpu_sh.sh_colors_backward(lists.shown, scene.means, position, *harmonics, *written)
        g_background = None
        if background is not None and ctx.needs_input_grad[5]:
            g_background = torch.einsum("hw,hwc->c", 1 - pictures[2], g_image)
        return *gradients, g_colors, g_background, g_offsets, None, None
