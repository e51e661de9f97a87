"""Pages from the templates in `templates/`: complete in themselves, with every text escaped.

A new section of a page is a few lines in its template. A new page is a template that extends `base.html`, and
a function that calls `write_page`.
"""

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gags.draw.colors import LEVEL_COLORS, TRUTH_OUTLINE
from gags.files import atomic_write
from gags.progress import seconds
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
