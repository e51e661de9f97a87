"""Progress on stderr: bars where a person watches, plain lines where a log is kept."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.progress import Progress, Task, TaskID
from rich.text import Text

from gags.progress import Bar, Reporter, seconds

PLAIN_SHARE = 0.1  # a plain line is due after this share of the work …
PLAIN_SECONDS = 15.0  # … or after this long, whichever comes first
PLAIN_LEAST_SECONDS = 1.0  # but never more often than this, so that quick stages do not flood a log
WINDOW_SECONDS = 30.0  # the pace of at least this much recent time …
WINDOW_SHARE = 0.25  # … and of this share of the whole stage decides the time left
SKIP_SECONDS = 2.0  # steps within this time of the start that are …
SKIP_RATIO = 20  # … this much faster than what follows were only counted, not done
BAR_CELLS = (24, 10)  # a bar on wide and on narrow terminals
NOTE_CELLS = 24  # of a note that are worth more than a long bar

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
        self._console = console or Console(stderr=True, highlight=False)
        self._clock = clock
        self._live: Progress | None = None

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
                took = seconds(self._clock() - start)
                self._line(f"{name}: stopped after {bar.done}/{total} {unit}, {took}")
                raise
        self._line(f"{name}: {bar.done} {unit} in {seconds(self._clock() - start)}")

    def say(self, message: str) -> None:
        """One line on stderr."""
        self._line(message)

    def warn(self, message: str) -> None:
        """One line on stderr that begins with "warning: "."""
        self._line("warning: " + message, style="yellow")

    def _line(self, message: str, style: str = "") -> None:
        text = Text(" ".join(message.split()), style=style)
        console = self._live.console if self._live else self._console
        console.print(text, soft_wrap=True, highlight=False)

    @contextmanager
    def _plain_stage(self, name: str, total: int, unit: str) -> Iterator[Bar]:
        self._line(f"{name}: {total} {unit}")
        yield _PlainBar(name, total, unit, self._line, self._clock)

    @contextmanager
    def _animated_stage(self, name: str, total: int, unit: str) -> Iterator[Bar]:
        outermost = self._live is None
        if self._live is None:
            self._live = _Bars(console=self._console, transient=True, refresh_per_second=5)
            self._live.start()
        live = self._live
        bar = _AnimatedBar(live, name, total, unit, self._clock)
        try:
            yield bar
        finally:
            live.remove_task(bar.task)
            if outermost:
                live.stop()
                self._live = None


class Pace:
    """How fast a stage goes, from its recent progress.

    The rate is that of the last 30 s or of the last quarter of the stage so far, whichever is longer, so
    that a change of pace shows soon and a single slow step does not throw the estimate about. A resumed
    stage counts what is already done in its first moments; that is left out, or it would promise too much.
    """

    def __init__(self, total: int, clock: Clock) -> None:
        self._total = total
        self._clock = clock
        self._start = clock()
        self._marks: deque[tuple[float, int]] = deque([(self._start, 0)])

    @property
    def elapsed(self) -> float:
        """Seconds since the stage began."""
        return self._clock() - self._start

    def reached(self, done: int) -> None:
        """Note that `done` steps are finished now."""
        now = self._clock()
        spacing = max(WINDOW_SECONDS, WINDOW_SHARE * (now - self._start)) / 200
        if len(self._marks) > 2 and now - self._marks[-2][0] < spacing:
            self._marks.pop()  # thousands of steps a second need no thousand marks
        self._marks.append((now, done))
        oldest = now - max(WINDOW_SECONDS, WINDOW_SHARE * (now - self._start))
        while len(self._marks) > 2 and self._marks[1][0] <= oldest:
            self._marks.popleft()
        while len(self._marks) > 2 and self._starts_by_skipping():
            self._marks.popleft()

    def _starts_by_skipping(self) -> bool:
        (first, done_first), (second, done_second) = self._marks[0], self._marks[1]
        last, done = self._marks[-1]
        skipped = (done_second - done_first) * (last - second)
        return second - self._start < SKIP_SECONDS and skipped > SKIP_RATIO * (done - done_second) * (
            second - first
        )

    @property
    def rate(self) -> float | None:
        """Recent steps a second, or None while nothing is finished."""
        (first, done_first), (last, done_last) = self._marks[0], self._marks[-1]
        if done_last <= done_first or last <= first:
            return None
        step = (last - first) / (done_last - done_first)
        waiting = self._clock() - last
        # A step that takes longer than usual slows the rate down while it lasts.
        return (done_last - done_first) / (last - first + max(0.0, waiting - step))

    @property
    def left(self) -> float | None:
        """Seconds until the stage is done, or None while that cannot be known."""
        rate = self.rate
        if rate is None:
            return None
        last, done = self._marks[-1]
        waiting = min(self._clock() - last, 1 / rate)
        return max(0.0, (self._total - done) / rate - waiting)


class _PlainBar(Bar):
    def __init__(self, name: str, total: int, unit: str, line: Callable[[str], None], clock: Clock) -> None:
        super().__init__(total)
        self._name, self._unit, self._line = name, unit, line
        self._pace = Pace(total, clock)
        self._told_at, self._told_done = 0.0, 0
        self._note = ""

    def advance(self, steps: int = 1, note: str = "") -> None:
        super().advance(steps, note)
        self._note = note or self._note
        self._pace.reached(self.done)
        silent = self._pace.elapsed - self._told_at
        enough = self.done - self._told_done >= PLAIN_SHARE * self.total and silent >= PLAIN_LEAST_SECONDS
        if self.done < self.total and (enough or silent >= PLAIN_SECONDS):
            self._told_at, self._told_done = self._pace.elapsed, self.done
            share = f"({100 * self.done // self.total} %)"
            words = [f"{self._name}: {self.done}/{self.total} {self._unit} {share}"]
            words += _speed_words(self._pace, self._unit) + [self._note] * bool(self._note)
            self._line(", ".join(words))


class _AnimatedBar(Bar):
    def __init__(self, live: Progress, name: str, total: int, unit: str, clock: Clock) -> None:
        super().__init__(total)
        self._live, self._note = live, ""
        self._pace = Pace(total, clock)
        self.task: TaskID = live.add_task(name, total=total, unit=unit, pace=self._pace, note="")

    def advance(self, steps: int = 1, note: str = "") -> None:
        super().advance(steps, note)
        self._pace.reached(self.done)
        self._note = " ".join(note.split()) or self._note
        self._live.update(self.task, completed=self.done, note=self._note)


class _Bars(Progress):
    """Live bars, one line each, that give up bar and speed before they cut off count and time left."""

    def get_renderables(self) -> Iterator[RenderableType]:
        for task in self.tasks:
            yield _bar_line(task, self.console.width - 1, ascii_only=self.console.options.ascii_only)


def _bar_line(task: Task, width: int, *, ascii_only: bool) -> Text:
    pace, unit, total = task.fields["pace"], task.fields["unit"], int(task.total or 0)
    *speed, left = _speed_words(pace, unit) or [""]
    name = Text(task.description, style="bold")
    counts = Text(f"{task.completed:.0f}/{total} {unit}")
    times = Text(left, style="cyan")
    speeds = Text(", ".join([seconds(pace.elapsed), *speed]), style="dim cyan")
    note = Text(task.fields["note"], style="dim")
    long, short = (_drawn_bar(task.completed / total if total else 1.0, n, ascii_only) for n in BAR_CELLS)
    for parts in (
        [name, long, counts, times, speeds],
        [name, short, counts, times, speeds],
        [name, short, counts, times],
        [name, counts, times],
    ):
        line = Text("  ", no_wrap=True, overflow="ellipsis").join([part for part in parts if part])
        room = width - line.cell_len - 2
        if room >= min(note.cell_len, NOTE_CELLS):
            break
    if room > 1 and note:
        note.truncate(room, overflow="ellipsis")
        line.append("  ").append(note)
    return line


def _drawn_bar(share: float, cells: int, ascii_only: bool) -> Text:
    full, empty = ("#", "-") if ascii_only else ("━", "─")
    done = min(cells, int(share * cells))
    return Text.assemble((full * done, "green"), (empty * (cells - done), "dim"))


def _speed_words(pace: Pace, unit: str) -> list[str]:
    rate, left = pace.rate, pace.left
    if rate is None or left is None:
        return []
    speed = f"{rate:.{1 if rate < 100 else 0}f} {unit}/s" if rate >= 1 else f"{seconds(1 / rate)} each"
    return [speed, f"{seconds(left)} left"]
