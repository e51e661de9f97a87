"""The report of a finished scene: what there is to show, gathered and drawn."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

import gags
from gags.capture import View
from gags.draw.pictures import FeatureBasis, feature_basis
from gags.embed.description import Description
from gags.errors import WorkspaceError
from gags.evaluate import metrics
from gags.evaluate.frames import match_view
from gags.evaluate.labels import FrameLabels
from gags.evaluate.results import Evaluation, Summary
from gags.gaussians import render
from gags.progress import SILENT, Reporter
from gags.query.answers import granularity_map, render_features
from gags.query.names import suggest_texts
from gags.query.relevancy import Queries
from gags.reconstruct.quality import psnr, ssim
from gags.render import Rendering
from gags.report import report as pages
from gags.scene import Scene

VIEWS = 4  # views of the scene shown, half of them held out
ANSWERS = 3  # views in which a text is answered
SUGGESTED = 6  # texts asked where the user gave none


def write_scene_report(
    scene: Scene,
    texts: Sequence[str] = (),
    *,
    labels: Sequence[FrameLabels] = (),
    evaluation: Evaluation | None = None,
    progress: Reporter = SILENT,
) -> Path:
    """Write `report/index.html` of a scene.

    Args:
        scene: The scene.
        texts: What to ask it; by default what its own masks suggest, or the labelled categories.
        labels: Ground truth; with it, answers are shown in the labelled frames beside the truth.
        evaluation: Figures against the truth.
        progress: Told about progress.

    Returns:
        Path of the page.
    """
    if not texts:
        texts = _default_texts(scene, labels)
    queries = scene.queries(texts) if texts else None
    chosen = spread(scene.capture.test, VIEWS // 2)
    chosen = spread(scene.capture.train, VIEWS - len(chosen)) + chosen
    basis = feature_basis(scene.field.features.cpu().numpy())
    cards: list[pages.QueryCard] = []
    drawn: list[pages.ViewPage] = []
    with progress.stage("Writing the report", len(chosen) + len(texts), "pages") as bar:
        for view in chosen:
            drawn.append(draw_view(scene, view, basis))
            bar.advance()
        if queries is not None:
            cards = _truth_cards(scene, queries, labels) if labels else _best_cards(scene, queries)
            bar.advance(len(texts))
    return pages.write_report(scene.workspace.report, _data(scene, cards, drawn, evaluation))


def draw_view(scene: Scene, view: View, basis: FeatureBasis) -> pages.ViewPage:
    """Photo, render, depth, features, granularity, masks and prompts of one view."""
    photo = view.image()
    rendering = render_colors(scene, view)
    rendered = render_features(scene.gaussians, scene.field, view.camera)
    picture = rendering.colors.clamp(0, 1)
    target = torch.from_numpy(photo).to(picture.device).float() / 255
    masks = _features(scene, view)
    return pages.view_page(
        view.name,
        photo,
        render=(picture * 255).round().byte().cpu().numpy(),
        depth=rendering.depths.cpu().numpy(),
        omega=granularity_map(rendered, scene.field),
        features=rendered.features.cpu().numpy(),
        basis=basis,
        alpha=rendering.alphas.cpu().numpy(),
        labels=masks.masks.labels if masks else None,
        prompts=masks.prompts if masks else None,
        held_out=view.split == "test",
        psnr=float(psnr(picture, target)),
        ssim=float(ssim(picture, target)),
    )


@torch.no_grad()
def render_colors(scene: Scene, view: View) -> Rendering:
    """The Gaussians as seen from a view, on black."""
    return render(scene.gaussians, view.camera)


def spread(views: Sequence[View], count: int) -> list[View]:
    """`count` of some views, evenly spread over them."""
    rows = np.linspace(0, len(views) - 1, min(count, len(views))).round().astype(int)
    return [views[row] for row in rows]


def _default_texts(scene: Scene, labels: Sequence[FrameLabels]) -> list[str]:
    if labels:
        return list(dict.fromkeys(label.category for frame in labels for label in frame.labels))
    photos = (_features(scene, view) for view in spread(scene.capture.train, 24))
    return suggest_texts((p for p in photos if p is not None), scene.encoder, count=SUGGESTED)


def _features(scene: Scene, view: View) -> Description | None:
    """Masks of a photo; None for one that was held out or whose file is gone."""
    path = scene.workspace.description(view.name)
    if not path.exists():
        return None
    try:
        return Description.load(path)
    except WorkspaceError:
        return None


def _best_cards(scene: Scene, queries: Queries) -> list[pages.QueryCard]:
    """Every text in the views where it is found best."""
    cards = []
    for row, views in enumerate(scene.best_views(queries, ANSWERS)):
        for view in views:
            (answer,) = scene.query(queries.subset([row]), view)
            cards.append(
                pages.query_card(
                    answer.text,
                    view.name,
                    view.image(),
                    answer.relevancy,
                    answer.mask,
                    answer.peak,
                    answer.score,
                )
            )
    return cards


def _truth_cards(scene: Scene, queries: Queries, labels: Sequence[FrameLabels]) -> list[pages.QueryCard]:
    """Every text in the labelled frames that show it, with the truth; at most `ANSWERS` frames a text."""
    shown: dict[str, int] = {}
    cards = []
    for frame in labels:
        view = match_view(frame, scene.capture)
        due = {text for text in queries.texts if shown.get(text, 0) < ANSWERS}
        wanted = [label for label in frame.labels if label.category in due]
        if not wanted:
            continue
        photo = view.image()
        rows = [queries.texts.index(label.category) for label in wanted]
        for label, answer in zip(wanted, scene.query(queries.subset(rows), view), strict=True):
            shown[label.category] = shown.get(label.category, 0) + 1
            truth = frame.mask(label, view.camera.width, view.camera.height)
            boxes = frame.boxes(label, view.camera.width, view.camera.height)
            cards.append(
                pages.query_card(
                    answer.text,
                    view.name,
                    photo,
                    answer.relevancy,
                    answer.mask,
                    answer.peak,
                    answer.score,
                    truth=truth,
                    iou=metrics.iou(answer.mask, truth),
                    hit=metrics.peak_in_boxes(answer.peak, boxes.tolist()),
                )
            )
    return sorted(cards, key=lambda card: queries.texts.index(card.text))


def _data(
    scene: Scene,
    cards: list[pages.QueryCard],
    views: list[pages.ViewPage],
    evaluation: Evaluation | None,
) -> pages.ReportData:
    workspace, figures = scene.workspace, scene.workspace.read_metrics()
    described = workspace.record("describe")
    stages = {"splats": "Gaussians", "describe": "Masks and embeddings", "field": "Language field"}
    times = [(title, workspace.record(stage)) for stage, title in stages.items()]
    return pages.ReportData(
        scene=scene.capture.root.name,
        photos=len(scene.capture.train),
        held_out=len(scene.capture.test),
        gaussians=len(scene.gaussians),
        encoder=scene.field.encoder_name,
        segmenter=str(described.settings.get("segmenter", "")) if described else "",
        device=f"{scene.gaussians.means.device.type.upper()}, {os.cpu_count()} cores",
        stages=[pages.StageTime(title, record.seconds) for title, record in times if record],
        queries=cards,
        views=views,
        psnr=figures.get("psnr"),
        ssim=figures.get("ssim"),
        evaluations=_evaluations(evaluation) if evaluation else (),
        workspace=str(workspace.root),
        version=gags.__version__,
    )


def _evaluations(evaluation: Evaluation) -> list[pages.Evaluation]:
    """All frames together with a row a category, then held-out and trained-on ones apart."""
    scores = [
        pages.QueryScore(name, s.pairs, s.mean_accuracy, s.mean_iou)
        for name, s in evaluation.categories.items()
    ]
    sets: list[tuple[str, Summary, list[pages.QueryScore]]] = [
        ("all labelled views", evaluation.overall, scores)
    ]
    if evaluation.held_out.pairs and evaluation.trained_on.pairs:
        sets += [
            ("held-out views", evaluation.held_out, []),
            ("views trained on", evaluation.trained_on, []),
        ]
    return [
        pages.Evaluation(name, evaluation.protocol, means.mean_accuracy, means.mean_iou, rows)
        for name, means, rows in sets
    ]
