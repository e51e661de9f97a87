"""Memory of a process of its own, errors out of it, and time of stages."""

import os
import time

import numpy as np
import pytest

from gags.compare.measure import StageClock, in_own_process, peak_memory_mb
from gags.errors import CompareError, QueryError
from gags.progress import SILENT


def _peak_after(megabytes: int) -> float | None:
    block = np.ones(megabytes * 125_000)
    assert block.sum() > 0
    del block
    return peak_memory_mb()


def _fail() -> None:
    raise QueryError("no such word")


def _die() -> None:
    os._exit(7)


def test_peak_memory_is_that_of_the_process_alone():
    hog = np.ones(400 * 125_000)  # 400 MB here do not count there
    small, large = in_own_process(_peak_after, 1), in_own_process(_peak_after, 300)
    assert large - small == pytest.approx(300, abs=30)
    assert small < peak_memory_mb()
    del hog


def test_errors_come_through_and_keep_their_traceback():
    with pytest.raises(QueryError, match="no such word") as caught:
        in_own_process(_fail)
    assert "in _fail" in caught.value.__notes__[0]


def test_a_process_that_dies_is_a_clear_error():
    with pytest.raises(CompareError, match=r"_die died \(exit code 7\).*memory"):
        in_own_process(_die)


def test_stages_are_timed_by_name():
    clock = StageClock(SILENT)
    for _ in range(2):
        with clock.stage("Sleeping", 1) as bar:
            time.sleep(0.02)
            bar.advance()
    assert list(clock.seconds) == ["Sleeping"]
    assert 0.04 <= clock.seconds["Sleeping"] < 1
