"""The fast CPU backend: Numba kernels with SIMD by hand (`gags.simd`), forward and backward.

A picture takes four steps: project the Gaussians (`kernels.project`, colours from harmonics in `kernels.sh`),
sort them by depth and list the members of each tile (`kernels.tiles`), blend tile by tile (`kernels.blend`).
The gradient walks the tiles front to back once more (`kernels.blend_backward`), leaves one row of sums for
every Gaussian in a tile, adds the rows up per Gaussian and goes back through the projection
(`kernels.project_backward`). No thread writes where another one does and no sum depends on timing, so the
same input gives the same numbers.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from torch import Tensor

from gags.capture.camera import Camera
from gags.render.kernels.blend import blend
from gags.render.kernels.blend_backward import blend_backward
from gags.render.kernels.features import set_features
from gags.render.kernels.layout import (
    OUTLINE,
    PLANES,
    Geometry,
    Pictures,
    Scratch,
    TileLists,
    aligned,
    record_stride,
    sums_stride,
)
from gags.render.kernels.project import pack_camera, project
from gags.render.kernels.project_backward import project_backward
from gags.render.kernels.sh import sh_colors, sh_colors_backward
from gags.render.kernels.tiles import list_tiles
from gags.render.kernels.weights import group_pixels, weigh
from gags.render.types import BlendWeights, Rendering
from gags.simd.vectors import LANES

WEIGHTS_KEPT = 8  # Gaussians a pixel that count when largest weights are looked for
# Its lock also keeps Numba's fallback threading layer from being entered by two Python threads at once.
_SCRATCH = Scratch()
_NONE = np.empty(0, np.float32)
_ALL_TILES = np.empty(0, np.bool_)
_NO_SLOTS = np.empty(0, np.int32)


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
    geometry = _geometry(means, quats, scales, opacities, None)
    size = (len(pixels), top_k)
    found = BlendWeights(torch.empty(size, dtype=torch.int32), torch.empty(size), torch.empty(len(pixels)))
    places = pixels.to(torch.int64).contiguous().numpy()
    with _SCRATCH.lock:
        order, starts = group_pixels(places, camera.width, camera.height)
        seen = _see(geometry, camera, _NONE, channels=0, wanted_tiles=np.diff(starts) > 0)
        weigh(
            threads=numba.get_num_threads(),
            todo=np.zeros(1, np.int64),
            pixels=places,
            order=order,
            starts=starts,
            records=seen.records,
            lists=seen.lists,
            top_k=top_k,
            indices=found.indices.numpy(),
            weights=found.weights.numpy(),
            alphas=found.alphas.numpy(),
        )
    return found


def largest_weights(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    camera: Camera,
    places: Tensor | None = None,
) -> Tensor:
    """Each Gaussian's largest blending weight in one view; see `gags.render.largest_weights`."""
    if not len(means):
        return torch.zeros(0)
    number = torch.arange(camera.width * camera.height) if places is None else places
    pixels = torch.stack([number % camera.width, number // camera.width], dim=1)
    seen = blend_weights(means, quats, scales, opacities, camera, pixels, top_k=WEIGHTS_KEPT)
    # Padding has weight 0, which changes no maximum.
    indices = seen.indices.reshape(-1).long().clamp(min=0)
    return torch.zeros(len(means)).scatter_reduce_(0, indices, seen.weights.reshape(-1), "amax")


@torch.no_grad()
def keep_view(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, camera: Camera
) -> Callable[[Tensor], Rendering]:
    """What blends any values of Gaussians in one view; see `gags.render.keep_view`."""
    tensors = [t.float().contiguous() for t in (means, quats, scales, opacities)]
    geometry = _geometry(tensors[0], tensors[1], tensors[2], tensors[3], None)
    with _SCRATCH.lock:
        seen = _see(geometry, camera, _NONE, channels=0, wanted_tiles=_ALL_TILES)
    radii = torch.from_numpy(seen.radii)
    lists = seen.lists._replace(slots=_NO_SLOTS)  # gradients alone need them

    @torch.no_grad()
    def blended(values: Tensor) -> Rendering:
        channels, size = values.shape[-1], (camera.height, camera.width)
        image, depths, alphas = torch.empty(*size, channels), torch.empty(size), torch.empty(size)
        with _SCRATCH.lock:
            records = _SCRATCH.take("records", len(means) * record_stride(channels))
            set_features(
                shown=lists.shown,
                projected=seen.records,
                values=_flat(values.float().contiguous()),
                channels=channels,
                records=records,
            )
            _blend(camera, records, lists, image, depths, alphas, _NONE)
        return Rendering(image, depths, alphas, radii)

    return blended


class _Seen(NamedTuple):
    """Gaussians as one view sees them."""

    records: np.ndarray
    lists: TileLists
    radii: np.ndarray


def _flat(tensor: Tensor | None) -> np.ndarray:
    return _NONE if tensor is None else tensor.detach().numpy().reshape(-1)


def _geometry(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, offsets: Tensor | None
) -> Geometry:
    return Geometry(_flat(means), _flat(quats), _flat(scales), _flat(opacities), _flat(offsets))


def _see(
    geometry: Geometry, camera: Camera, colors: np.ndarray, *, channels: int, wanted_tiles: np.ndarray
) -> _Seen:
    """Project Gaussians and list the members of the tiles (all tiles if `wanted_tiles` is empty)."""
    n = len(geometry.opacities)
    rows = np.minimum(np.arange(-(-n // LANES) * LANES, dtype=np.int32), n - 1)
    records = aligned(n * record_stride(channels))
    outlines = _SCRATCH.take("outlines", n * OUTLINE)
    planes = _SCRATCH.take("planes", len(rows) * PLANES)
    project(
        threads=numba.get_num_threads(),
        todo=np.zeros(1, np.int64),
        rows=rows,
        geometry=geometry,
        view=pack_camera(camera),
        colors=colors,
        channels=channels,
        records=records,
        outlines=outlines,
        planes=planes,
    )
    lists, radii = list_tiles(
        outlines,
        planes,
        n,
        size=(camera.width, camera.height),
        wanted=wanted_tiles,
        threads=numba.get_num_threads(),
        scratch=_SCRATCH,
    )
    return _Seen(records, lists, radii)


def _blend(
    camera: Camera,
    records: np.ndarray,
    lists: TileLists,
    image: Tensor,
    depths: Tensor,
    alphas: Tensor,
    background: np.ndarray,
) -> None:
    """Blend all tiles into pictures [H, W, C], [H, W] and [H, W], which are written."""
    blend(
        threads=numba.get_num_threads(),
        todo=np.zeros(1, np.int64),
        width=camera.width,
        height=camera.height,
        records=records,
        channels=image.shape[-1],
        background=background,
        lists=lists,
        pictures=Pictures(_flat(image), _flat(depths), _flat(alphas)),
    )


class _Rasterize(torch.autograd.Function):
    """Arguments: means, quats, scales, opacities, colors, background, offsets, camera, sh_degree."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        *tensors, camera, sh_degree = args
        means, quats, scales, opacities, colors, background, offsets = tensors
        geometry = _geometry(means, quats, scales, opacities, offsets)
        channels = colors.shape[-1]
        size = (camera.height, camera.width)
        image, depths, alphas = torch.empty(*size, channels), torch.empty(size), torch.empty(size)
        with _SCRATCH.lock:
            final_colors = _flat(colors) if sh_degree is None else _NONE
            seen = _see(geometry, camera, final_colors, channels=channels, wanted_tiles=_ALL_TILES)
            if sh_degree is not None:
                sh_colors(
                    threads=numba.get_num_threads(),
                    todo=np.zeros(1, np.int64),
                    rows=seen.lists.shown,
                    means=geometry.means,
                    position=camera.position.astype(np.float32),
                    sh=_flat(colors),
                    coefficients=colors.shape[1],
                    degree=sh_degree,
                    records=seen.records,
                )
            _blend(camera, seen.records, seen.lists, image, depths, alphas, _flat(background))
        ctx.save_for_backward(*tensors, image, depths, alphas)
        ctx.camera, ctx.sh_degree, ctx.seen = camera, sh_degree, seen
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
        camera, sh_degree = ctx.camera, ctx.sh_degree
        seen: _Seen = ctx.seen
        lists, channels = seen.lists, colors.shape[-1]
        geometry = _geometry(means, quats, scales, opacities, None)
        g_means, g_quats, g_scales, g_opacities = (
            torch.zeros_like(t) for t in (means, quats, scales, opacities)
        )
        g_offsets = None if offsets is None else torch.zeros_like(offsets)
        g_colors = torch.zeros_like(colors)
        g_final_colors = g_colors if sh_degree is None else torch.zeros(len(means), 3)
        g_image = g_image.contiguous()
        with _SCRATCH.lock:
            sums = _SCRATCH.take("sums", lists.slot_count * sums_stride(channels))
            blend_backward(
                threads=numba.get_num_threads(),
                todo=np.zeros(1, np.int64),
                width=camera.width,
                height=camera.height,
                records=seen.records,
                channels=channels,
                background=_flat(background),
                lists=lists,
                pictures=Pictures(_flat(image), _flat(depths), _flat(alphas)),
                g_pictures=Pictures(
                    _flat(g_image), _flat(g_depths.contiguous()), _flat(g_alphas.contiguous())
                ),
                gradients=sums,
            )
            project_backward(
                threads=numba.get_num_threads(),
                todo=np.zeros(1, np.int64),
                shown=lists.shown,
                spans=lists.spans,
                slot_gradients=sums,
                channels=channels,
                geometry=geometry,
                view=pack_camera(camera),
                g_geometry=_geometry(g_means, g_quats, g_scales, g_opacities, g_offsets),
                g_colors=_flat(g_final_colors),
            )
            if sh_degree is not None:
                sh_colors_backward(
                    threads=numba.get_num_threads(),
                    todo=np.zeros(1, np.int64),
                    rows=lists.shown,
                    means=geometry.means,
                    position=camera.position.astype(np.float32),
                    sh=_flat(colors),
                    coefficients=colors.shape[1],
                    degree=sh_degree,
                    records=seen.records,
                    g_colors=_flat(g_final_colors),
                    g_sh=_flat(g_colors),
                    g_means=_flat(g_means),
                )
        g_background = None
        if background is not None:
            g_background = torch.einsum("hw,hwc->c", 1 - alphas, g_image)
        return g_means, g_quats, g_scales, g_opacities, g_colors, g_background, g_offsets, None, None
