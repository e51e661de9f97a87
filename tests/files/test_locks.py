import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from gags.errors import WorkspaceError
from gags.files.locks import locked, locked_in_turn

HOLD = """
import sys, time
from pathlib import Path
from gags.files.locks import locked, locked_in_turn
with {lock}:
    print("mine", flush=True)
    time.sleep(60)
"""
AT_ONCE = HOLD.format(lock='locked(Path(sys.argv[1]), "held")')
IN_TURN = HOLD.format(lock="locked_in_turn(Path(sys.argv[1]))")


@pytest.fixture(params=[AT_ONCE])
def other(tmp_path, request):
    """Another process that holds a lock."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-c", request.param, str(tmp_path / ".lock")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    assert process.stdout.readline() == b"mine\n"
    yield process
    process.kill()
    process.wait()


def test_another_process_is_refused_until_the_first_is_gone(tmp_path, other):
    path = tmp_path / ".lock"
    with pytest.raises(WorkspaceError, match="busy"), locked(path, "busy"):
        pass
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert path.exists()  # left behind, but nobody holds it
    with locked(path, "busy"):
        pass
    assert not path.exists()


def test_the_thread_that_holds_it_may_take_it_again_others_may_not(tmp_path):
    path, refused = tmp_path / ".lock", []

    def attempt():
        try:
            with locked(path, "busy"):
                refused.append(False)
        except WorkspaceError:
            refused.append(True)

    def in_a_thread():
        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()

    with locked(path, "busy"):
        with locked(path, "busy"):
            in_a_thread()
        in_a_thread()
        assert path.exists()
    in_a_thread()
    assert refused == [True, True, False]
    assert not path.exists()


def test_what_goes_wrong_inside_frees_it(tmp_path):
    with pytest.raises(KeyError), locked(tmp_path / ".lock", "busy"):
        raise KeyError
    with locked(tmp_path / ".lock", "busy"):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process is forked on Windows")
def test_a_lock_that_was_given_back_does_not_stay_with_a_forked_child(tmp_path):
    path = tmp_path / ".lock"
    with locked_in_turn(path):
        child = os.fork()
        if not child:
            time.sleep(60)
            os._exit(0)
    try:
        with locked_in_turn(path, seconds=0, busy="still held"):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.parametrize("other", [IN_TURN], indirect=True)
def test_a_lock_is_waited_for_until_the_other_process_is_gone(tmp_path, other):
    path, told = tmp_path / ".lock", []
    with pytest.raises(WorkspaceError, match="busy"), locked_in_turn(path, seconds=0.2, busy="busy"):
        pass

    def tell():
        told.append(other.poll())
        other.send_signal(signal.SIGKILL)

    with locked_in_turn(path, tell=tell):
        assert other.wait() == -signal.SIGKILL
    assert told == [None]
    with locked_in_turn(path, tell=tell):
        pass
    assert told == [None]
