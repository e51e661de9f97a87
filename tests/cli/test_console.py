"""Progress lines are exact, rates and times left are right, and the terminal is left clean."""

import re
from io import BytesIO, StringIO, TextIOWrapper

import pytest
from rich.console import Console

from gags.cli.console import ConsoleReporter
from gags.progress import seconds


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


def test_what_earlier_runs_did_of_a_stage_is_in_its_last_line_with_its_time(clock: FakeClock) -> None:
    progress, out = plain(clock)
    with progress.stage("Training", 1000) as bar:
        bar.resume(400, 3600.0)
        bar.advance(600)
    assert out.getvalue().splitlines()[-1] == "Training: 1000 steps in 1 h 00 min"


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


def drawn(out: StringIO) -> list[str]:
    """Every line that was shown so far, without colours and moves of the cursor."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    return [line for line in re.split(r"[\r\n]+", text) if line.strip()]


def shown(progress: ConsoleReporter, out: StringIO) -> str:
    """The one bar as it is now: a message makes it be drawn again below."""
    progress.say("now")
    return drawn(out)[-1]


def test_terminal_bar_shows_count_rate_time_left_and_note(clock: FakeClock) -> None:
    progress, out = terminal(clock, width=140)
    with progress.stage("Training", 200) as bar:
        assert re.match(r"\S Training +0/200 steps +-:--:-- left", shown(progress, out))
        clock.now += 10
        bar.advance(50, note="PSNR 24.1 dB")
        progress.warn("something")
        line = shown(progress, out)
    assert re.match(r"\S Training ━{6} +50/200 steps 5\.0 steps/s 0:00:30 left PSNR 24\.1 dB", line)
    assert "warning: something" in drawn(out)
    assert drawn(out)[-1] == "Training: 50 steps in 10 s"


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_a_narrow_terminal_keeps_count_and_time_left_on_one_line(clock: FakeClock, width: int) -> None:
    progress, out = terminal(clock, width)
    with progress.stage("Segmenting and embedding", 60, "photos") as bar:
        clock.now += 10
        bar.advance(20, note="a note that is much longer than any terminal " * 4)
        line = shown(progress, out)
    assert "20/60 photos" in line
    assert "0:00:20 left" in line
    assert len(line) <= width
    assert ("━" in line) == (width >= 80)
    assert ("2.0 photos/s" in line) == (width >= 80)
    assert ("Segmenting and embedding" in line) == (width >= 60)
    assert ("a note" in line) == (width >= 100)


def test_a_terminal_that_grows_gets_its_bar_back(clock: FakeClock) -> None:
    progress, out = terminal(clock, 40)
    with progress.stage("Training", 60) as bar:
        clock.now += 10
        bar.advance(20)
        assert "━" not in shown(progress, out)
        progress._console.width = 120
        assert "━" in shown(progress, out)


def test_a_terminal_without_utf8_gets_plain_characters(clock: FakeClock) -> None:
    raw = BytesIO()
    file = TextIOWrapper(raw, encoding="ascii")
    console = Console(file=file, force_terminal=True, width=90, color_system=None, _environ={})
    progress = ConsoleReporter(console, clock=clock)
    with progress.stage("Training", 60) as bar:
        clock.now += 10
        bar.advance(20, note="a note that is much longer than any terminal")
        progress.say("now")
    file.flush()
    assert b"20/60 steps 2.0 steps/s 0:00:20 left a note" in raw.getvalue()


def test_a_stage_in_a_stage_gets_a_bar_of_its_own(clock: FakeClock) -> None:
    progress, out = terminal(clock)
    with progress.stage("Outer", 10) as outer:
        clock.now += 1
        outer.advance(4)
        with progress.stage("Inner", 8, "photos") as inner:
            clock.now += 1
            inner.advance(2)
            progress.say("now")
            both = drawn(out)[-2:]
        line = shown(progress, out)
    assert ["4/10 steps" in both[0], "2/8" in both[1]] == [True, True]
    assert "Outer" in line
    assert [entry for entry in drawn(out) if ": " in entry] == [
        "Inner: 2 photos in 1.0 s",
        "Outer: 4 steps in 2.0 s",
    ]


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
    with progress.stage("Next", 1) as bar:
        bar.advance()


def rates(clock: FakeClock, steps: list[float], total: int = 1000, skipped: int = 0) -> str:
    """What a bar says of rate and time left after steps that took these many seconds."""
    progress, out = terminal(clock, width=140)
    with progress.stage("Working", total) as bar:
        bar.advance(skipped)
        for took in steps:
            clock.now += took
            bar.advance()
        line = shown(progress, out)
    found = re.search(r"steps (.* left)", line)
    assert found, line
    return found[1]


def test_an_even_pace(clock: FakeClock) -> None:
    assert rates(clock, [0.5] * 40, total=100) == "2.0 steps/s 0:00:30 left"


def test_the_first_step_gives_a_rate_however_slow(clock: FakeClock) -> None:
    assert rates(clock, [200.0], total=10) == "3 min 20 s each 0:30:00 left"
    assert rates(clock, [200.0] * 3, total=10) == "3 min 20 s each 0:23:20 left"


def test_a_change_of_pace_shows_soon(clock: FakeClock) -> None:
    """0.1 s a step at first, then 1 s: the last 30 s alone count."""
    assert rates(clock, [0.1] * 500 + [1.0] * 40).startswith("1.0 steps/s 0:07:40")


def test_one_slow_step_does_not_throw_a_long_stage_about(clock: FakeClock) -> None:
    """900 steps of 1 s, one of 20 s: the last quarter counts."""
    assert rates(clock, [1.0] * 900 + [20.0]).startswith("1.1 s each 0:01:4")


@pytest.mark.parametrize("skipped", [0, 40, 45])
def test_what_a_resumed_stage_skips_does_not_count(clock: FakeClock, skipped: int) -> None:
    left = 46 - skipped - 1
    expected = f"10 s each 0:{left * 10 // 60:02d}:{left * 10 % 60:02d} left"
    assert rates(clock, [10.0], total=46, skipped=skipped) == expected


def test_a_stage_that_was_done_already_has_no_rate(clock: FakeClock) -> None:
    assert rates(clock, [], total=46, skipped=46).split() == ["0:00:00", "left"]


def test_plain_lines_do_not_count_what_was_skipped(clock: FakeClock) -> None:
    progress, out = plain(clock)
    with progress.stage("Segmenting", 46, "photos") as bar:
        bar.advance(40)
        for _ in range(2):
            clock.now += 15.0
            bar.advance()
    assert out.getvalue().splitlines()[1:-1] == [
        "Segmenting: 41/46 photos (89 %), 15 s each, 1 min 15 s left",
        "Segmenting: 42/46 photos (91 %), 15 s each, 1 min 00 s left",
    ]


def test_many_quick_steps(clock: FakeClock) -> None:
    assert rates(clock, [0.001] * 50_000, total=100_000).startswith("1000 steps/s 0:00:5")


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
