"""Figures of answers against ground truth: of one answer as pure functions, and means over many."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


def iou(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Intersection over union of two masks, bool [H, W]; 0 if both are empty."""
    _same_shape(predicted, truth)
    union = np.count_nonzero(predicted | truth)
    return np.count_nonzero(predicted & truth) / union if union else 0.0


def peak_in_boxes(peak: tuple[float, float], boxes: Sequence[Sequence[float]]) -> bool:
    """Whether a peak (x, y) lies in any box (x1, y1, x2, y2), edges included."""
    x, y = peak
    return any(x1 <= x <= x2 and y1 <= y <= y2 for x1, y1, x2, y2 in boxes)


def rank(scores: np.ndarray, truth: np.ndarray) -> "Ranking":
    """Judge scores as a ranking of pixels, whatever the threshold.

    Tied pixels share one threshold, so that the order of pixels does not matter. Only scores of true pixels
    need to be tried: a lower threshold that takes in no further true pixel adds nothing to the precision and
    has a lower IoU. So sorting the values is enough, which is much faster than sorting the pixels.

    Args:
        scores: Score of every pixel. [H, W]
        truth: bool [H, W]

    Raises:
        ValueError: If the shapes differ or a score is NaN.
    """
    _same_shape(scores, truth)
    if np.isnan(scores).any():
        raise ValueError("scores must not hold NaN")
    wanted, others = np.sort(scores[truth]), np.sort(scores[~truth])
    if not len(wanted):
        return Ranking(float("nan"), 0.0, float(others[-1]))
    first = np.flatnonzero(np.append(True, wanted[1:] != wanted[:-1]))
    thresholds, hits = wanted[first], len(wanted) - first
    wrong = len(others) - np.searchsorted(others, thresholds)
    ious = hits / (wrong + len(wanted))
    best = len(ious) - 1 - int(np.argmax(ious[::-1]))
    gained = np.diff(first, append=len(wanted))
    precision = (gained * (hits / (hits + wrong))).sum() / len(wanted)
    return Ranking(float(precision), float(ious[best]), float(thresholds[best]))


@dataclass(frozen=True)
class Ranking:
    """How well scores put the true pixels first.

    Attributes:
        average_precision: Mean of the precision at every true pixel, in [0, 1]; NaN without a true pixel.
        best_iou: The largest IoU that any threshold gives.
        threshold: That threshold (score ≥ threshold); the highest if there are several.
    """

    average_precision: float
    best_iou: float
    threshold: float


RIGHT_IOU = 0.5  # of an instance and a labelled thing, for the one to be the other
LEAST_SHOWN = 0.1  # of the largest labelled thing: what a view shows less of is not labelled either


def count_instances(found: Sequence[np.ndarray], things: Sequence[np.ndarray]) -> "InstanceCounts":
    """Compare single instances with single labelled things, by an IoU of `RIGHT_IOU` or more.

    Labels do not say whether two outlines of a category are two things or one that something hides in the
    middle. So an instance may be one of them or all together, which then are all found. Instances that hardly
    show are left out, as they are in labels; so are outlines that hold nothing, or the same as another.

    Args:
        found: Masks of the instances that a view shows. bool [H, W] each
        things: What each outline of the truth holds. bool [H, W] each
    """
    things = [
        thing
        for number, thing in enumerate(things)
        if thing.any() and not any(np.array_equal(thing, other) for other in things[:number])
    ]
    if not things:
        return InstanceCounts(len(found), 0, 0, 0)
    least = LEAST_SHOWN * max(np.count_nonzero(thing) for thing in things)
    found = [mask for mask in found if np.count_nonzero(mask) >= least]
    together = np.any(things, axis=0)
    whole = [iou(mask, together) >= RIGHT_IOU for mask in found]
    single = [[iou(mask, thing) >= RIGHT_IOU for thing in things] for mask in found]
    right = [w or any(s) for w, s in zip(whole, single, strict=True)]
    hit = [any(whole) or any(s[number] for s in single) for number in range(len(things))]
    return InstanceCounts(len(found), right.count(True), len(things), hit.count(True))


@dataclass(frozen=True)
class InstanceCounts:
    """Single instances of one text in one view.

    Attributes:
        shown: Instances that the view shows, those left out that hardly show.
        right: Those of them that are labelled things.
        things: Labelled things.
        found: Those of them that an instance is.
    """

    shown: int
    right: int
    things: int
    found: int


def mean(values: Sequence[float]) -> float:
    """Mean over pairs, NaN for none; NaN values are left out."""
    known = [v for v in values if not np.isnan(v)]
    return float(np.mean(known)) if known else float("nan")


@dataclass(frozen=True)
class Row:
    """One category in one frame, with everything its figures were computed from.

    Attributes:
        frame: Name of the view.
        category: The query.
        split: "train" if the view was trained on, else "test".
        score: Value of the answer at the peak: relevancy, or share of the pixel; 0 without a peak.
        peak: Column and row of the peak, px; (−1, −1) where a method with peaks of its own found none.
        boxes: x1, y1, x2, y2 of the truth's boxes in the view, px.
        hit: Whether the peak lies in one of the boxes.
        threshold: Value from which the protocol counts a pixel as found, before the majority vote; NaN where
            the method has a mask of its own.
        mask_pixels: Pixels of the protocol's mask.
        truth_pixels: Pixels of the truth.
        common_pixels: Pixels of both.
        iou: IoU of the protocol's mask with the truth.
        average_precision: Of the answer as a ranking of pixels.
        best_iou: The largest IoU that any threshold on the answer gives.
        best_threshold: That threshold.
        instances: Single things, where the protocol counts them and the method tells them apart.
    """

    frame: str
    category: str
    split: str
    score: float
    peak: tuple[int, int]
    boxes: tuple[tuple[float, ...], ...]
    hit: bool
    threshold: float
    mask_pixels: int
    truth_pixels: int
    common_pixels: int
    iou: float
    average_precision: float
    best_iou: float
    best_threshold: float
    instances: InstanceCounts | None = None


@dataclass(frozen=True)
class Summary:
    """Means over pairs of frame and category; shares in [0, 1], NaN without pairs.

    Of single instances, precision is the share of those shown that are labelled things, recall the share of
    labelled things that an instance is; None where they are not counted.
    """

    pairs: int
    frames: int
    mean_accuracy: float
    mean_iou: float
    mean_average_precision: float
    mean_best_iou: float
    instance_precision: float | None = None
    instance_recall: float | None = None


@dataclass(frozen=True)
class Evaluation:
    """All rows of one scene and their means.

    Attributes:
        protocol: Name of the protocol.
        rows: One a pair.
        overall: Means over all pairs.
        held_out: Means over the frames that were not trained on.
        trained_on: Means over those that were.
        categories: Means by category.
    """

    protocol: str
    rows: tuple[Row, ...]
    overall: Summary
    held_out: Summary
    trained_on: Summary
    categories: dict[str, Summary]

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries and lists; NaN becomes None."""
        return _without_nan(asdict(self))


def summarise(protocol: str, rows: Sequence[Row]) -> Evaluation:
    """Means over all rows, by split and by category."""
    return Evaluation(
        protocol,
        tuple(rows),
        _summary(rows),
        _summary([row for row in rows if row.split != "train"]),
        _summary([row for row in rows if row.split == "train"]),
        summary_by(rows, lambda row: row.category),
    )


def summary_by(rows: Sequence[Row], name: Callable[[Row], str]) -> dict[str, Summary]:
    """Means over rows of one name, by name."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(name(row), []).append(row)
    return {key: _summary(groups[key]) for key in sorted(groups)}


def _summary(rows: Sequence[Row]) -> Summary:
    counts = [row.instances for row in rows if row.instances is not None]
    shown, things = sum(count.shown for count in counts), sum(count.things for count in counts)
    return Summary(
        len(rows),
        len({row.frame for row in rows}),
        mean([float(row.hit) for row in rows]),
        mean([row.iou for row in rows]),
        mean([row.average_precision for row in rows]),
        mean([row.best_iou for row in rows]),
        sum(count.right for count in counts) / shown if shown else None,
        sum(count.found for count in counts) / things if things else None,
    )


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and value != value else value


def _same_shape(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape:
        raise ValueError(f"shapes differ: {a.shape} and {b.shape}")
