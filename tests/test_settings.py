"""All settings of all rooms: every number has a range with its default in it; nothing else gets through."""

import ast
import dataclasses
import importlib
import inspect
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest
from tyro.constructors import PrimitiveConstructorSpec

import gags
from gags.cli import COMMANDS, function_of, main
from gags.cli.arguments import field_texts
from gags.errors import SettingsError
from gags.files.ranges import Settings, check_value, fields_of, is_number, parse_value, ranges_of, row_kinds

SOURCE = Path(gags.__file__).parent
NO_SETTINGS = {"NetworkSettings", "ChosenSettings"}  # of npm; what a preset comes to
WRONG = (math.nan, math.inf, -math.inf, 1e20, -(10**20), "abc", [1])


def settings_classes() -> list[type[Settings]]:
    """Every class of the package that is called …Settings, and every other that is made of settings."""
    found: dict[str, type[Settings]] = {}
    for path in SOURCE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in (n for n in tree.body if isinstance(n, ast.ClassDef)):
            bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
            if node.name in NO_SETTINGS or not (node.name.endswith("Settings") or "Settings" in bases):
                continue
            module = ".".join(["gags", *path.relative_to(SOURCE).with_suffix("").parts])
            made = getattr(importlib.import_module(module.removesuffix(".__init__")), node.name)
            if made is not Settings:
                found[f"{made.__module__}.{made.__qualname__}"] = made
    return list(found.values())


CLASSES = settings_classes()


def numbers() -> Iterator[Any]:
    """Every field of numbers: its class, the field, its type."""
    for made in CLASSES:
        for declared, kind in fields_of(made):
            if is_number(kind) or any(is_number(column) for column in row_kinds(kind)):
                yield pytest.param(made, declared, kind, id=f"{made.__name__}.{declared.name}")


def test_all_settings_classes_check_their_fields():
    names = {made.__name__ for made in CLASSES}
    assert {
        "PoseSettings",
        "CaptureSettings",
        "RunSettings",
        "ReconstructSettings",
        "DescribeSettings",
    } <= names
    assert {"DistillSettings", "CompareSettings", "BenchmarkSettings", "LangSplat", "Uplift"} <= names
    assert [made.__name__ for made in CLASSES if not issubclass(made, Settings)] == []


@pytest.mark.parametrize(("made", "declared", "kind"), numbers())
def test_every_number_has_a_range(made, declared, kind):
    ranges = ranges_of(declared)
    assert len(ranges) == max(1, len(row_kinds(kind))), f"declare {declared.name} by `ranged` or `added`"
    name = made.named(declared.name)
    assert all(math.isfinite(end) for within in ranges for end in (within.low, within.high))
    assert all(within.low < within.high for within in ranges)
    assert check_value(name, declared.default, kind, *ranges) == declared.default
    wrong = [*WRONG, *(ranges[0].low - 1, ranges[0].high + 1)] if is_number(kind) else WRONG
    for value in (*wrong, True):
        with pytest.raises(SettingsError) as caught:
            check_value(name, value, kind, *ranges)
        assert str(caught.value).startswith(f"{name} must be ")
    for value in wrong:
        with pytest.raises(SettingsError):
            parse_value(name, [str(value)], kind, *ranges)


@pytest.mark.parametrize(
    "made", [made for made in CLASSES if all(f.default is not dataclasses.MISSING or
             f.default_factory is not dataclasses.MISSING for f in dataclasses.fields(made))]
)  # fmt: skip
def test_a_class_refuses_what_its_fields_refuse(made):
    made()
    for declared, kind in fields_of(made):
        if is_number(kind):
            with pytest.raises(SettingsError, match=made.named(declared.name)):
                made(**{declared.name: ranges_of(declared)[0].high * 2 + 1})
        with pytest.raises(SettingsError, match=made.named(declared.name)):
            made(**{declared.name: object()})


def options() -> Iterator[tuple[str, str, Any]]:
    """Every parameter of every command: the command, its name and its type."""
    for command in COMMANDS:
        function = function_of(command)
        hints = get_type_hints(function, include_extras=True)
        for name in inspect.signature(function).parameters:
            yield command, name, hints[name]


def test_every_number_of_a_command_has_a_range_and_every_group_of_options_is_checked():
    found = []
    for command, name, hint in options():
        kind, *marks = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        if is_number(kind):
            found.append((command, name))
            assert any(isinstance(mark, PrimitiveConstructorSpec) for mark in marks), (command, name)
        if dataclasses.is_dataclass(kind):
            inner = [k for k in get_type_hints(kind).values() if dataclasses.is_dataclass(k)]
            assert issubclass(kind, Settings) or all(issubclass(k, Settings) for k in inner), (command, name)
            assert issubclass(kind, Settings) or not any(map(is_number, get_type_hints(kind).values()))
    assert ("view", "port") in found


@pytest.mark.parametrize("made", CLASSES)
def test_help_has_the_docstring_of_every_field_and_its_range(made):
    texts = field_texts(made)
    assert [declared.name for declared, _ in fields_of(made) if not texts.get(declared.name)] == []


def test_help_shows_ranges(capsys):
    assert main(["distill", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "Gaussians kept per sampled pixel. From 1 to 256. (default: 16)" in shown
    assert "as a share of theirs. Above 0 and at most 1. (default: 0.5)" in shown


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            "distill ws --distill.top-k 100000",
            "distill.top-k must be a whole number from 1 to 256",
        ),
        ("distill ws --distill.top_k=nan", "distill.top-k must be a whole number from 1 to 256"),
        (
            "reconstruct c --out o --fit.steps 99999999999",
            "reconstruct.steps must be a whole number",
        ),
        (
            "run c --out o --segment.prompts-per-patch inf",
            "describe.prompts-per-patch must be a number",
        ),
        (
            "run c --out o --reconstruct.resolutions 0 x",
            "reconstruct.resolutions must be rows",
        ),
        ("poses c --out o --overlap=-1", "overlap must be a whole number from 0 to 1000, got -1"),
        ("compare c --labels l --out o --seeds 0", "seeds must be a whole number from 1 to 1000, got 0"),
        (
            "compare c --labels l --out o --langsplat.autoencoder.batch 1",
            "langsplat.autoencoder.batch must",
        ),
        ("benchmark lerf-ovs d --out o --runs 1e3", "runs must be a whole number from 1 to 1000, got 1e3"),
        ("view ws --port 70000", "port must be a whole number from 1 to 65535, got 70000"),
    ],
)
def test_the_command_line_says_one_line_before_anything_starts(
    command, message, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert main(command.split()) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"gags {command.split()[0]}: --{message}")
    assert said.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--segmenter", "lite"], r"lite is no segmenter but an encoder; .* Give it with --encoder "),
        (
            ["--encoder", "mobile-sam"],
            r"is no encoder but a segmenter; .* Give it with --segmenter ",
        ),
        (["--encoder", "./no-such-folder"], r"there is no folder ./no-such-folder; .*check the path"),
        (["--segmenter", "sam9"], r"no segmenter is called 'sam9'; there are: mobile-sam"),
        (["--preset", "best"], r"there is no preset 'best'; --preset takes auto, lite, paper, released"),
    ],
)
def test_models_and_presets_are_refused_before_photos_are_looked_at(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = {name.removeprefix("--"): value for name, value in [options]}
    with pytest.raises(gags.GagsError, match=message):
        gags.run("no_such_capture", "out", gags.RunSettings(**asked))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gags.run("c", "out", 5), "settings must be RunSettings, got 5"),
        (lambda: gags.run("c", "out", photos=5), "photos must be CaptureSettings, got 5"),
        (
            lambda: gags.reconstruct("c", "out", {"steps": 5}),
            "settings must be ReconstructSettings",
        ),
        (lambda: gags.poses("c", "out", 5), "settings must be PoseSettings, got 5"),
        (lambda: gags.compare("c", "l", "out", settings=5), "settings must be CompareSettings, got 5"),
        (
            lambda: gags.benchmark("lerf-ovs", "d", "out", settings=5),
            "settings must be BenchmarkSettings",
        ),
        (lambda: gags.RunSettings(distill=5), "distill must be DistillSettings or settings by name or none"),
    ],
)
def test_something_else_in_place_of_settings(call, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=f"^{message}"):
        call()
    assert list(tmp_path.iterdir()) == []
