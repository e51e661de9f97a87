"""The docs say what the program does."""

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from gags.cli import COMMANDS

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def hook():
    spec = importlib.util.spec_from_file_location("docs_commands", ROOT / "tools" / "docs_commands.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_help_of_a_command_is_plain_text(hook):
    text = hook.help_of("poses")
    assert "usage: gags poses" in text
    assert "--least-share" in text
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= hook.WIDTH


def test_the_mark_becomes_a_section_for_every_command(hook, monkeypatch):
    monkeypatch.setattr(hook, "help_of", lambda name: f"help of {name}")
    page = hook.on_page_markdown((ROOT / "docs" / "commands.md").read_text(encoding="utf-8"))
    assert re.findall(r"^## gags (\S+)$", page, flags=re.MULTILINE) == list(COMMANDS)
    assert page.count("help of ") == len(COMMANDS)
    assert hook.on_page_markdown("nothing to replace") == "nothing to replace"


def test_every_page_is_in_the_navigation():
    listed = set(re.findall(r": (\w+\.md)$", (ROOT / "mkdocs.yml").read_text(), flags=re.MULTILINE))
    assert listed == {path.name for path in (ROOT / "docs").glob("*.md")}


def test_commands_that_the_docs_name_exist():
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md"))
    shell = "\n".join(re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL))
    named = set(re.findall(r"^gags ([a-z]+)", shell, flags=re.MULTILINE)) | set(
        re.findall(r"`gags ([a-z]+)", text)
    )
    assert {"run", "query", "poses", "demo"} <= named
    assert named <= set(COMMANDS)


def test_names_of_the_python_page_exist():
    import importlib

    for name in re.findall(r"^::: (\S+)$", (ROOT / "docs" / "python.md").read_text(), flags=re.MULTILINE):
        module, attribute = name.rsplit(".", 1)
        assert hasattr(importlib.import_module(module), attribute), name


def test_the_site_builds_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    reference = (tmp_path / "commands" / "index.html").read_text(encoding="utf-8")
    assert all(f"usage: gags {name}" in reference for name in COMMANDS)
    assert "relevancy" in (tmp_path / "python" / "index.html").read_text(encoding="utf-8")


def test_the_extra_holds_what_the_site_needs():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    needed = {re.split(r"[\[>=]", requirement)[0] for requirement in extras["docs"]}
    assert needed == {"mkdocs", "mkdocs-material", "mkdocstrings"}
