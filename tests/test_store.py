"""Tensors with metadata, stamps and checkpoints: what comes back, and what damaged files lead to."""

import errno
import resource

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from gags import store
from gags.errors import DamagedError, FileError, NewerError, WorkspaceError
from gags.files.contents import checksum
from gags.progress import Bar, Reporter
from gags.store import (
    Checkpoint,
    digest,
    file_stamp,
    load_checksum,
    load_metadata,
    load_tensors,
    save_tensors,
)


class Heard(Reporter):
    def __init__(self) -> None:
        self.said, self.warned = [], []

    def say(self, message: str) -> None:
        self.said.append(message)

    def warn(self, message: str) -> None:
        self.warned.append(message)


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_what_is_saved_comes_back(tmp_path, kind):
    path = tmp_path / "a.safetensors"
    arrays = {"b": np.arange(6, dtype=np.int16).reshape(2, 3).T, "a": np.array([1.5, -2], np.float32)}
    save_tensors(
        path, arrays if kind == "numpy" else {k: torch.tensor(v) for k, v in arrays.items()}, {"x": "y"}
    )
    stored = load_tensors(path, remedy="", kind=kind)
    assert stored.metadata == load_metadata(path, remedy="") == {"x": "y"}
    for name, array in arrays.items():
        np.testing.assert_array_equal(np.asarray(stored.tensors[name]), array)
        assert np.asarray(stored.tensors[name]).dtype == array.dtype


def test_odd_tensors_come_back(tmp_path):
    path = tmp_path / "a.safetensors"
    save_tensors(path, {})
    assert load_tensors(path, remedy="").tensors == {}
    save_tensors(path, {"scalar": np.array(3.5), "empty": np.zeros((0, 4), bool)})
    stored = load_tensors(path, remedy="", kind="numpy")
    assert stored.tensors["scalar"].shape == ()
    assert stored.tensors["empty"].shape == (0, 4)
    save_tensors(path, {"array": np.arange(3), "tensor": torch.arange(2)})
    assert load_tensors(path, remedy="").tensors["array"].tolist() == [0, 1, 2]


def test_equal_content_is_equal_bytes(tmp_path):
    names = [f"name {number} é" for number in range(40)]
    for file, order in (("a", names), ("b", names[::-1])):
        save_tensors(tmp_path / file, {"t": np.ones(3)}, {name: name for name in order})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert file_stamp(tmp_path / "a") == file_stamp(tmp_path / "b")
    assert load_metadata(tmp_path / "a", remedy="")[names[7]] == names[7]


def test_a_file_that_is_missing_damaged_or_of_another_format_is_told_with_its_remedy(tmp_path):
    path = tmp_path / "a.safetensors"
    for content in (None, b"", b"not a file of tensors", b"\xff" * 100):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(WorkspaceError, match=r"a\.safetensors is missing or damaged .*; run it again"):
            load_tensors(path, remedy="run it again")
    save_tensors(path, {"t": np.ones(3)}, {"format": "one"})
    with pytest.raises(WorkspaceError, match="format 'one' instead of 'two'"):
        load_tensors(path, remedy="run it again", format="two")
    assert load_metadata(tmp_path / "none", remedy="") == {}


def test_digest_follows_values_alone():
    ones = torch.ones(2, 3)
    assert digest(ones) == digest(ones.double()) == digest(ones.T.contiguous().T)
    assert digest(ones) != digest(2 * ones)
    assert len(digest(ones)) == 64


def test_a_checkpoint_belongs_to_one_run(tmp_path):
    path, heard = tmp_path / "c.safetensors", Heard()
    Checkpoint(path, "run a", 60).save(7, {"t": torch.arange(3.0)})
    step, tensors = Checkpoint(path, "run a", 60).load(heard)
    assert (step, tensors["t"].tolist(), heard.said, heard.warned) == (7, [0.0, 1.0, 2.0], [], [])
    assert Checkpoint(path, "run b", 60).load(heard) is None
    assert "belongs to other photos or settings" in heard.said[0]
    path.write_bytes(path.read_bytes()[:-3])
    assert Checkpoint(path, "run a", 60).load(heard) is None
    assert "is damaged" in heard.warned[0]
    assert Checkpoint(tmp_path / "none", "run a", 60).load(heard) is None
    assert Checkpoint(None, "run a", 60).load(heard) is None


def test_a_checkpoint_counts_the_seconds_of_all_runs_that_led_to_it(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(store.time, "monotonic", lambda: now[0])
    path = tmp_path / "c.safetensors"
    for run, (before, spent) in enumerate(((0.0, 8.0), (8.0, 16.0), (16.0, 24.0))):
        keeper, bar = Checkpoint(path, "run", 60), Bar(30)
        assert (keeper.load() is None) == (run == 0)
        now[0] += 100  # what is prepared before the steps is prepared by every run
        keeper.begin(bar, 10 * run)
        assert (bar.done, bar.earlier) == (10 * run, before)
        now[0] += 8
        keeper.save(10 * run + 10, {})
        assert load_metadata(path, remedy="")["seconds"] == f"{spent:.2f}"
        now[0] += 4  # until it was killed: these steps are done again


def test_a_checkpoint_that_is_refused_or_of_an_older_version_has_taken_no_time(tmp_path):
    path = tmp_path / "c.safetensors"
    save_tensors(path, {}, {"step": "7", "key": "run"})
    old = Checkpoint(path, "run", 60)
    assert old.load() == (7, {})
    assert old.earlier == 0.0
    save_tensors(path, {}, {"step": "7", "key": "run", "seconds": "50"})
    for key, refused in (("other", False), ("run", True)):
        keeper, heard = Checkpoint(path, key, 60), Heard()
        keeper.load(heard)
        if refused:
            keeper.refuse(heard)
        assert keeper.earlier == 0.0
    for absurd in ("nan", "inf", "-5"):
        save_tensors(path, {}, {"step": "7", "key": "run", "seconds": absurd})
        keeper = Checkpoint(path, "run", 60)
        assert keeper.load() is not None
        assert keeper.earlier == 0.0
    save_tensors(path, {}, {"step": "7", "key": "run", "seconds": "long"})
    keeper, heard = Checkpoint(path, "run", 60), Heard()
    assert keeper.load(heard) is None
    assert "damaged" in heard.warned[0]
    assert keeper.earlier == 0.0


def test_a_checkpoint_is_due_after_its_interval(tmp_path):
    assert Checkpoint(tmp_path / "c", "run", 0.0).due
    assert not Checkpoint(tmp_path / "c", "run", 1e9).due
    assert not Checkpoint(None, "run", 0.0).due


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_what_the_system_refuses_is_told_in_words(tmp_path, kind):
    save_tensors(tmp_path / "a.safetensors", {"a": kind(np.zeros(3))})
    before = (tmp_path / "a.safetensors").read_bytes()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limit[1]))
    try:
        with pytest.raises(FileError, match=r"a\.safetensors cannot be written: files as large are") as told:
            save_tensors(tmp_path / "a.safetensors", {"a": kind(np.zeros(10_000))})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert told.value.errno == errno.EFBIG
    assert (tmp_path / "a.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_checksums_are_written_and_looked_at(tmp_path):
    path = tmp_path / "a.safetensors"
    save_tensors(path, {"a": np.arange(6, dtype=np.int16)}, {"format": "x-1"})
    assert load_checksum(path, remedy="") == checksum({"a": np.arange(6, dtype=np.int16)})
    assert load_tensors(path, remedy="").metadata == {"format": "x-1"}
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedError, match=r"its checksum is wrong.*; do it") as told:
        load_tensors(path, remedy="do it")
    assert told.value.path == path
    with pytest.raises(NewerError, match=r"format x-1, this version knows format x-0.*pip install -U gags"):
        load_tensors(path, remedy="", format="x-0")
    with pytest.raises(DamagedError, match="format 'x-1' instead of 'x-2'"):
        load_tensors(path, remedy="", format="x-2")


def test_files_without_checksum_are_read(tmp_path):
    """As 0.1.0 wrote them."""
    save_file({"a": np.arange(3)}, tmp_path / "a.safetensors")
    assert load_checksum(tmp_path / "a.safetensors", remedy="") == ""
    assert load_tensors(tmp_path / "a.safetensors", remedy="").tensors["a"].tolist() == [0, 1, 2]


def test_a_folder_in_place_of_a_file(tmp_path):
    (tmp_path / "a").mkdir()
    for read in (load_tensors, load_metadata):
        with pytest.raises(FileError, match="a cannot be read: it is a folder, not a file; move"):
            read(tmp_path / "a", remedy="")
    with pytest.raises(FileError, match="it is a folder"):
        Checkpoint(tmp_path / "a", "key", 1.0).load()


def test_no_permission_is_told_as_such(tmp_path, monkeypatch):
    """Also to root, who may read everything: the system is made to refuse."""
    path = tmp_path / "a.safetensors"
    save_tensors(path, {"a": np.zeros(3)})

    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("gags.files.trouble.os.open", refuse)
    for read in (load_tensors, load_metadata, load_checksum):
        with pytest.raises(FileError, match=r"a\.safetensors cannot be read: no permission; change its"):
            read(path, remedy="")
