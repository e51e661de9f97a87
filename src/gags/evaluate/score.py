"""Scoring answers against labels, by a protocol: one frame, all frames, and a whole scene with its files."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from gags.capture import Camera, Capture, View
from gags.capture.masks import resized_kept
from gags.embed.encoder import Encoder
from gags.errors import FileError, LabelError
from gags.evaluate import metrics
from gags.evaluate.answerer import Answerer, FieldAnswerer, Selector
from gags.evaluate.labels import FrameLabels, Label, held_out_frames, match_frames
from gags.evaluate.metrics import Evaluation, Row, summarise
from gags.evaluate.protocols import Protocol, Verdict, judge, named_protocol
from gags.files import write_json
from gags.progress import SILENT, Reporter, part
from gags.query.maps import ValueMaps
from gags.scene import Scene


class WrittenEvaluation(NamedTuple):
    """An evaluation, and the file that holds its rows; None if it could not be written."""

    evaluation: Evaluation
    rows: Path | None


def evaluate_scene(
    scene: Scene,
    labels: Sequence[FrameLabels],
    protocol: str = "lerf-ovs",
    *,
    progress: Reporter = SILENT,
) -> WrittenEvaluation:
    """Score a scene by one protocol and write the figures into the folder of its report.

    All rows and means go to `evaluation_<protocol>.json`, the means to `metrics.json` too.

    Args:
        scene: The scene.
        labels: Ground truth, from `load_labels`; by name, or with the photos that `with_photos` found.
        protocol: Name of a protocol in `PROTOCOLS`.
        progress: Told about progress.

    Raises:
        LabelError: If labels and photos do not fit, or the protocol is unknown; see `evaluate`.
    """
    answerer = FieldAnswerer.of(scene)
    evaluation = evaluate(answerer, scene.capture, labels, scene.encoder, protocol, progress=progress)
    figures = evaluation.to_json()
    try:
        scene.workspace.update_metrics({protocol: {key: figures[key] for key in figures if key != "rows"}})
        rows = write_json(scene.workspace.report / f"evaluation_{protocol}.json", figures)
    except FileError as error:  # as of a scene that may only be read; the figures are right all the same
        progress.warn(f"the figures are not kept: {error}")
        rows = None
    return WrittenEvaluation(evaluation, rows)


@dataclass(frozen=True, eq=False)
class ScoredAnswer:
    """One category in one frame: its row, and the maps that the row was computed from.

    The maps have the size that the protocol asks at: of the view, or of the label.

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
        capture: The photos.
        labels: Ground truth, from `load_labels`; frames are matched to views by name, unless `with_photos`
            has matched them by position.
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
    ask = make_asker(
        answerer, [label.category for frame, _ in pairs for label in frame.labels], encoder, rules
    )
    rows: list[Row] = []
    with progress.stage(f"Evaluating ({protocol})", len(pairs), "frames") as bar:
        for frame, view in pairs:
            rows += [scored.row for scored in score_frame(ask, frame, frame.labels, view, rules)]
            bar.advance()
    return summarise(protocol, rows)


def score_frame(
    ask: "Asker", frame: FrameLabels, labels: Sequence[Label], view: View, protocol: Protocol
) -> Iterator[ScoredAnswer]:
    """Score labels of one frame.

    Args:
        ask: From `make_asker`.
        frame: The frame.
        labels: Those of its labels that are wanted.
        view: The view of the frame.
        protocol: The rules.

    Yields:
        One result a label, in their order; none for a label of which masks leave nothing, see `Protocol`.
    """
    if not labels:
        return
    width, height = protocol.size_in(frame, view)
    with part("answering"):
        answer = ask(view.camera.resized(width, height), [label.category for label in labels])
    kept = view.kept() if protocol.leaves_out_ignored else None
    if kept is not None:
        kept = resized_kept(kept, width, height)
        answer = answer.within(torch.from_numpy(kept).to(answer.known.device))
    for number, label in enumerate(labels):
        with part("answering"):
            verdict = judge(protocol, answer, number)
        values, mask = verdict.values.cpu().numpy(), verdict.mask.cpu().numpy()
        truth = frame.mask(label, width, height, polygons=protocol.polygons)
        if kept is not None:
            truth = truth & kept
            if not truth.any():
                continue
        boxes = frame.boxes(label, width, height).tolist()
        counts = None
        if verdict.instances is not None:
            shown = list(verdict.instances.cpu().numpy())
            outlined = frame.outlined(label, width, height)
            outlined = outlined if kept is None else [mask & kept for mask in outlined]
            counts = metrics.count_instances(shown, outlined if len(outlined) > 1 else [truth])
        row = _row(view, label.category, verdict, values, mask, truth, boxes, counts)
        yield ScoredAnswer(row, values, mask, truth)


def _row(
    view: View,
    category: str,
    verdict: Verdict,
    values: np.ndarray,
    mask: np.ndarray,
    truth: np.ndarray,
    boxes: list[list[float]],
    counts: metrics.InstanceCounts | None,
) -> Row:
    ranking = metrics.rank(values, truth)
    return Row(
        frame=view.name,
        category=category,
        split=view.split,
        score=verdict.score,
        peak=verdict.peak,
        boxes=tuple(map(tuple, boxes)),
        hit=min(verdict.peak) >= 0 and metrics.peak_in_boxes(verdict.peak, boxes),
        threshold=verdict.threshold,
        mask_pixels=int(np.count_nonzero(mask)),
        truth_pixels=int(np.count_nonzero(truth)),
        common_pixels=int(np.count_nonzero(mask & truth)),
        iou=metrics.iou(mask, truth),
        average_precision=ranking.average_precision,
        best_iou=ranking.best_iou,
        best_threshold=ranking.threshold,
        instances=counts,
    )


Asker = Callable[[Camera, Sequence[str]], ValueMaps]
"""Asks prepared texts in a view; the maps are relevancies or shares, whichever the protocol scores."""


def make_asker(answerer: Answerer, texts: Sequence[str], encoder: Encoder, protocol: Protocol) -> Asker:
    """Prepare texts once, to ask any of them in any number of views.

    Args:
        answerer: What is asked.
        texts: All texts that will be asked; repeated ones count once.
        encoder: The encoder that the answerer takes texts from.
        protocol: Says whether relevancies or shares are asked for.

    Raises:
        LabelError: If the protocol needs a choice of Gaussians and the answerer cannot make one.
    """
    unique = list(dict.fromkeys(texts))
    row = {text: number for number, text in enumerate(unique)}
    with part("answering"):
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
