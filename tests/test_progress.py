"""A stopwatch that counts the seconds of named parts, and a clock that counts those of stages."""

import pytest

from gags import progress
from gags.progress import Bar, StageClock, Stopwatch, part
from tests.helpers.heard import Heard


@pytest.fixture
def clock(monkeypatch):
    """Seconds since the start, moved on by hand."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    return now


def fail(clock):
    with part("rendering"):
        clock[0] += 32
        1 / 0  # noqa: B018


def test_every_second_counts_for_the_innermost_part(clock):
    waits = []
    with Stopwatch(lambda: waits.append(clock[0])) as watch:
        clock[0] += 1  # in no part
        with part("answering"):
            clock[0] += 2
            with part("rendering"):
                clock[0] += 4
            clock[0] += 8
        clock[0] += 16
        with pytest.raises(ZeroDivisionError):
            fail(clock)
        with part("answering"):
            clock[0] += 64
    assert watch.seconds == {"answering": 2 + 8 + 64, "rendering": 4 + 32}
    assert len(waits) == 8  # at both ends of every part


def test_nothing_is_counted_where_no_stopwatch_runs(clock):
    with Stopwatch() as watch:
        pass
    with part("rendering"):
        clock[0] += 1
    assert watch.seconds == {}


def test_an_inner_stopwatch_takes_over(clock):
    with Stopwatch() as outer, part("answering"):
        clock[0] += 1
        with Stopwatch() as inner, part("rendering"):
            clock[0] += 2
    assert (outer.seconds, inner.seconds) == ({"answering": 3}, {"rendering": 2})


def test_what_several_stages_find_out_is_said_once():
    listener = Heard()
    for _ in range(2):
        for reporter in (listener, StageClock(listener)):
            reporter.say_once("on the CPU")
    Heard().say_once("on the CPU")
    assert listener.said == ["on the CPU"]


def test_a_clock_adds_up_stages_by_name_and_what_earlier_runs_spent_on_them(clock):
    stages = StageClock()
    for steps, earlier in ((3, 0.0), (5, 100.0)):
        with stages.stage("Training", 10) as bar:
            clock[0] += 1
            bar.resume(steps, earlier)
            clock[0] += 2
            bar.advance(10 - steps)
        assert (bar.done, bar.earlier) == (10, earlier)
        clock[0] += 8  # between stages
    with stages.stage("Reading", 1):
        clock[0] += 16
    assert stages.seconds == {"Training": 106.0, "Reading": 16.0}
    assert stages.earlier == 100.0
    assert stages.elapsed == 3 + 8 + 3 + 8 + 16 + 100


def test_a_bar_that_resumes_advances():
    class Shown(Bar):
        def advance(self, steps=1, note=""):
            super().advance(steps, note)
            shown.append(steps)

    shown = []
    Shown(10).resume(0, 0.0)
    Shown(10).resume(4, 1.0)
    assert shown == [0, 4]
