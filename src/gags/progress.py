"""How long-running stages report what they do, without knowing who listens."""

from collections.abc import Iterator
from contextlib import contextmanager


class Bar:
    """One stage's counter. The base class counts and shows nothing.

    Attributes:
        total: Steps of the whole stage.
        done: Steps finished so far.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Count finished steps.

        Args:
            steps: How many; steps that an earlier run finished are counted at once, before the first new one.
            note: A short status such as "PSNR 24.1 dB".
        """
        self.done += steps


class Reporter:
    """Receives the progress of stages. The base class is silent; the command line shows bars on stderr."""

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "steps") -> Iterator[Bar]:
        """Open the bar of one stage, as in `with progress.stage("Embedding", 70, "photos") as bar`."""
        yield Bar(total)

    def say(self, message: str) -> None:
        """Tell the user something worth a line."""

    def warn(self, message: str) -> None:
        """Tell the user that something was left out or looks wrong, and what that means."""


SILENT = Reporter()


def seconds(duration: float) -> str:
    """A duration as people write it: "0.4 s", "12 s", "3 min 05 s", "2 h 07 min"."""
    if duration < 9.95:
        return f"{duration:.1f} s"
    whole = round(duration)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
