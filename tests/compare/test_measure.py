"""Memory of a process of its own, errors out of it, its end; time of stages and of parts; the machine."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from gags._version import __version__
from gags.compare import grounding
from gags.compare.grounding import Grounder
from gags.compare.hyperplane import Hyperplane, fit
from gags.compare.measure import (
    in_own_process,
    machine,
    peak_memory_mb,
    query_seconds,
    query_stopwatch,
    versions,
)
from gags.errors import CompareError, QueryError
from gags.progress import part

PATIENCE = 60  # s, that a loaded machine may take


def _peak_after(megabytes: int) -> float | None:
    block = np.ones(megabytes * 125_000)
    assert block.sum() > 0
    del block
    return peak_memory_mb()


def _fail() -> None:
    raise QueryError("no such word")


def _die() -> None:
    os._exit(7)


def _be_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_peak_memory_is_that_of_the_process_alone():
    hog = np.ones(400 * 125_000)  # 400 MB here do not count there
    small, large = in_own_process(_peak_after, 1), in_own_process(_peak_after, 300)
    assert large - small == pytest.approx(300, abs=30)
    assert small < peak_memory_mb()
    del hog


def test_every_call_has_a_process_of_its_own():
    assert len({os.getpid(), in_own_process(os.getpid), in_own_process(os.getpid)}) == 3


def test_errors_come_through_and_keep_their_traceback():
    with pytest.raises(QueryError, match="no such word") as caught:
        in_own_process(_fail)
    assert "in _fail" in str(caught.value.__cause__)


@pytest.mark.parametrize(("function", "code"), [(_die, 7), (_be_killed, -signal.SIGKILL)])
def test_a_process_that_dies_is_a_clear_error(function, code):
    with pytest.raises(CompareError, match=rf"{function.__name__} died \(exit code {code}\).*memory"):
        in_own_process(function)


SCRIPT = """
import os, signal, sys, time
from gags.cli.console import ConsoleReporter
from gags.compare import measure

def work(deaf):
    with ConsoleReporter().stage("Working", 8):
        if deaf:
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
        print(os.getpid(), flush=True)
        while True:  # one long sleep could begin right after a signal was noted, and would not end by it
            time.sleep(0.05)

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start jobs in the background without
    measure.SECONDS_TO_STOP = 0.5 if len(sys.argv) > 1 else 60
    measure.in_own_process(work, len(sys.argv) > 1)
"""


class _Family:
    """A parent that waits for a child, each a process of its own; the parent leads a group of processes."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        (folder / "script.py").write_text(SCRIPT)
        self.parent = subprocess.Popen(
            [sys.executable, str(folder / "script.py"), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.parent.stdout is not None
        self.child = int(self.parent.stdout.readline())

    def end(self) -> tuple[int, str]:
        """Wait for the end of both; exit code of the parent, and what both wrote to stderr."""
        _, error = self.parent.communicate(timeout=PATIENCE)  # returns when nobody holds the pipe any more
        return self.parent.returncode, error


def test_a_child_ends_with_its_parent(tmp_path: Path):
    """Killed, the parent can tell nobody; a worker of a pool would wait for work for ever."""
    family = _Family(tmp_path)
    family.parent.kill()
    code, _ = family.end()
    assert code == -signal.SIGKILL
    _assert_gone(family.child)


@pytest.mark.parametrize("whole_group", [True, False])
def test_ctrl_c_reaches_the_work_and_lets_it_clean_up(tmp_path: Path, whole_group: bool):
    """A terminal interrupts the whole group, `kill -INT` the parent alone."""
    family = _Family(tmp_path)
    (os.killpg if whole_group else os.kill)(family.parent.pid, signal.SIGINT)
    code, error = family.end()
    assert code == -signal.SIGINT
    assert "Working: stopped after 0/8 steps" in error
    assert error.count("Traceback") == 1  # the parent's
    _assert_gone(family.child)


def test_ctrl_c_ends_a_child_that_does_not_listen(tmp_path: Path):
    family = _Family(tmp_path, "deaf")
    family.parent.send_signal(signal.SIGINT)
    code, error = family.end()
    assert code == -signal.SIGINT
    assert "KeyboardInterrupt" in error
    _assert_gone(family.child)


def _assert_gone(process: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail(f"process {process} is still there")


def test_parts_of_a_query_have_the_papers_headings():
    """Only those that there were; what is not for a query does not count."""
    with query_stopwatch() as watch:
        pass
    watch.seconds |= {"answering": 1.5, "rendering": 0.25, "hyperplane": 2.0, "training": 9.0}
    assert query_seconds(watch) == {"Rend.": 0.25, "Pred.": 1.5, "OSH": 2.0}


def test_looking_at_photos_and_fitting_a_plane_are_parts_of_their_own(monkeypatch):
    """Grounding of no text in no photo, and a plane that fits from the start."""
    monkeypatch.setattr(grounding, "load_detector", lambda name, progress: None)
    plane, codes = Hyperplane(torch.tensor([1.0, 0.0]), 0.0), torch.eye(2)
    with query_stopwatch() as watch, part("answering"):
        assert Grounder("none", "none", (), 0.3).find([]) == {}
        assert fit(plane, codes, torch.tensor([4.0, 0.0]), torch.tensor([0.0, 4.0])).bias == 0
    assert query_seconds(watch).keys() == {"IE", "Pred.", "OSH"}


def test_machine_and_versions_are_those_of_this_process():
    found = machine()
    assert found["cores"] == os.cpu_count()
    assert found["processor"]
    assert found["memory_gb"] > 0.1
    assert versions()["gags"] == __version__
    assert versions()["python"] == sys.version.split()[0]
    assert versions()["numpy"] == np.__version__
