"""The page of one evaluation: its figures as tables, and the worst answers as pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from gags._version import __version__
from gags.capture import Capture
from gags.draw.lettering import fit_within
from gags.draw.pictures import heat_overlay
from gags.embed.encoder import Encoder
from gags.evaluate.answerer import Answerer, FieldAnswerer
from gags.evaluate.labels import FrameLabels, match_view
from gags.evaluate.metrics import Evaluation, Row, summary_by
from gags.evaluate.protocols import named_protocol
from gags.evaluate.score import ScoredAnswer, make_asker, score_frame
from gags.progress import SILENT, Reporter
from gags.report.images import Picture, page_images
from gags.report.pages import write_page
from gags.scene import Scene

WORST_DRAWN = 24  # answers
WORST_OF_CATEGORY = 3  # of them at most, so that one bad word does not fill the page
LONGEST_OVERLAY = 1600  # px, of a picture that is kept for the page
HEAT_MEANING = {"relevancy": "the better it answers", "share": "the more of the pixel was chosen"}


@dataclass(frozen=True, eq=False)
class WorstAnswer:
    """One answer to look at.

    Attributes:
        row: Its figures.
        overlay: Heat, outlines of truth and answer, and the peak on the photo. uint8 RGB [H, W, 3]
    """

    row: Row
    overlay: np.ndarray


def write_evaluation_page(
    scene: Scene,
    labels: Sequence[FrameLabels],
    evaluation: Evaluation,
    *,
    progress: Reporter = SILENT,
) -> Path:
    """Write `evaluation_<protocol>.html` into the folder of a scene's report.

    Args:
        scene: The scene.
        labels: The labels it was scored with.
        evaluation: What came out; see `gags.evaluate.score.evaluate_scene`.
        progress: Told about progress.

    Returns:
        Path of the page.
    """
    answerer = FieldAnswerer.of(scene)
    worst = draw_worst(answerer, scene.capture, labels, scene.encoder, evaluation, progress=progress)
    return write_worst(
        scene.workspace.report / f"evaluation_{evaluation.protocol}.html",
        evaluation,
        worst,
        scene=scene.capture.root.name,
        encoder=scene.field.encoder_name,
        version=__version__,
    )


def write_worst(
    path: Path,
    evaluation: Evaluation,
    worst: Sequence[WorstAnswer],
    *,
    scene: str,
    encoder: str,
    version: str = "",
) -> Path:
    """Write the page of an evaluation, complete in itself.

    Args:
        path: The page; the file of the same name that ends with .json holds every row.
        evaluation: All rows and means.
        worst: From `draw_worst`.
        scene: Name of the scene.
        encoder: Name of the text encoder.
        version: Version of gags.

    Returns:
        Path of the page.
    """
    rules = named_protocol(evaluation.protocol)
    pictures = [Picture(str(number), answer.overlay, 0.75) for number, answer in enumerate(worst)]
    images = page_images(pictures)
    return write_page(
        path,
        "evaluation.html",
        scene=scene,
        rules=rules,
        encoder=encoder,
        evaluation=evaluation,
        by_photo=summary_by(evaluation.rows, lambda row: row.frame),
        worst=[(answer, images[str(k)]) for k, answer in enumerate(worst) if str(k) in images],
        heat=HEAT_MEANING[rules.asks],
        rows_file=path.with_suffix(".json").name,
        version=version,
    )


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


def draw_worst(
    answerer: Answerer,
    capture: Capture,
    labels: Sequence[FrameLabels],
    encoder: Encoder,
    evaluation: Evaluation,
    *,
    count: int = WORST_DRAWN,
    per_category: int = WORST_OF_CATEGORY,
    progress: Reporter = SILENT,
) -> list[WorstAnswer]:
    """The answers of least IoU as pictures, worst first.

    The texts are asked a second time, because keeping the maps of all answers would fill the memory.

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
    ask = make_asker(answerer, [row.category for row in rows], encoder, rules)
    place = {(row.frame, row.category): number for number, row in enumerate(rows)}
    drawn: dict[int, WorstAnswer] = {}
    views = [(frame, match_view(frame, capture)) for frame in labels]
    wanted = [(frame, view) for frame, view in views if any(row.frame == view.name for row in rows)]
    with progress.stage("Drawing the worst answers", len(wanted), "photos") as bar:
        for frame, view in wanted:
            chosen = [label for label in frame.labels if (view.name, label.category) in place]
            photo = view.image()
            for scored in score_frame(ask, frame, chosen, view, rules):
                overlay = fit_within(_overlay(photo, scored, rules.asks == "share"), LONGEST_OVERLAY)
                drawn[place[view.name, scored.row.category]] = WorstAnswer(scored.row, overlay)
            bar.advance()
    return [drawn[number] for number in sorted(drawn)]


def _overlay(photo: np.ndarray, scored: ScoredAnswer, is_share: bool) -> np.ndarray:
    """Heat with the outlines of truth and answer; shares as they are, relevancies by their range.

    Args:
        photo: Of any size; it is brought to that of the maps. uint8 RGB [H', W', 3]
        scored: The answer and its truth; their maps have the size that they were scored at.
        is_share: Whether its values are shares.

    Returns:
        uint8 RGB [H, W, 3]
    """
    limits = (0.0, 1.0) if is_share else None
    height, width = scored.values.shape
    if photo.shape[:2] != (height, width):
        shrinks = height <= photo.shape[0] and width <= photo.shape[1]
        way = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        photo = cv2.resize(photo, (width, height), interpolation=way)
    peak = scored.row.peak if min(scored.row.peak) >= 0 else None
    return heat_overlay(photo, scored.values, scored.mask, peak, truth=scored.truth, limits=limits)
