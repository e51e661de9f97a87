"""One try of a command in a process of its own, on a toy scene with made-up models: what it printed, and how
it ended."""

import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.helpers.toy_capture import ColorEncoder, ColorSegmenter

from gags import cli, models, pipeline, scene
from gags.distill import optimize
from gags.reconstruct import train

FAST = ["--reconstruct.steps", "40", "--distill.steps", "40", "--describe.min-area", "6"]
FAST += ["--describe.prompts-per-patch", "1"]
TEXTS = ["red ball", "blue ball"]
SECONDS = 120.0  # a command takes a few; after this long it hangs


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        code: Exit code; negative for a signal.
        out: What it printed on stdout.
        err: What it printed on stderr.
        hung: Whether it had to be stopped.
    """

    code: int
    out: str
    err: str
    hung: bool = False

    @property
    def line(self) -> str:
        """The line that says why it failed; empty if there is none."""
        lines = [line for line in self.err.splitlines() if re.match(r"gags( \w+)?: ", line)]
        return lines[0] if len(lines) == 1 else ""

    def faults(self) -> list[str]:
        """What no command may do, whatever it meets."""
        found = []
        if self.hung:
            found.append("hang")
        elif self.code < 0 or self.code > 2:
            found.append(f"ended with {self.code}")
        if "Traceback" in self.err:
            found.append("traceback")
        if "please report it" in self.err:
            found.append("please report it")
        if "[Errno" in self.err:
            found.append("raw error of the system")
        if self.code == 1 and not self.line:
            found.append("no reason")
        return found


def stand_in(checkpoints: bool = False) -> None:
    """Take made-up models from now on, in this process; `checkpoints` saves training at every step."""
    for module in (pipeline, scene):
        module.load_encoder = lambda name, progress=None: ColorEncoder()
    pipeline.load_segmenter = lambda name, progress=None: ColorSegmenter()
    models.ensure = lambda name, progress=None: None
    if checkpoints:
        train.CHECKPOINT_SECONDS = optimize.CHECKPOINT_SECONDS = 0.0


def begin(
    arguments: Sequence[str],
    log: Path,
    *,
    before: Callable[[], None] | None = None,
    checkpoints: bool = False,
) -> int:
    """Start a command in a child process; its output goes to two files beside `log`.

    Args:
        arguments: Of the command line.
        log: Name of the files, without suffix.
        before: Called in the child first, to make its surroundings hostile.
        checkpoints: See `stand_in`.

    Returns:
        Number of the process.
    """
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        for number, suffix in ((1, ".out"), (2, ".err")):
            os.dup2(os.open(log.with_suffix(suffix), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        stand_in(checkpoints)
        if before is not None:
            before()
        sys.stdout, sys.stderr = _stream(1), _stream(2)
        code = cli.main([str(word) for word in arguments])
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, AttributeError):
            sys.stderr.flush()
        os._exit(code)


def _stream(number: int) -> Any:
    """What Python makes of a stream when it starts: nothing if it is closed."""
    try:
        return open(number, "w", closefd=False)
    except OSError:
        return None


def apart(work: Callable[[], None]) -> int:
    """Do some work in a child process, so that this one starts no threads and can be forked; its number."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def end(child: int, log: Path, seconds: float = SECONDS) -> Outcome:
    """Wait for a child that `begin` started; stop it if it hangs."""
    deadline = time.monotonic() + seconds
    hung = False
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() > deadline:
            hung = True
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            break
        time.sleep(0.02)
    out, err = (log.with_suffix(suffix).read_text("utf-8", "replace") for suffix in (".out", ".err"))
    return Outcome(os.waitstatus_to_exitcode(status), out, err, hung)


def attempt(
    arguments: Sequence[str],
    log: Path,
    *,
    before: Callable[[], None] | None = None,
    checkpoints: bool = False,
    seconds: float = SECONDS,
) -> Outcome:
    """Run a command to its end, see `begin`."""
    return end(begin(arguments, log, before=before, checkpoints=checkpoints), log, seconds)
