"""From candidates to the masks of one photo: drop duplicates, clean up, paint one label map a level."""

from collections.abc import Iterator

import numpy as np
from numba import njit

from gags.segment.candidates import LEAST_KEPT, Candidate, candidate_masks, kept_share, to_photo
from gags.segment.frames import Frame, zoomed_frames
from gags.segment.masks import LEVELS, CroppedMask, Masks, paint, remove_specks
from gags.segment.packed import PackedMasks
from gags.segment.segmenter import Segmenter
from gags.segment.settings import DescribeSettings
from gags.segment.suppress import box_nms, mask_nms_of_overlaps, overlaps


def segment_photo(
    image: np.ndarray,
    prompts: np.ndarray,
    segmenter: Segmenter,
    settings: DescribeSettings,
    kept: np.ndarray | None = None,
) -> Masks:
    """Masks of one photo on three levels.

    Duplicates are dropped and masks cleaned up in one of two orders. That of `lite`: box NMS, mask NMS on the
    segmenter's grid, then specks and holes at the photo's size. That of the paper's program, taken if boxes
    are suppressed twice, the largest island is kept, or there are crops: box NMS, specks and holes at the
    photo's size, box NMS again, mask NMS at the photo's size.

    Args:
        image: Photo, uint8 RGB. [H, W, 3]
        prompts: Points (x, y) in px, from `PromptPlacer`; with the prompts "crops" those of all frames, frame
            by frame. float32 [P, 2]
        segmenter: Model of the SAM family.
        settings: Thresholds.
        kept: Which pixels of the photo count; None for all. Prompts elsewhere are not asked, and masks lose
            what they have there; those that lie there for the most part are dropped. bool [H, W]

    Returns:
        The masks; any level may be empty.

    Raises:
        ValueError: If prompts cannot be shared out evenly among the photo and its crops.
    """
    height, width = image.shape[:2]
    candidates = find_candidates(image, prompts, segmenter, settings, kept)
    return masks_of_candidates(candidates, width, height, settings, kept)


def masks_of_candidates(
    candidates: list[Candidate],
    width: int,
    height: int,
    settings: DescribeSettings,
    kept: np.ndarray | None = None,
) -> Masks:
    """What `segment_photo` makes of the candidates of a photo.

    Args:
        candidates: From `find_candidates`.
        width: Of the photo, px.
        height: Of the photo, px.
        settings: Thresholds.
        kept: As for `segment_photo`. bool [H, W]

    Returns:
        The masks; any level may be empty.
    """
    scores: list[float] = []
    counts: list[int] = []
    wholes: list[PackedMasks] = []
    labels = np.full((len(LEVELS), height, width), -1, np.int16)
    for level in range(len(LEVELS)):
        here, masks = masks_of_level([c for c in candidates if c.level == level], settings, kept)
        rows = paint(
            masks,
            labels[level],
            first=len(scores),
            # Where the largest island stays however small it is, so does a small mask.
            min_area=1 if settings.keep_largest else settings.min_area,
            ious=np.array([c.iou for c in here]) if settings.paint_by == "iou" else None,
        )
        scores += [here[row].score for row in rows]
        counts.append(len(rows))
        if settings.crop == "whole":
            wholes.append(masks.take(rows))
    return Masks(
        labels=labels,
        levels=np.repeat(np.arange(len(LEVELS), dtype=np.int8), counts),
        boxes=_label_boxes(labels, len(scores)),
        scores=np.array(scores, np.float32),
        whole=PackedMasks.joined(wholes) if settings.crop == "whole" else None,
        kept=kept,
    )


def find_candidates(
    image: np.ndarray,
    prompts: np.ndarray,
    segmenter: Segmenter,
    settings: DescribeSettings,
    kept: np.ndarray | None = None,
) -> list[Candidate]:
    """Candidates of a photo on all levels, without those that box NMS drops.

    Boxes are compared within a level and a frame by predicted IoU; then, if there are crops, across frames,
    where masks of smaller frames are preferred, as in Segment Anything.

    Args:
        image: Photo, uint8 RGB. [H, W, 3]
        prompts: As for `segment_photo`. float32 [P, 2]
        segmenter: Model of the SAM family.
        settings: Prompts and thresholds.
        kept: As for `segment_photo`. bool [H, W]

    Returns:
        Candidates; of one level, those that later steps prefer first.
    """
    height, width = image.shape[:2]
    frames = zoomed_frames(width, height) if settings.prompts == "crops" else [Frame(0, 0, width, height)]
    if len(prompts) % len(frames):
        raise ValueError(
            f"{len(prompts)} prompts for a photo and its {len(frames) - 1} crops; give all as many"
        )
    found: list[Candidate] = []
    for frame, points in zip(frames, np.split(prompts, len(frames)), strict=True):
        if kept is not None:
            points = points[is_kept(points, kept)]
            if not len(points):
                continue
        encoded = segmenter.encode(frame.of(image))
        candidates = candidate_masks(encoded, points, segmenter, settings, frame, (width, height))
        if kept is not None:
            candidates = [c for c in candidates if kept_share(c, kept) >= LEAST_KEPT]
        for level in range(len(LEVELS)):
            here = [c for c in candidates if c.level == level]
            found += _without_repeats(here, np.array([c.iou for c in here]), settings)
    if len(frames) == 1:
        return found
    merged: list[Candidate] = []
    for level in range(len(LEVELS)):
        here = [c for c in found if c.level == level]
        zoom = np.array([1 / (c.frame.width * c.frame.height) for c in here])
        merged += _without_repeats(here, zoom, settings)
    return merged


def is_kept(points: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Whether points (x, y) in px [P, 2] lie on pixels that count. bool [P]"""
    x, y = points.astype(np.int64).T
    return kept[y, x]


def masks_of_level(
    candidates: list[Candidate], settings: DescribeSettings, kept: np.ndarray | None = None
) -> tuple[list[Candidate], PackedMasks]:
    """The candidates of one level that stay, and their masks at the size of the photo, cleaned up.

    Args:
        candidates: What box NMS left of the level, the best first.
        settings: Thresholds.
        kept: As for `segment_photo`. bool [H, W]

    Returns:
        Candidates and masks, as many of each.
    """
    cleaned_first = settings.second_box_nms or settings.keep_largest or settings.prompts == "crops"
    if not cleaned_first:
        stay = _kept(candidates, overlaps(_on_grid(candidates)), settings)
        candidates = [candidates[row] for row in stay]
    candidates, masks, untouched = _cleaned(candidates, settings, kept)
    if settings.second_box_nms:
        # Masks that the clean-up left as they were are preferred, then the order so far (Segment Anything).
        rows = box_nms(masks.boxes, untouched, settings.box_nms_iou)
        candidates, masks = [candidates[row] for row in rows], masks.take(rows)
    if cleaned_first:
        stay = _kept(candidates, masks.overlaps(), settings)
        candidates, masks = [candidates[row] for row in stay], masks.take(stay)
    return candidates, masks


def _without_repeats(
    candidates: list[Candidate], preference: np.ndarray, settings: DescribeSettings
) -> list[Candidate]:
    """What box NMS leaves of candidates, those of highest preference [N] first."""
    if not candidates:
        return []
    boxes = np.stack([candidate.box for candidate in candidates])
    return [candidates[row] for row in box_nms(boxes, preference, settings.box_nms_iou)]


def _on_grid(candidates: list[Candidate]) -> np.ndarray:
    """Masks of one frame on the segmenter's grid. bool [N, cells]"""
    extent = candidates[0].extent if candidates else (1.0, 1.0)
    masks = np.zeros((len(candidates), int(np.ceil(extent[1])), int(np.ceil(extent[0]))), bool)
    for mask, c in zip(masks, candidates, strict=True):
        mask[c.y : c.y + c.logits.shape[0], c.x : c.x + c.logits.shape[1]] = c.logits > 0
    return masks.reshape(len(masks), masks.shape[1] * masks.shape[2])


def _kept(candidates: list[Candidate], overlap: np.ndarray, settings: DescribeSettings) -> np.ndarray:
    """Rows of the candidates whose score is high enough and that neither repeat a better one nor lie inside a
    bigger one. Where the score is asked for only here, those of a low score still count as bigger ones."""
    scores = np.array([candidate.score for candidate in candidates])
    kept = mask_nms_of_overlaps(
        overlap,
        scores,
        max_iou=settings.mask_nms_iou,
        drop_contained=settings.drop_contained,
        contained_share=settings.contained_share,
        container_share=settings.container_share,
    )
    return np.flatnonzero(kept & (scores > settings.min_score))


def _cleaned(
    candidates: list[Candidate], settings: DescribeSettings, kept: np.ndarray | None
) -> tuple[list[Candidate], PackedMasks, np.ndarray]:
    """Masks at the size of the photo without specks, holes and what is to be ignored.

    Returns:
        The candidates of which something is left; their masks; 1 for each mask that had none, else 0. [N]
    """
    left: list[Candidate] = []
    untouched: list[bool] = []

    def clean() -> Iterator[CroppedMask]:
        for candidate in candidates:
            resized = to_photo(candidate)
            counted = None if kept is None else kept[resized.window]
            if counted is not None:
                resized = CroppedMask(resized.mask & counted, resized.x, resized.y)
            mask = remove_specks(resized.mask, settings.min_area, keep_largest=settings.keep_largest)
            if counted is not None:
                mask &= counted  # what is ignored is no hole to be filled
            if mask.any():
                left.append(candidate)
                untouched.append(bool((mask == resized.mask).all()))
                yield CroppedMask(mask, resized.x, resized.y)

    masks = PackedMasks.pack(clean())  # packed one by one: at the photo's size they would not all fit
    return left, masks, np.array(untouched, float)


@njit(cache=True)
def _label_boxes(labels: np.ndarray, count: int) -> np.ndarray:
    """x1, y1, x2, y2 of each label, far edges exclusive. int16 [L, H, W] to int32 [count, 4]"""
    levels, height, width = labels.shape
    boxes = np.zeros((count, 4), np.int32)
    boxes[:, 0], boxes[:, 1] = width, height
    for level in range(levels):
        for y in range(height):
            for x in range(width):
                row = labels[level, y, x]
                if row >= 0:
                    boxes[row, 0] = min(boxes[row, 0], x)
                    boxes[row, 1] = min(boxes[row, 1], y)
                    boxes[row, 2] = max(boxes[row, 2], x + 1)
                    boxes[row, 3] = max(boxes[row, 3], y + 1)
    return boxes
