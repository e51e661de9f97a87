"""Masks of different photos that show the same surface, and the Gaussians that they cut out together."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from gags.distill.consensus import agreement, on_landmarks, photo_blocks
from gags.distill.evidence import Evidence
from gags.files.rows import Rows

# Masks of two photos with at least this IoU show one thing; at 0.5 an orange takes in its lemon.
SAME_THING_IOU = 0.6
PHOTOS_OF_A_THING = 3  # that must agree on a thing: what two photos share may be a coincidence
# Masks that agree so far say the same: beside one of them, none of the others starts a cluster of its own.
SAYS_THE_SAME_IOU = 0.8
# A Gaussian belongs to a thing only if the thing's masks hold this share of its weight in the thing's photos.
MIN_MASK_SHARE = 0.5
# And only if the thing's photos hold this share of its weight in all photos, or, from afar, are this share of
# the photos that see it: wholes are often cut out from afar, where a Gaussian covers few pixels.
MIN_VIEW_SHARE = 0.1


class SimilarMasks(Sequence[tuple[np.ndarray, np.ndarray]]):
    """Masks of other photos that show the same as each mask, and their IoU: int64 [n], float32 [n] each.

    Pairs grow with the square of the number of photos; many lie in a file.

    Args:
        folder: Where the file lies, see `gags.files.rows.Rows`.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._starts = [0]  # first pair of each mask, and the end
        self._masks, self._ious = Rows((), np.int32, folder), Rows((), np.float32, folder)

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, mask: Any) -> Any:
        pairs = slice(self._starts[mask], self._starts[mask + 1])
        return self._masks.array()[pairs].astype(np.int64), self._ious.array()[pairs]

    @property
    def in_file(self) -> bool:
        """Whether pairs went into the file."""
        return self._ious.in_file

    def add(self, masks: list[np.ndarray], ious: list[np.ndarray]) -> None:
        """Add what the next masks are similar to, if there are any; not after one was looked up."""
        if not masks:
            return
        self._starts += (self._starts[-1] + np.cumsum([len(each) for each in masks])).tolist()
        self._masks.append(np.concatenate(masks))
        self._ious.append(np.concatenate(ious))

    def release(self) -> None:
        """Let go of pairs that lie in a file; they are read anew when needed."""
        self._masks.release()
        self._ious.release()


def similar_masks(
    evidence: Evidence, least: float = SAME_THING_IOU, folder: Path | None = None
) -> SimilarMasks:
    """Masks of other photos that have at least this IoU with each mask; `folder` as for `SimilarMasks`."""
    similar, compared = SimilarMasks(folder), on_landmarks(evidence)
    for view in range(evidence.view_count):
        own = compared.masks_of(view)
        found: list[list[np.ndarray]] = [[] for _ in own]
        ious: list[list[np.ndarray]] = [[] for _ in own]
        for photos in photo_blocks(compared, view):
            first = compared.masks_of(photos.start).start
            for row, iou in enumerate(agreement(compared, view, photos=photos).iou):
                same = np.flatnonzero(iou >= least)
                same = same[first + same != own[row]]
                found[row].append(first + same)
                ious[row].append(iou[same])
        similar.add(list(map(np.concatenate, found)), list(map(np.concatenate, ious)))
    return similar


def clusters_of_masks(
    evidence: Evidence, folder: Path | None = None, *, shared: bool = False
) -> list[np.ndarray]:
    """Masks of each thing, those of most photos first. int32 [n] each

    Greedy clustering: take the mask with most support and all that agree with it; remove them, or, where
    clusters share masks, only those that say the same; repeat. A mask of a whole often agrees with those of
    its largest part, which are more: only where clusters share masks, it may start one, too. Each cluster has
    masks of three photos at least that were not removed with another one.

    Args:
        evidence: Of all photos.
        folder: Where pairs of many masks lie meanwhile, see `gags.files.rows.Rows`.
        shared: Whether clusters share masks; else each mask is in one at most. No two clusters are equal.
    """
    similar = similar_masks(evidence, folder=folder)
    least = SAYS_THE_SAME_IOU if shared else SAME_THING_IOU
    support = np.array([iou.sum() for _, iou in similar])
    free = np.ones(len(similar), bool)
    clusters, known = [], set()
    while len(support):
        center = int(support.argmax())
        # Of those that are left, fewer than two agree with it; half a mask for rounding.
        if support[center] < SAME_THING_IOU * (PHOTOS_OF_A_THING - 1.5):
            break
        others, agreed = similar[center]
        removed = np.append(others[free[others] & (agreed >= least)], center)
        masks = (np.append(others, center) if shared else removed).astype(np.int32)
        left = np.append(others[free[others]], center)  # which no other cluster explains
        free[removed] = False
        for mask in removed:
            others, iou = similar[mask]
            support[others] -= iou
        similar.release()
        support[~free] = 0
        content = hashlib.sha256(np.sort(masks).tobytes()).digest()
        if content not in known and len(photos_of(evidence, left)) >= PHOTOS_OF_A_THING:
            known.add(content)
            clusters.append(masks)
    clusters.sort(key=lambda masks: -len(photos_of(evidence, masks)))
    return clusters


def photos_of(evidence: Evidence, masks: np.ndarray) -> np.ndarray:
    """Photos that some masks [n] are of, each once. [p]"""
    return np.unique(evidence.view_of[masks])


def members_of_clusters(
    evidence: Evidence, clusters: list[np.ndarray], *, from_afar: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of a Gaussian and a cluster it belongs to.

    Args:
        evidence: Of all photos.
        clusters: Masks of each; they may share masks.
        from_afar: Whether it is enough that a cluster's photos are many of those that see a Gaussian, however
            little of its weight they hold.

    Returns:
        int64 [E], int64 [E]
    """
    sees = np.zeros((len(clusters), evidence.view_count), bool)
    shares = [np.zeros(0, np.float32)]  # masks of one photo share its weight
    for number, masks in enumerate(clusters):
        views = evidence.view_of[masks]
        shares.append((1 / np.bincount(views)[views]).astype(np.float32))
        sees[number, views] = True
    owners = np.repeat(np.arange(len(clusters), dtype=np.int32), [len(masks) for masks in clusters])
    masks = np.concatenate([np.zeros(0, np.int32), *clusters])
    order = np.argsort(masks, kind="stable")
    firsts = np.zeros(evidence.mask_count + 1, np.int64)
    np.cumsum(np.bincount(masks, minlength=evidence.mask_count), out=firsts[1:])
    owners, share = owners[order], np.concatenate(shares)[order]
    pairs = []
    for first, end in evidence.blocks():
        rows, found = _pairs_of_most_weight(
            evidence.starts[first : end + 1],
            evidence.columns,
            evidence.weights,
            evidence.view_of,
            firsts,
            owners,
            share,
            sees,
            from_afar,
        )
        pairs.append((rows + first, found))
    rows, found = (np.concatenate([np.zeros(0, np.int64), *each]) for each in zip(*pairs, strict=True))
    return rows, found


@njit(cache=True)
def _pairs_of_most_weight(
    starts: np.ndarray,
    columns: np.ndarray,
    weights: np.ndarray,
    view_of: np.ndarray,
    firsts: np.ndarray,
    owners: np.ndarray,
    shares: np.ndarray,
    sees: np.ndarray,
    from_afar: bool,
) -> tuple[np.ndarray, np.ndarray]:  # pragma: no cover - compiled
    """Pairs of a Gaussian and a cluster whose masks hold most of its weight in the cluster's photos.

    Args:
        starts: First entry of each of some Gaussians, and the end. int64 [n + 1]
        columns: Mask of each entry, or M + photo for the photo as a whole. int32 [E]
        weights: Weight of each entry. float32 [E]
        view_of: Photo of each column. [M + V]
        firsts: First of the clusters of each mask in `owners`, and the end. int64 [M + 1]
        owners: Clusters of the masks, one mask after the other. int32 [O]
        shares: How much the mask counts there: masks of one photo and cluster share its weight. float32 [O]
        sees: Whether each photo has a mask of each cluster. bool [C, V]
        from_afar: See `members_of_clusters`.

    Returns:
        Place in `starts` and cluster of each pair. int64 [P], int64 [P]
    """
    mask_count = len(firsts) - 1
    held = np.zeros(len(sees), np.float32)
    touched_by = np.full(len(sees), -1)  # the last Gaussian that touched each cluster
    touched = np.empty(len(sees), np.int64)
    photos = np.empty(sees.shape[1], np.int64)
    gaussians, clusters = [0 for _ in range(0)], [0 for _ in range(0)]
    for gaussian in range(len(starts) - 1):
        # Its weight in all photos, and what the masks of each cluster that it touches hold of it.
        found, seen, total = 0, 0, np.float32(0)
        for e in range(starts[gaussian], starts[gaussian + 1]):
            column = columns[e]
            if column >= mask_count:
                photos[seen] = e
                seen += 1
                total += weights[e]
                continue
            for at in range(firsts[column], firsts[column + 1]):
                cluster = owners[at]
                if touched_by[cluster] != gaussian:
                    touched_by[cluster] = gaussian
                    touched[found] = cluster
                    found += 1
                    held[cluster] = 0
                held[cluster] += weights[e] * shares[at]
        # Compare that with its weight in the photos of the cluster.
        for k in range(found):
            cluster, count, in_photos = touched[k], 0, np.float32(0)
            for e in photos[:seen]:
                if sees[cluster, view_of[columns[e]]]:
                    count += 1
                    in_photos += weights[e]
            often = in_photos >= MIN_VIEW_SHARE * total or (from_afar and count >= MIN_VIEW_SHARE * seen)
            if often and held[cluster] >= MIN_MASK_SHARE * in_photos:
                gaussians.append(gaussian)
                clusters.append(cluster)
    return np.array(gaussians), np.array(clusters)
