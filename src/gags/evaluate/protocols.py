"""Named, frozen ways of scoring answers; a changed rule gets a new name."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from gags.capture import Capture, View
from gags.embed.base import Encoder
from gags.errors import LabelError
from gags.evaluate import metrics
from gags.evaluate.answerer import Answerer
from gags.evaluate.labels import FrameLabels
from gags.progress import SILENT, Reporter
from gags.query import lerf_ovs
from gags.query.locate import fill_uncovered
from gags.query.relevancy import Queries


@dataclass(frozen=True)
class Protocol:
    """How a relevancy map becomes a peak (x, y) and a mask."""

    name: str
    peak: Callable[[np.ndarray], tuple[int, int]]
    mask: Callable[[np.ndarray], np.ndarray]


PROTOCOLS = {"lerf-ovs": Protocol("lerf-ovs", lerf_ovs.peak, lerf_ovs.mask)}


@dataclass(frozen=True)
class Row:
    """One category in one frame.

    Attributes:
        frame: Name of the view.
        category: The query.
        split: "train" if the view was trained on, else "test".
        score: Relevancy at the peak.
        peak: Column and row of the peak, px.
        hit: Whether the peak lies in a ground-truth box.
        iou: IoU of the protocol's mask with the truth.
        average_precision: Of the relevancy as a ranking of pixels.
        best_iou: The largest IoU that any threshold on the relevancy gives.
    """

    frame: str
    category: str
    split: str
    score: float
    peak: tuple[int, int]
    hit: bool
    iou: float
    average_precision: float
    best_iou: float


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


def evaluate(
    answerer: Answerer,
    capture: Capture,
    labels: list[FrameLabels],
    encoder: Encoder,
    protocol: str = "lerf-ovs",
    *,
    report: Reporter = SILENT,
) -> Evaluation:
    """Score the answers to every labelled category in its frames.

    Args:
        answerer: What is scored.
        capture: The photos; frames are matched to views by name, never by position.
        labels: Ground truth, from `load_labels`.
        encoder: The encoder that the answerer takes texts from.
        protocol: Name of a protocol in `PROTOCOLS`.
        report: Told about progress.

    Raises:
        LabelError: If a frame matches no view or the protocol is unknown.
    """
    if protocol not in PROTOCOLS:
        raise LabelError(f"unknown protocol {protocol!r}; known: {', '.join(PROTOCOLS)}")
    pairs = [(frame, match_view(frame, capture)) for frame in labels]
    texts = list(dict.fromkeys(label.category for frame in labels for label in frame.labels))
    queries = answerer.prepare(texts, encoder)
    rows: list[Row] = []
    with report.stage("Evaluating", len(pairs), "frames") as bar:
        for frame, view in pairs:
            rows += _frame_rows(answerer, frame, view, queries, PROTOCOLS[protocol])
            bar.advance()
    return summarise(protocol, rows)


def match_view(frame: FrameLabels, capture: Capture) -> View:
    """The view a frame labels: same file stem; folders in the view's name do not count.

    Raises:
        LabelError: If no view or several have that name.
    """
    found = [v for v in capture.views if frame.frame == PurePosixPath(v.name).stem]
    if len(found) != 1:
        problem = "no photo of that name is" if not found else f"{len(found)} photos of that name are"
        raise LabelError(f"{frame.path} labels {frame.frame!r}, but {problem} in the capture {capture.root}")
    return found[0]


def _frame_rows(
    answerer: Answerer,
    frame: FrameLabels,
    view: View,
    queries: Queries,
    protocol: Protocol,
) -> list[Row]:
    width, height = view.camera.width, view.camera.height
    wanted = [queries.texts.index(label.category) for label in frame.labels]
    answer = answerer.relevancy(view.camera, queries.subset(wanted))
    rows = []
    for label, relevancy in zip(frame.labels, answer.maps, strict=True):
        truth = frame.mask(label, width, height)
        ranking = metrics.rank(relevancy, truth)
        x, y = protocol.peak(relevancy)
        mask = protocol.mask(fill_uncovered(relevancy, answer.covered)) & answer.covered
        rows.append(
            Row(
                frame=view.name,
                category=label.category,
                split=view.split,
                score=float(relevancy[y, x]),
                peak=(x, y),
                hit=metrics.peak_in_boxes((x, y), frame.boxes(label, width, height).tolist()),
                iou=metrics.iou(mask, truth),
                average_precision=ranking.average_precision,
                best_iou=ranking.best_iou,
            )
        )
    return rows


def summarise(protocol: str, rows: list[Row]) -> Evaluation:
    """Means over all rows, by split and by category."""
    categories = {name: _summary([r for r in rows if r.category == name]) for name in _names(rows)}
    return Evaluation(
        protocol,
        tuple(rows),
        _summary(rows),
        _summary([r for r in rows if r.split != "train"]),
        _summary([r for r in rows if r.split == "train"]),
        categories,
    )


def _names(rows: list[Row]) -> list[str]:
    return sorted({row.category for row in rows})


def _summary(rows: list[Row]) -> Summary:
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
