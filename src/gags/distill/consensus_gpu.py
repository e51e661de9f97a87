"""What `consensus.consensus` computes, on a GPU: masks are compared by products of sparse matrices.

Photos are compared block by block. A GPU holds the entries of two blocks at a time, whatever their number.
All is in PyTorch and runs on any device.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from gags.distill.entries import blocks_of
from gags.distill.evidence import Evidence
from gags.render.cuda_view import to_device


@dataclass(frozen=True, eq=False)
class Shares:
    """What a block of photos says of L Gaussians: a sparse matrix D = w_ic / √w_iv, v being the photo of c.

    What two masks m and n of photos u and v share, Σ_i (w_im / w_iu)(w_in / w_iv) √(w_iu w_iv), is then the
    product of their columns, and what m shares with the whole photo v is that with the column of v.

    Attributes:
        transposed: Dᵀ, columns of masks before those of photos. sparse float32 [M + V, L]
        rows: Gaussian of each entry, those of one photo together, photo by photo. int64 [E]
        columns: Mask, or M + photo, as they count in the block. int64 [E]
        values: float32 [E]
        ends: Where the entries of each photo end, 0 before all. V + 1
        view_of: Photo of each mask, as it counts in the block. int64 [M]
        firsts: First mask of each photo, and the end. V + 1
    """

    transposed: Tensor
    rows: Tensor
    columns: Tensor
    values: Tensor
    ends: list[int]
    view_of: Tensor
    firsts: list[int]

    @staticmethod
    def of(evidence: Evidence, photos: range, device: torch.device) -> "Shares":
        """Those of some photos."""
        block = evidence.of_photos(np.arange(photos.start, photos.stop))
        evidence.release()
        count, gaussians = block.mask_count, len(block.starts) - 1
        lengths = to_device(np.diff(block.starts), device)
        rows = torch.repeat_interleave(lengths, output_size=len(block.columns))
        columns, weights = to_device(block.columns, device).long(), to_device(block.weights, device)
        view_of = to_device(block.view_of, device).long()
        views, order = torch.sort(view_of[columns], stable=True)  # so rows still ascend within a photo
        rows, columns, weights = rows[order], columns[order], weights[order]
        keys = views * gaussians + rows
        (whole,) = (columns >= count).nonzero(as_tuple=True)
        seen = weights[whole][torch.searchsorted(keys[whole], keys)]
        values = weights / seen.sqrt()
        transposed = torch.sparse_coo_tensor(
            torch.stack([columns, rows]), values, (count + len(photos), gaussians), check_invariants=False
        ).coalesce()
        ends = torch.searchsorted(views, torch.arange(len(photos) + 1, device=device)).tolist()
        firsts = np.searchsorted(block.view_of[:count], np.arange(len(photos) + 1)).tolist()
        return Shares(transposed, rows, columns, values, ends, view_of[:count], firsts)

    def of_photo(self, photo: int) -> Tensor:
        """Columns of the masks of one photo, M_u, and of the photo itself behind. [L, M_u + 1]"""
        first, count = self.firsts[photo], self.firsts[photo + 1] - self.firsts[photo]
        own = slice(self.ends[photo], self.ends[photo + 1])
        columns = torch.where(self.columns[own] < self.firsts[-1], self.columns[own] - first, count)
        dense = self.values.new_zeros(self.transposed.shape[1], count + 1)
        dense[self.rows[own], columns] = self.values[own]
        return dense

    def overlaps(self, dense: Tensor) -> Tensor:
        """What the columns of `of_photo` share with those of the block. [M_u + 1, M + V]"""
        return torch.sparse.mm(self.transposed, dense).T


def photo_blocks(evidence: Evidence, most_pairs: int, most_entries: int) -> list[range]:
    """Photos in blocks of bounded size; a photo that is too large alone has one of its own.

    Args:
        evidence: Of all photos.
        most_pairs: Of a mask of any photo with a mask or a photo of the block.
        most_entries: Of the photos of a block.
    """
    entries = np.zeros(evidence.view_count)
    for first, end in evidence.blocks():
        columns = evidence.columns[evidence.starts[first] : evidence.starts[end]]
        entries += np.bincount(evidence.view_of[columns], minlength=len(entries))
    masks = np.bincount(evidence.view_of[: evidence.mask_count], minlength=evidence.view_count)
    shares = np.maximum(entries / most_entries, (masks + 1) * max(1, int(masks.max())) / most_pairs)
    # Shares of a block are counted in millionths, rounded up: whole numbers add up without rounding.
    starts = np.concatenate([[0], np.cumsum(np.ceil(shares * 1e6).astype(np.int64))])
    return [range(first, end) for first, end in blocks_of(starts, 1_000_000)]


def consensus(
    evidence: Evidence, embeddings: Tensor, *, least_iou: float, most_pairs: int, most_entries: int
) -> tuple[Tensor, Tensor]:
    """The mean of the masks that agree with each mask, and its repeatability; see `consensus.consensus`.

    Args:
        evidence: Of all photos, on the Gaussians that masks are compared on.
        embeddings: Unit embeddings of all masks, in any basis; on the device to compute on. [M, r]
        least_iou: Masks of a smaller IoU are different things.
        most_pairs: Of masks that are compared at once.
        most_entries: Of a block of photos, of which two are on the device.

    Returns:
        Unit vectors [M, r], repeatability in [0, 1] [M].
    """
    means, device = torch.zeros_like(embeddings), embeddings.device
    repeated, seen = embeddings.new_zeros(2, len(embeddings))
    blocks = photo_blocks(evidence, most_pairs, most_entries) if len(embeddings) else []
    for photos in blocks:
        own = Shares.of(evidence, photos, device)
        for others in blocks:
            block = own if others == photos else Shares.of(evidence, others, device)
            there = embeddings[slice(*_masks(evidence, others))]
            for photo in photos:
                number = photo - others.start if photo in others else None
                iou, visible, best = _compared(own.of_photo(photo - photos.start), block, number)
                here = slice(*_masks(evidence, range(photo, photo + 1)))
                means[here] += torch.where(iou >= least_iou, iou.square(), 0.0).to(embeddings) @ there
                repeated[here] += (visible * best).sum(dim=1)
                seen[here] += visible.sum(dim=1)
    return normalize(means, dim=-1), repeated / seen.clamp(min=1e-6)


def _masks(evidence: Evidence, photos: range) -> tuple[int, int]:
    """First mask of some photos in a row, and the end."""
    return evidence.masks_of(photos.start).start, evidence.masks_of(photos.stop - 1).stop


def _compared(dense: Tensor, block: Shares, number: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """Compare the masks of one photo with those of a block.

    Args:
        dense: Of the photo, see `Shares.of_photo`. [L, M_u + 1]
        block: The block of M masks and V photos.
        number: Of the photo in the block; None if it is not there.

    Returns:
        IoU [M_u, M]; the share of each mask that each photo sees, and its best IoU there [M_u, V]; 0 in its
        own photo, but for the IoU of 1 with itself.
    """
    overlaps, count = block.overlaps(dense), block.firsts[-1]
    shared, both, sizes = overlaps[:-1, :count], overlaps[:-1, count:], overlaps[-1, :count]
    union = both[:, block.view_of] + sizes - shared
    iou = torch.where(union > 1e-6, shared / union.clamp(min=1e-6), 0.0)
    whole = (dense[:, :-1] * dense[:, -1:]).sum(dim=0)  # what each mask shares with its own photo
    visible = (both / whole[:, None].clamp(min=1e-6)).clamp(max=1)
    if number is not None:
        iou[:, block.firsts[number] : block.firsts[number + 1]] = torch.eye(len(iou), device=iou.device)
        visible[:, number] = 0
    best = torch.zeros_like(visible).scatter_reduce_(1, block.view_of.expand(len(iou), -1), iou, "amax")
    return iou, visible, best
