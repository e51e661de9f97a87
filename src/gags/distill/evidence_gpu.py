"""The evidence of one photo where Gaussians are on a GPU; see `evidence.view_evidence`.

What a kernel adds up Gaussian by Gaussian on a CPU, a sort and sums of segments add up here. All is in
PyTorch and runs on any device.
"""

import torch
from torch import Tensor

LEAST_WEIGHT = 0.01  # blending weights below this tell nothing but cost memory


def view_entries(
    indices: Tensor, weights: Tensor, labels: Tensor, mask_count: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Sum up one photo's pixels, on the device of the Gaussians.

    Args:
        indices: Gaussians that make up each pixel, -1 for padding. [P, K]
        weights: Their blending weights. [P, K]
        labels: Masks that cover each pixel on the three levels, -1 where there is none. int [P, 3]
        mask_count: Number M of masks of the photo.

    Returns:
        Gaussians int32 [E], ascending; masks int32 [E], M for the photo as a whole; weights float32 [E].
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
    return (entries // (mask_count + 1)).int(), (entries % (mask_count + 1)).int(), sums


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
