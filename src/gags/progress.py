"""How long-running stages report what they do, and how long its parts take, without knowing who listens."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Bar:
    """One stage's counter. The base class counts and shows nothing.

    Attributes:
        total: Steps of the whole stage.
        done: Steps finished so far.
        earlier: Seconds that earlier runs, which were stopped, spent on those of them that still count.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self.earlier = 0.0

    def resume(self, steps: int, seconds: float) -> None:
        """Count what earlier runs finished: before the first new step, also if it is nothing.

        Args:
            steps: How many steps that was.
            seconds: How long they took.
        """
        self.earlier = seconds
        self.advance(steps)

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Count finished steps.

        Args:
            steps: How many.
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

    def say_once(self, message: str) -> None:
        """The same, for what several stages find out: a line that was said before is not said again."""
        said: set[str] = vars(self).setdefault("_said_once", set())
        if message not in said:
            said.add(message)
            self.say(message)

    def warn(self, message: str) -> None:
        """Tell the user that something was left out or looks wrong, and what that means."""


SILENT = Reporter()


class StageClock(Reporter):
    """Passes progress on to another reporter and keeps the seconds of every stage.

    Args:
        inner: The other reporter.

    Attributes:
        seconds: Time of the stages so far, by name, with that of earlier runs that a stage resumed.
        earlier: Seconds of earlier runs in all of them.
    """

    def __init__(self, inner: Reporter = SILENT) -> None:
        self._inner, self._began = inner, time.perf_counter()
        self.seconds: dict[str, float] = {}
        self.earlier = 0.0

    @property
    def elapsed(self) -> float:
        """Seconds since this clock was made, and those of earlier runs."""
        return time.perf_counter() - self._began + self.earlier

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "steps") -> Iterator[Bar]:
        """Open a stage of the other reporter and time it."""
        began = time.perf_counter()
        with self._inner.stage(name, total, unit) as bar:
            yield bar
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began + bar.earlier
        self.earlier += bar.earlier

    def say(self, message: str) -> None:
        """Passed on."""
        self._inner.say(message)

    def say_once(self, message: str) -> None:
        """Passed on."""
        self._inner.say_once(message)

    def warn(self, message: str) -> None:
        """Passed on."""
        self._inner.warn(message)


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


class Stopwatch:
    """Adds up the seconds of the parts of what is done inside its `with`; see `part`.

    A second counts once: for the innermost part that is open. Time outside of all parts is not counted.

    Args:
        wait: Called before the time is taken; waits for a GPU that is still at work.

    Attributes:
        seconds: Of every part so far, by name.
    """

    def __init__(self, wait: Callable[[], None] = lambda: None) -> None:
        self.seconds: dict[str, float] = {}
        self._wait = wait
        self._open: list[str] = []
        self._since = 0.0

    def __enter__(self) -> "Stopwatch":
        self._former = _RUNNING.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        _RUNNING.reset(self._former)

    def open(self, name: str) -> None:
        """A part begins; what follows counts for it."""
        self._lap()
        self._open.append(name)

    def close(self) -> None:
        """The innermost part ends; what follows counts for the one around it."""
        self._lap()
        self._open.pop()

    def _lap(self) -> None:
        self._wait()
        now = time.perf_counter()
        if self._open:
            name = self._open[-1]
            self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now


_RUNNING: ContextVar[Stopwatch | None] = ContextVar("gags_stopwatch", default=None)


@contextmanager
def part(name: str) -> Iterator[None]:
    """Name a part of the work, as in `with part("rendering")`; nothing is timed where no `Stopwatch` runs."""
    watch = _RUNNING.get()
    if watch is None:
        yield
        return
    watch.open(name)
    try:
        yield
    finally:
        watch.close()
