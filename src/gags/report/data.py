"""What a report shows: plain values and finished pictures, and the names of its pictures."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MOST_ANSWERS = 300  # in the page; all of them are in pictures/
MOST_VIEWS = 16  # in the page
WORST_SHOWN = 6  # answers that are shown a second time, as the worst
POOR_IOU = 0.25  # an answer below this belongs to the worst even if its peak hits


@dataclass(frozen=True)
class StageTime:
    """How long one stage took."""

    name: str
    seconds: float


@dataclass(frozen=True, eq=False)
class AnswerCard:
    """The answer to one text in one view. Made by `gather.answer_card`.

    Attributes:
        text: What was asked.
        view: Name of the photo.
        overlay: Heat map on the photo. uint8 RGB [H, W, 3]
        cutout: What the mask covers, or None if it is empty. uint8 RGB [h, w, 3]
        score: The answer's score, if it has one.
        iou: Overlap with the truth, where that is known.
        hit: Whether the peak lies on the truth, where that is known.
    """

    text: str
    view: str
    overlay: np.ndarray
    cutout: np.ndarray | None
    score: float | None = None
    iou: float | None = None
    hit: bool | None = None


@dataclass(frozen=True, eq=False)
class ViewPicture:
    """One more picture of a view.

    Attributes:
        title: One or two words.
        meaning: What it shows, in a sentence.
        pixels: uint8 RGB [H, W, 3]
    """

    title: str
    meaning: str
    pixels: np.ndarray


@dataclass(frozen=True, eq=False)
class ViewCard:
    """What the stages made of one photo. Made by `gather.view_card`.

    Attributes:
        name: Name of the photo.
        photo: uint8 RGB [H, W, 3]
        render: The Gaussians seen from there, compared with the photo by a slider.
        pictures: Depth, features, granularity, masks, prompts: whatever there is.
        held_out: The photo was not trained on.
        psnr: Of the render, in dB.
        ssim: Of the render.
    """

    name: str
    photo: np.ndarray
    render: np.ndarray | None = None
    pictures: tuple[ViewPicture, ...] = ()
    held_out: bool = False
    psnr: float | None = None
    ssim: float | None = None


@dataclass(frozen=True)
class TextFigures:
    """Figures of one text over all labelled views: how many views, mean accuracy and mean IoU in [0, 1]."""

    text: str
    views: int
    accuracy: float
    iou: float


@dataclass(frozen=True)
class EvaluationFigures:
    """Figures of one set of labelled views.

    Attributes:
        name: Which views, e.g. "held-out views".
        protocol: Name of the protocol, e.g. "lerf-ovs".
        macc: Mean localisation accuracy over pairs of view and text, in [0, 1].
        miou: Mean IoU over the same pairs, in [0, 1].
        texts: One row a text.
    """

    name: str
    protocol: str
    macc: float
    miou: float
    texts: Sequence[TextFigures] = ()


@dataclass(frozen=True)
class ReportData:
    """Everything the page shows. What is unknown keeps its default, and the page leaves it out.

    Attributes:
        scene: Name of the scene.
        photos: Photos trained on.
        gaussians: Number of Gaussians.
        encoder: Name of the text and image encoder.
        segmenter: Name of the segmenter.
        device: What it ran on, in words, e.g. "CPU, 2 cores".
        held_out: Photos held out.
        stages: Time per stage, in order.
        answers: Those to one text are shown together, texts in the order of their first answer.
        views: The scene, view by view.
        psnr: Mean over held-out photos, in dB.
        ssim: Mean over held-out photos.
        evaluations: Figures against ground truth; those of the first set are shown at the top.
        workspace: Path of the workspace, for the commands at the end.
        has_things: Whether `things.html` beside the page shows what the scene consists of.
        notes: Lines the reader should know, e.g. photos that were left out.
        version: Version of gags.
    """

    scene: str
    photos: int
    gaussians: int
    encoder: str
    segmenter: str
    device: str = ""
    held_out: int = 0
    stages: Sequence[StageTime] = ()
    answers: Sequence[AnswerCard] = ()
    views: Sequence[ViewCard] = ()
    psnr: float | None = None
    ssim: float | None = None
    evaluations: Sequence[EvaluationFigures] = ()
    workspace: str = ""
    has_things: bool = False
    notes: Sequence[str] = ()
    version: str = ""


def answer_keys(report: ReportData) -> list[tuple[str, str]]:
    """Keys of overlay and cut-out of every answer, in order; they are also the names of the files."""
    names = [f"{k:03d}_{_slug(card.text)}_{_slug(card.view)}" for k, card in enumerate(report.answers, 1)]
    return [(f"answer_{name}", f"cutout_{name}") for name in names]


def view_key(report: ReportData, index: int, title: str) -> str:
    """Key of one picture of one view; also the name of its file."""
    return f"view_{index + 1:02d}_{_slug(report.views[index].name)}_{_slug(title)}"


def thumb_key(answer_key: str) -> str:
    """Key of the small copy of an answer's overlay that is shown among the worst; only the page has it."""
    return answer_key + ".thumb"


def worst_answers(report: ReportData) -> list[int]:
    """Rows of the worst answers whose truth is known: first those that miss, then by overlap."""
    known = [
        (card.hit is not False, 1.0 if card.iou is None else card.iou, index)
        for index, card in enumerate(report.answers[:MOST_ANSWERS])
    ]
    return [index for hits, iou, index in sorted(known) if not hits or iou < POOR_IOU][:WORST_SHOWN]


def _slug(text: str) -> str:
    """A piece of a file name that is safe everywhere."""
    return re.sub(r"[^a-z0-9-]+", "-", text.lower()).strip("-")[:40] or "x"
