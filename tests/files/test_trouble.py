"""What the system refuses is one line of path, reason and advice."""

import errno
import os
import resource

import pytest

from gags.errors import FileError, GagsError
from gags.files import MOST_NAME, atomic_write, is_temporary, temporary_path, write_json
from gags.files.trouble import check_file, check_readable, told


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "x/a cannot be used: the disk is full; make room there"),
        (
            errno.EROFS,
            "x/a cannot be used: it lies on a read-only file system; choose another folder (--out), or copy",
        ),
        (errno.EACCES, "x/a cannot be used: no permission; change its permissions"),
        (errno.EXDEV, f"x/a cannot be used: {os.strerror(errno.EXDEV)}"),
    ],
)
def test_the_line(number, said):
    line = told(OSError(number, os.strerror(number), "x/a"))
    assert line.startswith(said)
    assert "Errno" not in line


def test_errors_without_a_file():
    assert told(OSError(errno.ENOSPC, "No space left on device")).startswith("the disk is full; make room")
    assert told(OSError("something else")) == "something else"


def test_a_file_error_is_both(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileError) as caught:
        write_json(tmp_path / "file" / "a.json", {})
    assert isinstance(caught.value, GagsError)
    assert isinstance(caught.value, OSError)
    assert caught.value.errno in (errno.ENOTDIR, errno.EEXIST)
    assert str(caught.value).startswith(f"{tmp_path}/file/a.json cannot be written: a file is where a folder")


def test_kinds_of_what_is_no_file(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    for name, said in (("loop", "a link that leads back"), ("pipe", "a pipe or a device"), (".", "a folder")):
        with pytest.raises(FileError, match=said):
            check_file(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        check_file(tmp_path / "none")
    (tmp_path / "file").touch()
    check_readable(tmp_path / "file")


def test_a_file_that_is_larger_than_allowed_loses_nothing(tmp_path):
    write_json(tmp_path / "a.json", {"old": True})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(FileError, match=r"a\.json cannot be written: files as large are not allowed"):
            write_json(tmp_path / "a.json", list(range(1000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "a.json").read_text() == '{\n  "old": true\n}\n'
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("length", [1, 100, 200, 250])
def test_temporary_names_are_no_longer_than_they_must_be(tmp_path, length):
    path = tmp_path / ("ä" * (length // 2) + "x" * (length % 2) + ".json")
    with atomic_write(path) as temporary:
        assert temporary == temporary_path(path)
        assert temporary.suffix == ".json"
        assert is_temporary(temporary.name)
        assert len(os.fsencode(temporary.name)) <= max(MOST_NAME, 60)
        temporary.write_text("x")
    assert path.read_text() == "x"


def test_other_names_are_not_temporary():
    assert not any(map(is_temporary, (".lock", ".a.tmp.json", "a.12.tmp.json", ".config.toml")))
