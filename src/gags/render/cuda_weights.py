"""What pixels are made of, by gsplat: which Gaussians a ray hits, and how much of each it shows.

A hit is one Gaussian on the ray of one pixel. A photo of 12 megapixels has half a billion of them, so they
are looked up some pixels at a time: as many as can have `MOST_HITS` hits, however Gaussians lie.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gags.capture.camera import Camera
from gags.render.cuda_view import TILE_SIZE, Seen, load_gsplat, see
from gags.render.types import MAX_ALPHA, MIN_ALPHA, MIN_TRANSMITTANCE, BlendWeights

MOST_HITS = 1 << 24  # at a time
BYTES_A_HIT = 100  # held at a time, at most, with what a sort takes besides; in all 1.7 GB. Tests measure it
_MOST_A_RAY = int(math.log(MIN_TRANSMITTANCE) / math.log(1 - MIN_ALPHA)) + 1  # hits of the faintest Gaussians
_ALL_BATCHES = 1 << 30  # more batches of Gaussians than any tile has


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
    """The Gaussians that make up chosen pixels; see `gags.render.blend_weights`.

    Beside what it returns, it takes at most `MOST_HITS` · `BYTES_A_HIT` and 100 bytes a pixel.
    """
    gsplat = load_gsplat()
    means, quats, scales, opacities = (t.float().contiguous() for t in (means, quats, scales, opacities))
    found = BlendWeights(
        torch.full((len(pixels), top_k), -1, dtype=torch.int32, device=means.device),
        means.new_zeros(len(pixels), top_k),
        means.new_zeros(len(pixels)),
    )
    if not len(means) or not len(pixels):
        return found
    places, rows = torch.unique(pixels[:, 1] * camera.width + pixels[:, 0], return_inverse=True)
    first = torch.empty_like(places)
    first[rows] = torch.arange(len(rows), device=rows.device)  # a row of each place; doubles follow below
    seen = see(gsplat, means, quats, scales, opacities, camera)
    # Pixels by tile, so that those that are looked up together lie together.
    tiles, order = torch.sort(_tile_of(places, camera), stable=True)
    for part in _parts(seen, tiles, least=top_k):
        wanted = order[part].sort().values
        hits = _hits(gsplat, seen, places[wanted], camera)
        best = strongest(hits.gaussians, hits.rows, hits.alphas, len(wanted), top_k)
        there = first[wanted]
        found.indices[there], found.weights[there] = best.indices, best.weights
        found.alphas[there] = best.alphas
    if len(places) < len(rows):
        again = first[rows]
        return BlendWeights(found.indices[again], found.weights[again], found.alphas[again])
    return found


@torch.no_grad()
def largest_weights(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    camera: Camera,
    places: Tensor | None = None,
) -> Tensor:
    """Each Gaussian's largest blending weight in one view; see `gags.render.largest_weights`."""
    gsplat = load_gsplat()
    means, quats, scales, opacities = (t.float().contiguous() for t in (means, quats, scales, opacities))
    largest = means.new_zeros(len(means))
    if places is None:
        places = torch.arange(camera.width * camera.height, device=means.device)
    if len(means) and len(places):
        seen = see(gsplat, means, quats, scales, opacities, camera)
        tiles, order = torch.sort(_tile_of(places, camera), stable=True)
        for part in _parts(seen, tiles, least=1):
            wanted = places[order[part]].sort().values
            hits = _hits(gsplat, seen, wanted, camera)
            weights = _ray_weights(hits.rows, hits.alphas, len(wanted))
            largest.scatter_reduce_(0, hits.gaussians, weights, "amax")
    return largest


def _tile_of(places: Tensor, camera: Camera) -> Tensor:
    """Number of the tile of each pixel, given as row · width + column. [P]"""
    tiles_x = -(-camera.width // TILE_SIZE)
    return places // camera.width // TILE_SIZE * tiles_x + places % camera.width // TILE_SIZE


def _parts(seen: Seen, tiles: Tensor, least: int) -> Iterator[slice]:
    """Pixels in parts that have `MOST_HITS` hits at most, or are one pixel, however Gaussians lie.

    A pixel hits no more Gaussians than are listed in its tile; and no more than it takes to use up its light
    if each of them is as faint as may be.

    Args:
        seen: The Gaussians.
        tiles: Tile of each pixel, ascending. [P]
        least: As how many hits a pixel counts at least: as many as are returned of it.
    """
    starts = seen.isect_offsets.flatten().long()
    listed = torch.cat([starts, starts.new_full((1,), len(seen.flatten_ids))]).diff()
    pixels = torch.zeros_like(listed).index_add_(0, tiles, torch.ones_like(tiles))
    cost, count = torch.stack([listed.clamp(least, max(least, _MOST_A_RAY)), pixels]).cpu().numpy()
    costs, counts = np.cumsum(cost * count), np.cumsum(count)
    start, used = 0, 0
    while start < len(tiles):
        # The tiles that fit whole, then as many pixels of the next one as fit; at least one pixel.
        tile = int(np.searchsorted(costs, used + MOST_HITS, side="right"))
        end, taken = (int(counts[tile - 1]), int(costs[tile - 1])) if tile else (0, 0)
        if tile < len(cost):
            more = max((used + MOST_HITS - taken) // int(cost[tile]), start + 1 - end)
            end, taken = end + more, taken + more * int(cost[tile])
        yield slice(start, end)
        start, used = end, taken


class _Hits(NamedTuple):
    """M hits of some rays."""

    gaussians: Tensor  # int64 [M]
    rows: Tensor  # which ray, ascending; those of one ray from front to back. int64 [M]
    alphas: Tensor  # [M]


def _hits(gsplat: Any, seen: Seen, places: Tensor, camera: Camera) -> _Hits:
    """What the rays through some pixels hit; pixels ascend."""
    light = seen.means2d.new_zeros(camera.height * camera.width)
    light[places] = 1  # all other pixels are finished before they begin
    gaussians, pixels = gsplat.rasterize_to_indices_in_range(
        range_start=0,
        range_end=_ALL_BATCHES,
        transmittances=light.reshape(1, camera.height, camera.width),
        means2d=seen.means2d,
        conics=seen.conics,
        opacities=seen.opacities,
        image_width=camera.width,
        image_height=camera.height,
        tile_size=TILE_SIZE,
        isect_offsets=seen.isect_offsets,
        flatten_ids=seen.flatten_ids,
    )[:2]
    dx = (pixels % camera.width).float() + 0.5 - seen.means2d[0, gaussians, 0]
    dy = (pixels // camera.width).float() + 0.5 - seen.means2d[0, gaussians, 1]
    a, b, c = seen.conics[0, gaussians].unbind(-1)
    sigmas = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
    alphas = (seen.opacities[0, gaussians] * torch.exp(-sigmas)).clamp_max(MAX_ALPHA)
    return _Hits(gaussians, torch.searchsorted(places, pixels), alphas)


def _ray_weights(rows: Tensor, alphas: Tensor, row_count: int) -> Tensor:
    """Blending weights w = αT of the hits of rays; rows ascend, hits of one ray go from front to back. [M]"""
    counts = torch.zeros(row_count, dtype=torch.int64, device=rows.device)
    counts.index_add_(0, rows, torch.ones_like(rows))
    # log T_i = Σ_{j < i} log (1 - α_j), the sum begun anew at each ray.
    log_kept = torch.log1p(-alphas.double())
    log_T = log_kept.cumsum(0) - log_kept
    log_T = log_T - log_T[(counts.cumsum(0) - counts)[rows]]
    return alphas * log_T.exp().to(alphas.dtype)


def strongest(gaussians: Tensor, rows: Tensor, alphas: Tensor, row_count: int, top_k: int) -> BlendWeights:
    """Blend the hits of every ray and keep the strongest of each.

    Args:
        gaussians: Gaussian of each hit. int64 [M]
        rows: Ray of each hit, ascending; hits of one ray from front to back. int64 [M]
        alphas: Alpha of each hit. float32 [M]
        row_count: Number of rays.
        top_k: How many to keep a ray.
    """
    if not len(rows):
        indices = torch.full((row_count, top_k), -1, dtype=torch.int32, device=rows.device)
        return BlendWeights(indices, alphas.new_zeros(row_count, top_k), alphas.new_zeros(row_count))
    weights = _ray_weights(rows, alphas, row_count)
    totals = weights.new_zeros(row_count).index_add_(0, rows, weights)
    # By ray, and within a ray by falling weight, in one sort: floats that are not below 0 are ordered as
    # their bits are.
    order = torch.sort(rows << 32 | (0x7FFFFFFF - weights.view(torch.int32)).long(), stable=True).indices
    starts = torch.searchsorted(rows, torch.arange(row_count + 1, device=rows.device))
    picks = starts[:-1, None] + torch.arange(top_k, device=rows.device)
    there = picks < starts[1:, None]
    chosen = order[torch.where(there, picks, 0)]
    indices = torch.where(there, gaussians[chosen], -1).int()
    return BlendWeights(indices, torch.where(there, weights[chosen], 0.0), totals)
