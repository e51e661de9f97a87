"""The CUDA backend: gsplat's kernels (1.5.3 or newer) behind the same two functions.

gsplat's one-call `rasterization` cannot shift projected centres, so its steps are called one by one, and
unpacked: one view at a time gains nothing from packing. Its classic mode and pinhole projection are those of
the reference; the principal point may lie anywhere.
"""

from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gags.capture.camera import Camera
from gags.errors import GagsError
from gags.render.types import EPS2D, MAX_ALPHA, NEAR_PLANE, BlendWeights, Rendering

_TILE_SIZE = 16
_ALL_BATCHES = 1 << 30  # more batches of Gaussians than any tile has
_CHANNELS = 32  # blended at a time: gsplat takes 513 at most, and wide ones no longer fit its registers


class _Projected(NamedTuple):
    """What gsplat makes of N Gaussians in one view (its leading dimension of cameras is 1)."""

    radii: Tensor  # [1, N, 2]
    means2d: Tensor  # [1, N, 2]
    depths: Tensor  # [1, N]
    conics: Tensor  # [1, N, 3]
    isect_offsets: Tensor  # [1, tiles_y, tiles_x]
    flatten_ids: Tensor  # [n_isects]


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
    gsplat = _gsplat()
    size = (camera.height, camera.width)
    if len(means) == 0:
        image = means.new_zeros(*size, colors.shape[-1])
        image = image if background is None else image + background
        nothing = means.new_zeros(size)
        return Rendering(image, nothing, nothing, torch.zeros(0, dtype=torch.int32, device=means.device))
    seen = _project(gsplat, means, quats, scales, opacities, camera, means2d_offset)
    if sh_degree is not None:
        directions = means - means.new_tensor(camera.position)
        visible = (seen.radii[0] > 0).all(-1)
        colors = (gsplat.spherical_harmonics(sh_degree, directions, colors, masks=visible) + 0.5).clamp_min(0)
    features = torch.cat([seen.depths[0, :, None], colors], -1)
    if background is not None:
        background = torch.cat([background.new_zeros(1), background])
    image, alphas = _blend(gsplat, seen, features, opacities, camera, background)
    depths = image[..., 0] / alphas.clamp_min(1e-10)
    return Rendering(image[..., 1:], depths, alphas, seen.radii[0].amax(-1).int())


def _blend(
    gsplat: Any,
    seen: _Projected,
    features: Tensor,
    opacities: Tensor,
    camera: Camera,
    background: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Blend features of any width, some channels at a time, the first of which carry the depth along.

    Args:
        gsplat: The package.
        seen: The Gaussians in the view.
        features: Of every Gaussian, depth first. [N, 1 + C]
        opacities: In (0, 1). [N]
        camera: The view.
        background: Behind everything. [1 + C] or None.

    Returns:
        Blended features [H, W, 1 + C] and alphas [H, W].
    """
    # 1 + 32 channels is one of the widths that gsplat has a kernel for; others it pads to a power of two.
    ends = [0, *range(1 + _CHANNELS, features.shape[1], _CHANNELS), features.shape[1]]
    parts = []
    for start, end in pairwise(ends):
        image, alphas = gsplat.rasterize_to_pixels(
            means2d=seen.means2d,
            conics=seen.conics,
            colors=features[None, :, start:end],
            opacities=opacities[None],
            image_width=camera.width,
            image_height=camera.height,
            tile_size=_TILE_SIZE,
            isect_offsets=seen.isect_offsets,
            flatten_ids=seen.flatten_ids,
            backgrounds=None if background is None else background[None, start:end],
        )
        parts.append((image[0], alphas[0, ..., 0]))
    return torch.cat([image for image, _ in parts], -1), parts[0][1]


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
    gsplat = _gsplat()
    ids, rows = torch.unique(pixels[:, 1] * camera.width + pixels[:, 0], return_inverse=True)
    if len(means) == 0 or len(ids) == 0:
        size = (len(pixels), top_k)
        indices = torch.full(size, -1, dtype=torch.int32, device=means.device)
        return BlendWeights(indices, means.new_zeros(size), means.new_zeros(len(pixels)))
    seen = _project(gsplat, means, quats, scales, opacities, camera, None)
    transmittances = means.new_zeros(camera.height * camera.width)
    transmittances[ids] = 1  # all other pixels are finished before they begin
    gaussians, hits, _ = gsplat.rasterize_to_indices_in_range(
        range_start=0,
        range_end=_ALL_BATCHES,
        transmittances=transmittances.reshape(1, camera.height, camera.width),
        means2d=seen.means2d,
        conics=seen.conics,
        opacities=opacities[None],
        image_width=camera.width,
        image_height=camera.height,
        tile_size=_TILE_SIZE,
        isect_offsets=seen.isect_offsets,
        flatten_ids=seen.flatten_ids,
    )
    centres = torch.stack([hits % camera.width, hits // camera.width], -1) + 0.5
    offset = centres - seen.means2d[0, gaussians]
    a, b, c = seen.conics[0, gaussians].unbind(-1)
    sigmas = 0.5 * (a * offset[:, 0] ** 2 + c * offset[:, 1] ** 2) + b * offset[:, 0] * offset[:, 1]
    alphas = (opacities[gaussians] * torch.exp(-sigmas)).clamp_max(MAX_ALPHA)
    found = strongest(gaussians, torch.searchsorted(ids, hits), alphas, len(ids), top_k)
    return BlendWeights(found.indices[rows], found.weights[rows], found.alphas[rows])


def strongest(gaussians: Tensor, rows: Tensor, alphas: Tensor, row_count: int, top_k: int) -> BlendWeights:
    """Blend the hits of every ray and keep the strongest of each.

    Args:
        gaussians: Gaussian of each hit. int64 [M]
        rows: Ray of each hit, ascending; hits of one ray from front to back. int64 [M]
        alphas: Alpha of each hit. [M]
        row_count: Number of rays.
        top_k: How many to keep a ray.
    """
    counts = torch.bincount(rows, minlength=row_count)
    firsts = counts.cumsum(0) - counts
    # log T_i = Σ_{j < i} log (1 - α_j), the sum begun anew at each ray; then w_i = α_i T_i.
    log_kept = torch.log1p(-alphas.double())
    log_T = log_kept.cumsum(0) - log_kept
    log_T = log_T - log_T[firsts[rows]]
    weights = alphas * log_T.exp().to(alphas.dtype)

    # By ray, and within a ray by weight: two stable sorts.
    order = torch.argsort(weights, descending=True, stable=True)
    order = order[torch.argsort(rows[order], stable=True)]
    place = torch.arange(len(rows), device=rows.device) - firsts[rows]  # `rows` is the same when sorted so
    order, place = order[place < top_k], place[place < top_k]
    indices = torch.full((row_count, top_k), -1, dtype=torch.int32, device=rows.device)
    strongest_weights = weights.new_zeros(row_count, top_k)
    indices[rows[order], place] = gaussians[order].int()
    strongest_weights[rows[order], place] = weights[order]
    totals = weights.new_zeros(row_count).index_add_(0, rows, weights)
    return BlendWeights(indices, strongest_weights, totals)


def _project(
    gsplat: Any,
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    camera: Camera,
    means2d_offset: Tensor | None,
) -> _Projected:
    """Project the Gaussians and list them by tile."""
    viewmats = torch.as_tensor(camera.viewmat, dtype=means.dtype, device=means.device)[None]
    Ks = torch.as_tensor(camera.K, dtype=means.dtype, device=means.device)[None]
    radii, means2d, depths, conics, _ = gsplat.fully_fused_projection(
        means=means,
        covars=None,
        quats=quats,
        scales=scales,
        viewmats=viewmats,
        Ks=Ks,
        width=camera.width,
        height=camera.height,
        eps2d=EPS2D,
        near_plane=NEAR_PLANE,
        opacities=opacities,
    )
    if means2d_offset is not None:
        means2d = means2d + means2d_offset
    tiles_x, tiles_y = -(-camera.width // _TILE_SIZE), -(-camera.height // _TILE_SIZE)
    _, isect_ids, flatten_ids = gsplat.isect_tiles(means2d, radii, depths, _TILE_SIZE, tiles_x, tiles_y)
    offsets = gsplat.isect_offset_encode(isect_ids, 1, tiles_x, tiles_y).reshape(1, tiles_y, tiles_x)
    return _Projected(radii, means2d, depths, conics, offsets, flatten_ids)


def _gsplat() -> Any:
    """The package, its kernels compiled: at the first use on a machine that takes minutes."""
    try:
        import gsplat  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise GagsError("the cuda backend needs gsplat; install it with: pip install 'gags[cuda]'") from error
    try:
        from gsplat.cuda import _backend  # pyright: ignore[reportMissingImports]
    except (ImportError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        raise GagsError(f"gsplat's kernels cannot be compiled: {reason}; `gags doctor` tells more") from error
    # Without a CUDA compiler gsplat only prints a line and goes on with None.
    if getattr(_backend, "_C", None) is None:
        raise GagsError("gsplat has no compiled kernels and finds no CUDA compiler; `gags doctor` tells more")
    return gsplat
