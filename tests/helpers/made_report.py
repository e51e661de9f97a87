"""A report of made-up figures and pictures that has every section of the page."""

import numpy as np

from gags.report.data import AnswerCard, EvaluationFigures, ReportData, StageTime, TextFigures
from gags.report.gather import answer_card, view_card


def photo() -> np.ndarray:
    """Grey from left to right. uint8 RGB [120, 160, 3]"""
    ramp = np.linspace(0, 255, 160).astype(np.uint8)
    return np.stack([np.tile(ramp, (120, 1))] * 3, axis=-1)


def card(
    text: str = "red mug", view: str = "a/b.jpg", iou: float | None = None, hit: bool | None = None
) -> AnswerCard:
    """An answer in the middle of the photo."""
    picture = photo()
    ys, xs = np.mgrid[: picture.shape[0], : picture.shape[1]]
    relevancy = np.exp(-((xs - 80) ** 2 + (ys - 60) ** 2) / 500)
    mask = relevancy > 0.7
    return answer_card(text, view, picture, relevancy, mask, (80, 60), 0.83, truth=mask, iou=iou, hit=hit)


def full_report() -> ReportData:
    """Two views, three answers, and figures of one set of labelled views."""
    picture = photo()
    height, width = picture.shape[:2]
    labels = np.full((3, height, width), -1, np.int16)
    labels[2, 20:60, 20:60] = 0
    labels[2, 70:90, 90:120] = 4
    view = view_card(
        "a/b.jpg",
        picture,
        render=picture // 2,
        depth=np.ones((height, width)),
        omega=np.full((height, width, 3), 1 / 3),
        features=np.random.default_rng(0).normal(size=(height, width, 8)),
        labels=labels,
        prompts=np.array([[3.0, 4.0]]),
        held_out=True,
        psnr=23.456,
        ssim=0.8712,
    )
    texts = [TextFigures("lamp", 1, 1.0, 0.1), TextFigures("red mug", 2, 0.5, 0.355)]
    return ReportData(
        "my desk",
        61,
        212_345,
        "lite",
        "mobile-sam",
        "CPU, 2 cores",
        held_out=9,
        stages=[StageTime("Gaussians", 612.0), StageTime("masks", 61.0)],
        answers=[
            card(iou=0.71, hit=True),
            card(view="c.jpg", iou=0.0, hit=False),
            card("lamp", iou=0.1, hit=True),
        ],
        views=[view, view_card("c.jpg", picture)],
        psnr=23.4,
        ssim=0.87,
        evaluations=[EvaluationFigures("held-out views", "lerf-ovs", 0.725, 0.364, texts)],
        workspace="desk ws",
        notes=["10 photos have no pose"],
        version="0.1.0",
    )
