"""What scoring leaves behind: a row for every pair of frame and category, and means over rows."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gags.evaluate import metrics


@dataclass(frozen=True)
class Row:
    """One category in one frame, with all that its figures can be computed from again.

    Attributes:
        frame: Name of the view.
        category: The query.
        split: "train" if the view was trained on, else "test".
        score: Value of the answer at the peak: relevancy, or share of the pixel.
        peak: Column and row of the peak, px.
        boxes: x1, y1, x2, y2 of the truth's boxes in the view, px.
        hit: Whether the peak lies in one of the boxes.
        threshold: Value from which the protocol counts a pixel as found, before any vote among neighbours.
        mask_pixels: Pixels of the protocol's mask.
        truth_pixels: Pixels of the truth.
        common_pixels: Pixels of both.
        iou: IoU of the protocol's mask with the truth.
        average_precision: Of the answer as a ranking of pixels.
        best_iou: The largest IoU that any threshold on the answer gives.
        best_threshold: That threshold.
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


@dataclass(frozen=True)
class Summary:
    """Means over pairs of frame and category; shares in [0, 1], NaN without pairs."""

    pairs: int
    frames: int
    mean_accuracy: float
    mean_iou: float
    mean_average_precision: float
    mean_best_iou: float


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


def worst_rows(rows: Sequence[Row], count: int, per_category: int) -> list[Row]:
    """The rows of least IoU, worst first; of equal ones, those that miss and rank pixels worse come first.

    Args:
        rows: Any rows.
        count: At most this many.
        per_category: At most this many of one category, so that one bad word does not fill the list.
    """
    ranked = sorted(rows, key=lambda row: (row.iou, row.hit, row.best_iou, row.category, row.frame))
    taken: dict[str, int] = {}
    chosen = []
    for row in ranked:
        taken[row.category] = taken.get(row.category, 0) + 1
        if taken[row.category] <= per_category:
            chosen.append(row)
    return chosen[:count]


def _summary(rows: Sequence[Row]) -> Summary:
    return Summary(
        len(rows),
        len({row.frame for row in rows}),
        metrics.mean([float(row.hit) for row in rows]),
        metrics.mean([row.iou for row in rows]),
        metrics.mean([row.average_precision for row in rows]),
        metrics.mean([row.best_iou for row in rows]),
    )


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and value != value else value
