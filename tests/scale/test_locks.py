"""One driver and its workers write into a scene's folder, and nobody else."""

import signal
import subprocess
import sys

import pytest
from tests.helpers.heard import Heard

from gags.errors import WorkspaceError
from gags.scale import locks
from gags.scale.locks import driving, mark, working
from gags.workspace import Workspace

WORK = """
import sys, time
from gags.scale.locks import working
from gags.workspace import Workspace
with working(Workspace(sys.argv[1]), "old", alone=True):
    print("working", flush=True)
    time.sleep(60)
"""

ALONE = """
import sys
from gags.workspace import Workspace
with Workspace(sys.argv[1]).lock():
    pass
"""


@pytest.fixture
def workspace(tmp_path):
    return Workspace.create(tmp_path / "ws")


def test_a_second_driver_is_refused_and_changes_nothing(workspace):
    with driving(workspace, "first", Heard()):
        with pytest.raises(WorkspaceError, match="ws is being worked on by another run"):  # noqa: SIM117
            with driving(workspace, "second", Heard()):
                pass
        assert mark(workspace) == "first"
    with driving(workspace, "second", Heard()):
        assert mark(workspace) == "second"


def test_who_knows_no_cluster_is_refused_meanwhile_and_the_run_itself_is_not(workspace):
    with driving(workspace, "run", Heard()):
        with workspace.lock():  # a piece of the run that the driver makes itself
            pass
        with working(workspace, "run", alone=True), workspace.lock():
            pass
        other = subprocess.run([sys.executable, "-c", ALONE, workspace.root], capture_output=True, text=True)
        assert "WorkspaceError: " + str(workspace.root) + " is being worked on by another" in other.stderr
    assert subprocess.run([sys.executable, "-c", ALONE, workspace.root]).returncode == 0


def test_a_driver_is_refused_while_a_process_that_knows_no_cluster_works(workspace):
    busy = "is being worked on by another gags process"
    with workspace.lock(), pytest.raises(WorkspaceError, match=busy), driving(workspace, "run", Heard()):
        pass
    with driving(workspace, "run", Heard()):
        pass


def test_a_worker_of_an_earlier_driver_does_nothing(workspace):
    with driving(workspace, "second", Heard()):
        with pytest.raises(WorkspaceError, match="another run has taken over"):  # noqa: SIM117
            with working(workspace, "first", alone=True):
                pass
        with working(workspace, "second", alone=True):
            pass


def test_photos_are_described_side_by_side_and_nothing_else_meanwhile(workspace, monkeypatch):
    monkeypatch.setattr(locks, "WAIT_SECONDS", 0.0)
    with driving(workspace, "run", Heard()), working(workspace, "run", alone=False):
        with working(workspace, "run", alone=False):
            pass
        with pytest.raises(WorkspaceError, match="another worker is still busy"):  # noqa: SIM117
            with working(workspace, "run", alone=True):
                pass


def test_a_driver_waits_for_a_worker_that_is_left_and_removes_what_it_left_behind(workspace):
    (workspace.run).mkdir()
    (workspace.run / "mark").write_text("old")
    worker = subprocess.Popen([sys.executable, "-c", WORK, workspace.root], stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "working\n"
    left = [workspace.root / ".splats.7.tmp.ply", workspace.descriptions / ".a.jpg.7.tmp.safetensors"]
    workspace.descriptions.mkdir()
    for path in (*left, workspace.description("a.jpg")):
        path.write_text("half")

    class Killer(Heard):
        def say(self, message):
            super().say(message)
            worker.send_signal(signal.SIGKILL)

    heard = Killer()
    with driving(workspace, "new", heard):
        worker.wait()
        assert heard.said == [f"{workspace.root}: waiting until workers of an earlier run have ended"]
        assert mark(workspace) == "new"
        assert [path.exists() for path in left] == [False, False]
        assert workspace.description("a.jpg").read_text() == "half"
