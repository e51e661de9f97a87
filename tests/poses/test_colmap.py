"""A process that has loaded pycolmap ends when it is told to."""

import signal
import subprocess
import sys

import pytest

STOPPED = """
import os, signal
{before}
from gags.poses.database import quiet_colmap
with quiet_colmap():
    os.kill(os.getpid(), signal.{name})
"""
OWN = "signal.signal(signal.SIGTERM, lambda *_: os._exit(7))"


@pytest.mark.parametrize(
    ("before", "name", "code"),
    [
        ("", "SIGTERM", -signal.SIGTERM),
        ("", "SIGABRT", -signal.SIGABRT),
        ("import pycolmap", "SIGTERM", -signal.SIGTERM),
        (OWN, "SIGTERM", 7),
    ],
)
def test_signals_end_the_process_as_they_did_before(before, name, code):
    """Without a stack of pycolmap's own, for which it asks for memory: a process that asks for some already
    stood still."""
    program = STOPPED.format(before=before, name=name)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (code, "")
