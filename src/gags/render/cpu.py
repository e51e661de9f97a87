"""The fast CPU backend: Numba kernels with hand-written SIMD, forward and backward.

A picture takes four steps: project the Gaussians (`_cpu_project`, colours from harmonics in `_cpu_sh`), sort
them by depth and list the members of each tile (`_cpu_tiles`), blend tile by tile (`_cpu_blend`). The
gradient walks the tiles front to back once more, leaves one row of sums for every Gaussian in a tile, adds
the rows up per Gaussian and goes back through the projection (`_cpu_project_backward`). No thread writes
where another one does and no sum depends on timing, so the same input gives the same numbers.
"""

from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from torch import Tensor

from gags.capture.camera import Camera
from gags.render.kernels import blend as _cpu_blend
from gags.render.kernels import blend_backward as _cpu_blend_backward
from gags.render.kernels import project as _cpu_project
from gags.render.kernels import project_backward as _cpu_project_backward
from gags.render.kernels import sh as _cpu_sh
from gags.render.kernels import tiles as _cpu_tiles
from gags.render.kernels import weights as _cpu_weights
from gags.render.kernels.layout import OUTLINE, PLANES, record_stride, sums_stride
from gags.render.kernels.memory import Scratch, aligned
from gags.render.types import BlendWeights, Rendering
from gags.simd.vectors import LANES

# Its lock also keeps Numba's fallback threading layer from being entered by two Python threads at once.
_SCRATCH = Scratch()
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
    plain = [None if t is None else t.float().contiguous() for t in tensors]
    image, depths, alphas, radii = _Rasterize.apply(*plain, camera, sh_degree)
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
    means, quats, scales, opacities = (t.float().contiguous() for t in (means, quats, scales, opacities))
    geometry = _Geometry.of(means, quats, scales, opacities, None)
    size = (len(pixels), top_k)
    found = BlendWeights(torch.empty(size, dtype=torch.int32), torch.empty(size), torch.empty(len(pixels)))
    results = (found.indices.numpy(), found.weights.numpy(), found.alphas.numpy())
    where = pixels.to(torch.int64).contiguous().numpy()
    with _SCRATCH.lock:
        order, starts = _cpu_weights.group_pixels(where, camera.width, camera.height)
        seen = _see(geometry, camera, _NONE, 0, np.diff(starts) > 0)
        work = (numba.get_num_threads(), np.zeros(1, np.int64))
        _cpu_weights.weigh(*work, where, order, starts, seen.records, seen.lists, top_k, *results)
    return found


class _Geometry(NamedTuple):
    """Gaussians as the flat arrays that kernels take; no offsets are an empty array."""

    means: np.ndarray
    quats: np.ndarray
    scales: np.ndarray
    opacities: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(
        cls, means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, offsets: Tensor | None
    ) -> "_Geometry":
        return cls(_flat(means), _flat(quats), _flat(scales), _flat(opacities), _flat(offsets))


class _Seen(NamedTuple):
    """Gaussians as one view sees them."""

    records: np.ndarray
    lists: _cpu_tiles.TileLists
    radii: np.ndarray


def _flat(tensor: Tensor | None) -> np.ndarray:
    return _NONE if tensor is None else tensor.detach().numpy().reshape(-1)


def _see(
    geometry: _Geometry, camera: Camera, colors: np.ndarray, channels: int, wanted_tiles: np.ndarray
) -> _Seen:
    """Project Gaussians and list the members of the tiles (all tiles if `wanted_tiles` is empty)."""
    n = len(geometry.opacities)
    rows = np.minimum(np.arange(-(-n // LANES) * LANES, dtype=np.int32), n - 1)
    records = aligned(n * record_stride(channels))
    outlines = _SCRATCH.take("outlines", n * OUTLINE)
    planes = _SCRATCH.take("planes", len(rows) * PLANES)
    view = _cpu_project.pack_camera(camera)
    _cpu_project.project(rows, *geometry, view, colors, channels, records, outlines, planes)
    size, shares = (camera.width, camera.height), numba.get_num_threads()
    lists, radii = _cpu_tiles.list_tiles(outlines, planes, n, size, wanted_tiles, shares, _SCRATCH)
    return _Seen(records, lists, radii)


class _Rasterize(torch.autograd.Function):
    """Arguments: means, quats, scales, opacities, colors, background, offsets, camera, sh_degree."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        *tensors, camera, sh_degree = args
        means, quats, scales, opacities, colors, background, offsets = tensors
        geometry = _Geometry.of(means, quats, scales, opacities, offsets)
        channels = colors.shape[-1]
        size = (camera.height, camera.width)
        image, depths, alphas = torch.empty(*size, channels), torch.empty(size), torch.empty(size)
        with _SCRATCH.lock:
            final_colors = _flat(colors) if sh_degree is None else _NONE
            seen = _see(geometry, camera, final_colors, channels, np.empty(0, np.bool_))
            if sh_degree is not None:
                position = camera.position.astype(np.float32)
                harmonics = (_flat(colors), colors.shape[1], sh_degree)
                _cpu_sh.sh_colors(seen.lists.shown, geometry.means, position, *harmonics, seen.records)
            work = (numba.get_num_threads(), np.zeros(1, np.int64), camera.width, camera.height)
            scene = (seen.records, channels, _flat(background), seen.lists)
            _cpu_blend.blend(*work, *scene, _flat(image), _flat(depths), _flat(alphas))
        ctx.save_for_backward(*tensors, image, depths, alphas)
        ctx.camera, ctx.sh_degree, ctx.scene = camera, sh_degree, scene
        radii = torch.from_numpy(seen.radii)
        ctx.mark_non_differentiable(radii)
        return image, depths, alphas, radii

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, g_image: Tensor, g_depths: Tensor, g_alphas: Tensor, _: Any
    ) -> tuple[Tensor | None, ...]:
        means, quats, scales, opacities, colors, background, offsets = ctx.saved_tensors[:7]
        image, depths, alphas = ctx.saved_tensors[7:]
        pictures = (_flat(image), _flat(depths), _flat(alphas))
        g_image = g_image.contiguous()
        g_pictures = (_flat(g_image), _flat(g_depths.contiguous()), _flat(g_alphas.contiguous()))
        geometry = _Geometry.of(means, quats, scales, opacities, None)
        camera, sh_degree = ctx.camera, ctx.sh_degree
        scene: tuple[np.ndarray, int, np.ndarray, _cpu_tiles.TileLists] = ctx.scene
        records, channels, _, lists = scene
        g_geometry = [torch.zeros_like(t) for t in (means, quats, scales, opacities)]
        g_offsets = None if offsets is None else torch.zeros_like(offsets)
        g_colors = torch.zeros_like(colors)
        g_final_colors = g_colors if sh_degree is None else torch.zeros(len(means), 3)
        with _SCRATCH.lock:
            sums = _SCRATCH.take("sums", lists.room * sums_stride(channels))
            work = (numba.get_num_threads(), np.zeros(1, np.int64), camera.width, camera.height)
            _cpu_blend_backward.blend_backward(*work, *scene, *pictures, *g_pictures, sums)
            _cpu_project_backward.project_backward(
                *(lists.shown, lists.spans, sums, channels),
                *(*geometry[:4], _cpu_project.pack_camera(camera)),
                *map(_flat, (*g_geometry, g_offsets, g_final_colors)),
            )
            if sh_degree is not None:
                position = camera.position.astype(np.float32)
                harmonics = (_flat(colors), colors.shape[1], sh_degree, records)
                written = [_flat(g) for g in (g_final_colors, g_colors, g_geometry[0])]
                _cpu_sh.sh_colors_backward(lists.shown, geometry.means, position, *harmonics, *written)
        g_background = None
        if background is not None:
            g_background = torch.einsum("hw,hwc->c", 1 - alphas, g_image)
        return *g_geometry, g_colors, g_background, g_offsets, None, None
