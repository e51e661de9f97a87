"""The HTML of one evaluation: figures by split, category and photo, and the worst answers as pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from gags.evaluate.protocols import Protocol
from gags.evaluate.results import Evaluation, Row, Summary, summary_by
from gags.report.parts import (
    Embedded,
    Images,
    answer_legend,
    bar_cell,
    document,
    hit_badge,
    img,
    page_footer,
    tiles,
)

COLUMNS = {
    "answers": "pairs of photo and text",
    "found": "share of answers whose best pixel lies in a box of the truth (mAcc)",
    "IoU": "mean overlap of answer and truth (mIoU)",
    "best IoU": "mean overlap at the best threshold there is",
    "AP": "mean average precision of the answer as a ranking of pixels",
}
HEAT = {"relevancy": "the better it answers", "share": "the more of the pixel was chosen"}


@dataclass(frozen=True, eq=False)
class WorstAnswer:
    """One answer to look at.

    Attributes:
        row: Its figures.
        overlay: Heat, outlines of truth and answer, and the peak on the photo. uint8 RGB [H, W, 3]
    """

    row: Row
    overlay: np.ndarray


@dataclass(frozen=True, eq=False)
class EvaluationPage:
    """What the page shows.

    Attributes:
        scene: Name of the scene.
        evaluation: All rows and means.
        rules: The protocol.
        encoder: Name of the text encoder.
        worst: The worst answers, worst first.
        rows_file: Name of the file beside the page that holds every row.
        version: Version of gags.
    """

    scene: str
    evaluation: Evaluation
    rules: Protocol
    encoder: str
    worst: Sequence[WorstAnswer]
    rows_file: str
    version: str = ""


def picture_key(index: int) -> str:
    """Key of the picture of a worst answer."""
    return f"worst_{index + 1:02d}"


def evaluation_page(page: EvaluationPage, images: Images) -> str:
    """The whole page.

    Args:
        page: What to show.
        images: Pictures by `picture_key`; those that are missing are left out.
    """
    evaluation = page.evaluation
    splits = {"all": evaluation.overall, "trained on": evaluation.trained_on, "held out": evaluation.held_out}
    by_iou = sorted(evaluation.categories.items(), key=lambda item: item[1].mean_iou)
    sections = {
        "splits": ("Photos trained on and held out", _key() + _table("photos", splits)),
        "categories": ("By category, worst first", _table("category", dict(by_iou))),
        "photos": ("By photo", _table("photo", summary_by(evaluation.rows, lambda row: row.frame))),
        "worst": ("Worst answers", _worst(page, images)),
    }
    title = f"{page.scene}: evaluation {page.rules.name}"
    footer = f"Every answer with its figures is in <code>{escape(page.rows_file)}</code> beside it."
    return document(title, _header(page), sections, page_footer(page.version, footer))


def _header(page: EvaluationPage) -> str:
    means = page.evaluation.overall
    values = {
        "found (mAcc)": _percent(means.mean_accuracy),
        "overlap (mIoU)": _percent(means.mean_iou),
        "best overlap of any threshold": _percent(means.mean_best_iou),
        "average precision": _percent(means.mean_average_precision),
        f"answers, in {means.frames} photo{'s' * (means.frames != 1)}": f"{means.pairs:,}",
    }
    return (
        f"<header><h1>{escape(page.scene)}</h1>"
        f"<p>Answers scored by the protocol <b>{escape(page.rules.name)}</b>. {escape(page.rules.meaning)}"
        f" The encoder is <b>{escape(page.encoder)}</b>.</p>{tiles(values)}</header>"
    )


def _key() -> str:
    meanings = "; ".join(f"<b>{escape(name)}</b> {escape(meaning)}" for name, meaning in COLUMNS.items())
    return f'<p class="faint small">{meanings}.</p>'


def _table(kind: str, means: Mapping[str, Summary]) -> str:
    """A row a name, with a bar for its IoU; those without an answer are left out."""
    rows = "".join(
        f'<tr><td>{escape(name)}</td><td class="n">{summary.pairs}</td>'
        f'<td class="n">{_percent(summary.mean_accuracy)}</td><td class="n">{_share(summary.mean_iou)}</td>'
        f'<td class="n">{_share(summary.mean_best_iou)}</td>'
        f'<td class="n">{_share(summary.mean_average_precision)}</td>{bar_cell(summary.mean_iou)}</tr>'
        for name, summary in means.items()
        if summary.pairs
    )
    head = "".join(f'<th class="n">{escape(name)}</th>' for name in COLUMNS)
    return (
        f'<div class="scroll"><table><thead><tr><th>{escape(kind)}</th>{head}<th></th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _worst(page: EvaluationPage, images: Images) -> str:
    figures = "".join(
        _figure(index, answer.row, images[picture_key(index)])
        for index, answer in enumerate(page.worst)
        if picture_key(index) in images
    )
    if not figures:
        return ""
    return f'{answer_legend(True, HEAT[page.rules.asks])}<div class="cards">{figures}</div>'


def _figure(index: int, row: Row, overlay: Embedded) -> str:
    alt = f"“{row.category}” on {row.frame}, IoU {row.iou:.2f}, score {row.score:.2f}"
    held_out = ' <span class="badge">held out</span>' * (row.split != "train")
    precision = f" · AP {_share(row.average_precision)}"
    return (
        f'<figure id="worst-{index + 1}">{img(overlay, alt)}<figcaption><b>{escape(row.category)}</b> '
        f"{hit_badge(row.hit)}{held_out}<br>IoU {row.iou:.2f}, best {row.best_iou:.2f}{precision} · "
        f"score {row.score:.2f}<br>{escape(row.frame)} · answer {row.mask_pixels:,} px, "
        f"truth {row.truth_pixels:,} px</figcaption></figure>"
    )


def _percent(share: float) -> str:
    return "–" if share != share else f"{100 * share:.1f} %"


def _share(share: float) -> str:
    return "–" if share != share else f"{share:.2f}"
