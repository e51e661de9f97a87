"""Hook of mkdocs: puts what `gags COMMAND --help` prints into the page of the commands, at every build."""

import contextlib
import io
import os
import re
import textwrap
from typing import Any

MARK = "<!-- commands -->"
WIDTH = 100
_STYLE = re.compile(r"\x1b\[[0-9;]*m")
ACTIONS = {"library": ("add", "search", "list", "remove", "teach")}
"""Commands whose options are those of an action."""


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the mark in a page by the reference."""
    return markdown.replace(MARK, reference()) if MARK in markdown else markdown


def reference() -> str:
    """Every command with its help, as Markdown."""
    from gags.cli import COMMANDS

    sections = [
        f"## gags {name}\n\n{text}\n\n```text\n{help_of(name)}\n```" for name, text in COMMANDS.items()
    ]
    return "\n\n".join(sections)


def help_of(command: str) -> str:
    """What `gags COMMAND --help` prints, and each of its actions; without colours, at most `WIDTH` wide."""
    printed = [_help_of(command)]
    printed += [_help_of(command, action) for action in ACTIONS.get(command, ())]
    return "\n\n\n".join(printed)


def _help_of(*command: str) -> str:
    from gags.cli import main

    before = {name: os.environ.get(name) for name in ("COLUMNS", "NO_COLOR", "TERM")}
    os.environ.update({"COLUMNS": str(WIDTH), "NO_COLOR": "1", "TERM": "dumb"})
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            code = main([*command, "--help"])
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    if code != 0:
        raise RuntimeError(f"`gags {' '.join(command)} --help` ended with {code}")
    lines = [line.rstrip() for line in _STYLE.sub("", printed.getvalue()).splitlines()]
    wrapped = [short for line in lines for short in _fitting(line)]
    return "\n".join(wrapped).strip("\n")


def _fitting(line: str) -> list[str]:
    """A line as it is, or, where a description runs on, cut at blanks."""
    return [line] if len(line) <= WIDTH else textwrap.wrap(line, WIDTH)
