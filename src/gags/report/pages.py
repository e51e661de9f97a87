"""The pages of a report: templates filled, and written as files that need nothing else."""

import base64
import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gags.draw.colors import LEVEL_COLORS, TRUTH_OUTLINE
from gags.evaluate.labels import FrameLabels
from gags.evaluate.metrics import Evaluation
from gags.files import atomic_write
from gags.progress import SILENT, Reporter, seconds
from gags.report.data import (
    MOST_ANSWERS,
    MOST_VIEWS,
    AnswerCard,
    ReportData,
    ViewCard,
    answer_keys,
    thumb_key,
    view_key,
    worst_answers,
)
from gags.report.gather import gather
from gags.report.images import (
    Images,
    PageImage,
    page_images,
    pictures_in_page,
    report_pictures,
    write_pictures,
)
from gags.scene import Scene
from gags.segment.masks import LEVELS


def write_page(path: Path, template: str, **values: Any) -> Path:
    """Write a page atomically; returns its path. See `render_page`."""
    html = render_page(template, **values)
    with atomic_write(path) as temporary:
        temporary.write_bytes(html.encode("utf-8", "replace"))
    return path


def render_page(template: str, **values: Any) -> str:
    """The HTML of a page.

    Args:
        template: File name of a template that extends `base.html`.
        values: What the template shows. Texts are escaped wherever they appear.

    Returns:
        HTML that loads nothing, and whose only script is the one allowed by its hash.
    """
    environment = _environment()
    style, script = _source(environment, "page.css"), _source(environment, "page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    page = environment.get_template(template)
    return page.render(style=Markup(style), script=Markup(script), policy=policy, **values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("gags.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "thousands": lambda count: f"{count:,}",
        "decimals": lambda value, digits=2: _or_dash(value, f"{value:.{digits}f}"),
        "percent": lambda share, digits=1: _or_dash(share, f"{100 * share:.{digits}f} %"),
        "duration": seconds,
    }
    environment.globals |= {
        "truth_color": _css_color(TRUTH_OUTLINE),
        "level_colors": {level: _css_color(color) for level, color in zip(LEVELS, LEVEL_COLORS, strict=True)},
    }
    return environment


def _source(environment: Environment, name: str) -> str:
    """The text of a file beside the templates, as it is."""
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def _or_dash(value: float, words: str) -> str:
    """Words for a number; a dash if it is not a number."""
    return "–" if value != value else words


def _css_color(rgb: Any) -> str:
    red, green, blue = map(int, rgb)
    return f"rgb({red},{green},{blue})"


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
    report = gather(scene, texts, labels=labels, evaluation=evaluation, progress=progress)
    return write_report(scene.workspace.report, report)


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
    pictures = report_pictures(report)
    write_pictures(folder / "pictures", pictures)
    images = page_images(pictures_in_page(report, pictures))
    return write_page(
        folder / "index.html",
        "index.html",
        report=report,
        groups=_groups(report, images),
        views=_views(report, images),
        worst=_worst(report, images),
        next_steps=_next_steps(report),
    )


@dataclass(frozen=True)
class _Answer:
    """An answer as the page shows it: its number from 1 on, and its pictures in the page."""

    number: int
    card: AnswerCard
    overlay: PageImage
    cutout: PageImage | None = None


@dataclass(frozen=True)
class _Group:
    """The answers to one text, and their figures in a few words."""

    text: str
    figures: str
    answers: list[_Answer]


def _groups(report: ReportData, images: Images) -> list[_Group]:
    """Answers by text; those without a picture in the page are left out."""
    found: dict[str, list[_Answer]] = {}
    shown = zip(report.answers[:MOST_ANSWERS], answer_keys(report)[:MOST_ANSWERS], strict=True)
    for number, (card, (overlay, cutout)) in enumerate(shown, 1):
        if overlay in images:
            answer = _Answer(number, card, images[overlay], images.get(cutout))
            found.setdefault(card.text, []).append(answer)
    return [
        _Group(text, _figures([card for card in report.answers if card.text == text]), answers)
        for text, answers in found.items()
    ]


def _figures(cards: Sequence[AnswerCard]) -> str:
    """How often a text was found and how well, where that is known of several views."""
    hits = [card.hit for card in cards if card.hit is not None]
    ious = [card.iou for card in cards if card.iou is not None]
    if len(cards) < 2:
        return ""
    parts = [f"found in {sum(hits)} of {len(hits)} views"] if hits else []
    parts += [f"mean IoU {sum(ious) / len(ious):.2f}"] if ious else []
    return ", ".join(parts)


def _views(report: ReportData, images: Images) -> list[tuple[ViewCard, dict[str, PageImage | None]]]:
    """Views with their pictures in the page by title; None for one that is not there."""
    found = []
    for index, view in enumerate(report.views[:MOST_VIEWS]):
        titles = ["Photo", "Render", *(picture.title for picture in view.pictures)]
        found.append((view, {title: images.get(view_key(report, index, title)) for title in titles}))
    return found


def _worst(report: ReportData, images: Images) -> list[_Answer]:
    """The worst answers as small pictures, of those that the page shows in full."""
    keys = [overlay for overlay, _ in answer_keys(report)]
    return [
        _Answer(index + 1, report.answers[index], images[thumb_key(keys[index])])
        for index in worst_answers(report)
        if keys[index] in images and thumb_key(keys[index]) in images
    ]


def _next_steps(report: ReportData) -> list[tuple[str, str]]:
    """What to do next and the command for it; nothing where the scene's folder is not known."""
    if not report.workspace:
        return []
    ws = shlex.quote(report.workspace)
    text = shlex.quote(report.answers[0].text if report.answers else "red mug")
    return [
        ("Ask something else; pictures and masks land in a folder", f"gags query {ws} {text} --out answers"),
        ("Take a thing out of the scene as a PLY of its own", f"gags extract {ws} {text} --out thing.ply"),
        ("Score the answers against labels in the LERF-OVS format", f"gags evaluate {ws} --labels LABELS"),
        ("See which encoders and segmenters are on this machine", "gags models"),
    ]
