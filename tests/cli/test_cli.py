import subprocess
import sys
from types import SimpleNamespace

import pytest

from gags import __version__, cli
from gags.compare.methods import CROPS, UNIFORM, all_methods
from gags.errors import QueryError


def _stub(monkeypatch, function):
    monkeypatch.setattr(
        cli.importlib, "import_module", lambda name: SimpleNamespace(**dict.fromkeys(cli.COMMANDS, function))
    )


def test_help_lists_every_command(capsys):
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in cli.COMMANDS)


def test_every_command_has_a_module():
    for name in cli.COMMANDS:
        assert callable(cli.function_of(name))


def test_unknown_command_is_wrong_usage(capsys):
    assert cli.main(["dance"]) == 2
    assert "dance" in capsys.readouterr().err


def test_no_command_is_wrong_usage(capsys):
    assert cli.main([]) == 2
    assert "usage" in capsys.readouterr().out


def test_unknown_option_is_wrong_usage(monkeypatch, capsys):
    _stub(monkeypatch, lambda: None)
    assert cli.main(["run", "--no-such-option"]) == 2


def test_expected_error_is_one_line_without_traceback(monkeypatch, capsys):
    def fail() -> None:
        raise QueryError("no photo is called\n'x.jpg'; the first are a.jpg, b.jpg")

    _stub(monkeypatch, fail)
    assert cli.main(["query"]) == 1
    assert capsys.readouterr().err == "gags query: no photo is called 'x.jpg'; the first are a.jpg, b.jpg\n"


def test_unexpected_error_is_one_line_unless_debug(monkeypatch, capsys):
    def fail() -> None:
        raise KeyError("oops")

    _stub(monkeypatch, fail)
    assert cli.main(["query"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "KeyError" in error
    assert "--debug" in error
    with pytest.raises(KeyError):
        cli.main(["query", "--debug"])


@pytest.mark.parametrize(
    ("given", "merged"),
    [
        (["ws", "mug", "--view", "a", "--view", "b"], ["ws", "mug", "--view", "a", "b"]),
        (["ws", "mug", "--view", "a", "b", "--json"], ["ws", "mug", "--json", "--view", "a", "b"]),
        (["ws", "mug", "--view=a", "--json"], ["ws", "mug", "--json", "--view", "a"]),
        (["ws", "mug"], ["ws", "mug"]),
    ],
)
def test_repeated_view_options_add_up(given, merged):
    assert cli._merge_repeats(given) == merged


def test_importing_gags_is_quick_and_loads_nothing_heavy():
    heavy = {"torch", "numba", "cv2", "transformers"}
    code = f"import sys, gags, gags.cli; gags.cli._help(); print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_help_of_compare_names_every_method(capsys):
    assert cli.main(["compare", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"({UNIFORM}gags, …)" in text
    assert f"({CROPS}average, …)" in text
    names = [name for name in all_methods() if not name.startswith((UNIFORM, CROPS))]
    missing = [name for name in names if name not in text and f"-{name.rpartition('-')[2]}" not in text]
    assert missing == []


def test_python_runs_the_commands_as_a_module():
    done = subprocess.run([sys.executable, "-m", "gags.cli", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"gags {__version__}\n")
