"""A stopwatch that counts the seconds of named parts, by a clock of its own."""

import pytest

from gags import progress
from gags.progress import Stopwatch, part


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
