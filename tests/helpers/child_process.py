"""What `gags compare` does in a process of its own: made-up models there, and a file of what was heard."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gags.compare import job
from gags.progress import Bar, Reporter
from tests.helpers.toy_capture import ColorEncoder

HEARD_FILE = "GAGS_TEST_HEARD"  # environment variable that names the file


class _FileReporter(Reporter):
    """Writes the number of its process, then a line a stage."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._write(str(os.getpid()))

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "steps") -> Iterator[Bar]:
        self._write(f"{name}: {total} {unit}")
        yield Bar(total)

    def _write(self, line: str) -> None:
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(line + "\n")


def reporter_of_a_child() -> Reporter:
    """Called in the child: no weights are needed there from now on."""
    job.load_encoder = lambda name: ColorEncoder()
    return _FileReporter(Path(os.environ[HEARD_FILE]))
