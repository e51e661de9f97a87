"""The `gags` command: finds the subcommand, runs it, turns errors into one line and an exit code."""

import importlib
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from gags.errors import GagsError, SettingsError
from gags.files.trouble import told


class Command(NamedTuple):
    """Where a command is, and what `gags --help` says of it."""

    module: str
    about: str


# Each is a function of its own name in a module that is loaded when it is used, so that `gags --help` imports
# neither torch nor anything else slow.
COMMANDS = {
    "demo": Command("score", "the bundled capture through everything; ends with a report to look at"),
    "run": Command("stages", "photos + poses → a scene that answers text (all stages, resumable)"),
    "run-many": Command("many", "many captures → as many scenes; on a cluster with --ray (extra `scale`)"),
    "poses": Command("stages", "photos or a video → a capture with poses (structure from motion)"),
    "reconstruct": Command("stages", "photos + poses → 3D Gaussians; or adopt an existing 3DGS .ply"),
    "describe": Command("stages", "masks on three levels and an embedding a mask, for every photo"),
    "distill": Command("stages", "masks and embeddings → one language field"),
    "things": Command("stages", "masks that agree across photos → things and their parts"),
    "query": Command("ask", "where is it? heat map, mask, peak and 3D box of each text"),
    "locate": Command("ask", "every instance of what a text names: centre, oriented box, score"),
    "catalog": Command("ask", "what is in this scene: its things, named, and a labelled picture"),
    "teach": Command("teach", "what you call a thing: point at it in a photo, later texts find it by name"),
    "units": Command(
        "units", "how long a unit of a scene is, from one known length; `locate` then tells metres"
    ),
    "view": Command("ask", "the scene in the browser: ask it, click on things, cut them out (extra `view`)"),
    "extract": Command("ask", "cut the things that texts name out of the scene: .ply, .spz, .glb …"),
    "delete": Command("ask", "the scene without the things that texts name"),
    "recolor": Command("ask", "the scene with the things that texts name in another colour"),
    "convert": Command("files", "Gaussians of a file or a scene in another format: .ply, .spz, .glb, .usd …"),
    "render": Command(
        "files", "views of a scene: colours, depth, normals, relevancies, as pictures and numbers"
    ),
    "mesh": Command(
        "files", "a closed mesh of a thing, or the surface of a scene: .glb, .ply or .obj (extra `mesh`)"
    ),
    "serve": Command("serve", "answers over HTTP, as JSON: for programs and robots (extra `serve`)"),
    "evaluate": Command("score", "score a scene against labelled photos"),
    "compare": Command(
        "score", "the method beside baselines and ablations: same Gaussians, same masks, one table"
    ),
    "benchmark": Command(
        "score", "methods on a published data set, several runs: the paper's tables with ours"
    ),
    "library": Command(
        "library", "many scenes at once: add, search, list, remove; which holds it, where (extra `library`)"
    ),
    "models": Command("models", "which segmenters and encoders there are, and are on this machine; pull one"),
    "doctor": Command("models", "what works on this machine, and what to do about the rest"),
}

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code (0 done, 1 failed, 2 wrong usage)."""
    from gags.cli import terminal
    from gags.threads import settle_command

    if argv is None:  # this process is ours
        settle_command()
    terminal.settle_streams()
    try:
        code = _main(argv)
        terminal.flush()
    except BrokenPipeError:  # the reader of our output left, as in `gags query … | head`
        with suppress(OSError):
            terminal.flush()
        return DONE
    except OSError as error:  # what was printed could not be written, as on a full disk
        terminal.tell(f"gags: the output cannot be written: {_one_line(error)}")
        return FAILED
    return code


def _main(argv: Sequence[str] | None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = [a for a in arguments if a != "--debug"]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return DONE if arguments else WRONG_USAGE
    if arguments[0] in ("-V", "--version"):
        from gags import __version__

        print(f"gags {__version__}")
        return DONE
    name, *rest = arguments
    if name not in COMMANDS:
        print(f"gags: there is no command {name!r}; one of: {', '.join(COMMANDS)}", file=sys.stderr)
        return WRONG_USAGE
    return _run(name, rest, debug)


def _run(name: str, arguments: list[str], debug: bool) -> int:
    from gags.cli.terminal import tell

    try:
        function = function_of(name)
        import tyro

        from gags.cli.arguments import GIVEN, REGISTRY, OptionError

        arguments = _merge_repeats(_renamed(arguments))
        GIVEN.set(arguments)
        try:
            result = tyro.cli(function, prog=f"gags {name}", args=arguments, registry=REGISTRY)
        except OptionError as error:
            tell(f"gags {name}: {error} (see gags {name} --help)")
            return WRONG_USAGE
        return result if isinstance(result, int) else DONE
    except SystemExit as stop:  # tyro: 0 after --help, 2 after wrong usage
        return stop.code if isinstance(stop.code, int) else FAILED
    except KeyboardInterrupt:
        tell(f"\ngags {name}: stopped; what is finished is kept, the same command resumes from there")
        return INTERRUPTED
    except BrokenPipeError:  # `main` knows what to do
        raise
    except Exception as error:
        if debug:
            raise
        tell(f"gags {name}: {_one_line(error)}")
        return WRONG_USAGE if isinstance(error, SettingsError) else FAILED


def function_of(name: str) -> Callable[..., Any]:
    """The function of a command, whose module is loaded now."""
    module = importlib.import_module(f"gags.cli.{COMMANDS[name].module}")
    return getattr(module, name.replace("-", "_"))


def _one_line(error: Exception) -> str:
    text = " ".join((error.option if isinstance(error, SettingsError) else str(error)).split())
    if isinstance(error, GagsError):
        return text
    if isinstance(error, OSError):
        return f"{told(error)} (run again with --debug for details)"
    if isinstance(error, MemoryError):
        return "there is not enough memory for this; use smaller photos or settings (run again with --debug)"
    return f"unexpected {type(error).__name__}: {text}; please report it, with what --debug prints"


# Settings of 0.1.0 by their names of today, so that scripts go on working.
FORMER_OPTIONS = {"--fit.": "--reconstruct.", "--segment.": "--describe."}


def _renamed(arguments: list[str]) -> list[str]:
    """Arguments with the options that had another name in 0.1.0 renamed."""
    renamed = list(arguments)
    for row, argument in enumerate(arguments):
        for former, name in FORMER_OPTIONS.items():
            if argument.startswith(former):
                renamed[row] = name + argument.removeprefix(former)
    return renamed


REPEATED = ("--view", "--what", "--text")


def _merge_repeats(arguments: list[str]) -> list[str]:
    """`--view a --view b` means `--view a b`; argparse alone would keep only the last."""
    values: dict[str, list[str]] = {}
    rest: list[str] = []
    taking = ""
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name in REPEATED:
            taking = "" if equals else name
            values.setdefault(name, []).extend([value] if equals else [])
        elif taking and not argument.startswith("--"):
            values[taking].append(argument)
        else:
            taking = ""
            rest.append(argument)
    return [*rest, *(word for name, given in values.items() for word in (name, *given))]


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(
        [
            "gags: photos with poses in, a 3D scene that answers text out.",
            "",
            "usage: gags COMMAND [OPTIONS]        (gags COMMAND --help tells more)",
            "",
            *lines,
            "",
            "Add --debug to any command to see the whole traceback of an error.",
        ]
    )
