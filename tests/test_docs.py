"""The docs say what the program does, and name only what is there."""

import functools
import importlib
import importlib.util
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import fields
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml

import gags
from gags import cli
from gags.capture import Camera
from gags.cli import COMMANDS
from gags.distill.effects import DESCRIBE_NEEDS, DISTILL_NEEDS
from gags.distill.presets import PRESETS
from gags.segment.prompts import prompts_per_patch, released_per_patch

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
DOCUMENTS = [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
FOLDERS = ("src", "tests", "tools", "benchmarks", "examples", "docs")


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    module, _, attribute = name.rpartition(".")
    try:
        found = importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        found = False
    return found or (exists(module) and hasattr(importlib.import_module(module), attribute))


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


def test_commands_that_the_documents_name_exist():
    text = "\n".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
    shell = "\n".join(re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL))
    named = set(re.findall(r"(?:^|&& )gags ([a-z]+)", shell, flags=re.MULTILINE))
    named |= set(re.findall(r"`gags ([a-z]+)", text))
    assert {"run", "query", "poses", "demo", "compare"} <= named
    assert named <= set(COMMANDS)


def shell_commands(path: Path) -> list[list[str]]:
    """The `gags` commands of a document's shell examples, as words."""
    found = []
    for block in re.findall(r"```bash\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while "&&" in words:
                found.append(words[: words.index("&&")])
                words = words[words.index("&&") + 1 :]
            found.append(words)
    return [words for words in found if words[:1] == ["gags"]]


@pytest.mark.parametrize(
    "path", [path for path in DOCUMENTS if shell_commands(path)], ids=lambda path: path.stem
)
def test_commands_of_the_examples_are_understood(path, monkeypatch, capsys):
    """With all their options and values; nothing is run."""
    genuine = cli.function_of

    def parsed_only(name):
        function = genuine(name)

        @functools.wraps(function)
        def nothing(*_, **__):
            return 0

        return nothing

    monkeypatch.setattr(cli, "function_of", parsed_only)
    for words in shell_commands(path):
        assert cli.main(words[1:]) == 0, (words, capsys.readouterr())


def test_options_that_the_docs_name_exist(hook):
    text = "\n".join(path.read_text(encoding="utf-8") for path in PAGES)
    named = set(re.findall(r"`(--[a-z][a-z0-9-]+)", text))
    taken = set(re.findall(r"--[a-z][a-z0-9-]+", "\n".join(hook.help_of(name) for name in COMMANDS)))
    assert {"--splats", "--segmenter", "--max-size"} <= named
    others = {"--debug", "--save-world-frame"}  # of every command; of nerfstudio
    assert named - others <= taken


def test_names_of_the_python_page_exist():
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    names = re.findall(r"^::: (\S+)$", page, flags=re.MULTILINE)
    assert len(names) > 10
    assert [name for name in names if not exists(name)] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_python_names_and_files_that_a_document_names_exist(path):
    text = path.read_text(encoding="utf-8")
    names = re.findall(r"`(gags\.[\w.]+?)(?:\(.*?\))?`", text)
    assert [name for name in names if not exists(name)] == []
    files = set(re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w./]*)`", text)) - {"tests/ROOM/test_MODULE.py"}
    assert [name for name in sorted(files) if not (ROOT / name).exists()] == []


def test_links_of_the_root_documents_lead_somewhere():
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"):
        links = re.findall(r"\]\((?!https?://)([^)#]+)", path.read_text(encoding="utf-8"))
        assert [link for link in links if not (ROOT / link).exists()] == [], path.name


def test_no_page_points_to_files_outside_of_the_repository():
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        assert "../" not in text, path.name
    for path in (*PAGES, *(ROOT / "src").rglob("*.py")):
        assert not re.search(r"\bMETHOD\b", path.read_text(encoding="utf-8")), path.name


@pytest.mark.parametrize(
    "path", sorted((ROOT / "src/gags/compare/tables").glob("*.toml")), ids=lambda p: p.stem
)
def test_published_figures_of_the_method_page_are_those_of_the_data(path):
    text = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    section = text.split("## 8 Published tables")[1].split("\n## ")[0]
    rows = [line.split("|")[2:] for line in section.splitlines() if line.startswith("|")]
    printed = [[float(cell.strip(" ~")) for cell in row if re.search(r"\d", cell)] for row in rows]
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    for row in table.get("rows", []):
        figures = [[x for x in row[name] if x == x] for name in table["columns"] if name in row]
        together = [x for values in figures for x in values]
        assert together in printed or all(values in printed for values in figures), row["label"]


METHOD_PAGE = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
WORDS = {"yes": True, "no": False, "by device": None}


def cells(line: str) -> list[str]:
    """What stands in the columns of a row of a table."""
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def rows_below(heading: str) -> list[list[str]]:
    """Rows of the tables below a heading of the method page, the headings of columns among them."""
    section = METHOD_PAGE.split(f"\n{heading}\n")[1].split("\n#")[0]
    return [cells(line) for line in section.splitlines() if line.startswith("|")]


def value_of(cell: str) -> object:
    """A setting as the page prints it."""
    plain = cell.replace(",", "")
    return WORDS[cell] if cell in WORDS else float(plain) if re.fullmatch(r"-?[\d.]+", plain) else cell


@pytest.mark.parametrize(("stage", "needs"), [("describe", DESCRIBE_NEEDS), ("distill", DISTILL_NEEDS)])
def test_settings_on_the_method_page_are_those_of_the_presets(stage, needs):
    rows = rows_below(f"### Settings of {stage} by preset")
    names = [name.strip("`") for name in rows[0][1:4]]
    printed = {row[0].strip("`"): row[1:4] for row in rows if re.fullmatch(r"`[a-z_]+`", row[0])}
    assert names == list(PRESETS)
    assert list(printed) == [
        field.name for field in fields(getattr(PRESETS["lite"], stage)) if field.name != "seed"
    ]
    for name, settings in ((name, getattr(PRESETS[name], stage)) for name in names):
        for setting, row in printed.items():
            ignored = not all(any(need.met(settings) for need in some) for some in needs[setting])
            cell = row[names.index(name)]
            wanted = getattr(settings, setting)
            assert (cell == "–") == ignored, (name, setting)
            assert ignored or value_of(cell) == wanted, (name, setting)


def figures_of(section: str) -> dict[tuple[str, str], str]:
    """Rows of the first table of a section by their mAcc / mIoU on both captures, without bold and ranges."""
    found = {}
    (table, *_) = re.findall(r"(?:^\|.*\n)+", section, flags=re.MULTILINE)
    for line in table.splitlines():
        row = [re.sub(r"\*\*|\(.*\)", "", cell).strip() for cell in cells(line)]
        if len(row) > 2 and re.fullmatch(r"[\d.]+ / [\d.]+", row[1]):
            found[row[1], row[2]] = line
    return found


def test_the_comparison_of_the_readme_is_that_of_the_benchmarks():
    pages = [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "benchmarks/README.md")]
    ours = pages[0].split("\n## Beside other systems\n")[1].split("\n## ")[0]
    measured = figures_of(pages[1].split("\n## Baselines\n")[1].split("\n## ")[0])
    printed = figures_of(ours)
    assert len(printed) > 8
    for figures, line in printed.items():
        assert figures in measured, line
        wanted, query = cells(measured[figures]), cells(line)[-1]
        assert cells(line)[3] == wanted[5], line  # bytes a Gaussian
        seconds = sorted(int(text) / 1000 for text in wanted[4].split(","))
        shown = [float(text) for text in re.findall(r"[\d.]+", query)]
        assert len(shown) in (1, 2), line
        for value, exact in zip((shown[0], shown[-1]), seconds, strict=True):
            assert value == pytest.approx(exact, rel=0.25), (line, wanted[4])
    for column in (0, 1):  # the best of each column is bold, in both
        for metric in (0, 1):
            best = max(float(figures[column].split("/")[metric]) for figures in measured)
            for table in (printed, measured):
                for figures, line in table.items():
                    cell = re.sub(r"\(.*\)", "", cells(line)[1 + column])
                    bold = " ".join(re.findall(r"\*\*(.*?)\*\*", cell))
                    value = figures[column].split("/")[metric].strip()
                    assert (value in bold.split()) == (float(value) == best), line


def test_constants_on_the_method_page_are_those_of_the_code():
    rows = [cells(line) for line in METHOD_PAGE.splitlines() if re.match(r"\| `gags\.[\w.]+` \|", line)]
    assert len(rows) > 20
    for name, value, *_ in rows:
        module, _, constant = name.strip("`").rpartition(".")
        assert getattr(importlib.import_module(module), constant) == float(value), name


def test_numbers_of_prompts_on_the_method_page_are_those_of_the_code():
    head, _, *rows = rows_below("### How many prompts")[-5:]
    camera = Camera(np.eye(4), np.array([[40.0, 0, 40], [0, 40, 40], [0, 0, 1]]), 80, 80)
    assert head[0] == "ratio"
    for row in rows:
        describe = PRESETS[row[0].strip("`")].describe
        for ratio, printed in zip(head[1:], row[1:], strict=True):
            depth = np.full((80, 80), float(ratio), np.float32)
            least = np.ones_like(depth)
            count = partial(prompts_per_patch, exponent=describe.exponent)
            if describe.prompts == "released":
                # A Gaussian in the middle of each patch, at the depth of the surface.
                x, y = np.meshgrid(np.arange(5, 80, 10), np.arange(5, 80, 10))
                rays = np.stack([(x - 40) / 40, (y - 40) / 40, np.ones_like(x)], axis=-1).reshape(-1, 3)
                count = partial(released_per_patch, camera=camera, means=rays * float(ratio))
                least = np.ones(len(rays))
            counts = count(depth, least, base=describe.prompts_per_patch)
            assert counts.sum() == int(printed), (row[0], ratio)


def test_changelog_and_citation_know_the_version():
    assert f"\n## [{gags.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == gags.__version__
    assert citation["preferred-citation"]["authors"][0]["family-names"] == "Peng"


def test_templates_of_issues_can_be_read_and_ask_for_what_helps():
    forms = {
        path.stem: yaml.safe_load(path.read_text()) for path in ROOT.glob(".github/ISSUE_TEMPLATE/*.yml")
    }
    assert set(forms) == {"bug", "capture", "feature", "config"}
    asked = {
        name: " ".join(str(field["attributes"]) for field in forms[name]["body"])
        for name in ("bug", "capture")
    }
    assert all("gags doctor" in text and "--debug" in text for text in asked.values())


def test_the_site_builds_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    reference = (tmp_path / "commands" / "index.html").read_text(encoding="utf-8")
    assert all(f"usage: gags {name}" in reference for name in COMMANDS)
    assert "relevancy" in (tmp_path / "python" / "index.html").read_text(encoding="utf-8")
    examples = re.sub(r"<[^>]+>", "", (tmp_path / "examples" / "index.html").read_text(encoding="utf-8"))
    assert examples.count("import gags") == len(list((ROOT / "examples").glob("*.py")))
    assert "images/rooms.svg" in (tmp_path / "architecture" / "index.html").read_text(encoding="utf-8")


def test_the_extra_holds_what_the_site_needs():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    needed = {re.split(r"[\[>=]", requirement)[0] for requirement in extras["docs"]}
    assert needed == {"mkdocs", "mkdocs-material", "mkdocstrings"}
