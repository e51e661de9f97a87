"""Progress on stderr: rich's live bars where a person watches, plain lines where a log is kept."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, cast

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from gags.cli.terminal import ForgivingStderr
from gags.progress import Bar, Reporter, seconds

PLAIN_SHARE = 0.1  # a plain line is due after this share of the work …
PLAIN_SECONDS = 15.0  # … or after this long, whichever comes first
PLAIN_LEAST_SECONDS = 1.0  # but never more often than this, so that quick stages do not flood a log
RATE_SECONDS = 30.0  # the rate is that of the last 30 s …
RATE_SHARE = 0.25  # … or of the last quarter of the stage, whichever is longer
SKIP_SECONDS = 1.0  # what is counted within this time of the start was done by an earlier run
WIDE, NARROW = 100, 80  # cells: from here on a long bar; below, no bar, rate and note

Clock = Callable[[], float]


class ConsoleReporter(Reporter):
    """Shows stages, messages and warnings on stderr.

    On a terminal every stage is one live bar with count, rate, time left and note, replaced by one line when
    it ends. Elsewhere (a file, a pipe, a dumb terminal) a stage writes a line when it starts, about every
    tenth of the work, and when it ends.

    Args:
        console: Where to write; by default stderr.
        clock: Seconds from any start; tests pass their own.
    """

    def __init__(self, console: Console | None = None, *, clock: Clock = time.monotonic) -> None:
        self._console = console or Console(
            file=cast(IO[str], ForgivingStderr()), stderr=True, highlight=False
        )
        self._clock = clock
        self._bars: _Bars | None = None  # while a stage is shown on a terminal

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "steps") -> Iterator[Bar]:
        """Open the bar of one stage; a stage inside a stage gets a bar of its own below."""
        animated = self._console.is_terminal and not self._console.is_dumb_terminal
        opened = self._animated_stage if animated else self._plain_stage
        start = self._clock()
        with opened(name, total, unit) as bar:
            try:
                yield bar
            except BaseException:
                took = seconds(self._clock() - start + bar.earlier)
                self._line(f"{name}: stopped after {bar.done}/{total} {unit}, {took}")
                raise
        self._line(f"{name}: {bar.done} {unit} in {seconds(self._clock() - start + bar.earlier)}")

    def say(self, message: str) -> None:
        """One line on stderr."""
        self._line(message)

    def warn(self, message: str) -> None:
        """One line on stderr that begins with "warning: "."""
        self._line("warning: " + message, style="yellow")

    def _line(self, message: str, style: str = "") -> None:
        text = Text(" ".join(message.split()), style=style)
        if self._bars:
            self._bars.refresh()  # the bars below the message are those of now
        self._console.print(text, soft_wrap=True, highlight=False)

    @contextmanager
    def _plain_stage(self, name: str, total: int, unit: str) -> Iterator[Bar]:
        self._line(f"{name}: {total} {unit}")
        yield _PlainBar(_Bars(self._console, self._clock), name, total, unit, self._line)

    @contextmanager
    def _animated_stage(self, name: str, total: int, unit: str) -> Iterator[Bar]:
        outermost = self._bars is None
        if self._bars is None:
            self._bars = _Bars(self._console, self._clock)
            self._bars.start()
        bars = self._bars
        bar = _RichBar(bars, name, total, unit)
        try:
            yield bar
        finally:
            bars.remove_task(bar.task.id)
            if outermost:
                bars.stop()
                self._bars = None


class _Bars(Progress):
    """Live bars, one line each; on a narrow terminal they go without what matters least."""

    def __init__(self, console: Console, clock: Clock) -> None:
        ascii_only = console.options.ascii_only
        firm = Column(no_wrap=True)  # keeps its width
        spinner = SpinnerColumn("line" if ascii_only else "dots", style="green", table_column=firm)
        name = TextColumn("{task.description}", style="bold", markup=False, table_column=firm)
        short_name = _ShortenedColumn("{task.description}", "bold", ascii_only)
        long_bar, short_bar = (BarColumn(n, complete_style="green", table_column=firm) for n in (24, 10))
        unit = TextColumn("{task.fields[unit]}", markup=False, table_column=firm)
        counts = (MofNCompleteColumn(table_column=firm), unit)
        left = (TimeRemainingColumn(table_column=firm), TextColumn("left", style="progress.remaining"))
        note = _ShortenedColumn("{task.fields[note]}", "dim", ascii_only)
        self._wide = (spinner, name, long_bar, *counts, _RateColumn(), *left, note)
        self._medium = (spinner, name, short_bar, *counts, _RateColumn(), *left, note)
        self._narrow = (short_name, *counts, *left)
        self._terminal = console
        super().__init__(console=console, transient=True, refresh_per_second=5, get_time=clock)

    def get_renderables(self) -> Iterator[RenderableType]:
        """The bars as a table, with the columns that the terminal has room for now."""
        width = self._terminal.width
        self.columns = self._wide if width >= WIDE else self._medium if width >= NARROW else self._narrow
        yield self.make_tasks_table(self.tasks)


class _ShortenedColumn(ProgressColumn):
    """A text that is cut off where a terminal is narrow, instead of going on in a second line."""

    def __init__(self, template: str, style: str, ascii_only: bool) -> None:
        super().__init__(Column())  # a column that may shrink
        self._template, self._style, self._overflow = template, style, "crop" if ascii_only else "ellipsis"

    def render(self, task: Task) -> Text:
        """The text of a task."""
        text = self._template.format(task=task)
        return Text(text, style=self._style, no_wrap=True, overflow=self._overflow)  # type: ignore[arg-type]


class _RateColumn(ProgressColumn):
    """How fast a stage goes, "5.0 steps/s" or "2.0 s each"."""

    def __init__(self) -> None:
        super().__init__(Column(no_wrap=True))

    def render(self, task: Task) -> Text:
        """The rate of a task; nothing before its first step is done."""
        return Text(_rate(task), style="progress.data.speed")


def _rate(task: Task) -> str:
    speed = task.speed
    if not speed:
        return ""
    if speed < 1:
        return f"{seconds(1 / speed)} each"
    return f"{speed:.{1 if speed < 100 else 0}f} {task.fields['unit']}/s"


class _RichBar(Bar):
    """A stage's counter whose rate and time left rich works out."""

    def __init__(self, bars: _Bars, name: str, total: int, unit: str) -> None:
        super().__init__(total)
        self._bars, self._clock = bars, bars.get_time
        task = bars.add_task(name, total=total, unit=unit, note="")
        self.task = next(shown for shown in bars.tasks if shown.id == task)
        self._start = self._last = self._clock()
        bars.advance(task, 0)  # the first step counts from here

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Count finished steps and show the note."""
        first, now = self.done == 0, self._clock()
        super().advance(steps, note)
        note = " ".join(note.split()) or self.task.fields["note"]
        # rich forgets what is older than this: not less than a slow step, or there would be no rate at all.
        recent = max(RATE_SECONDS, RATE_SHARE * (now - self._start), 2 * (now - self._last))
        self._bars.speed_estimate_period = recent
        if first and now - self._start < SKIP_SECONDS:  # done by an earlier run: the rate counts from here
            self._bars.reset(self.task.id, completed=steps)
            self._bars.advance(self.task.id, 0)
            self._bars.update(self.task.id, note=note)
        else:
            self._bars.update(self.task.id, completed=self.done, note=note)
        self._last = now


class _PlainBar(_RichBar):
    """A counter that writes a line now and then; its bars are never shown."""

    def __init__(self, bars: _Bars, name: str, total: int, unit: str, line: Callable[[str], None]) -> None:
        super().__init__(bars, name, total, unit)
        self._line = line
        self._told_at, self._told_done = self._start, 0

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Count finished steps; write a line if one is due."""
        super().advance(steps, note)
        silent = self._clock() - self._told_at
        enough = self.done - self._told_done >= PLAIN_SHARE * self.total and silent >= PLAIN_LEAST_SECONDS
        if self.done < self.total and (enough or silent >= PLAIN_SECONDS):
            self._told_at, self._told_done = self._clock(), self.done
            self._line(self._words())

    def _words(self) -> str:
        task = self.task
        share, unit = 100 * self.done // self.total, task.fields["unit"]
        words = [f"{task.description}: {self.done}/{self.total} {unit} ({share} %)"]
        left = task.time_remaining
        if left is not None:
            words += [_rate(task), f"{seconds(left)} left"]
        return ", ".join(words + [task.fields["note"]] * bool(task.fields["note"]))
