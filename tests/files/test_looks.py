"""Files that may be written anew by another process: what counts as changed, and what is never waited for."""

import os
import threading

import pytest

from gags.files import read_table
from gags.files.looks import SAMPLE, Watched, sample_of


def test_touched_files_are_the_same_and_others_are_not(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(bytes(4 * SAMPLE))
    watched = Watched({file: sample_of})
    os.utime(file, ns=(1, 1))
    assert watched.changed() == []
    file.write_bytes(bytes(4 * SAMPLE - 1) + b"\1")
    assert watched.changed() == [file]
    watched.accept(file, sample_of(file))
    assert watched.changed() == []
    file.unlink()
    assert watched.changed() == [file]


def test_a_file_that_comes_is_a_change(tmp_path):
    watched = Watched({tmp_path / "a": sample_of})
    assert watched.changed() == []
    (tmp_path / "a").write_text("now")
    assert watched.changed() == [tmp_path / "a"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_nobody_waits_for_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "a")
    found = []
    thread = threading.Thread(
        target=lambda: found.append(Watched({tmp_path / "a": sample_of}).changed()), daemon=True
    )
    thread.start()
    thread.join(60)
    assert found == [[]]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_no_table(tmp_path):
    os.mkfifo(tmp_path / "metrics.json")
    found = []
    thread = threading.Thread(target=lambda: found.append(read_table(tmp_path / "metrics.json")), daemon=True)
    thread.start()
    thread.join(60)
    assert found == [{}]
