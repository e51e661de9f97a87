"""Pieces that every page of a report is made of. Every text that comes from outside goes through `escape`."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from gags.draw.colors import TRUTH
from gags.report.style import CSS, JS


@dataclass(frozen=True)
class Embedded:
    """A picture inside the page: its data URI and its size in px."""

    uri: str
    width: int
    height: int


Images = Mapping[str, Embedded]


def document(title: str, header: str, sections: Mapping[str, tuple[str, str]], footer: str) -> str:
    """A whole page.

    Args:
        title: Name of the page, plain text.
        header: HTML above everything.
        sections: Title and HTML of each section by its anchor; empty ones are left out.
        footer: HTML below everything.

    Returns:
        HTML that loads nothing and whose only script is the one allowed by its hash.
    """
    script = base64.b64encode(hashlib.sha256(JS.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{script}'"
    present = {key: section for key, section in sections.items() if section[1]}
    links = "".join(f'<a href="#{key}">{name}</a>' for key, (name, _) in present.items())
    body = "".join(
        f'<section id="{key}"><h2>{name}</h2>{content}</section>' for key, (name, content) in present.items()
    )
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)} · gags</title><style>{CSS}</style></head><body>"
        f"{header}<nav>{links}</nav><main>{body}</main>{footer}"
        f"<script>{JS}</script></body></html>\n"
    )


def tiles(values: Mapping[str, str]) -> str:
    """Large numbers by their names, plain text."""
    drawn = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for name, value in values.items()
    )
    return f'<div class="tiles">{drawn}</div>'


def answer_legend(truth_known: bool, heat: str = "the better it answers") -> str:
    """What the lines and colours of an answer mean; `heat` is what grows with brightness, in words."""
    truth = f'<li><i class="stroke" style="background:rgb{TRUTH}"></i>truth</li>' if truth_known else ""
    return (
        '<ul class="keys"><li><i class="ramp"></i>the brighter, '
        f"{escape(heat)}</li>"
        '<li><i class="stroke" style="background:#fff"></i>answer</li>'
        f'{truth}<li><i class="ring"></i>best pixel</li></ul>'
    )


def hit_badge(hit: bool | None) -> str:
    """Whether the best pixel lies on the thing; nothing where that is unknown."""
    if hit is None:
        return ""
    return f'<span class="badge {"good" if hit else "bad"}">{"✓ hit" if hit else "✗ miss"}</span>'


def bar_cell(share: float) -> str:
    """A cell of a table that draws a share in [0, 1]; NaN is drawn as 0."""
    width = min(share, 1.0) if share > 0 else 0.0
    return f'<td class="bar"><i style="width:{100 * width:.1f}%"></i></td>'


def img(image: Embedded, alt: str, kind: str = "") -> str:
    """An embedded picture; `kind` is a class of the style sheet."""
    style = f' class="{kind}"' if kind else ""
    return (
        f'<img{style} src="{image.uri}" alt="{escape(alt)}" width="{image.width}" height="{image.height}"'
        ' loading="lazy">'
    )


def page_footer(version: str, elsewhere: str) -> str:
    """Who wrote the page, and in HTML where there is more."""
    words = f" {escape(version)}" if version else ""
    return (
        f"<footer>Written by gags{words}. This page is complete: it loads nothing from anywhere. "
        f"{elsewhere}</footer>"
    )
