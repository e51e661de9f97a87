"""What all photos together say about every Gaussian: which masks cover it, and how much of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.nn.functional import embedding_bag

from gags.capture import Camera
from gags.distill import evidence_gpu
from gags.distill.evidence_gpu import LEAST_WEIGHT, DeviceEvidence, ViewEntries
from gags.embed.description import Description
from gags.gaussians import Gaussians, blend_weights
from gags.progress import SILENT, Reporter
from gags.render.cuda_view import to_device

GRID_PIXELS = 40_000  # of every photo: enough that next to no visible Gaussian is missed


@dataclass(eq=False)
class ViewEvidence:
    """What one photo says: a sparse matrix of Gaussians and masks, entries sorted by Gaussian.

    The sum of blending weights, over the pixels looked at, of Gaussian i in mask m is the entry (i, m). One
    more column, M, holds the weights over all pixels, covered by a mask or not.

    Attributes:
        gaussians: Gaussian of each entry. int32 [E]
        masks: Mask of each entry, M for the photo as a whole. int32 [E]
        weights: float32 [E]
        count: Number M of masks of the photo.
    """

    gaussians: np.ndarray
    masks: np.ndarray
    weights: np.ndarray
    count: int


@dataclass(eq=False)
class Evidence:
    """The same for all photos: rows are Gaussians, columns all masks (M), then all photos (V).

    Attributes:
        starts: First entry of each Gaussian, and the end. int64 [N + 1]
        columns: Mask, or M + photo. int32 [E]
        weights: Sum of blending weights over the pixels looked at. float32 [E]
        view_of: Photo of each column. int32 [M + V]
    """

    starts: np.ndarray
    columns: np.ndarray
    weights: np.ndarray
    view_of: np.ndarray

    @property
    def mask_count(self) -> int:
        """Number M of masks of all photos."""
        return len(self.view_of) - self.view_count

    @property
    def view_count(self) -> int:
        """Number V of photos."""
        return int(self.view_of[-1]) + 1 if len(self.view_of) else 0

    def sizes(self) -> np.ndarray:
        """Weight in every mask, and in every photo. float64 [M + V]"""
        return np.bincount(self.columns, self.weights, minlength=len(self.view_of))

    def shared(self, rows: np.ndarray) -> np.ndarray:
        """Weight that Gaussians [n] share with every mask, and with every photo. float64 [M + V]"""
        lengths = self.starts[rows + 1] - self.starts[rows]
        first = np.repeat(self.starts[rows] - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths)
        entries = first + np.arange(lengths.sum())
        return np.bincount(self.columns[entries], self.weights[entries], minlength=len(self.view_of))


def pixel_grid(width: int, height: int, most: int, rng: np.random.Generator | None = None) -> np.ndarray:
    """Pixels of a photo on a regular grid.

    Args:
        width: Of the photo, px.
        height: Of the photo, px.
        most: About how many pixels, at most.
        rng: Draws where the grid begins; without it, it lies in the middle.

    Returns:
        x, y of each. int64 [P, 2]
    """
    stride = max(1, int(np.ceil(np.sqrt(width * height / most))))
    left, top = (stride // 2, stride // 2) if rng is None else rng.integers(stride, size=2)
    xs, ys = np.arange(left, width, stride), np.arange(top, height, stride)
    return np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)


def view_evidence(
    indices: Tensor, weights: Tensor, labels: np.ndarray, mask_count: int
) -> ViewEvidence | ViewEntries:
    """Sum up one photo's pixels; what lies on a GPU stays there.

    Args:
        indices: Gaussians that make up each pixel, -1 for padding. [P, K]
        weights: Their blending weights. [P, K]
        labels: Masks that cover each pixel on the three levels, -1 where there is none. int [P, 3]
        mask_count: Number M of masks of the photo.
    """
    if indices.device.type == "cuda":
        there = to_device(np.ascontiguousarray(labels, np.int32), indices.device)
        return evidence_gpu.view_entries(indices, weights, there, mask_count)
    flat, blend = indices.cpu().numpy().reshape(-1), weights.cpu().numpy().reshape(-1)
    used = np.flatnonzero((flat >= 0) & (blend > LEAST_WEIGHT))
    order = used[np.argsort(flat[used], kind="stable")]
    gaussians, masks, sums = _sum_entries(
        flat[order].astype(np.int32),
        blend[order].astype(np.float32),
        np.ascontiguousarray(labels[order // indices.shape[1]], np.int32),
        mask_count,
    )
    return ViewEvidence(gaussians, masks, sums, mask_count)


@torch.no_grad()
def gather_evidence(
    gaussians: Gaussians,
    items: Sequence[tuple[Camera, Description]],
    *,
    stage: str,
    progress: Reporter = SILENT,
) -> tuple[Evidence, np.ndarray]:
    """Which masks of which photos cover every Gaussian, looked up on a grid of pixels of each photo.

    Distillation, which needs the weights of other pixels as well, gathers its own in the same pass
    (`gags.distill.samples`).

    Args:
        gaussians: The scene.
        items: Camera and masks of every photo, each read once.
        stage: Name of what is done, for the progress.
        progress: Told about progress.

    Returns:
        The evidence, and the level (0, 1, 2) of every mask, int8 [M].
    """
    views: list[ViewEvidence | ViewEntries] = []
    levels = [np.zeros(0, np.int8)]
    with progress.stage(stage, len(items), "photos") as bar:
        for camera, description in items:
            masks = description.masks
            height, width = masks.labels.shape[1:]
            grid = pixel_grid(width, height, GRID_PIXELS)
            pixels = to_device(grid, gaussians.means.device)
            blend = blend_weights(gaussians, camera.resized(width, height), pixels)
            labels = masks.labels[:, grid[:, 1], grid[:, 0]].T
            views.append(view_evidence(blend.indices, blend.weights, labels, len(masks)))
            levels.append(masks.levels)
            bar.advance()
    merged = merge(views, len(gaussians))
    merged = Evidence(*merged.arrays()) if isinstance(merged, DeviceEvidence) else merged
    return merged, np.concatenate(levels)


def merge(views: Sequence[ViewEvidence | ViewEntries], gaussian_count: int) -> Evidence | DeviceEvidence:
    """Put the photos' entries together, Gaussian by Gaussian, where they lie."""
    there = [view for view in views if isinstance(view, ViewEntries)]
    if there:
        return evidence_gpu.merge_views(there, gaussian_count)
    here = [view for view in views if isinstance(view, ViewEvidence)]
    return _merge(here, gaussian_count)


def _merge(views: Sequence[ViewEvidence], gaussian_count: int) -> Evidence:
    first = np.cumsum([0] + [view.count for view in views])
    total = int(first[-1])
    columns = [
        np.where(view.masks == view.count, total + number, view.masks + first[number]).astype(np.int32)
        for number, view in enumerate(views)
    ]
    gaussians = np.concatenate([np.empty(0, np.int32), *(view.gaussians for view in views)])
    order = np.argsort(gaussians, kind="stable")
    starts = np.zeros(gaussian_count + 1, np.int64)
    np.cumsum(np.bincount(gaussians, minlength=gaussian_count), out=starts[1:])
    numbers = np.arange(len(views), dtype=np.int32)
    return Evidence(
        starts,
        np.concatenate([np.empty(0, np.int32), *columns])[order],
        np.concatenate([np.empty(0, np.float32), *(view.weights for view in views)])[order],
        np.concatenate([np.repeat(numbers, [view.count for view in views]), numbers]),
    )


def uplift(evidence: Evidence | DeviceEvidence, values: Tensor, mask_weights: Tensor) -> Tensor:
    """Weighted mean of what every Gaussian's pixels see, Σ w F / Σ w (Occam's LGS).

    Args:
        evidence: Of N Gaussians and M masks.
        values: What each mask says. [M, d]
        mask_weights: How much each mask counts, 0 to leave it out. [M]

    Returns:
        float32 [N, d]; 0 for Gaussians that no mask covers.
    """
    if isinstance(evidence, DeviceEvidence):
        return evidence_gpu.uplift(evidence, values, mask_weights)
    is_mask = evidence.columns < evidence.mask_count
    columns = torch.from_numpy(evidence.columns[is_mask].astype(np.int64))
    counts = np.concatenate([[0], np.cumsum(is_mask)])[evidence.starts]
    weights = torch.from_numpy(evidence.weights[is_mask]) * mask_weights.cpu()[columns]
    with_ones = torch.cat([values.float().cpu(), torch.ones(len(values), 1)], dim=1)
    sums = embedding_bag(
        columns, with_ones, torch.from_numpy(counts[:-1]), mode="sum", per_sample_weights=weights
    ).to(values.device)
    return sums[:, :-1] / sums[:, -1:].clamp(min=1e-8)


@njit(cache=True)
def _sum_entries(
    gaussians: np.ndarray, weights: np.ndarray, labels: np.ndarray, mask_count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # pragma: no cover - compiled
    """Entries of ViewEvidence from contributions sorted by Gaussian, each with its pixel's labels.

    Args:
        gaussians: Gaussian of each contribution, in order. int32 [C]
        weights: Their blending weights. float32 [C]
        labels: Masks that cover each one's pixel on the three levels, -1 where there is none. int32 [C, 3]
        mask_count: Number M of masks; the photo as a whole counts as mask M.

    Returns:
        Gaussian, mask and sum of weights of each entry. int32 [E], int32 [E], float32 [E]
    """
    size = len(gaussians)
    # A contribution adds to the photo and to at most one mask on each level, so to four entries at most.
    out_gaussians = np.empty(4 * size, np.int32)
    out_masks = np.empty(4 * size, np.int32)
    out_weights = np.empty(4 * size, np.float32)
    sums = np.zeros(mask_count + 1, np.float32)
    touched = np.empty(mask_count + 1, np.int32)
    count, first = 0, 0
    while first < size:
        # Sum one Gaussian's weights mask by mask, and list which masks it touches.
        last, found = first, 0
        while last < size and gaussians[last] == gaussians[first]:
            for level in range(labels.shape[1] + 1):
                mask = mask_count if level == labels.shape[1] else labels[last, level]
                if mask < 0:
                    continue
                if sums[mask] == 0:
                    touched[found] = mask
                    found += 1
                sums[mask] += weights[last]
            last += 1
        # Write its entries, and clear the sums of these masks alone.
        for k in range(found):
            mask = touched[k]
            out_gaussians[count], out_masks[count], out_weights[count] = gaussians[first], mask, sums[mask]
            sums[mask] = 0
            count += 1
        first = last
    return out_gaussians[:count].copy(), out_masks[:count].copy(), out_weights[:count].copy()
