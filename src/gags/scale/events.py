"""What a worker tells the driver while it works: progress, files, results; one stream of events a job."""

import queue
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from gags.errors import GagsError
from gags.progress import SILENT, Bar, Reporter

TELL_SECONDS = (
    0.3  # between two messages of a job: a display that is refreshed 5 times a second needs no more
)


@dataclass(frozen=True)
class Opened:
    """A stage of progress begins. `key` is a number of its own in the job."""

    key: int
    name: str
    total: int
    unit: str


@dataclass(frozen=True)
class Advanced:
    """Steps of a stage of progress are done."""

    key: int
    steps: int
    note: str


@dataclass(frozen=True)
class Closed:
    """A stage of progress ends."""

    key: int


@dataclass(frozen=True)
class Said:
    """A line for the user; a warning or not."""

    message: str
    warning: bool = False


@dataclass(frozen=True)
class Described:
    """A photo has its description; how many masks, unless an earlier worker made it."""

    photo: str
    masks: int | None


@dataclass(frozen=True, eq=False)
class FileMade:
    """A file of the scene's folder, from a worker that does not share the disk. `content` is uint8 [n]."""

    name: str
    content: np.ndarray


@dataclass(frozen=True)
class FileGone:
    """A file of the scene's folder that the worker removed."""

    name: str


@dataclass(frozen=True)
class NeedsFiles:
    """The worker does not share the disk and was sent no files."""


@dataclass(frozen=True, eq=False)
class Finished:
    """The job is done."""

    result: Any


@dataclass(frozen=True)
class Failed:
    """The job cannot be done, and a second try would not help.

    Attributes:
        message: What went wrong, one line.
        kind: Name of the exception.
        expected: Whether it is an error that the user can cause.
        details: The traceback.
    """

    message: str
    kind: str
    expected: bool
    details: str


Event = Opened | Advanced | Closed | Said | Described | FileMade | FileGone | NeedsFiles | Finished | Failed
LAST = NeedsFiles | Finished | Failed
"""Each job ends with one of these."""


class Teller(Reporter):
    """A reporter that turns what it is told into events.

    Args:
        tell: Takes an event; may be called by several threads.
    """

    def __init__(self, tell: Callable[[Event], None]) -> None:
        self.tell = tell
        self._keys = iter(range(1 << 62))

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "steps") -> Iterator[Bar]:
        """Tell of the begin, the steps and the end of a stage."""
        key = next(self._keys)
        self.tell(Opened(key, name, total, unit))
        yield _TellingBar(total, key, self.tell)
        self.tell(Closed(key))  # one that fails is closed by the end of its job

    def say(self, message: str) -> None:
        """Tell of a line."""
        self.tell(Said(message))

    def warn(self, message: str) -> None:
        """Tell of a warning."""
        self.tell(Said(message, warning=True))


class _TellingBar(Bar):
    def __init__(self, total: int, key: int, tell: Callable[[Event], None]) -> None:
        super().__init__(total)
        self._key, self._tell = key, tell

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Count and tell."""
        super().advance(steps, note)
        self._tell(Advanced(self._key, steps, note))


def stream(work: Callable[[Teller], Any], watch: Callable[[], list[Event]] = list) -> Iterator[list[Event]]:
    """Do a job in a thread, and give what it tells, a few events at a time.

    Args:
        work: The job; what it returns is in the last event, `Finished`, unless it fails.
        watch: Called between two messages; what it returns is told, too.
    """
    told: queue.SimpleQueue[Event] = queue.SimpleQueue()
    threading.Thread(target=_work, args=(work, told), daemon=True).start()
    ended = False
    while not ended:
        events = _heard(told, TELL_SECONDS)
        ended = bool(events) and isinstance(events[-1], LAST)
        if not ended:
            events += watch()
        if events:
            yield merged(events)


def _heard(told: "queue.SimpleQueue[Event]", seconds: float) -> list[Event]:
    """What is told in the next seconds; less if the job ends before."""
    events: list[Event] = []
    until = time.monotonic() + seconds
    while not (events and isinstance(events[-1], LAST)):
        try:
            events.append(told.get(timeout=max(0.0, until - time.monotonic())))
        except queue.Empty:
            break
    return events


def _work(work: Callable[[Teller], Any], told: "queue.SimpleQueue[Event]") -> None:
    try:
        result = work(Teller(told.put))
    except Exception as error:
        told.put(failure(error))
    else:
        told.put(result if isinstance(result, NeedsFiles) else Finished(result))


def failure(error: Exception) -> Failed:
    """An exception as an event."""
    expected = isinstance(error, GagsError | OSError)
    message = str(error) if isinstance(error, GagsError) else f"{type(error).__name__}: {error}"
    details = "".join(traceback.format_exception(error))
    return Failed(" ".join(message.split()), type(error).__name__, expected, details)


def merged(events: list[Event]) -> list[Event]:
    """The same events with steps of one stage that follow each other added up."""
    short: list[Event] = []
    for event in events:
        last = short[-1] if short else None
        if isinstance(event, Advanced) and isinstance(last, Advanced) and event.key == last.key:
            short[-1] = Advanced(event.key, last.steps + event.steps, event.note or last.note)
        else:
            short.append(event)
    return short


class Replay:
    """Shows the progress of one job where the driver's user sees it.

    Args:
        progress: Told about progress.
    """

    def __init__(self, progress: Reporter) -> None:
        self._progress = progress
        self._open: dict[int, tuple[AbstractContextManager[Bar], Bar]] = {}

    def show(self, event: Event) -> None:
        """Show an event; those that are no progress are left to others."""
        if isinstance(event, Opened):
            stage = self._progress.stage(event.name, event.total, event.unit)
            self._open[event.key] = (stage, stage.__enter__())
        elif isinstance(event, Advanced) and event.key in self._open:
            self._open[event.key][1].advance(event.steps, event.note)
        elif isinstance(event, Closed) and event.key in self._open:
            self._open.pop(event.key)[0].__exit__(None, None, None)
        elif isinstance(event, Said):
            (self._progress.warn if event.warning else self._progress.say)(event.message)

    def stop(self, reason: Exception) -> None:
        """Close the stages that the end of their job left open, the innermost first."""
        while self._open:
            _, (stage, _) = self._open.popitem()
            try:
                stage.__exit__(type(reason), reason, reason.__traceback__)
            except Exception as same:
                if same is not reason:
                    raise


class SceneReporter(Reporter):
    """Puts the name of a scene before all that is told about it.

    Args:
        name: The scene.
        progress: Told about progress.
    """

    def __init__(self, name: str, progress: Reporter) -> None:
        self._name, self._progress = name, progress

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "steps") -> Iterator[Bar]:
        """Open the bar of one stage of the scene."""
        with self._progress.stage(f"{self._name}: {name}", total, unit) as bar:
            yield bar

    def say(self, message: str) -> None:
        """A line about the scene."""
        self._progress.say(f"{self._name}: {message}")

    def warn(self, message: str) -> None:
        """A warning about the scene."""
        self._progress.warn(f"{self._name}: {message}")


class LinesOnly(Reporter):
    """Passes on lines and warnings, and shows no bars: those of many workers at one stage would be alike.

    Args:
        progress: Told about progress.
    """

    def __init__(self, progress: Reporter = SILENT) -> None:
        self._progress = progress

    def say(self, message: str) -> None:
        """Pass a line on."""
        self._progress.say(message)

    def say_once(self, message: str) -> None:
        """Pass a line on that others may have said."""
        self._progress.say_once(message)

    def warn(self, message: str) -> None:
        """Pass a warning on."""
        self._progress.warn(message)
