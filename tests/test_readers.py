"""Readers of other programs' files, given damaged ones: they read or refuse, in little time and memory.

`python -m tools.campaign.readers` does the same for as long as it is told to.
"""

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tools.campaign.readers import READERS, Reader, outcome, trial


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_whole_files_are_read(tmp_path, reader):
    reader.make(tmp_path / "in")
    assert outcome(reader, tmp_path / "in") == "read"


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32))
def test_damaged_files_are_read_or_refused(reader, seed):
    with tempfile.TemporaryDirectory() as folder:
        assert trial(reader, seed, Path(folder) / "in") in ("read", "refused")


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_bytes_are_read_or_refused(data):
    reader = data.draw(st.sampled_from(READERS))
    content = data.draw(st.binary(max_size=200))
    with tempfile.TemporaryDirectory() as folder:
        reader.make(Path(folder) / "in").write_bytes(content)
        assert outcome(reader, Path(folder) / "in") in ("read", "refused")


HUGE = 10**12
ROWS = b"element vertex %d\nproperty float x\nend_header\n1\n"
CLAIMS = {
    "binary": b"ply\nformat binary_little_endian 1.0\n" + ROWS % HUGE,
    "ascii": b"ply\nformat ascii 1.0\n" + ROWS % HUGE,
    "without properties": b"ply\nformat ascii 1.0\nelement a %d\n" % HUGE + ROWS % 1,
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_header_may_claim_what_it_wants(tmp_path, claim):
    """A billion rows in a file of a hundred bytes: no memory is asked for, and no row looked for."""
    (reader,) = [reader for reader in READERS if reader.name == ".ply"]
    (tmp_path / "a.ply").write_bytes(CLAIMS[claim])
    assert outcome(reader, tmp_path) == "refused"


def test_what_goes_wrong_is_found():
    """The judge itself: an error that is not the package's own, and too much memory."""

    def broken(folder: Path) -> object:
        raise KeyError("x")

    def greedy(folder: Path) -> object:
        return bytearray(3 << 30)

    for read in (broken, greedy):
        reader = Reader("bad", lambda folder: folder, read)
        assert outcome(reader, Path()).startswith("Traceback")
    assert len({trial(READERS[0], 5, Path(tempfile.mkdtemp()) / "in") for _ in range(2)}) == 1
