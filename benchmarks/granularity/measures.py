"""How well masks of two rings of photos agree with the objects, and with each other."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gags.distill.consensus import agreement
from gags.distill.evidence import Evidence
from gags.segment.masks import LEVELS

SAME = 0.5  # IoU from which on a mask is the object
LEAST_VISIBLE = 150  # px; of objects of which less is seen a photo says nothing (as labels of pantry have it)
ON_OBJECT = 0.5  # a mask lies on an object if more than this share of it does


@dataclass(frozen=True, eq=False)
class BestMasks:
    """The mask of every level that shows each of K objects best, in one photo.

    Attributes:
        ious: Largest IoU of a mask of the level, 0 if none overlaps. [3, K]
        rows: The mask of the largest IoU among those that lie on the object; -1 for none. int64 [3, K]
        visible: Whether enough of the object is seen. bool [K]
    """

    ious: np.ndarray
    rows: np.ndarray
    visible: np.ndarray


def best_masks(labels: np.ndarray, objects: np.ndarray) -> BestMasks:
    """Compare the label maps of a photo with its objects.

    Args:
        labels: Label map of each level, -1 for no mask. int16 [3, H, W]
        objects: What every object covers. bool [K, H, W]
    """
    count = int(labels.max(initial=-1)) + 1
    sizes = objects.sum(axis=(1, 2))
    ious = np.zeros((len(labels), len(objects)))
    rows = np.full(ious.shape, -1)
    for level, here in enumerate(labels):
        areas = np.bincount(here[here >= 0], minlength=count)
        for k, mask in enumerate(objects):
            shown = here[mask]
            shared = np.bincount(shown[shown >= 0], minlength=count)
            iou = shared / np.maximum(sizes[k] + areas - shared, 1)
            on_object = np.where(shared > ON_OBJECT * areas, iou, 0)
            ious[level, k] = iou.max(initial=0)
            rows[level, k] = on_object.argmax() if on_object.any() else -1
    return BestMasks(ious, rows, sizes >= LEAST_VISIBLE)


def found_in_both(near: Sequence[BestMasks], far: Sequence[BestMasks]) -> np.ndarray:
    """Whether the best mask of a level is the object in a near and in a far photo.

    Args:
        near: Of U photos.
        far: Of V photos.

    Returns:
        1 or 0 for every level, then for any levels (which may be two different ones), object and pair of
        photos; NaN where one of the photos does not see the object. [4, K, U, V]
    """

    def hits(photos: Sequence[BestMasks]) -> np.ndarray:
        found = np.stack([photo.ious >= SAME for photo in photos], axis=-1)  # [3, K, photos]
        return np.concatenate([found, found.any(axis=0, keepdims=True)]).astype(float)

    both = hits(near)[..., :, None] * hits(far)[..., None, :]
    return np.where(_seen_in_both(near, far), both, np.nan)


def surface_iou(
    evidence: Evidence, levels: np.ndarray, best: Sequence[BestMasks], near: Sequence[int], far: Sequence[int]
) -> np.ndarray:
    """IoU, on the surface that both photos see, of an object's mask with the mask of the other photo that
    repeats it best.

    The object's mask is that of the largest IoU among those of the level that lie on it; if there is none,
    0 counts. Of the two directions, near to far and far to near, the mean counts.

    Args:
        evidence: Which masks cover which Gaussians, of all photos.
        levels: Level of every mask. int8 [M]
        best: Of all photos.
        near: Photos of the one ring, U of them.
        far: Photos of the other ring, V of them.

    Returns:
        For every level, object and pair of photos; NaN where one does not see the object. [3, K, U, V]
    """
    view_of = evidence.view_of[: evidence.mask_count]
    forth = _repeated(evidence, levels, view_of, best, near, far)
    back = _repeated(evidence, levels, view_of, best, far, near).swapaxes(2, 3)
    seen = _seen_in_both([best[u] for u in near], [best[v] for v in far])
    return np.where(seen, (forth + back) / 2, np.nan)


def _repeated(
    evidence: Evidence,
    levels: np.ndarray,
    view_of: np.ndarray,
    best: Sequence[BestMasks],
    photos: Sequence[int],
    others: Sequence[int],
) -> np.ndarray:
    """Largest IoU of the objects' masks of some photos with a mask of the same level in other photos."""
    result = np.zeros((*best[photos[0]].rows.shape, len(photos), len(others)))
    for i, photo in enumerate(photos):
        iou = agreement(evidence, photo, landmarks=len(evidence.starts)).iou
        rows = best[photo].rows
        for j, other in enumerate(others):
            for level in range(len(LEVELS)):
                columns = (view_of == other) & (levels == level)
                largest = iou[:, columns].max(axis=1, initial=0)
                has_mask = rows[level] >= 0
                result[level, has_mask, i, j] = largest[rows[level, has_mask]]
    return result


def _seen_in_both(near: Sequence[BestMasks], far: Sequence[BestMasks]) -> np.ndarray:
    """bool [K, U, V]"""
    sees = [np.stack([photo.visible for photo in photos], axis=-1) for photos in (near, far)]
    return sees[0][:, :, None] & sees[1][:, None, :]
