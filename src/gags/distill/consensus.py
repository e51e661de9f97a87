"""Which masks of different photos are the same thing, and what they say together.

One photo's embedding of a mask is noisy: the thing may be small, cut off or seen from behind. Masks of other
photos that cover the same surface show the same thing, so their mean says far more reliably what it is.
Averaging removes noise. What then still differs between the photos of a surface shows on which level masks
disagree about what one thing is; the granularity weights learn that.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.nn.functional import normalize

from gags.distill import consensus_gpu
from gags.distill.entries import blocks_of
from gags.distill.evidence import Evidence
from gags.models.device import out_of_memory

LANDMARKS = 20_000  # Gaussians on which masks are compared; more tell nothing new
CONSENSUS_IOU = 0.5  # masks of a smaller IoU are different things
MOST_PAIRS = 1 << 24  # of masks that are compared at once: 64 MB of IoU
MOST_ENTRIES = 1 << 22  # of a block of photos on a GPU, which holds two blocks: 0.3 GB each while it is made
SMALLEST_SHARE = 64  # of these: blocks are not made smaller where a GPU's memory runs out


@dataclass(frozen=True, eq=False)
class Agreement:
    """How the masks of one photo (rows, M_u) relate to those of all photos, or of some (M masks of V photos).

    Attributes:
        iou: IoU on the surface that both photos see; 0 between masks of one photo, but 1 of each with itself.
            float32 [M_u, M]
        visible_share: Share of the mask's surface that each photo sees; 0 for its own photo. float32 [M_u, V]
    """

    iou: np.ndarray
    visible_share: np.ndarray


@dataclass(frozen=True, eq=False)
class Consensus:
    """What all photos together say about every mask.

    Attributes:
        embeddings: Mean of the masks that agree with it, unit vectors. [M, r]
        repeatability: How well other photos repeat the mask, in [0, 1]. [M]
    """

    embeddings: Tensor
    repeatability: Tensor


def on_landmarks(evidence: Evidence, landmarks: int = LANDMARKS) -> Evidence:
    """The evidence on about so many Gaussians alone, on which masks are compared."""
    count = len(evidence.starts) - 1
    stride = max(1, count // landmarks)
    return evidence if stride == 1 else evidence.of_gaussians(np.arange(0, count, stride))


def photo_blocks(evidence: Evidence, view: int) -> list[range]:
    """Photos in blocks that the masks of one photo are compared with at once, so that memory is bounded."""
    count = evidence.mask_count
    masks = np.bincount(evidence.view_of[:count], minlength=evidence.view_count)
    starts = np.concatenate([[0], np.cumsum(masks + 1)])  # a column for the photo itself
    blocks = blocks_of(starts, MOST_PAIRS // max(1, int(masks[view])))
    return [range(first, end) for first, end in blocks]


def agreement(
    evidence: Evidence, view: int, landmarks: int = LANDMARKS, *, photos: range | None = None
) -> Agreement:
    """Compare the masks of one photo with all masks.

    A mask is the set of Gaussians that its pixels show. Gaussian i belongs to mask m of photo u by the share
    w_im / w_iu of its weight there, and counts √(w_iu w_iv) when photos u and v are compared, w_iu being its
    weight over all pixels of u: Gaussians that one of the two photos does not see are ignored.

    Args:
        evidence: Of all photos.
        view: The photo u, its masks are the rows.
        landmarks: About how many Gaussians to compare on.
        photos: Photos whose masks it is compared with, in a row; None for all.
    """
    compared, kept = on_landmarks(evidence, landmarks), None
    if photos is not None and len(photos) < evidence.view_count:
        together = np.union1d(photos, [view])
        compared, kept = compared.of_photos(together), np.isin(together, photos)
        view = int(np.searchsorted(together, view))
    agreed = _agreement_with_all(compared, view)
    if kept is None or kept.all():
        return agreed
    masks = kept[compared.view_of[: compared.mask_count]]
    return Agreement(agreed.iou[:, masks], agreed.visible_share[:, kept])


def _agreement_with_all(evidence: Evidence, view: int) -> Agreement:
    """`agreement` with all photos, on all Gaussians."""
    count, rows = evidence.mask_count, evidence.masks_of(view)
    if not len(rows):
        return Agreement(np.zeros((0, count), np.float32), np.zeros((0, evidence.view_count), np.float32))
    overlaps, sizes = _overlaps(
        evidence.starts,
        evidence.columns,
        evidence.weights,
        evidence.view_of,
        count,
        rows.start,
        len(rows),
    )
    both = overlaps[:, count:]  # what the rows share with each photo as a whole
    visible_share = np.minimum(both / np.maximum(both[:, [view]], 1e-6), 1)
    visible_share[:, view] = 0
    return Agreement(iou_of_overlaps(overlaps, sizes, evidence.view_of, np.array(rows)), visible_share)


def iou_of_overlaps(
    overlaps: np.ndarray, sizes: np.ndarray, view_of: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """IoU from intersections.

    Args:
        overlaps: What each row shares with each mask [R, M], and with each photo as a whole [R, V] behind.
        sizes: How much of each mask the rows' photo sees. [M]
        view_of: Photo of each column. [M + V]
        rows: Masks that the rows are, all of one photo. [R]
    """
    count = overlaps.shape[1] - (int(view_of[-1]) + 1)
    shared, both = overlaps[:, :count], overlaps[:, count:]
    union = both[:, view_of[:count]]  # a copy, which is all that is made: there may be many masks
    union += sizes
    union -= shared
    iou = np.divide(shared, union, out=np.zeros_like(shared), where=union > 1e-6)
    iou[:, view_of[:count] == view_of[rows[0]]] = 0
    iou[np.arange(len(rows)), rows] = 1
    return iou


def repeatability(agreed: Agreement, view_of: np.ndarray) -> np.ndarray:
    """Mean over the other photos of the best IoU there, each photo counting by how much of a mask it sees.

    It says how sure a level of granularity is: that a segmenter cuts the same thing out of every photo.

    Args:
        agreed: Masks of one photo.
        view_of: Photo of every mask. [M]

    Returns:
        0 for masks of what no other photo sees. float32 [M_u]
    """
    return _repeated(agreed.visible_share, best_of_photos(agreed, view_of))


def _repeated(visible_share: np.ndarray, best: np.ndarray) -> np.ndarray:
    """`repeatability` from the share of each mask that each photo sees, and its best IoU there. [M_u, V]"""
    return (visible_share * best).sum(axis=1) / np.maximum(visible_share.sum(axis=1), 1e-6)


def best_of_photos(agreed: Agreement, view_of: np.ndarray) -> np.ndarray:
    """The best IoU of each mask of one photo with a mask of each photo.

    Args:
        agreed: Masks of one photo.
        view_of: Photo of every mask that they are compared with, from 0. [M]

    Returns:
        float32 [M_u, V]
    """
    best = np.zeros_like(agreed.visible_share)
    views, first = np.unique(view_of, return_index=True)
    if len(best) and len(views):
        best[:, views] = np.maximum.reduceat(agreed.iou, first, axis=1)
    return best


def consensus(evidence: Evidence, embeddings: Tensor) -> Consensus:
    """Give every mask the mean of the masks that agree with it, weighed by IoU², and its repeatability.

    Args:
        evidence: Of all photos.
        embeddings: Unit embeddings of all masks, in any basis. [M, r]
    """
    compared = on_landmarks(evidence)
    if embeddings.device.type == "cuda":
        return _on_gpu(compared, embeddings)
    means, repeated = [embeddings[:0]], [np.zeros(0, np.float32)]
    for view in range(evidence.view_count):
        mean, shares, best = embeddings.new_zeros(()), [], []
        for photos in photo_blocks(compared, view):
            first, end = evidence.masks_of(photos.start).start, evidence.masks_of(photos.stop - 1).stop
            agreed = agreement(compared, view, photos=photos)
            iou = torch.from_numpy(agreed.iou).to(embeddings)
            weights = torch.where(iou >= CONSENSUS_IOU, iou.square(), 0.0)
            mean = mean + weights @ embeddings[first:end]
            shares.append(agreed.visible_share)
            best.append(best_of_photos(agreed, evidence.view_of[first:end] - photos.start))
        means.append(mean)
        repeated.append(_repeated(np.concatenate(shares, axis=1), np.concatenate(best, axis=1)))
    return Consensus(
        normalize(torch.cat(means), dim=-1), torch.from_numpy(np.concatenate(repeated)).to(embeddings)
    )


def _on_gpu(compared: Evidence, embeddings: Tensor) -> Consensus:
    """`consensus` on a GPU; whenever its memory runs out, again in blocks half as large."""
    share = 1
    while True:
        try:
            return Consensus(
                *consensus_gpu.consensus(
                    compared,
                    embeddings,
                    least_iou=CONSENSUS_IOU,
                    most_pairs=MOST_PAIRS // share,
                    most_entries=MOST_ENTRIES // share,
                )
            )
        except RuntimeError as error:
            if not out_of_memory(error) or share >= SMALLEST_SHARE:
                raise
        share *= 2


@njit(cache=True, fastmath=True)
def _overlaps(
    starts: np.ndarray,
    columns: np.ndarray,
    weights: np.ndarray,
    view_of: np.ndarray,
    mask_count: int,
    first: int,
    count: int,
) -> tuple[np.ndarray, np.ndarray]:  # pragma: no cover - compiled
    """What masks from `first` on share with all columns [count, M + V], and their photo with masks [M]."""
    view = view_of[first]
    overlaps = np.zeros((count, len(view_of)), np.float32)
    sizes = np.zeros(mask_count, np.float32)
    whole = np.zeros(len(view_of) - mask_count, np.float32)
    own = np.empty(count, np.int64)
    for gaussian in range(len(starts) - 1):
        begin, end = starts[gaussian], starts[gaussian + 1]
        here, found = np.float32(0), 0
        for e in range(begin, end):
            if first <= columns[e] < first + count:
                own[found] = e
                found += 1
            elif columns[e] >= mask_count:
                whole[view_of[columns[e]]] = weights[e]
                if view_of[columns[e]] == view:
                    here = weights[e]
        if here == 0:
            continue
        for e in range(begin, end):
            column = columns[e]
            # Share of the Gaussian in the column, times √(w_iu w_iv).
            part = weights[e] * np.sqrt(here / whole[view_of[column]])
            if column < mask_count:
                sizes[column] += part
            for k in range(found):
                overlaps[columns[own[k]] - first, column] += weights[own[k]] / here * part
    return overlaps, sizes
