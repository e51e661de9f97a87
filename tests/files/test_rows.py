"""Arrays that grow row by row, in memory and in a file."""

from pathlib import Path

import numpy as np
import pytest

from gags.errors import WorkspaceError
from gags.files import rows as rows_module
from gags.files.rows import IN_MEMORY_SHARE, MOST_IN_MEMORY, Rows

PARTS = [np.arange(6, dtype=np.int64).reshape(3, 2), np.zeros((0, 2)), np.full((1, 2), 7.0)]
WANTED = [[0, 1], [2, 3], [4, 5], [7, 7]]


def filled(folder: Path, most: int) -> Rows:
    rows = Rows((2,), np.float32, folder, most=most)
    for part in PARTS:
        rows.append(part)
    return rows


@pytest.mark.parametrize(("most", "in_file"), [(32, False), (31, True), (0, True)])
def test_rows_are_those_that_were_appended(tmp_path, most, in_file):
    rows = filled(tmp_path, most)
    assert rows.in_file == in_file
    assert len(rows) == 4
    found = rows.array()
    assert found.dtype == np.float32
    assert found.tolist() == WANTED
    rows.release()
    assert found.tolist() == WANTED


def mapped(name: str) -> int:
    """Bytes of mapped files that this process holds."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux says it")
def test_what_was_released_is_not_held(tmp_path):
    rows = Rows((), np.uint8, tmp_path, most=0)
    rows.append(np.ones(1 << 26, np.uint8))
    array = rows.array()
    before = mapped("Rss")
    assert int(array.sum()) == 1 << 26
    assert mapped("Rss") - before > 0.9 * (1 << 26)
    rows.release()
    assert mapped("Rss") - before < 0.1 * (1 << 26)
    assert array[12345] == 1


def test_nothing_is_an_empty_array(tmp_path):
    assert Rows((3, 2), np.int32, tmp_path).array().shape == (0, 3, 2)


def test_the_file_has_no_name(tmp_path):
    rows = filled(tmp_path, 0)
    assert rows.array().tolist() == WANTED
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("available", [1000, 100 * MOST_IN_MEMORY])
def test_a_share_of_what_is_available_stays_in_memory(tmp_path, monkeypatch, available):
    monkeypatch.setattr(rows_module, "available_bytes", lambda: available)
    most = {1000: round(1000 * IN_MEMORY_SHARE)}.get(available, MOST_IN_MEMORY)
    assert Rows((), np.uint8, tmp_path)._most == most


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    rows = Rows((), np.uint8, tmp_path / "gone", most=0)
    with pytest.raises(WorkspaceError, match=r"3 MB .* cannot be written to .*gone .*make room there"):
        rows.append(np.zeros(3_000_000, np.uint8))
