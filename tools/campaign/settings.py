"""Every setting with every kind of wrong value, on a toy capture, in Python and on the command line.

    python -m tools.campaign.settings                         everything; prints a table, fails if a case does
    python -m tools.campaign.settings --only distill view     some commands
    python -m tools.campaign.settings --fields top_k hidden   some settings
    python -m tools.campaign.settings --share 0.1 --seed 1    a random tenth of the cases

A case is a command, a setting and a value. It runs in a process of its own, forked from one that has loaded
everything, with a time limit. It went well if the command worked, or said one line and left every file of the
scene as it was. Counted as failures: tracebacks, "please report it", exit codes other than 0, 1 and 2, cases
that do not end, cases that take more memory than is sensible, files that were lost or changed by a failure.
"""

import argparse
import hashlib
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_origin

from gags.capture.settings import PanoramaSettings, UndistortSettings
from gags.files.ranges import STEPS, Settings, fields_of, is_number, ranges_of, row_kinds

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 300.0  # a case may take; the toy takes 5
TOLD_EVERY = 100  # cases
MOST_MEMORY = 4e9  # bytes a case may take; the toy takes 0.6e9

NUMBERS: tuple[Any, ...] = (math.nan, math.inf, -math.inf, 0, -1, 1e20, 10**20, "abc", "")
WORDS: tuple[Any, ...] = ("abc", "", 5)
IN_PYTHON: tuple[Any, ...] = ([1], {"a": 1}, True)  # that the command line cannot say
MODELS = ("nope", "", "./no-such-folder", "/no/such/folder", "owner/cl--ip", ".", "lite", "mobile-sam")

LONG = ("steps", "codebook_steps", "prompts_per_patch", "grid_side", "exponent")
"""Settings whose upper end takes long by its nature, with a bar that moves: it is not tried."""

TINY = {
    "reconstruct": {"steps": 20, "densify_every": 5, "densify_from": 5, "fill_holes_at": 5},
    "describe": {"prompts_per_patch": 1},
    "distill": {"steps": 20, "batch_regions": 16, "pixels_per_photo": 500},
}
SIZES = ("0x0", "-1x5", "1e9x1e9", "99999x99999", "nanxnan", "5", "x", "5x5x5", "")
POINTS = ("nan,0,0", "inf,0,0", "1,2", "1,2,3,4", "a,b,c", ",,", "1e308,1e308,1e308", "1,0,0", "")
OPTIONS = {  # numbers of commands that have no settings of their own
    ("units", "is"): NUMBERS,
    ("units", "from"): POINTS,
    ("render", "seconds"): NUMBERS,
    ("render", "fps"): NUMBERS,
    ("render", "size"): SIZES,
    ("mesh", "cells"): NUMBERS,
    ("library", "top"): NUMBERS,
    ("run-many", "gpus-per-scene"): NUMBERS,
    ("run-many", "cpus-per-scene"): NUMBERS,
}
BESIDE = {  # what these need besides
    "units": {"from": "0,0,0", "to": "1,0,0", "is": 2},
    "render": {"video": "out.mp4", "seconds": 1, "fps": 1, "size": "64x48"},
    "mesh": {"out": "out.glb", "cells": 32},
    "run-many": {"out": "out", "ray": True},
}
NEEDS = {  # what other settings must be for a setting to have an effect
    ("describe", "grid_side"): {"prompts": "grid"},
    ("describe", "contained_share"): {"drop_contained": True},
    ("describe", "container_share"): {"drop_contained": True},
    ("distill", "photo_scale"): {"schedule": "photo"},
    ("distill", "step_pixels"): {"schedule": "photo"},
    ("distill", "region_smoothing"): {"schedule": "photo", "region_aware": True},
    ("distill", "entropy_weight"): {"granularity": "distance"},
}


PARTS = {
    PanoramaSettings: "panorama",
    UndistortSettings: "undistort",
}  # of other settings


@dataclass(frozen=True)
class Case:
    """One thing to try.

    Attributes:
        command: Of `gags`.
        name: The setting, as users write it.
        value: What it is set to.
        how: "shell" or "Python".
        run: Does it in a folder with `capture` and `scene`; returns an exit code.
    """

    command: str
    name: str
    value: Any
    how: str
    run: Callable[[Path], int]


@dataclass(frozen=True)
class Outcome:
    """What came of a case.

    Attributes:
        kind: "worked", "told" (one line), or what went wrong.
        text: What it printed at last.
        seconds: How long it took.
    """

    kind: str
    text: str
    seconds: float


GOOD = ("worked", "told")


def cases() -> Iterator[Case]:
    """All cases, stage by stage."""
    from gags.compare.benchmark import BenchmarkSettings
    from gags.compare.harness import CompareSettings
    from gags.distill.settings import DistillSettings
    from gags.pipeline.settings import CaptureSettings
    from gags.poses.settings import PoseSettings
    from gags.reconstruct.settings import ReconstructSettings
    from gags.segment.settings import DescribeSettings
    from gags.serve.settings import ServeSettings

    yield from of_class("reconstruct", ReconstructSettings)
    yield from of_class("reconstruct", CaptureSettings)
    yield from of_class("describe", DescribeSettings)
    yield from of_class("distill", DistillSettings)
    yield from of_class("poses", PoseSettings)
    yield from of_class("compare", CompareSettings)
    yield from of_class("benchmark", BenchmarkSettings)
    yield from of_class("serve", ServeSettings)
    for value in NUMBERS:
        yield Case("view", "port", value, "shell", shell("view", "port", value))
    for value in (*NUMBERS, *IN_PYTHON):
        yield Case("view", "port", value, "Python", python("view", None, "port", value))
    for (command, option), values in OPTIONS.items():
        for value in values:
            yield Case(command, option, value, "shell", shell(command, option, value))
    for command in ("describe", "run"):
        for option in ("segmenter", "encoder"):
            for name in MODELS:
                yield Case(command, option, name, "shell", shell(command, option, name))


def of_class(command: str, settings: type[Settings]) -> Iterator[Case]:
    """All cases of a settings class and of those in it."""
    for declared, kind in fields_of(settings):
        if isinstance(kind, type) and issubclass(kind, Settings):
            yield from of_class(command, kind)
            continue
        ranges = ranges_of(declared)
        values = list(NUMBERS if is_number(kind) or row_kinds(kind) else WORDS)
        name, ends = settings.named(declared.name), ()
        if is_number(kind):
            (within,) = ranges
            ends = (within.low,) if within is STEPS or declared.name in LONG else (within.low, within.high)
        for value in values:
            if kind is not bool and not (get_origin(kind) is None and kind in (str, Path)):
                yield Case(command, name, value, "shell", shell(command, name, value))
        for value in (*values, *ends, *IN_PYTHON):
            yield Case(command, name, value, "Python", python(command, settings, declared.name, value))


def shell(command: str, name: str, value: Any) -> Callable[[Path], int]:
    """A case on the command line."""

    def run(folder: Path) -> int:
        from gags.cli import main

        prefix, _, field = name.rpartition(".")
        others = TINY.get(command, {}) | NEEDS.get((command, field), {})
        options = {
            f"{command}.{other}": v for other, v in others.items() if other != field or prefix != command
        }
        for other, v in BESIDE.get(command, {}).items():
            options[other] = folder / v if isinstance(v, str) and v.startswith("out") else v
        if command == "run":
            options = {f"{stage}.{other}": v for stage, held in TINY.items() for other, v in held.items()}
            options["out"] = folder / "scene"
        arguments = [command, *positional(command, folder)]
        for option, given in {**options, name: value}.items():
            spelled = option.replace("_", "-")
            arguments += [f"--{spelled}"] if given is True else [f"--{spelled}={given}"]
        return main(arguments)

    return run


def positional(command: str, folder: Path) -> list[str]:
    """What a command needs besides the setting."""
    capture, scene, out = (str(folder / name) for name in ("capture", "scene", "out"))
    nowhere = str(folder / "nowhere")
    return {
        "reconstruct": [capture, "--out", scene],
        "run": [capture],
        "poses": [f"{capture}/images", "--out", out],
        "compare": [capture, "--labels", nowhere, "--out", out],
        "benchmark": ["lerf-ovs", nowhere, "--out", out],
        "serve": [nowhere],
        "library": ["search", nowhere, "red ball"],
        "run-many": [nowhere],
    }.get(command, [scene])


def python(command: str, settings: type[Settings] | None, field: str, value: Any) -> Callable[[Path], int]:
    """A case in Python; a `GagsError` is one line."""

    def run(folder: Path) -> int:
        import gags

        try:
            call(folder, command, settings, field, value)
        except gags.GagsError as error:
            print(f"gags {command}: {error}", file=sys.stderr)
            return 1
        return 0

    return run


def call(folder: Path, command: str, settings: type[Settings] | None, field: str, value: Any) -> None:
    """The function of a command with one setting changed."""
    import gags
    from gags.pipeline.settings import CaptureSettings
    from gags.reconstruct.settings import ReconstructSettings

    capture, scene, nowhere = folder / "capture", folder / "scene", folder / "nowhere"
    if settings in PARTS and command in ("reconstruct", "poses"):
        field, value = PARTS[settings], settings(**{field: value})
        settings = CaptureSettings if command == "reconstruct" else gags.PoseSettings
    changes = TINY.get(command, {}) | NEEDS.get((command, field), {}) | {field: value}
    if command in ("describe", "distill"):
        getattr(gags, command)(scene, changes, **({"preset": "lite"} if command == "distill" else {}))
    elif command == "view":
        gags.view(scene, port=value)
    elif settings is CaptureSettings:
        tiny = ReconstructSettings(**TINY["reconstruct"])
        gags.reconstruct(capture, scene, tiny, photos=CaptureSettings(**{field: value}))
    elif command == "reconstruct":
        gags.reconstruct(capture, scene, ReconstructSettings(**changes))
    elif command == "poses":
        gags.poses(capture / "images", folder / "out", gags.PoseSettings(**{field: value}))
    else:
        assert settings is not None
        settings(**{field: value})  # of compare, benchmark and serve; nothing else is asked of them here
        assert not nowhere.exists()


def attempt(case: Case, folder: Path) -> Outcome:
    """Run a case in a process of its own, and judge it."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    before = contents(folder / "finished")
    if contents(folder / "scene") != before:  # an earlier case did something
        shutil.rmtree(folder / "scene", ignore_errors=True)
        shutil.copytree(folder / "finished", folder / "scene")
    said = folder / "said.txt"
    began = time.monotonic()
    child = os.fork()
    if not child:
        _run_forked(case, folder, said)
    status, used = _waited(child)
    seconds = time.monotonic() - began
    lines = [line for line in said.read_text(errors="replace").splitlines() if line.strip()]
    text = next((line for line in reversed(lines) if line.startswith("gags ")), lines[-1] if lines else "")
    code = os.waitstatus_to_exitcode(status) if status is not None else None
    everything = "\n".join(lines)
    if code is None:
        kind = "did not end"
    elif "Traceback" in everything:
        kind, text = "traceback", lines[-1]
    elif "please report it" in everything:
        kind = "please report it"
    elif code not in (0, 1, 2):
        kind = f"exit code {code}"
    elif used > MOST_MEMORY:
        kind = f"took {used / 1e9:.1f} GB"
    elif code and any(contents(folder / "scene").get(name) != held for name, held in before.items()):
        kind = "lost files"
    elif code and not text:
        kind = "said nothing"
    else:
        kind = "told" if code else "worked"
    return Outcome(kind, text, seconds)


def _run_forked(case: Case, folder: Path, said: Path) -> None:
    """In the child: run the case with all output in a file, and end the process."""
    os.setpgid(0, 0)
    output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    code = 99
    try:
        code = case.run(folder)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _waited(child: int) -> tuple[int | None, int]:
    """Status of a child, None if it had to be killed, and the most memory that it took, bytes."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        done, status, used = os.wait4(child, os.WNOHANG)
        if done:
            return status, used.ru_maxrss * 1024
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    _, _, used = os.wait4(child, 0)
    return None, used.ru_maxrss * 1024


def contents(folder: Path) -> dict[str, str]:
    """Hash of every file of a folder, by its path."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def stand_ins() -> None:
    """Let a segmenter and an encoder that know only colours stand for the small models."""
    from tests.helpers.toy_capture import ColorEncoder, ColorSegmenter

    from gags import models, pipeline, scene
    from gags.models import own

    pipeline.load_segmenter = lambda name, progress=None: ColorSegmenter()
    pipeline.load_encoder = scene.load_encoder = lambda name, progress=None: ColorEncoder()
    own.problems_of = lambda model: []
    own.files = lambda name: {}
    models.ensure = lambda name, progress=None: Path()


def prepare(folder: Path) -> None:
    """Write the toy capture, and the finished scene of it that each case begins from."""
    from tests.helpers.toy_capture import write_capture

    from gags.cli import main

    stand_ins()
    write_capture(folder / "capture", views=4)
    small = {f"{stage}.{name}": value for stage, held in TINY.items() for name, value in held.items()}
    options = [f"--{name.replace('_', '-')}={value}" for name, value in small.items()]
    out = ["--out", str(folder / "finished"), "--segmenter", "mobile-sam", "--encoder", "lite"]
    for command in (
        ["reconstruct", str(folder / "capture"), *out[:2], *(o for o in options if "reconstruct" in o)],
        ["describe", out[1], *out[2:], *(o for o in options if "describe" in o)],
        ["distill", out[1], *(o for o in options if "distill" in o)],
    ):
        if main(command) != 0:
            raise SystemExit("the toy scene could not be made")


def main() -> int:
    """Run the campaign; returns 1 if a case failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], help="commands")
    parser.add_argument(
        "--fields", nargs="+", default=[], help="settings, without what stands before the dot"
    )
    parser.add_argument("--share", type=float, default=1.0, help="share of the cases, chosen at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--prepare", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.prepare:
        prepare(arguments.prepare)
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # In another process: threads that computing starts would be missing in forks of this one.
        subprocess.run(
            [sys.executable, "-m", "tools.campaign.settings", "--prepare", folder], check=True, cwd=ROOT
        )
        chosen = chosen_cases(arguments.only, arguments.fields, arguments.share, arguments.seed)
        return campaign(folder, chosen)


def chosen_cases(only: list[str], some: list[str], share: float, seed: int) -> list[Case]:
    """A random share of the cases of some commands and settings; of all if none are named."""
    rng = random.Random(seed)
    return [
        case
        for case in cases()
        if (not only or case.command in only) and (not some or case.name.rpartition(".")[2] in some)
        if rng.random() < share
    ]


def campaign(folder: Path, chosen: list[Case]) -> int:
    """All cases in a folder that was prepared; prints failures as they come, and a table."""
    import gags.cli.ask
    import gags.cli.score
    import gags.cli.stages  # noqa: F401  loaded once, before forks

    stand_ins()
    table: dict[str, Counter[str]] = {}
    for number, case in enumerate(chosen):
        if number % TOLD_EVERY == 0:
            print(f"{number} of {len(chosen)} cases, {case.command} {case.name}", file=sys.stderr, flush=True)
        outcome = attempt(case, folder)
        table.setdefault(f"{case.command}, {case.how}", Counter())[outcome.kind] += 1
        if outcome.kind not in GOOD:
            print(
                f"{outcome.kind}: {case.command} {case.name} = {case.value!r} ({case.how}): {outcome.text}",
                flush=True,
            )
    kinds = sorted({kind for counts in table.values() for kind in counts}, key=lambda k: (k not in GOOD, k))
    print(f"\n{'':<24}{'cases':>8}" + "".join(f"{kind:>18}" for kind in kinds))
    for row, counts in table.items():
        print(f"{row:<24}{counts.total():>8}" + "".join(f"{counts[kind]:>18}" for kind in kinds))
    failed = sum(counts[kind] for counts in table.values() for kind in kinds if kind not in GOOD)
    print(f"\n{sum(counts.total() for counts in table.values())} cases, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
