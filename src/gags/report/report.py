"""The report of a scene: one HTML page that needs nothing else, and its pictures as files beside it."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from gags.draw import pictures
from gags.files import atomic_write
from gags.report.data import (
    MAX_ANSWERS,
    MAX_VIEWS,
    Evaluation,
    Panel,
    QueryCard,
    QueryScore,
    ReportData,
    StageTime,
    ViewPage,
    answer_keys,
    thumb_key,
    view_key,
    worst_answers,
)
from gags.report.embedding import Picture, embed
from gags.report.page import page
from gags.segment.masks import LEVELS

__all__ = [
    "Evaluation",
    "Panel",
    "QueryCard",
    "QueryScore",
    "ReportData",
    "StageTime",
    "ViewPage",
    "query_card",
    "view_page",
    "write_report",
]

_FILES = ("answer_*.jpg", "cutout_*.jpg", "view_*.jpg")  # what a report may replace in its folder


def query_card(
    text: str,
    view: str,
    photo: np.ndarray,
    relevancy: np.ndarray,
    mask: np.ndarray,
    peak: tuple[float, float] | None = None,
    score: float | None = None,
    *,
    truth: np.ndarray | None = None,
    iou: float | None = None,
    hit: bool | None = None,
) -> QueryCard:
    """Draw one answer.

    Args:
        text: The query.
        view: Name of the photo.
        photo: uint8 RGB [H, W, 3]
        relevancy: [H, W]
        mask: [H, W]
        peak: x, y of the best pixel.
        score: The answer's score.
        truth: Ground-truth mask, outlined beside the answer's. [H, W]
        iou: Overlap with the truth.
        hit: Whether the peak lies on the truth.
    """
    overlay = pictures.heat_overlay(photo, relevancy, mask, peak, truth=truth)
    cut = pictures.cutout(photo, mask) if np.nan_to_num(mask).any() else None
    return QueryCard(text, view, overlay, cut, score, iou, hit)


def view_page(
    name: str,
    photo: np.ndarray,
    *,
    render: np.ndarray | None = None,
    depth: np.ndarray | None = None,
    omega: np.ndarray | None = None,
    features: np.ndarray | None = None,
    basis: pictures.FeatureBasis | None = None,
    alpha: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    prompts: np.ndarray | None = None,
    held_out: bool = False,
    psnr: float | None = None,
    ssim: float | None = None,
) -> ViewPage:
    """Draw one view; only the photo must be there.

    Args:
        name: Name of the photo.
        photo: uint8 RGB [H, W, 3]
        render: uint8 RGB [H, W, 3]
        depth: [H, W]
        omega: Granularity weights of sub-part, part, whole. [H, W, 3]
        features: Rendered language features. [H, W, d]
        basis: Colours of the features; pass one for all views (`pictures.feature_basis`).
        alpha: Accumulated opacity. [H, W]
        labels: Label maps of the three levels, negative for none. [3, H, W]
        prompts: x, y in px of the segmenter's prompts. [B, 2]
        held_out: The photo was not trained on.
        psnr: Of the render, in dB.
        ssim: Of the render.
    """
    panels: list[Panel] = []
    if depth is not None:
        panels.append(Panel("Depth", "Near is bright.", pictures.depth_picture(depth, alpha)))
    if features is not None:
        drawn = pictures.feature_picture(features, alpha, basis)
        panels.append(
            Panel("Meaning", "Language features as colours: what means the same looks alike.", drawn)
        )
    if omega is not None:
        drawn = pictures.granularity_picture(omega, alpha, legend=False)
        panels.append(Panel("Granularity", "Which level was learnt at each pixel.", drawn))
    if labels is not None:
        for level, of_level in zip(LEVELS, labels, strict=True):
            count = len(np.unique(of_level[of_level >= 0]))
            drawn = pictures.label_picture(of_level, photo)
            panels.append(Panel(f"Masks: {level}", f"{count} masks, grey where there is none.", drawn))
    if prompts is not None:
        drawn = pictures.prompt_picture(photo, prompts)
        meaning = f"{len(prompts)} points the segmenter was asked about; far things get more."
        panels.append(Panel("Prompts", meaning, drawn))
    return ViewPage(name, photo, render, tuple(panels), held_out, psnr, ssim)


def write_report(folder: Path, report: ReportData) -> Path:
    """Write `index.html` and `pictures/` into a folder.

    The page holds its own copies of the pictures, scaled so that it stays below about 12 MB, and asks the
    network for nothing. In `pictures/`, earlier pictures of a report are replaced; other files stay.

    Args:
        folder: The report's folder, made if it is not there.
        report: What to show.

    Returns:
        Path of the page.
    """
    collected = _collect(report)
    _write_pictures(folder / "pictures", collected)
    html = page(report, embed(_for_page(report, collected)))
    target = folder / "index.html"
    with atomic_write(target) as temporary:
        temporary.write_bytes(html.encode("utf-8", "replace"))
    return target


def _collect(report: ReportData) -> list[Picture]:
    """Every picture that becomes a file, those of the page first."""
    found: list[Picture] = []
    for card, (overlay, cut) in zip(report.queries, answer_keys(report), strict=True):
        found.append(Picture(overlay, card.overlay, 0.75))
        if card.cutout is not None:
            found.append(Picture(cut, card.cutout, 0.4))
    for index, view in enumerate(report.views):
        found.append(Picture(view_key(report, index, "photo"), view.photo, 1.0))
        if view.render is not None:
            found.append(Picture(view_key(report, index, "render"), view.render, 1.0))
        for panel in view.panels:
            found.append(Picture(view_key(report, index, panel.title), panel.pixels, 0.7))
    return found


def _for_page(report: ReportData, collected: Sequence[Picture]) -> list[Picture]:
    """Every picture that goes into the page."""
    answers = answer_keys(report)
    hidden = {key for pair in answers[MAX_ANSWERS:] for key in pair}
    for index in range(MAX_VIEWS, len(report.views)):
        titles = ["photo", "render", *(panel.title for panel in report.views[index].panels)]
        hidden |= {view_key(report, index, title) for title in titles}
    thumbs = [
        Picture(thumb_key(answers[index][0]), report.queries[index].overlay, 0.35)
        for index in worst_answers(report)
    ]
    return [picture for picture in collected if picture.key not in hidden] + thumbs


def _write_pictures(folder: Path, collected: Sequence[Picture]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    kept = {picture.key for picture in collected}
    for pattern in _FILES:
        for path in folder.glob(pattern):
            if path.stem not in kept:
                path.unlink()

    def save(picture: Picture) -> None:
        Image.fromarray(picture.pixels).save(folder / f"{picture.key}.jpg", quality=90, subsampling=0)

    with ThreadPoolExecutor() as pool:
        list(pool.map(save, collected))
