"""From prompts to candidates: masks on the segmenter's grid that are good enough on their own."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from gags.segment.frames import Frame, cut_off
from gags.segment.masks import LEVELS
from gags.segment.novelty import Novelty
from gags.segment.packed import CroppedMask
from gags.segment.segmenter import PromptedMasks, SeesPlaces, Segmenter
from gags.segment.settings import DescribeSettings

LEAST_KEPT = 0.5  # of a mask that must lie where the photo counts; the rest is cut off
PROMPTS_A_CALL = 64  # prompts decoded at a time, at most; bounds the memory


@dataclass(eq=False)
class Candidate:
    """A mask that passed the filters, on the segmenter's grid, cut to its box and one cell around it.

    Attributes:
        logits: float16 [h, w]
        x: Column of the grid where `logits` starts.
        y: Row of the grid where `logits` starts.
        box: x1, y1, x2, y2, far edges exclusive, as boxes are compared: in cells of the grid, or in px of the
            photo if there are crops or stability is measured there. [4]
        iou: Predicted IoU.
        score: Predicted IoU × stability.
        level: 0, 1 or 2.
        frame: What the segmenter saw: the photo or a crop.
        extent: Width and height of the frame in cells of the grid.
    """

    logits: np.ndarray
    x: int
    y: int
    box: np.ndarray
    iou: float
    score: float
    level: int
    frame: Frame
    extent: tuple[float, float]


def candidate_masks(
    encoded: Any,
    prompts: np.ndarray,
    segmenter: Segmenter,
    settings: DescribeSettings,
    frame: Frame,
    photo_size: tuple[int, int],
) -> list[Candidate]:
    """Run the segmenter on prompts of one frame and keep masks that are good enough on their own.

    Masks whose predicted IoU, stability and, if it is asked for first, score are too low are dropped; so are
    masks that a crop cuts off. If the settings ask for a novelty, and the segmenter says how places look,
    prompts are answered in rounds, and those that repeat others are left out, see `Novelty`.

    Args:
        encoded: The result of the segmenter's `encode` for the frame.
        prompts: Points (x, y) in px of the photo. float32 [P, 2]
        segmenter: Model of the SAM family.
        settings: Thresholds.
        frame: What of the photo was encoded.
        photo_size: Width and height of the photo, px.

    Returns:
        The masks that pass, in the order of the prompts.
    """
    points = prompts - np.array([frame.x, frame.y], np.float32)
    asking = _Asking(encoded, segmenter, settings, frame, photo_size)
    found: list[tuple[int, Candidate]] = []
    if settings.least_novelty > 0 and isinstance(segmenter, SeesPlaces):
        features, size = segmenter.features_at(encoded, points), (frame.width, frame.height)
        novelty = Novelty(features, points, size, len(LEVELS))
        rows = novelty.first()
        while len(rows):
            answers = asking.ask(points[rows])
            found += zip(rows[answers.prompts].tolist(), answers.candidates, strict=True)
            novelty.answered(rows, answers.holding(points, size, len(rows)), answers.there(len(rows)))
            rows = novelty.next(settings.least_novelty)
    else:
        for rows, candidates in asking.ask_all(points):
            found += zip(rows, candidates, strict=True)
    return [candidate for _, candidate in sorted(found, key=lambda pair: pair[0])]


@dataclass(eq=False)
class _Answers:
    """What passed of the answers to some prompts.

    Attributes:
        candidates: The masks that passed, K of them, in the order of the prompts.
        prompts: Row of the prompt of each. int64 [K]
        levels: Level of each. int64 [K]
        batch: All answers.
        rows: Which of them these are. int64 [K]
    """

    candidates: list[Candidate]
    prompts: np.ndarray
    levels: np.ndarray
    batch: PromptedMasks
    rows: np.ndarray

    def there(self, count: int) -> np.ndarray:
        """Whether each of `count` prompts has a mask on each level. bool [L, count]"""
        there = np.zeros((len(LEVELS), count), bool)
        there[self.levels, self.prompts] = True
        return there

    def holding(self, points: np.ndarray, size: tuple[int, int], count: int) -> np.ndarray:
        """Whether the masks hold points (px of a frame of some size). bool [L, count, P]"""
        extent = np.array(self.batch.extent)
        cells = np.minimum((points * (extent / size)).astype(np.int64), np.ceil(extent).astype(np.int64) - 1)
        holds = np.zeros((len(LEVELS), count, len(points)), bool)
        holds[self.levels, self.prompts] = self.batch.holds(self.rows, cells)
        return holds


@dataclass(eq=False)
class _Asking:
    """A segmenter that is asked about one frame, with the filters that its answers must pass."""

    encoded: Any
    segmenter: Segmenter
    settings: DescribeSettings
    frame: Frame
    photo_size: tuple[int, int]

    def ask_all(self, points: np.ndarray) -> Iterator[tuple[list[int], list[Candidate]]]:
        """The masks of any number of prompts [P, 2] that pass, call by call, and their prompts' rows."""
        size = min(getattr(self.segmenter, "prompts_a_call", PROMPTS_A_CALL), PROMPTS_A_CALL)
        at_once: int = getattr(self.segmenter, "calls_at_once", 1)

        def passed(start: int) -> tuple[list[int], list[Candidate]]:
            answers = self.ask(points[start : start + size])
            return (start + answers.prompts).tolist(), answers.candidates

        starts = range(0, len(points), size)
        if at_once == 1:
            yield from map(passed, starts)
            return
        with ThreadPoolExecutor(at_once, "prompts") as threads:
            yield from threads.map(passed, starts)

    def ask(self, points: np.ndarray) -> _Answers:
        """The masks of prompts, in px of the frame, that pass. float32 [B, 2]"""
        settings, frame = self.settings, self.frame
        batch = self.segmenter.predict(self.encoded, points, min_iou=settings.min_iou)
        stabilities, cells, boxes = _measured(batch, settings, frame)
        scores = batch.ious * stabilities
        passed = (batch.ious > settings.min_iou) & (stabilities >= settings.min_stability)
        passed &= (cells[:, 2] > 0) & (boxes[:, 2] > boxes[:, 0])
        if settings.score_first:
            passed &= scores > settings.min_score
        if settings.prompts == "crops":
            passed &= ~cut_off(boxes, frame, *self.photo_size)
        candidates: list[Candidate] = []
        rows = np.flatnonzero(passed)
        for row, (x, y), logits in zip(rows, *batch.cut(rows, cells[rows]), strict=True):
            candidates.append(
                Candidate(
                    logits=logits,
                    x=x,
                    y=y,
                    box=boxes[row],
                    iou=float(batch.ious[row]),
                    score=float(scores[row]),
                    level=int(batch.levels[row]),
                    frame=frame,
                    extent=batch.extent,
                )
            )
        return _Answers(
            candidates=candidates,
            prompts=batch.prompts[rows].astype(np.int64),
            levels=batch.levels[rows].astype(np.int64),
            batch=batch,
            rows=rows,
        )


def _measured(
    batch: PromptedMasks, settings: DescribeSettings, frame: Frame
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Stability of masks, their boxes in cells, and their boxes as these are compared, see `Candidate`.

    Returns:
        float32 [K], int64 [K, 4], [K, 4]
    """
    stabilities, cells = batch.measure(settings.stability_offset)
    corners = np.array([frame.x, frame.y] * 2)
    if settings.stability_at == "photo":
        # Stability is at most 1: most masks of a low predicted IoU need not be measured.
        least = max(settings.min_iou, settings.min_score if settings.score_first else 0)
        stabilities, boxes = batch.measure_resized(
            (batch.ious > least) & (cells[:, 2] > 0),
            offset=settings.stability_offset,
            width=frame.width,
            height=frame.height,
        )
        return stabilities, cells, boxes + corners
    if settings.prompts == "crops":
        px = np.array([frame.width, frame.height] * 2) / np.array(batch.extent * 2)  # px per cell
        return stabilities, cells, cells * px + corners
    return stabilities, cells, cells


def kept_share(candidate: Candidate, kept: np.ndarray) -> float:
    """Share of a mask that lies where the photo counts, by the centres of its cells.

    Args:
        candidate: The mask.
        kept: Which pixels of the photo count. bool [H, W]
    """
    frame, (rows, columns) = candidate.frame, np.nonzero(candidate.logits > 0)
    cells_x, cells_y = candidate.extent[0] / frame.width, candidate.extent[1] / frame.height
    x = frame.x + ((columns + candidate.x + 0.5) / cells_x).astype(np.int64).clip(0, frame.width - 1)
    y = frame.y + ((rows + candidate.y + 0.5) / cells_y).astype(np.int64).clip(0, frame.height - 1)
    return float(kept[y, x].mean()) if len(x) else 0.0


def to_photo(candidate: Candidate) -> CroppedMask:
    """Resize one mask to the photo: bilinear on the logits, then the threshold."""
    frame, (h, w) = candidate.frame, candidate.logits.shape
    # Cells per px.
    cells_x, cells_y = candidate.extent[0] / frame.width, candidate.extent[1] / frame.height
    x1, y1 = int(candidate.x / cells_x), int(candidate.y / cells_y)
    x2 = min(frame.width, int(np.ceil((candidate.x + w) / cells_x)))
    y2 = min(frame.height, int(np.ceil((candidate.y + h) / cells_y)))
    # The centre of px X of the window lies at cell coordinate (X + x1 + ½)·cells_x, whose index is that − ½.
    to_cells = np.array(
        [
            [cells_x, 0, (x1 + 0.5) * cells_x - 0.5 - candidate.x],
            [0, cells_y, (y1 + 0.5) * cells_y - 0.5 - candidate.y],
        ]
    )
    logits = cv2.warpAffine(
        candidate.logits.astype(np.float32),
        to_cells,
        (x2 - x1, y2 - y1),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return CroppedMask(logits > 0, frame.x + x1, frame.y + y1)
