"""Templates: every text is escaped, what is not given is an error, and only the page's own script may run."""

import base64
import hashlib
import re
from importlib.resources import files

import pytest
from jinja2 import UndefinedError
from tests.helpers.html_page import Page
from tests.helpers.made_report import full_report

from gags.report.pages import render_page

TEMPLATES = files("gags.report") / "templates"
GIVEN = {"groups": [], "views": [], "worst": [], "next_steps": []}


def test_policy_allows_only_the_page_s_own_script() -> None:
    page = Page(render_page("index.html", report=full_report(), **GIVEN))
    (script,), (style,) = page.code["script"], page.code["style"]
    assert script == (TEMPLATES / "page.js").read_text(encoding="utf-8")
    assert style == (TEMPLATES / "page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = (value for key, value in page.attributes if key == "content" and "-src" in value)
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    )


def test_what_is_not_given_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="next_steps"):
        render_page("index.html", report=full_report(), **{k: GIVEN[k] for k in GIVEN if k != "next_steps"})


def test_no_template_turns_escaping_off_and_code_cannot_end_its_element() -> None:
    names = sorted(path.name for path in TEMPLATES.iterdir())
    assert names == ["base.html", "evaluation.html", "index.html", "macros.html", "page.css", "page.js"]
    for name in names:
        source = (TEMPLATES / name).read_text(encoding="utf-8")
        if name.endswith(".html"):
            assert not re.search(r"\|\s*safe|autoescape|Markup", source)
        else:
            assert "</" not in source
