"""The report's HTML. Every text that comes from outside goes through `escape`."""

import shlex
from html import escape

from gags.cli.console import seconds
from gags.draw.colors import LEVEL_COLORS
from gags.report.data import (
    MAX_ANSWERS,
    MAX_VIEWS,
    Evaluation,
    QueryCard,
    ReportData,
    ViewPage,
    answer_keys,
    thumb_key,
    view_key,
    worst_answers,
)
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
from gags.segment.masks import LEVELS

STAGE_COLORS = ("#c2410c", "#2f6fb3", "#12805c", "#8a4fbf", "#b8860b", "#c23b6b", "#5c7080")


def page(report: ReportData, images: Images) -> str:
    """The whole page.

    Args:
        report: What to show.
        images: Pictures by key (`answer_keys`, `view_key`); those that are missing are left out.

    Returns:
        HTML that loads nothing and whose only script is the one allowed by its hash.
    """
    sections = {
        "answers": ("Answers", _answers(report, images)),
        "scene": ("Scene", _scene(report, images)),
        "numbers": ("Numbers", _numbers(report, images)),
        "next": ("How to go on", _next_steps(report)),
    }
    footer = page_footer(report.version, "Larger pictures lie in <code>pictures/</code> beside it.")
    return document(report.scene, _headline(report), sections, footer)


def _headline(report: ReportData) -> str:
    photos = f"{report.photos:,} photos" + (f" (and {report.held_out} held out)" if report.held_out else "")
    values = {"photos": f"{report.photos:,}", "Gaussians": f"{report.gaussians:,}"}
    total = sum(stage.seconds for stage in report.stages)
    if report.stages:
        values["from photos to answers"] = seconds(total)
    if report.psnr is not None:
        values["PSNR, held-out photos"] = f"{report.psnr:.1f} dB"
    for evaluation in report.evaluations[:1]:
        values[f"found (mAcc, {evaluation.name})"] = f"{100 * evaluation.macc:.0f} %"
        values[f"overlap (mIoU, {evaluation.name})"] = f"{100 * evaluation.miou:.0f} %"
    return (
        f"<header><h1>{escape(report.scene)}</h1>"
        f'<p class="faint">{photos} became a 3D scene that answers text.</p>'
        f"{tiles(values)}{_times(report)}{_made_with(report)}</header>"
    )


def _times(report: ReportData) -> str:
    if not report.stages:
        return ""
    colors = [STAGE_COLORS[k % len(STAGE_COLORS)] for k in range(len(report.stages))]
    bars = "".join(
        f'<i style="flex:{max(stage.seconds, 0.0):.3f} 0 0;background:{color}"></i>'
        for stage, color in zip(report.stages, colors, strict=True)
    )
    names = "".join(
        f'<li><i style="background:{color}"></i>{escape(stage.name)} {seconds(stage.seconds)}</li>'
        for stage, color in zip(report.stages, colors, strict=True)
    )
    return f'<div class="times" aria-hidden="true">{bars}</div><ul class="keys">{names}</ul>'


def _made_with(report: ReportData) -> str:
    device = f" on {escape(report.device)}" if report.device else ""
    segmenter = f" and the segmenter <b>{escape(report.segmenter)}</b>" if report.segmenter else ""
    encoder = f"the encoder <b>{escape(report.encoder)}</b>"
    html = f'<p class="faint small">Made{device} with {encoder}{segmenter}.</p>'
    notes = [escape(note) for note in report.notes]
    if report.encoder.lower().startswith("lite"):
        notes.append(
            "<b>The encoder “lite” is a stopgap</b> for machines that reach no model hub: an image "
            "classifier and a sentence encoder, joined. It knows everyday things close to ImageNet’s "
            "thousand classes and misses many others; a CLIP encoder answers far more texts."
        )
    return html + "".join(f'<p class="notice">{note}</p>' for note in notes)


def _answers(report: ReportData, images: Images) -> str:
    groups: dict[str, list[str]] = {}
    shown = list(zip(report.queries, answer_keys(report), strict=True))[:MAX_ANSWERS]
    for number, (card, (overlay, cut)) in enumerate(shown, 1):
        if overlay in images:
            figure = _answer(number, card, images[overlay], images.get(cut))
            groups.setdefault(card.text, []).append(figure)
    if not groups:
        return ""
    html = answer_legend(any(card.iou is not None for card in report.queries))
    for text, figures in groups.items():
        cards = [card for card in report.queries if card.text == text]
        html += f'<h3>“{escape(text)}” {_summary(cards)}</h3><div class="cards">{"".join(figures)}</div>'
    return html + _left_out(len(report.queries) - sum(map(len, groups.values())), "answers")


def _answer(number: int, card: QueryCard, overlay: Embedded, cut: Embedded | None) -> str:
    score = "" if card.score is None else f", score {card.score:.2f}"
    alt = f"Heat map of “{card.text}” on {card.view}{score}"
    figures = [f"score {card.score:.2f}"] if card.score is not None else []
    figures += [f"IoU {card.iou:.2f}"] if card.iou is not None else []
    words = f"<b>{escape(card.view)}</b> {hit_badge(card.hit)}<br>{' · '.join(figures)}"
    piece = '<span class="nothing">nothing found</span>'
    if cut is not None:
        piece = img(cut, f"“{card.text}” cut out of {card.view}", "cut")
    return (
        f'<figure class="answer" id="answer-{number}">{img(overlay, alt)}'
        f"<figcaption><span>{words}</span>{piece}</figcaption></figure>"
    )


def _summary(cards: list[QueryCard]) -> str:
    hits = [card.hit for card in cards if card.hit is not None]
    ious = [card.iou for card in cards if card.iou is not None]
    if len(cards) < 2 or not (hits or ious):
        return ""
    parts = [f"found in {sum(hits)} of {len(hits)} views"] if hits else []
    parts += [f"mean IoU {sum(ious) / len(ious):.2f}"] if ious else []
    return f'<span class="faint small">{", ".join(parts)}</span>'


def _scene(report: ReportData, images: Images) -> str:
    views = [_view(report, index, view, images) for index, view in enumerate(report.views[:MAX_VIEWS])]
    return "".join(views) + _left_out(len(report.views) - len(views), "views")


def _view(report: ReportData, index: int, view: ViewPage, images: Images) -> str:
    facts = [f"PSNR {view.psnr:.1f} dB"] if view.psnr is not None else []
    facts += [f"SSIM {view.ssim:.3f}"] if view.ssim is not None else []
    held_out = '<span class="badge">held out</span>' * view.held_out
    html = f'<h3>{escape(view.name)} {held_out}<span class="faint small">{" · ".join(facts)}</span></h3>'
    pair = [(view_key(report, index, name.lower()), name) for name in ("Photo", "Render")]
    figures = "".join(
        f"<figure>{img(images[key], f'{name} of {view.name}')}<figcaption>{name}</figcaption></figure>"
        for key, name in pair
        if key in images
    )
    html += f'<div class="compare">{figures}</div>'
    panels = ""
    for panel in view.panels:
        key = view_key(report, index, panel.title)
        if key in images:
            meaning = escape(panel.meaning) + (_level_keys() if panel.title == "Granularity" else "")
            panels += (
                f"<figure>{img(images[key], f'{panel.title} of {view.name}. {panel.meaning}')}"
                f"<figcaption><b>{escape(panel.title)}.</b> {meaning}</figcaption></figure>"
            )
    return html + f'<div class="panels">{panels}</div>' * bool(panels)


def _level_keys() -> str:
    items = "".join(
        f'<li><i style="background:rgb({r},{g},{b})"></i>{level}</li>'
        for (r, g, b), level in zip(LEVEL_COLORS.tolist(), LEVELS, strict=True)
    )
    return f'<ul class="keys">{items}<li><i style="background:#969696"></i>undecided</li></ul>'


def _numbers(report: ReportData, images: Images) -> str:
    html = ""
    if report.psnr is not None or report.ssim is not None:
        parts = [f"PSNR <b>{report.psnr:.2f} dB</b>"] if report.psnr is not None else []
        parts += [f"SSIM <b>{report.ssim:.3f}</b>"] if report.ssim is not None else []
        html += f"<p>Renders against {report.held_out or 'the'} held-out photos: {', '.join(parts)}.</p>"
    html += "".join(_evaluation(evaluation) for evaluation in report.evaluations)
    return html + _worst(report, images)


def _evaluation(evaluation: Evaluation) -> str:
    rows = "".join(
        f'<tr><td>{escape(row.text)}</td><td class="n">{row.views}</td>'
        f'<td class="n">{100 * row.accuracy:.0f} %</td><td class="n">{row.iou:.2f}</td>'
        f"{bar_cell(row.iou)}</tr>"
        for row in sorted(evaluation.scores, key=lambda row: -row.iou)
    )
    table = (
        '<div class="scroll"><table><thead><tr><th>text</th><th class="n">views</th><th class="n">found</th>'
        f'<th class="n">IoU</th><th></th></tr></thead><tbody>{rows}</tbody></table></div>'
    )
    return (
        f'<h3 class="title">{escape(evaluation.name)} '
        f'<span class="faint small">protocol {escape(evaluation.protocol)}</span></h3>'
        f"<p>mAcc <b>{100 * evaluation.macc:.1f} %</b>: share of answers whose best pixel lies on the thing. "
        f"mIoU <b>{100 * evaluation.miou:.1f} %</b>: overlap of answer and truth.</p>"
        f"{table * bool(rows)}"
    )


def _worst(report: ReportData, images: Images) -> str:
    keys = answer_keys(report)
    figures = ""
    for index in worst_answers(report):
        card, thumb = report.queries[index], thumb_key(keys[index][0])
        if thumb not in images or keys[index][0] not in images:
            continue
        overlap = "" if card.iou is None else f" · IoU {card.iou:.2f}"
        figures += (
            f'<figure><a href="#answer-{index + 1}">'
            f"{img(images[thumb], f'“{card.text}” on {card.view}')}</a>"
            f"<figcaption><b>{escape(card.text)}</b><br>{escape(card.view)}{overlap} {hit_badge(card.hit)}"
            "</figcaption></figure>"
        )
    return f'<h3>Worst answers</h3><div class="thumbs">{figures}</div>' if figures else ""


def _next_steps(report: ReportData) -> str:
    if not report.workspace:
        return ""
    ws = shlex.quote(report.workspace)
    text = shlex.quote(report.queries[0].text if report.queries else "red mug")
    steps = [
        ("Ask something else; pictures and masks land in a folder", f"gags query {ws} {text} --out answers"),
        ("Take a thing out of the scene as a PLY of its own", f"gags extract {ws} {text} --out thing.ply"),
        ("Score the answers against labels in the LERF-OVS format", f"gags evaluate {ws} --labels LABELS"),
        ("See which encoders and segmenters are on this machine", "gags models"),
    ]
    return "".join(
        f'<p class="small">{escape(why)}</p><div class="command"><code>{escape(command)}</code></div>'
        for why, command in steps
    )


def _left_out(count: int, what: str) -> str:
    if count <= 0:
        return ""
    return f'<p class="faint">{count} more {what} are in <code>pictures/</code>.</p>'
