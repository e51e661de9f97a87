"""What a worker tells: every event arrives, in order, and shows as it would in one process."""

import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from rich.console import Console

from gags.cli.console import ConsoleReporter
from gags.errors import CaptureError
from gags.progress import Bar, Reporter
from gags.scale.events import (
    Advanced,
    Closed,
    Failed,
    Finished,
    LinesOnly,
    NeedsFiles,
    Opened,
    Replay,
    Said,
    SceneReporter,
    merged,
    stream,
)


class Shown(Reporter):
    """Writes down what a user would see."""

    def __init__(self):
        self.lines = []

    @contextmanager
    def stage(self, name, total, unit="steps"):
        self.lines.append(f"{name} {total} {unit}")
        bar = Bar(total)
        try:
            yield bar
        except ValueError:
            self.lines.append(f"{name} stopped at {bar.done}")
            raise
        self.lines.append(f"{name} ended at {bar.done}")

    def say(self, message):
        self.lines.append(message)

    def warn(self, message):
        self.lines.append("! " + message)


def _work(progress):
    progress.say("hello")
    with progress.stage("outer", 3, "photos") as bar:
        bar.advance(2, "two")
        with progress.stage("inner", 1) as inner:
            inner.advance()
        bar.advance()
    progress.warn("careful")
    return 42


def test_a_stream_shows_what_the_work_itself_would_show():
    direct, shown = Shown(), Shown()
    assert _work(direct) == 42
    replay, last = Replay(shown), None
    for events in stream(_work):
        for last in events:
            replay.show(last)
    assert shown.lines == direct.lines
    assert isinstance(last, Finished)
    assert last.result == 42


def test_steps_that_follow_each_other_are_one_event():
    events = [Advanced(1, 2, "a"), Advanced(1, 3, ""), Advanced(2, 1, ""), Advanced(1, 1, "b"), Closed(1)]
    assert merged(events) == [Advanced(1, 5, "a"), Advanced(2, 1, ""), Advanced(1, 1, "b"), Closed(1)]


def test_a_job_that_needs_files_ends_with_that():
    assert list(stream(lambda progress: NeedsFiles())) == [[NeedsFiles()]]


@pytest.mark.parametrize(
    ("error", "message", "expected"),
    [
        (CaptureError("no\nphotos"), "no photos", True),
        (FileNotFoundError(2, "gone"), "FileNotFoundError: [Errno 2] gone", True),
        (ZeroDivisionError("oh"), "ZeroDivisionError: oh", False),
    ],
)
def test_a_failure_is_one_line_with_the_traceback_beside_it(error, message, expected):
    def fail(progress):
        raise error

    (failed,) = [event for events in stream(fail) for event in events]
    assert isinstance(failed, Failed)
    assert (failed.message, failed.kind, failed.expected) == (message, type(error).__name__, expected)
    assert "in fail" in failed.details


def test_what_is_watched_is_told_while_the_work_goes_on():
    seen = []

    def watch():
        seen.append(1)
        return [Said(f"look {len(seen)}")]

    events = [e for some in stream(lambda progress: time.sleep(0.8), watch) for e in some]
    assert events[:-1] == [Said(f"look {number + 1}") for number in range(len(seen))]
    assert 1 <= len(seen) <= 3


def test_a_lost_worker_closes_its_stages_from_the_inside_and_the_next_one_begins_anew():
    shown = Shown()
    replay = Replay(shown)
    for event in (Opened(0, "outer", 9, "steps"), Advanced(0, 4, ""), Opened(1, "inner", 2, "steps")):
        replay.show(event)
    replay.stop(ValueError("lost"))
    replay.show(Advanced(0, 1, ""))  # of nothing that is open
    replay.show(Opened(0, "outer", 9, "steps"))
    replay.show(Closed(0))
    assert shown.lines == [
        "outer 9 steps", "inner 2 steps", "inner stopped at 0", "outer stopped at 4", "outer 9 steps",
        "outer ended at 0",
    ]  # fmt: skip


def test_the_name_of_the_scene_stands_before_all():
    shown = Shown()
    progress = SceneReporter("desk", shown)
    with progress.stage("Training", 1):
        progress.say("x")
        progress.warn("y")
    assert shown.lines == ["desk: Training 1 steps", "desk: x", "! desk: y", "desk: Training ended at 0"]


def test_lines_only_shows_no_bars():
    shown = Shown()
    _work(LinesOnly(shown))
    assert shown.lines == ["hello", "! careful"]


def test_a_terminal_shows_a_line_for_each_scene_at_once():
    terminal = Console(file=io.StringIO(), force_terminal=True, width=120, highlight=False)
    console, both, seen = ConsoleReporter(terminal), threading.Barrier(2), []

    def scene(name):
        with SceneReporter(name, console).stage("Training", 10) as bar:
            bar.advance(3)
            both.wait(10)
            seen.append([(task.description, task.completed) for task in console._bars.tasks])
            both.wait(10)

    with console.stage("Scenes", 2, "scenes"), ThreadPoolExecutor(2) as threads:
        list(threads.map(scene, ["desk", "shelf"]))
    assert [sorted(lines) for lines in seen] == [
        [("Scenes", 0), ("desk: Training", 3), ("shelf: Training", 3)]
    ] * 2
    printed = terminal.file.getvalue()
    assert "desk: Training: 3 steps in" in printed
    assert "shelf: Training: 3 steps in" in printed
