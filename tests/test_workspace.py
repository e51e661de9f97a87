from dataclasses import dataclass
from pathlib import Path

import pytest

from gags.errors import WorkspaceError
from gags.files import atomic_write
from gags.store import file_stamp, stamp
from gags.workspace import Workspace


@dataclass(frozen=True)
class Settings:
    steps: int = 10
    rate: float = 0.5
    folder: Path | None = None


def test_stamp_depends_on_values_only():
    assert stamp("fit", Settings()) == stamp("fit", Settings(steps=10))
    assert stamp("fit", Settings()) == stamp("fit", {"rate": 0.5, "steps": 10})
    assert stamp("fit", Settings(rate=1)) == stamp("fit", Settings(rate=1.0))
    assert stamp("fit", Settings()) != stamp("fit", Settings(steps=11))
    assert stamp("fit", Settings()) != stamp("segment", Settings())
    assert stamp("a", "bc") != stamp("ab", "c")


def test_stamp_is_the_same_in_every_process():
    assert stamp("fit", Settings()) == "eb7fae46a367f805"


def test_file_stamp_follows_content(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"one")
    b.write_bytes(b"one")
    assert file_stamp(a) == file_stamp(b)
    b.write_bytes(b"two")
    assert file_stamp(a) != file_stamp(b)


def test_finished_stage_is_on_record_for_the_next_process(tmp_path):
    Workspace.create(tmp_path / "ws").finish("reconstruct", "abc", 12.345, Settings(folder=Path("/data")))
    record = Workspace.open(tmp_path / "ws").record("reconstruct")
    assert record is not None
    assert record.stamp == "abc"
    assert record.seconds == 12.35 or record.seconds == 12.34
    assert record.settings == {"steps": 10, "rate": 0.5, "folder": "/data"}
    assert Workspace.open(tmp_path / "ws").record("distill") is None


def test_create_keeps_an_earlier_run(tmp_path):
    Workspace.create(tmp_path).finish("reconstruct", "abc", 1.0)
    record = Workspace.create(tmp_path).record("reconstruct")
    assert record is not None
    assert record.stamp == "abc"


def test_create_refuses_a_folder_with_other_things(tmp_path):
    (tmp_path / "thesis.tex").write_text("important")
    with pytest.raises(WorkspaceError, match="not a gags scene"):
        Workspace.create(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_create_refuses_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError, match="cannot write"):
        Workspace.create(tmp_path / "file")


def test_open_needs_a_scene(tmp_path):
    with pytest.raises(WorkspaceError, match="gags run"):
        Workspace.open(tmp_path / "nothing")


def test_damaged_config_is_one_clear_error(tmp_path):
    Workspace.create(tmp_path)
    (tmp_path / "config.toml").write_text("= broken")
    with pytest.raises(WorkspaceError, match=r"config\.toml"):
        Workspace.open(tmp_path)


def test_metrics_are_merged(tmp_path):
    workspace = Workspace.create(tmp_path)
    workspace.update_metrics({"psnr": 20.0})
    workspace.update_metrics({"ssim": 0.8, "lpips": 0.1})
    workspace.update_metrics({"lpips": None, "fid": None})
    assert workspace.read_metrics() == {"psnr": 20.0, "ssim": 0.8}


def test_atomic_write_keeps_the_old_file_when_the_writer_fails(tmp_path):
    path = tmp_path / "data.bin"
    path.write_bytes(b"old")

    def fail():
        with atomic_write(path) as temporary:
            temporary.write_bytes(b"half")
            raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        fail()
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["data.bin"]
