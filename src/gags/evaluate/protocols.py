"""Named, frozen ways of scoring answers; a changed rule gets a new name."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from gags.capture import Camera, Capture, View
from gags.embed.encoder import Encoder
from gags.errors import LabelError
from gags.evaluate import metrics
from gags.evaluate.answerer import Answerer, Selector
from gags.evaluate.frames import held_out_frames, match_frames
from gags.evaluate.labels import FrameLabels, Label
from gags.evaluate.results import Evaluation, Row, summarise
from gags.progress import SILENT, Reporter
from gags.query import lerf_ovs
from gags.query.answers import fill_uncovered
from gags.query.maps import ValueMaps

ALL = "all"  # stands for every protocol
LEAST_SHARE = 0.5  # of a pixel that the chosen Gaussians must make up in `select-3d`


@dataclass(frozen=True)
class Protocol:
    """How an answer becomes a peak and a mask, and which frames count.

    Attributes:
        name: Under this name figures are published.
        meaning: The rules in a sentence.
        asks: What is scored: "relevancy" in the view, or the "share" of a pixel that chosen Gaussians have.
        cut: Mask from the map of an answer and what of it is known, and the threshold it was cut at.
        frames: "all" labelled frames, or only those that were "held-out".
    """

    name: str
    meaning: str
    asks: Literal["relevancy", "share"]
    cut: Callable[[Tensor, Tensor], tuple[Tensor, float]]
    frames: Literal["all", "held-out"]


def _cut_relevancy(relevancy: Tensor, known: Tensor) -> tuple[Tensor, float]:
    mask, threshold = lerf_ovs.cut(fill_uncovered(relevancy, known))
    return mask & known, threshold


def _cut_share(share: Tensor, known: Tensor) -> tuple[Tensor, float]:
    return (share >= LEAST_SHARE) & known, LEAST_SHARE


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "lerf-ovs",
            "Relevancy in every labelled view: peak after a 30×30 mean, mask at 0.7 of the range.",
            "relevancy",
            _cut_relevancy,
            "all",
        ),
        Protocol(
            "held-out",
            "The rules of lerf-ovs, on labelled views that were not trained on alone.",
            "relevancy",
            _cut_relevancy,
            "held-out",
        ),
        Protocol(
            "select-3d",
            "Gaussians chosen in 3D and rendered among all others: mask where they make up half of a pixel.",
            "share",
            _cut_share,
            "all",
        ),
    )
}


@dataclass(frozen=True, eq=False)
class Judged:
    """One category in one frame: its row, and the pictures the row was computed from.

    Attributes:
        row: The figures.
        values: Relevancy, or share of the pixel. float32 [H, W]
        mask: The protocol's mask. bool [H, W]
        truth: bool [H, W]
    """

    row: Row
    values: np.ndarray
    mask: np.ndarray
    truth: np.ndarray


def evaluate(
    answerer: Answerer,
    capture: Capture,
    labels: Sequence[FrameLabels],
    encoder: Encoder,
    protocol: str = "lerf-ovs",
    *,
    progress: Reporter = SILENT,
) -> Evaluation:
    """Score the answers to every labelled category in its frames.

    Args:
        answerer: What is scored.
        capture: The photos; frames are matched to views by name, never by position.
        labels: Ground truth, from `load_labels`.
        encoder: The encoder that the answerer takes texts from.
        protocol: Name of a protocol in `PROTOCOLS`.
        progress: Told about progress.

    Raises:
        LabelError: If a frame matches no view, no frame is left to score, the protocol is unknown, or asks
            for a choice of Gaussians that the answerer cannot make.
    """
    rules = named_protocol(protocol)
    pairs = match_frames(labels, capture)
    pairs = held_out_frames(pairs, capture) if rules.frames == "held-out" else pairs
    ask = asking(answerer, [label.category for frame, _ in pairs for label in frame.labels], encoder, rules)
    rows: list[Row] = []
    with progress.stage(f"Evaluating ({protocol})", len(pairs), "frames") as bar:
        for frame, view in pairs:
            rows += [judged.row for judged in judge(ask, frame, frame.labels, view, rules)]
            bar.advance()
    return summarise(protocol, rows)


def named_protocol(name: str) -> Protocol:
    """The protocol of a name.

    Raises:
        LabelError: If there is none.
    """
    if name not in PROTOCOLS:
        raise LabelError(f"unknown protocol {name!r}; known: {', '.join(PROTOCOLS)}, {ALL}")
    return PROTOCOLS[name]


def protocols_called(name: str, labels: Sequence[FrameLabels], capture: Capture) -> list[Protocol]:
    """The protocol of a name, or for "all" every one that can be scored with these labels.

    Raises:
        LabelError: If there is none of that name, or a frame matches no view.
    """
    if name != ALL:
        return [named_protocol(name)]
    held_out = any(view.split != "train" for frame, view in match_frames(labels, capture) if frame.labels)
    return [protocol for protocol in PROTOCOLS.values() if held_out or protocol.frames == "all"]


def judge(
    ask: "Ask", frame: FrameLabels, labels: Sequence[Label], view: View, protocol: Protocol
) -> Iterator[Judged]:
    """Score labels of one frame.

    Args:
        ask: From `asking`.
        frame: The frame.
        labels: Those of its labels that are wanted.
        view: The view of the frame.
        protocol: The rules.

    Yields:
        One result a label, in their order.
    """
    if not labels:
        return
    width, height = view.camera.width, view.camera.height
    answer = ask(view.camera, [label.category for label in labels])
    for label, values, array in zip(labels, answer.values, answer.maps, strict=True):
        truth = frame.mask(label, width, height)
        found, threshold = protocol.cut(values, answer.known)
        mask, peak = found.cpu().numpy(), lerf_ovs.peak(values)
        boxes = frame.boxes(label, width, height).tolist()
        row = _row(view, label.category, array, peak, mask, truth, boxes, threshold)
        yield Judged(row, array, mask, truth)


def _row(
    view: View,
    category: str,
    values: np.ndarray,
    peak: tuple[int, int],
    mask: np.ndarray,
    truth: np.ndarray,
    boxes: list[list[float]],
    threshold: float,
) -> Row:
    x, y = peak
    ranking = metrics.rank(values, truth)
    return Row(
        frame=view.name,
        category=category,
        split=view.split,
        score=float(values[y, x]),
        peak=(x, y),
        boxes=tuple(map(tuple, boxes)),
        hit=metrics.peak_in_boxes((x, y), boxes),
        threshold=threshold,
        mask_pixels=int(np.count_nonzero(mask)),
        truth_pixels=int(np.count_nonzero(truth)),
        common_pixels=int(np.count_nonzero(mask & truth)),
        iou=metrics.iou(mask, truth),
        average_precision=ranking.average_precision,
        best_iou=ranking.best_iou,
        best_threshold=ranking.threshold,
    )


Ask = Callable[[Camera, Sequence[str]], ValueMaps]
"""Asks prepared texts in a view; the maps are relevancies or shares, as the protocol has it."""


def asking(answerer: Answerer, texts: Sequence[str], encoder: Encoder, protocol: Protocol) -> Ask:
    """Prepare texts once, to ask any of them in any number of views.

    Args:
        answerer: What is asked.
        texts: All texts that will be asked; repeated ones count once.
        encoder: The encoder that the answerer takes texts from.
        protocol: Says what is asked for.

    Raises:
        LabelError: If the protocol needs a choice of Gaussians and the answerer cannot make one.
    """
    unique = list(dict.fromkeys(texts))
    row = {text: number for number, text in enumerate(unique)}
    queries = answerer.prepare(unique, encoder)
    if protocol.asks == "relevancy":
        return lambda camera, wanted: answerer.relevancy(camera, queries.subset([row[w] for w in wanted]))
    if not isinstance(answerer, Selector):
        raise LabelError(
            f"protocol {protocol.name} scores a choice of Gaussians, {type(answerer).__name__} makes none; "
            "score it by another protocol"
        )
    selections = answerer.select(queries)
    return lambda camera, wanted: selections.shares(camera, [row[w] for w in wanted])
