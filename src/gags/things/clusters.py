"""Masks of different photos that show the same surface, and the Gaussians that they cut out together."""

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
# A Gaussian belongs to a thing only if the thing's masks hold this share of its weight in the thing's photos.
MIN_MASK_SHARE = 0.5
# And only if the thing's photos hold this share of its weight in all photos.
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


def clusters_of_masks(evidence: Evidence, folder: Path | None = None) -> list[np.ndarray]:
    """Masks of each thing, those of most photos first. int64 [n] each

    Greedy clustering: take the mask with most support and all masks that agree with it, remove them, repeat.

    Args:
        evidence: Of all photos.
        folder: Where pairs of many masks lie meanwhile, see `gags.files.rows.Rows`.
    """
    similar = similar_masks(evidence, folder=folder)
    support = np.array([iou.sum() for _, iou in similar])
    free = np.ones(len(similar), bool)
    clusters = []
    while len(support):
        center = int(support.argmax())
        # Fewer than two others agree with it; half a mask for rounding.
        if support[center] < SAME_THING_IOU * (PHOTOS_OF_A_THING - 1.5):
            break
        others = similar[center][0]
        masks = np.append(others[free[others]], center)
        free[masks] = False
        for mask in masks:
            others, iou = similar[mask]
            support[others] -= iou
        similar.release()
        support[~free] = 0
        if len(photos_of(evidence, masks)) >= PHOTOS_OF_A_THING:
            clusters.append(masks)
    clusters.sort(key=lambda masks: -len(photos_of(evidence, masks)))
    return clusters


def photos_of(evidence: Evidence, masks: np.ndarray) -> np.ndarray:
    """Photos that some masks [n] are of, each once. [p]"""
    return np.unique(evidence.view_of[masks])


def members_of_clusters(evidence: Evidence, clusters: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of a Gaussian and a cluster it belongs to. int64 [E], int64 [E]"""
    cluster_of = np.full(evidence.mask_count, -1, np.int64)
    part = np.zeros(evidence.mask_count, np.float32)  # masks of one photo share its weight
    sees = np.zeros((len(clusters), evidence.view_count), bool)
    for number, masks in enumerate(clusters):
        views = evidence.view_of[masks]
        cluster_of[masks] = number
        part[masks] = 1 / np.bincount(views)[views]
        sees[number, views] = True
    pairs = []
    for first, end in evidence.blocks():
        rows, owners = _pairs_of_most_weight(
            evidence.starts[first : end + 1],
            evidence.columns,
            evidence.weights,
            evidence.view_of,
            cluster_of,
            part,
            sees,
        )
        pairs.append((rows + first, owners))
    rows, owners = (np.concatenate([np.zeros(0, np.int64), *each]) for each in zip(*pairs, strict=True))
    return rows, owners


@njit(cache=True)
def _pairs_of_most_weight(
    starts: np.ndarray,
    columns: np.ndarray,
    weights: np.ndarray,
    view_of: np.ndarray,
    cluster_of: np.ndarray,
    part: np.ndarray,
    sees: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:  # pragma: no cover - compiled
    """Pairs of a Gaussian and a cluster whose masks hold most of its weight in the cluster's photos.

    Args:
        starts: First entry of each of some Gaussians, and the end. int64 [n + 1]
        columns: Mask of each entry, or M + photo for the photo as a whole. int32 [E]
        weights: Weight of each entry. float32 [E]
        view_of: Photo of each column. [M + V]
        cluster_of: Cluster of each mask, -1 for none. int64 [M]
        part: How much each mask counts: masks of one photo and cluster share its weight. float32 [M]
        sees: Whether each photo has a mask of each cluster. bool [C, V]

    Returns:
        Place in `starts` and cluster of each pair. int64 [P], int64 [P]
    """
    mask_count = len(cluster_of)
    held = np.zeros(len(sees), np.float32)
    touched = np.empty(len(sees), np.int64)
    gaussians, clusters = [0 for _ in range(0)], [0 for _ in range(0)]
    for gaussian in range(len(starts) - 1):
        begin, end = starts[gaussian], starts[gaussian + 1]
        # Its weight in all photos, and what the masks of each cluster that it touches hold of it.
        found, total = 0, np.float32(0)
        for e in range(begin, end):
            column = columns[e]
            if column >= mask_count:
                total += weights[e]
                continue
            cluster = cluster_of[column]
            if cluster < 0:
                continue
            if held[cluster] == 0:
                touched[found] = cluster
                found += 1
            held[cluster] += weights[e] * part[column]
        # Compare that with its weight in the photos of the cluster.
        for k in range(found):
            cluster, in_photos = touched[k], np.float32(0)
            for e in range(begin, end):
                if columns[e] >= mask_count and sees[cluster, view_of[columns[e]]]:
                    in_photos += weights[e]
            if held[cluster] >= MIN_MASK_SHARE * in_photos and in_photos >= MIN_VIEW_SHARE * total:
                gaussians.append(gaussian)
                clusters.append(cluster)
            held[cluster] = 0  # ready for the next Gaussian
    return np.array(gaussians), np.array(clusters)
