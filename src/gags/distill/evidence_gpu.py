"""The evidence of `evidence` where Gaussians are on a GPU, and what `consensus` makes of it there.

What kernels add up Gaussian by Gaussian on a CPU, sorts, sums of segments and sparse products add up here. So
nothing that is as large as the photos comes back from the GPU. All is in PyTorch and runs on any device.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, normalize

LEAST_WEIGHT = 0.01  # blending weights below this tell nothing but cost memory


@dataclass(eq=False)
class ViewEntries:
    """What one photo says, see `evidence.ViewEvidence`; on the device of the Gaussians.

    Attributes:
        gaussians: Gaussian of each entry, ascending. int32 [E]
        masks: Mask of each entry, M for the photo as a whole. int32 [E]
        weights: float32 [E]
        count: Number M of masks of the photo.
    """

    gaussians: Tensor
    masks: Tensor
    weights: Tensor
    count: int


@dataclass(eq=False)
class DeviceEvidence:
    """What all photos say, see `evidence.Evidence`; on the device of the Gaussians.

    Attributes:
        starts: First entry of each Gaussian, and the end. int64 [N + 1]
        columns: Mask, or M + photo. int32 [E]
        weights: Sum of blending weights over the pixels looked at. float32 [E]
        counts: Number of masks of each photo, in order.
    """

    starts: Tensor
    columns: Tensor
    weights: Tensor
    counts: list[int]

    @property
    def mask_count(self) -> int:
        """Number M of masks of all photos."""
        return sum(self.counts)

    @cached_property
    def view_of(self) -> Tensor:
        """Photo of each column. int64 [M + V]"""
        return torch.from_numpy(_view_of(self.counts)).to(self.starts.device)

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The same as arrays: the attributes of `evidence.Evidence`."""
        own = (tensor.cpu().numpy() for tensor in (self.starts, self.columns, self.weights))
        return (*own, _view_of(self.counts).astype(np.int32))  # pyright: ignore[reportReturnType]


def _view_of(counts: list[int]) -> np.ndarray:
    numbers = np.arange(len(counts))
    return np.concatenate([np.repeat(numbers, counts), numbers])


def view_entries(indices: Tensor, weights: Tensor, labels: Tensor, mask_count: int) -> ViewEntries:
    """Sum up one photo's pixels; see `evidence.view_evidence`.

    Args:
        indices: Gaussians that make up each pixel, -1 for padding. [P, K]
        weights: Their blending weights. [P, K]
        labels: Masks that cover each pixel on the three levels, -1 where there is none. int [P, 3]
        mask_count: Number M of masks of the photo.
    """
    whole = labels.new_full((len(labels), 1), mask_count)
    masks = torch.cat([labels, whole], dim=1).long()
    used = ((indices >= 0) & (weights > LEAST_WEIGHT))[..., None] & (masks >= 0)[:, None]
    rows, places, levels = used.nonzero(as_tuple=True)
    # One number says both Gaussian and mask; equal ones lie together when sorted.
    keys = indices[rows, places].long() * (mask_count + 1) + masks[rows, levels]
    keys, order = torch.sort(keys, stable=True)
    entries, counts = torch.unique_consecutive(keys, return_counts=True)
    sums = segment_sums(weights[rows, places][order], counts)
    return ViewEntries(
        (entries // (mask_count + 1)).int(), (entries % (mask_count + 1)).int(), sums, mask_count
    )


def segment_sums(values: Tensor, counts: Tensor) -> Tensor:
    """Sums of values that lie one segment after the other; the same ones each time, as atomic sums are not.

    Args:
        values: [E]
        counts: Length of each segment, at least 1, E together. int64 [S]

    Returns:
        Of the type of the values. [S]
    """
    ends = values.double().cumsum(0)[counts.cumsum(0) - 1]
    return ends.diff(prepend=ends.new_zeros(1)).to(values.dtype)


def merge_views(views: Sequence[ViewEntries], gaussian_count: int) -> DeviceEvidence:
    """Put the entries of at least one photo together, Gaussian by Gaussian."""
    first = np.cumsum([0] + [view.count for view in views])
    total = int(first[-1])
    columns = [
        torch.where(view.masks == view.count, total + number, view.masks + int(first[number])).int()
        for number, view in enumerate(views)
    ]
    gaussians, order = torch.sort(torch.cat([view.gaussians for view in views]), stable=True)
    starts = torch.searchsorted(gaussians, torch.arange(gaussian_count + 1, device=gaussians.device).int())
    return DeviceEvidence(
        starts,
        torch.cat(columns)[order],
        torch.cat([view.weights for view in views])[order],
        [view.count for view in views],
    )


def uplift(evidence: DeviceEvidence, values: Tensor, mask_weights: Tensor) -> Tensor:
    """Weighted mean of what every Gaussian's pixels see; see `evidence.uplift`. [M, d], [M] → [N, d]"""
    is_mask = evidence.columns < evidence.mask_count
    columns = torch.where(is_mask, evidence.columns, 0).long()
    weights = evidence.weights * is_mask * mask_weights.to(evidence.weights)[columns]
    with_ones = torch.cat([values.float(), values.new_ones(len(values), 1, dtype=torch.float32)], dim=1)
    sums = embedding_bag(columns, with_ones, evidence.starts[:-1], mode="sum", per_sample_weights=weights)
    return sums[:, :-1] / sums[:, -1:].clamp(min=1e-8)


@dataclass(frozen=True, eq=False)
class Shares:
    """The evidence of L landmarks as a sparse matrix D = w_ic / √w_iv, v being the photo of column c.

    What two masks m and n of photos u and v share, Σ_i (w_im / w_iu)(w_in / w_iv) √(w_iu w_iv), is then the
    product of their columns, and what m shares with the whole photo v is that with the column of v.

    Attributes:
        transposed: Dᵀ. sparse float32 [M + V, L]
        rows: Landmark of each entry, those of one photo together, photo by photo. int64 [E]
        columns: Mask, or M + photo. int64 [E]
        values: float32 [E]
        ends: Where the entries of each photo end, 0 before all. V + 1
        evidence: Of all photos.
    """

    transposed: Tensor
    rows: Tensor
    columns: Tensor
    values: Tensor
    ends: list[int]
    evidence: DeviceEvidence

    @staticmethod
    def of(evidence: DeviceEvidence, landmarks: int) -> "Shares":
        """Those of about so many of the Gaussians."""
        gaussians = len(evidence.starts) - 1
        stride = max(1, gaussians // landmarks)
        lengths = evidence.starts.diff()
        rows = torch.repeat_interleave(lengths, output_size=len(evidence.columns))
        (entries,) = (rows % stride == 0).nonzero(as_tuple=True)
        rows, columns = rows[entries] // stride, evidence.columns[entries].long()
        views, weights = evidence.view_of[columns], evidence.weights[entries]
        views, order = torch.sort(views, stable=True)  # so rows still ascend within a photo
        rows, columns, weights = rows[order], columns[order], weights[order]
        keys = views * gaussians + rows
        (whole,) = (columns >= evidence.mask_count).nonzero(as_tuple=True)
        seen = weights[whole][torch.searchsorted(keys[whole], keys)]
        values = weights / seen.sqrt()
        size = (len(evidence.view_of), -(-gaussians // stride))
        transposed = torch.sparse_coo_tensor(
            torch.stack([columns, rows]), values, size, check_invariants=False
        ).coalesce()
        photos = torch.arange(len(evidence.counts) + 1, device=views.device)
        ends = torch.searchsorted(views, photos).tolist()
        return Shares(transposed, rows, columns, values, ends, evidence)

    def overlaps(self, view: int) -> tuple[Tensor, Tensor]:
        """What the masks of one photo share with all columns [M_u, M + V], and their photo with masks [M]."""
        counts = self.evidence.counts
        count, first = counts[view], sum(counts[:view])
        own = slice(self.ends[view], self.ends[view + 1])
        columns = torch.where(self.columns[own] < self.evidence.mask_count, self.columns[own] - first, count)
        dense = self.values.new_zeros(self.transposed.shape[1], count + 1)
        dense[self.rows[own], columns] = self.values[own]
        shared = torch.sparse.mm(self.transposed, dense)
        return shared[:, :count].T, shared[: self.evidence.mask_count, count]


def consensus(
    evidence: DeviceEvidence, embeddings: Tensor, *, landmarks: int, least_iou: float
) -> tuple[Tensor, Tensor]:
    """The mean of the masks that agree with each mask, and its repeatability; see `consensus.consensus`.

    Args:
        evidence: Of all photos.
        embeddings: Unit embeddings of all masks, in any basis. [M, r]
        landmarks: About how many Gaussians to compare on.
        least_iou: Masks of a smaller IoU are different things.

    Returns:
        Unit vectors [M, r], repeatability in [0, 1] [M].
    """
    shares, total = Shares.of(evidence, landmarks), evidence.mask_count
    views = evidence.view_of[:total]
    firsts = np.cumsum([0, *evidence.counts]).tolist()
    means, repeated = [embeddings[:0]], [embeddings.new_zeros(0)]
    for view, (first, end) in enumerate(pairwise(firsts)):
        overlaps, sizes = shares.overlaps(view)
        shared, both = overlaps[:, :total], overlaps[:, total:]
        union = both[:, views] + sizes - shared
        iou = torch.where(union > 1e-6, shared / union.clamp(min=1e-6), 0.0)
        iou[:, first:end] = torch.eye(end - first, device=iou.device)
        visible = (both / both[:, view : view + 1].clamp(min=1e-6)).clamp(max=1)
        visible[:, view] = 0
        best = torch.zeros_like(visible).scatter_reduce_(1, views.expand(end - first, -1), iou, "amax")
        weights = torch.where(iou >= least_iou, iou.square(), 0.0).to(embeddings)
        means.append(weights @ embeddings)
        repeatability = (visible * best).sum(dim=1) / visible.sum(dim=1).clamp(min=1e-6)
        repeated.append(repeatability.to(embeddings))
    return normalize(torch.cat(means), dim=-1), torch.cat(repeated)
