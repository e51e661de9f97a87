"""An evaluation in the report of a scene: rows and means as JSON, and a page that shows the worst answers."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

import gags
from gags.capture import Capture
from gags.draw.lettering import fit_within
from gags.draw.pictures import heat_overlay
from gags.embed.encoder import Encoder
from gags.evaluate.answerer import Answerer, FieldAnswerer
from gags.evaluate.frames import match_view
from gags.evaluate.labels import FrameLabels
from gags.evaluate.protocols import Judged, asking, evaluate, judge, named_protocol
from gags.evaluate.results import Evaluation, worst_rows
from gags.files import atomic_write, write_json
from gags.progress import SILENT, Reporter
from gags.report.embedding import Picture, embed
from gags.report.evaluation_page import EvaluationPage, WorstAnswer, evaluation_page, picture_key
from gags.scene import Scene

WORST = 24  # answers shown
WORST_OF_CATEGORY = 3  # of them at most, so that one bad word does not fill the page
LONGEST = 1600  # px of a picture that is kept for the page


class Scored(NamedTuple):
    """An evaluation and the files it was written to."""

    evaluation: Evaluation
    rows: Path
    page: Path


def score_scene(
    scene: Scene,
    labels: Sequence[FrameLabels],
    protocol: str = "lerf-ovs",
    *,
    progress: Reporter = SILENT,
) -> Scored:
    """Evaluate a scene by one protocol and leave the result in its report's folder.

    Writes `evaluation_<protocol>.json` (all rows and means), `evaluation_<protocol>.html` (tables and the
    worst answers) and the means into `metrics.json`.

    Args:
        scene: The scene.
        labels: Ground truth, from `load_labels`.
        protocol: Name of a protocol.
        progress: Told about progress.

    Raises:
        LabelError: If labels and photos do not fit, or the protocol is unknown; see `evaluate`.
    """
    answerer, encoder = FieldAnswerer(scene.gaussians, scene.field), scene.encoder
    evaluation = evaluate(answerer, scene.capture, labels, encoder, protocol, progress=progress)
    worst = draw_worst(answerer, scene.capture, labels, encoder, evaluation, progress=progress)
    figures = evaluation.to_json()
    scene.workspace.update_metrics({protocol: {k: v for k, v in figures.items() if k != "rows"}})
    folder = scene.workspace.report
    rows = write_json(folder / f"evaluation_{protocol}.json", figures)
    page = write_page(
        folder / f"evaluation_{protocol}.html",
        EvaluationPage(
            scene.capture.root.name,
            evaluation,
            named_protocol(protocol),
            scene.field.encoder_name,
            worst,
            rows.name,
            gags.__version__,
        ),
    )
    return Scored(evaluation, rows, page)


def draw_worst(
    answerer: Answerer,
    capture: Capture,
    labels: Sequence[FrameLabels],
    encoder: Encoder,
    evaluation: Evaluation,
    *,
    count: int = WORST,
    per_category: int = WORST_OF_CATEGORY,
    progress: Reporter = SILENT,
) -> list[WorstAnswer]:
    """The answers of least IoU as pictures, worst first.

    They are asked once more: keeping the maps of every answer of an evaluation would fill the memory.

    Args:
        answerer: What was scored.
        capture: The photos.
        labels: The labels it was scored with.
        encoder: The encoder that the answerer takes texts from.
        evaluation: What came out.
        count: How many answers to draw at most.
        per_category: How many of one category at most.
        progress: Told about progress.
    """
    rows = worst_rows(evaluation.rows, count, per_category)
    if not rows:
        return []
    rules = named_protocol(evaluation.protocol)
    ask = asking(answerer, [row.category for row in rows], encoder, rules)
    place = {(row.frame, row.category): number for number, row in enumerate(rows)}
    drawn: dict[int, WorstAnswer] = {}
    views = [(frame, match_view(frame, capture)) for frame in labels]
    wanted = [(frame, view) for frame, view in views if any(row.frame == view.name for row in rows)]
    with progress.stage("Drawing the worst answers", len(wanted), "photos") as bar:
        for frame, view in wanted:
            chosen = [label for label in frame.labels if (view.name, label.category) in place]
            photo = view.image()
            for judged in judge(ask, frame, chosen, view, rules):
                overlay = fit_within(_overlay(photo, judged, rules.asks == "share"), LONGEST)
                drawn[place[view.name, judged.row.category]] = WorstAnswer(judged.row, overlay)
            bar.advance()
    return [drawn[number] for number in sorted(drawn)]


def _overlay(photo: np.ndarray, judged: Judged, is_share: bool) -> np.ndarray:
    """Heat with the outlines of truth and answer; shares as they are, relevancies by their range."""
    limits = (0.0, 1.0) if is_share else None
    peak = judged.row.peak
    return heat_overlay(photo, judged.values, judged.mask, peak, truth=judged.truth, limits=limits)


def write_page(path: Path, page: EvaluationPage) -> Path:
    """Write the page atomically, complete in itself; returns the path."""
    pictures = [Picture(picture_key(k), answer.overlay, 0.75) for k, answer in enumerate(page.worst)]
    html = evaluation_page(page, embed(pictures))
    with atomic_write(path) as temporary:
        temporary.write_bytes(html.encode("utf-8", "replace"))
    return path
