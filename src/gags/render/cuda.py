"""The CUDA backend: gsplat's kernels (from 1.5.3, below 1.6) behind the same functions as the others.

`cuda_view` projects and lists Gaussians by tile, here their colours are blended, `cuda_weights` looks up what
pixels are made of. Nothing waits for the GPU but gsplat itself, once, for the length of its lists.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gags.capture.camera import Camera
from gags.render.cuda_view import TILE_SIZE, Seen, camera_tensors, load_gsplat, see
from gags.render.cuda_weights import blend_weights, largest_weights
from gags.render.types import Rendering

__all__ = ["blend_weights", "keep_view", "largest_weights", "rasterize"]

_CHANNELS = 32  # blended at a time: gsplat takes 513 at most, and wide ones no longer fit its registers
_WIDTHS = (1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33)  # those of them that gsplat 1.5.3 has a kernel for


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
    gsplat = load_gsplat()
    gaussians = [t.float().contiguous() for t in (means, quats, scales, opacities)]
    colors = colors.float().contiguous()
    background, means2d_offset = (
        None if t is None else t.float().contiguous() for t in (background, means2d_offset)
    )
    if len(means) == 0:
        offsets = [] if means2d_offset is None else [means2d_offset]
        return _empty([*gaussians, *offsets], colors, background, camera)
    means, quats, scales, opacities = gaussians
    seen = see(gsplat, means, quats, scales, opacities, camera, means2d_offset)
    if sh_degree is not None:
        directions = means - camera_tensors(camera, means.device).position
        visible = seen.radii[0, :, 0] > 0
        colors = torch.relu(gsplat.spherical_harmonics(sh_degree, directions, colors, masks=visible) + 0.5)
    return _pictures(gsplat, seen, colors, camera, background)


@torch.no_grad()
def keep_view(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, camera: Camera
) -> Callable[[Tensor], Rendering]:
    """What blends any values of Gaussians in one view; see `gags.render.keep_view`."""
    gsplat = load_gsplat()
    plain = [t.float().contiguous() for t in (means, quats, scales, opacities)]
    if not len(means):
        return lambda values: _empty([], values.float(), None, camera)
    seen = see(gsplat, plain[0], plain[1], plain[2], plain[3], camera)

    @torch.no_grad()
    def blended(values: Tensor) -> Rendering:
        return _pictures(gsplat, seen, values.float().contiguous(), camera, None)

    return blended


def _empty(tensors: list[Tensor], colors: Tensor, background: Tensor | None, camera: Camera) -> Rendering:
    """The picture of no Gaussians; gradients with respect to their tensors are empty, not missing."""
    size = (camera.height, camera.width)
    nothing = torch.stack([tensor.sum() for tensor in (*tensors, colors)]).sum()
    image = colors.new_zeros(*size, colors.shape[-1]) + nothing
    image = image if background is None else image + background
    depths, alphas = colors.new_zeros(size) + nothing, colors.new_zeros(size) + nothing
    return Rendering(image, depths, alphas, torch.zeros(0, dtype=torch.int32, device=colors.device))


def _pictures(
    gsplat: Any, seen: Seen, colors: Tensor, camera: Camera, background: Tensor | None
) -> Rendering:
    """Blend colours or features of any width, some channels at a time; the first carry the depth along.

    Args:
        gsplat: The package.
        seen: The Gaussians in the view.
        colors: Of every Gaussian. [N, C]
        camera: The view.
        background: Behind everything. [C] or None.
    """
    channels = colors.shape[1]
    # 1 + 32 channels is one of the widths that gsplat has a kernel for.
    ends = [0, *range(_CHANNELS, channels, _CHANNELS), channels]
    parts, alphas = [], colors
    for start, end in pairwise(ends):
        values = [colors[:, start:end]] if start else [seen.depths.reshape(-1, 1), colors[:, start:end]]
        behind = None if background is None else background[start:end]
        image, alphas = _blend(gsplat, seen, values, camera, behind)
        parts.append(image)
    if len(parts) > 1:
        lengths = [1 + ends[1], *(end - start for start, end in pairwise(ends[1:]))]
        parts = [torch.cat([part[..., :length] for part, length in zip(parts, lengths, strict=True)], -1)]
    image, depths, alphas = _Pictures.apply(parts[0], alphas, channels)
    return Rendering(image, depths, alphas, seen.radii[0].amax(-1).int())


def _blend(
    gsplat: Any, seen: Seen, values: list[Tensor], camera: Camera, background: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Blend values [N, c] of together at most 33 channels, padded to a width that gsplat has a kernel for.

    Returns:
        Blended values and zeros behind them [1, H, W, width], alphas [1, H, W, 1].
    """
    channels = sum(part.shape[1] for part in values)
    padding = min(width for width in _WIDTHS if width >= channels) - channels
    if padding:
        values = [*values, values[0].new_zeros(len(values[0]), padding)]
    if background is not None:
        before = channels - len(background)  # the depth has nothing behind it
        background = torch.nn.functional.pad(background, (before, padding))[None]
    return gsplat.rasterize_to_pixels(
        means2d=seen.means2d,
        conics=seen.conics,
        colors=torch.cat(values, -1)[None] if len(values) > 1 else values[0][None],
        opacities=seen.opacities,
        image_width=camera.width,
        image_height=camera.height,
        tile_size=TILE_SIZE,
        isect_offsets=seen.isect_offsets,
        flatten_ids=seen.flatten_ids,
        backgrounds=background,
    )


class _Pictures(torch.autograd.Function):
    """Blended depths Σ w z and colours [1, H, W, ≥ 1 + C], and alphas [1, H, W, 1] → the three pictures.

    The gradient is written out: autograd would fill a picture with zeros for each slice of one.
    """

    @staticmethod
    def forward(ctx: Any, blended: Tensor, alphas: Tensor, channels: int) -> tuple[Tensor, Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        sums = alphas[0, ..., 0].clamp_min(1e-10)
        depths = blended[0, ..., 0] / sums
        ctx.save_for_backward(sums, depths)
        ctx.width = blended.shape[-1]
        return blended[0, ..., 1 : 1 + channels].clone(), depths, alphas[0, ..., 0].clone()

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, g_colors: Tensor | None, g_depths: Tensor | None, g_alphas: Tensor | None
    ) -> tuple[Tensor, Tensor, None]:
        sums, depths = ctx.saved_tensors
        height, width = depths.shape
        g_blended = sums.new_zeros(1, height, width, ctx.width)
        if g_colors is not None:
            g_blended[0, ..., 1 : 1 + g_colors.shape[-1]] = g_colors
        of_alphas = torch.zeros_like(sums) if g_alphas is None else g_alphas
        if g_depths is not None:  # D = Σ w z / Σ w
            share = g_depths / sums
            g_blended[0, ..., 0] = share
            of_alphas = torch.addcmul(of_alphas, share, depths, value=-1)
        return g_blended, of_alphas[None, ..., None], None
