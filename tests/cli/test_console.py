"""Progress lines are exact, estimates are right, and the terminal is left clean."""

import re
from io import StringIO

import pytest
from rich.console import Console

from gags.cli.console import ConsoleReporter, Pace, seconds


class FakeClock:
    """A clock that only moves when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def plain(clock: FakeClock) -> tuple[ConsoleReporter, StringIO]:
    out = StringIO()
    return ConsoleReporter(Console(file=out, width=60, highlight=False), clock=clock), out


def terminal(clock: FakeClock, width: int = 120) -> tuple[ConsoleReporter, StringIO]:
    out = StringIO()
    console = Console(file=out, force_terminal=True, width=width, color_system=None, _environ={})
    return ConsoleReporter(console, clock=clock), out


def test_plain_lines_start_every_tenth_and_end(clock: FakeClock) -> None:
    progress, out = plain(clock)
    with progress.stage("Segmenting photos", 20, "photos") as bar:
        for step in range(20):
            clock.now += 2.0
            bar.advance(note=f"{step + 1} masks" if step == 1 else "")
    lines = out.getvalue().splitlines()
    assert lines[0] == "Segmenting photos: 20 photos"
    assert lines[1] == "Segmenting photos: 2/20 photos (10 %), 2.0 s each, 36 s left, 2 masks"
    assert lines[2] == "Segmenting photos: 4/20 photos (20 %), 2.0 s each, 32 s left, 2 masks"
    assert lines[-1] == "Segmenting photos: 20 photos in 40 s"
    assert len(lines) == 1 + 9 + 1


def test_plain_lines_after_fifteen_seconds_of_silence(clock: FakeClock) -> None:
    progress, out = plain(clock)
    with progress.stage("Training", 1000) as bar:
        for _ in range(4):
            clock.now += 8.0
            bar.advance()
    assert out.getvalue().splitlines()[1:-1] == [
        "Training: 2/1000 steps (0 %), 8.0 s each, 2 h 13 min left",
        "Training: 4/1000 steps (0 %), 8.0 s each, 2 h 12 min left",
    ]


def test_plain_quick_stage_takes_two_lines(clock: FakeClock) -> None:
    progress, out = plain(clock)
    with progress.stage("Reading", 100, "files") as bar:
        for _ in range(100):
            clock.now += 0.004
            bar.advance()
    assert out.getvalue() == "Reading: 100 files\nReading: 100 files in 0.4 s\n"


def test_an_empty_stage_is_no_division_by_zero(clock: FakeClock) -> None:
    progress, out = plain(clock)
    with progress.stage("Reading", 0, "files") as bar:
        clock.now += 20
        bar.advance(0)
    assert out.getvalue() == "Reading: 0 files\nReading: 0 files in 20 s\n"


def test_a_stage_that_fails_says_how_far_it_came(clock: FakeClock) -> None:
    progress, out = plain(clock)

    def fail() -> None:
        with progress.stage("Reading", 10, "files") as bar:
            bar.advance(3)
            raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        fail()
    assert out.getvalue().splitlines()[-1] == "Reading: stopped after 3/10 files, 0.0 s"


def test_messages_are_one_line_however_long_and_markup_is_text(clock: FakeClock) -> None:
    progress, out = plain(clock)
    progress.warn("a photo\nwithout a pose [bold]" + " is left out" * 10)
    progress.say("pulling [link=file:///x]weights")
    assert out.getvalue().splitlines() == [
        "warning: a photo without a pose [bold]" + " is left out" * 10,
        "pulling [link=file:///x]weights",
    ]


def test_by_default_everything_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    progress = ConsoleReporter()
    progress.warn("left out")
    with progress.stage("Reading", 1, "file") as bar:
        bar.advance()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "warning: left out",
        "Reading: 1 file",
        "Reading: 1 file in 0.0 s",
    ]


def test_terminal_bar_shows_count_rate_time_left_and_note(clock: FakeClock) -> None:
    progress, out = terminal(clock, width=140)
    with progress.stage("Training", 200) as bar:
        clock.now += 10
        bar.advance(50, note="PSNR 24.1 dB")
        live = progress._live
        assert live is not None
        live.refresh()
        progress.warn("something")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    assert "50/200 steps" in text
    assert "━" * 6 + "─" * 18 + "  50/200 steps  30 s left  10 s, 5.0 steps/s" in text
    assert "PSNR 24.1 dB" in text
    assert "warning: something\n" in text
    assert text.rstrip().endswith("Training: 50 steps in 10 s")


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_a_narrow_terminal_keeps_count_and_time_left_on_one_line(clock: FakeClock, width: int) -> None:
    progress, out = terminal(clock, width)
    with progress.stage("Distilling", 60, "steps") as bar:
        clock.now += 10
        bar.advance(20, note="a note that is much longer than any terminal " * 4)
        assert progress._live is not None
        progress._live.refresh()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    shown = [line for line in re.split(r"[\r\n]+", text) if "20 s left" in line]
    assert shown
    for line in shown:
        assert "20/60 steps" in line
        assert len(line) <= width - 1
        assert ("━" in line) == (width >= 80)
        assert ("a note that is much" in line) == (width >= 60)


@pytest.mark.parametrize("nested", [False, True])
def test_keyboard_interrupt_gives_the_cursor_back(clock: FakeClock, nested: bool) -> None:
    progress, out = terminal(clock)

    def interrupt() -> None:
        with progress.stage("Outer", 10) as bar:
            bar.advance(4)
            if nested:
                with progress.stage("Inner", 5):
                    raise KeyboardInterrupt
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    written = out.getvalue()
    assert written.count("\x1b[?25l") >= 1
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")
    assert "Outer: stopped after 4/10 steps" in written
    assert ("Inner: stopped after 0/5 steps" in written) == nested
    assert progress._live is None
    with progress.stage("Next", 1) as bar:
        bar.advance()


def test_time_left_of_an_even_pace(clock: FakeClock) -> None:
    pace = Pace(100, clock)
    assert pace.rate is None
    assert pace.left is None
    for done in range(1, 41):
        clock.now += 0.5
        pace.reached(done)
    assert pace.rate == pytest.approx(2.0)
    assert pace.left == pytest.approx(30.0)
    clock.now += 0.25  # half-way through a step
    assert pace.left == pytest.approx(29.75)


def test_time_left_follows_a_change_of_pace(clock: FakeClock) -> None:
    pace = Pace(1000, clock)
    for done in range(1, 501):
        clock.now += 0.1
        pace.reached(done)
    for done in range(501, 541):
        clock.now += 1.0
        pace.reached(done)
    assert pace.left == pytest.approx(460, rel=0.02)


def test_time_left_grows_while_a_step_hangs(clock: FakeClock) -> None:
    pace = Pace(10, clock)
    for done in range(1, 6):
        clock.now += 1.0
        pace.reached(done)
    before = pace.left
    clock.now += 20
    assert before == pytest.approx(5)
    assert pace.left is not None
    assert pace.left > 15


def test_what_a_resumed_stage_skips_does_not_count(clock: FakeClock) -> None:
    pace = Pace(70, clock)
    for done in range(1, 41):
        clock.now += 0.01
        pace.reached(done)
    for done in (41, 42):
        clock.now += 10.0
        pace.reached(done)
    assert pace.left == pytest.approx(280, rel=0.02)


def test_pace_keeps_few_marks_of_many_steps(clock: FakeClock) -> None:
    pace = Pace(100_000, clock)
    for done in range(1, 50_001):
        clock.now += 0.001
        pace.reached(done)
    assert len(pace._marks) < 250
    assert pace.left == pytest.approx(50, rel=0.02)


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (0, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.7, "1 h 00 min"),
        (7625, "2 h 07 min"),
    ],
)
def test_durations(duration: float, text: str) -> None:
    assert seconds(duration) == text
