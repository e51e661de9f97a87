"""Results where nobody, or not everybody, can take them: other letters, no reader, no room, no stream."""

import os
import subprocess
import sys

import pytest

GAGS = [sys.executable, "-m", "gags.cli"]


def run(*arguments: str, **options):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    environment |= options.pop("environment", {})
    return subprocess.run([*GAGS, *arguments], env=environment, capture_output=True, **options)


@pytest.mark.parametrize(
    ("encoding", "arrow"), [("ascii", b"?"), ("cp1252", b"?"), ("utf-8", "→".encode()), ("cp437", b"?")]
)
def test_letters_that_a_terminal_cannot_show_are_replaced(encoding, arrow):
    done = run("--help", environment={"PYTHONIOENCODING": encoding})
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"photos + poses " + arrow + b" a scene that answers text" in done.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["query", "--help"], ["models"]])
def test_a_reader_that_leaves_is_no_error(arguments):
    command = "set -o pipefail; " + " ".join([*GAGS, *arguments]) + " | true"
    done = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_no_room_for_the_output_is_one_line():
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*GAGS, "--help"], stdout=full, stderr=subprocess.PIPE, env=environment)
    assert done.returncode == 1
    assert done.stderr.startswith(b"gags: the output cannot be written: the disk is full; make room there")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("closed", [1, 2])
def test_closed_streams_take_everything(closed):
    done = run("--version", preexec_fn=lambda: os.close(closed))
    assert done.returncode == 0
    assert b"Traceback" not in done.stdout + done.stderr


def test_progress_goes_on_without_a_reader(capfd, monkeypatch):
    from gags.cli.console import ConsoleReporter

    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as nobody:
        monkeypatch.setattr(sys, "stderr", nobody)
        reporter = ConsoleReporter()
        with reporter.stage("Training", 3) as bar:
            reporter.warn("odd")
            for _ in range(3):
                bar.advance()
        nobody.close = lambda: None  # type: ignore[method-assign]
    assert bar.done == 3
