"""What the report of a finished scene shows: gathered from the scene and drawn as cards."""

from collections.abc import Sequence

import numpy as np
import torch

from gags._version import __version__
from gags.capture import View
from gags.draw import pictures
from gags.draw.pictures import FeatureBasis, feature_basis
from gags.embed.description import Description
from gags.errors import WorkspaceError
from gags.evaluate import metrics
from gags.evaluate.labels import FrameLabels, match_view
from gags.evaluate.metrics import Evaluation, Summary
from gags.gaussians import render
from gags.progress import SILENT, Reporter
from gags.query.answers import granularity_map, render_features
from gags.query.catalog import LISTED_SHARE, known_whole
from gags.query.choose import UNSEEN
from gags.query.examples import iou_of_sets
from gags.query.instances import Instance, locate_instances
from gags.query.names import suggest_texts
from gags.query.relevancy import Queries
from gags.reconstruct.quality import likeness
from gags.render import Rendering
from gags.report.data import (
    AnswerCard,
    EvaluationFigures,
    ReportData,
    StageTime,
    TextFigures,
    ViewCard,
    ViewPicture,
)
from gags.scene import Scene, by_view
from gags.segment.masks import LEVELS
from gags.things.things import Things
from gags.threads import cores_in_words

VIEWS_SHOWN = 4  # half of them held out, if there are such
VIEWS_A_TEXT = 3  # in which a text is answered
IGNORED_GREY = np.uint8(200)
TEXTS_SUGGESTED = 6  # asked where the user gave none
WORDS_TRIED = 24  # of which the suggested ones are chosen
SAME_THING = 0.5  # IoU of what a word answers with and what is called so
PHOTOS_LOOKED_AT = 24  # for words, where there are no things


def gather(
    scene: Scene,
    texts: Sequence[str] = (),
    *,
    labels: Sequence[FrameLabels] = (),
    evaluation: Evaluation | None = None,
    progress: Reporter = SILENT,
) -> ReportData:
    """Everything the report of a scene shows: some of its views, and answers to some texts.

    Args:
        scene: The scene.
        texts: What to ask it; by default words that name its things, or the labelled categories.
        labels: Ground truth; with it, answers are shown in the labelled frames beside the truth.
        evaluation: Figures against the truth.
        progress: Told about progress.
    """
    if not texts:
        texts = _default_texts(scene, labels)
    queries = scene.queries(texts) if texts else None
    chosen = spread(scene.capture.test, VIEWS_SHOWN // 2)
    chosen = spread(scene.capture.train, VIEWS_SHOWN - len(chosen)) + chosen
    basis = feature_basis(scene.field.features.cpu().numpy())
    answers: list[AnswerCard] = []
    views: list[ViewCard] = []
    with progress.stage("Writing the report", len(chosen) + len(texts), "pages") as bar:
        for view in chosen:
            views.append(draw_view(scene, view, basis))
            bar.advance()
        if queries is not None:
            answers = _truth_answers(scene, queries, labels) if labels else _best_answers(scene, queries)
            bar.advance(len(texts))
    return _data(scene, answers, views, evaluation)


def draw_view(scene: Scene, view: View, basis: FeatureBasis) -> ViewCard:
    """Photo, render, depth, features, granularity, masks and prompts of one view."""
    rendering = render_colors(scene, view)
    rendered = render_features(scene.gaussians, scene.field, view.camera)
    picture = rendering.colors.clamp(0, 1)
    psnr, ssim = likeness(picture, view)
    description = _description_of(scene, view)
    return view_card(
        view.name,
        _shown(view),
        render=(picture * 255).round().byte().cpu().numpy(),
        depth=rendering.depths.cpu().numpy(),
        omega=granularity_map(rendered, scene.field),
        features=rendered.features.cpu().numpy(),
        basis=basis,
        alpha=rendering.alphas.cpu().numpy(),
        labels=description.masks.labels if description else None,
        prompts=description.prompts if description else None,
        held_out=view.split == "test",
        psnr=psnr,
        ssim=ssim,
    )


def _shown(view: View) -> np.ndarray:
    """A photo, with what is to be ignored in it faded to a light grey. uint8 [H, W, 3]"""
    photo, kept = view.image(), view.kept()
    return photo if kept is None else np.where(kept[..., None], photo, IGNORED_GREY + photo // 8)


def answer_card(
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
) -> AnswerCard:
    """Draw one answer.

    Args:
        text: What was asked.
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
    return AnswerCard(text, view, overlay, cut, score, iou, hit)


def view_card(
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
) -> ViewCard:
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
    found: list[ViewPicture] = []
    if depth is not None:
        found.append(ViewPicture("Depth", "Near is bright.", pictures.depth_picture(depth, alpha)))
    if features is not None:
        drawn = pictures.feature_picture(features, alpha, basis)
        found.append(
            ViewPicture("Meaning", "Language features as colours: what means the same looks alike.", drawn)
        )
    if omega is not None:
        drawn = pictures.granularity_picture(omega, alpha, legend=False)
        found.append(ViewPicture("Granularity", "Which level was learnt at each pixel.", drawn))
    if labels is not None:
        for level, of_level in zip(LEVELS, labels, strict=True):
            count = len(np.unique(of_level[of_level >= 0]))
            drawn = pictures.label_picture(of_level, photo)
            found.append(ViewPicture(f"Masks: {level}", f"{count} masks, grey where there is none.", drawn))
    if prompts is not None:
        drawn = pictures.prompt_picture(photo, prompts)
        meaning = f"{len(prompts)} points the segmenter was asked about; far things get more."
        found.append(ViewPicture("Prompts", meaning, drawn))
    return ViewCard(name, photo, render, tuple(found), held_out, psnr, ssim)


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
    found = _words_of_things(scene)
    if not found:  # few photos, no things that they agree on
        photos = (_description_of(scene, view) for view in spread(scene.capture.train, PHOTOS_LOOKED_AT))
        found = suggest_texts((p for p in photos if p is not None), scene.encoder, count=TEXTS_SUGGESTED)
    return list(dict.fromkeys([*scene.taught.names(), *found]))


def _words_of_things(scene: Scene) -> list[str]:
    """Names of whole things that answer when they are asked for by them, the surest names first.

    A word that fits only a part of something else best, such as bread for the feet of a teddy bear, is none.
    """
    things, photos = scene.things(), scene.photos_with_masks
    often = things.photos >= LISTED_SHARE * photos
    wholes = np.flatnonzero(often & ~things.is_group).tolist()
    wholes = [thing for thing in wholes if known_whole(things, thing, photos) is None]
    if not wholes:
        return []
    space, namer = scene.space(), scene.namer()
    names = {thing: namer.names(space.without_floaters(things[thing]), 1)[0] for thing in wholes}
    known = {thing: things.photos[thing] / (things.photos[thing] + UNSEEN) for thing in wholes}
    named: dict[str, int] = {}
    for thing in sorted(wholes, key=lambda thing: -names[thing][1] * known[thing]):
        named.setdefault(names[thing][0], thing)
    words = list(named)[:WORDS_TRIED]
    alike = np.ones(len(scene.gaussians))
    answers = locate_instances(scene.gaussians, scene.field, scene.queries(words), things, space=space)
    agreed = [
        word
        for word, instances in zip(words, answers, strict=True)
        if instances and _agreement(things, instances[0], named[word], alike) >= SAME_THING
    ]
    return agreed[:TEXTS_SUGGESTED]


def _agreement(things: Things, answer: Instance, thing: int, weights: np.ndarray) -> float:
    """IoU of the Gaussians of an answer, from masks, and of a thing; `weights` are those of all Gaussians."""
    nodes = [] if answer.thing is None else [answer.thing, *answer.also]
    rows = np.unique(np.concatenate([things.members[:0], *(things[node] for node in nodes)]))
    return iou_of_sets(rows, things[thing], weights)


def _description_of(scene: Scene, view: View) -> Description | None:
    """Masks and prompts of a photo; None for one that is held out or whose file is gone.

    A photo that is held out now may have had masks before, when photos were of another size.
    """
    path, described = scene.workspace.description(view.name), scene.workspace.record("describe")
    if view.split == "test" or not path.exists():
        return None
    try:
        description = Description.load(path)
    except WorkspaceError:
        return None
    current = described is None or description.stamps.get("embeddings") == described.stamp
    return description if current else None


def _best_answers(scene: Scene, queries: Queries) -> list[AnswerCard]:
    """Every text in the views where it is found best."""
    chosen = scene.best_views(queries, VIEWS_A_TEXT)
    cards: dict[tuple[int, str], AnswerCard] = {}
    for view, rows in by_view(chosen):
        photo = view.image()
        for row, answer in zip(rows, scene.query(queries.subset(rows), view), strict=True):
            cards[row, view.name] = answer_card(
                answer.text, view.name, photo, answer.relevancy, answer.mask, answer.peak, answer.score
            )
    return [cards[row, view.name] for row, views in enumerate(chosen) for view in views]


def _truth_answers(scene: Scene, queries: Queries, labels: Sequence[FrameLabels]) -> list[AnswerCard]:
    """Every text in labelled frames that show it, beside the truth; at most `VIEWS_A_TEXT` frames a text."""
    shown: dict[str, int] = {}
    cards = []
    for frame in labels:
        view = match_view(frame, scene.capture)
        due = {text for text in queries.texts if shown.get(text, 0) < VIEWS_A_TEXT}
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
                answer_card(
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
    answers: list[AnswerCard],
    views: list[ViewCard],
    evaluation: Evaluation | None,
) -> ReportData:
    workspace, figures = scene.workspace, scene.workspace.read_metrics()
    described = workspace.record("describe")
    stages = {
        "reconstruct": "Gaussians",
        "describe": "Masks and embeddings",
        "distill": "Language field",
    }
    times = [(title, workspace.record(stage)) for stage, title in stages.items()]
    return ReportData(
        scene=scene.capture.root.name,
        photos=len(scene.capture.train),
        held_out=len(scene.capture.test),
        gaussians=len(scene.gaussians),
        encoder=scene.field.encoder_name,
        segmenter=str(described.settings.get("segmenter", "")) if described else "",
        device=f"{scene.gaussians.means.device.type.upper()}, {cores_in_words()}",
        stages=[StageTime(title, record.seconds) for title, record in times if record],
        answers=answers,
        views=views,
        psnr=figures.get("psnr"),
        ssim=figures.get("ssim"),
        evaluations=_evaluations(evaluation) if evaluation else (),
        workspace=str(workspace.root),
        has_things=len(scene.things()) > 0,
        version=__version__,
    )


def _evaluations(evaluation: Evaluation) -> list[EvaluationFigures]:
    """All frames together with a row a category, then held-out and trained-on ones apart."""
    scores = [
        TextFigures(name, s.pairs, s.mean_accuracy, s.mean_iou) for name, s in evaluation.categories.items()
    ]
    sets: list[tuple[str, Summary, list[TextFigures]]] = [("all labelled views", evaluation.overall, scores)]
    if evaluation.held_out.pairs and evaluation.trained_on.pairs:
        sets += [
            ("held-out views", evaluation.held_out, []),
            ("views trained on", evaluation.trained_on, []),
        ]
    return [
        EvaluationFigures(name, evaluation.protocol, means.mean_accuracy, means.mean_iou, rows)
        for name, means, rows in sets
    ]
