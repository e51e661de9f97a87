import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from gags.errors import GagsError, WorkspaceError
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


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("format = 2\n", r"newer version of gags \(format 2, this version knows format 1\)"),
        ('format = "1"\n', "its format is '1', not a number"),
        ("format = 0\n", "its format is 0"),
        ("stages = 3\n", "its stages are no tables"),
        ("[stages]\ndistill = 3\n", "its stages are no tables"),
        ("x = " + "[" * 100_000 + "]" * 100_000, "nested deeper than 50 tables"),
        ("x = [\n" * 100_000, "nested deeper than 50 tables"),
        ("[" + ".".join("a" * 100_000) + "]", "nested deeper than 50 tables"),
        (".".join("a" * 100_000) + " = 1", "nested deeper than 50 tables"),
        ("x = " + "{a = " * 100_000, "nested deeper than 50 tables"),
        ("x = 1 # " + "y" * 2_000_000, "far too long"),
    ],
)
def test_configs_that_no_version_of_ours_wrote(tmp_path, content, said):
    config = Workspace.create(tmp_path).config
    config.write_text(content)
    start = time.monotonic()
    with pytest.raises(GagsError, match=said) as told:
        Workspace.open(tmp_path)
    assert str(config) in str(told.value)
    assert time.monotonic() - start < 10
    assert config.read_text() == content


def test_usual_configs_are_not_nested_too_deep(tmp_path):
    """Brackets and dots in texts do not count, whatever a folder is called."""
    workspace = Workspace.create(tmp_path)
    odd = {"splats": "[[{" * 40 + '."' * 40 + "'" + "/a.b" * 60, "list": [[1.5, 2], [2.5, 3]]}
    workspace.finish("reconstruct", "abc", 1.0, odd, checksums={"splats.ply": "crc32:0"})
    record = Workspace.open(tmp_path).record("reconstruct")
    assert record is not None
    assert record.settings == odd
    assert record.checksums == {"splats.ply": "crc32:0"}
    workspace.remember("reconstruct", {"capture.json": "crc32:1"})
    record = Workspace.open(tmp_path).record("reconstruct")
    assert record is not None
    assert record.checksums == {"splats.ply": "crc32:0", "capture.json": "crc32:1"}
    assert record.settings == odd


def test_records_of_other_kinds_are_damage(tmp_path):
    workspace = Workspace.create(tmp_path)
    workspace.finish("distill", "abc", 1.0)
    text = workspace.config.read_text()
    for former, odd in (('stamp = "abc"', "stamp = 3"), ("seconds = 1.0", 'seconds = "x"')):
        workspace.config.write_text(text.replace(former, odd))
        with pytest.raises(WorkspaceError, match="damaged at stage distill; delete that table"):
            workspace.record("distill")


@pytest.mark.parametrize("name", ["taught", "run", "splats", "things", "viewer"])
def test_a_folder_that_lost_its_records_is_still_ours(tmp_path, name):
    ours = getattr(Workspace(tmp_path), name)
    if ours.suffix:
        ours.write_bytes(b"")
    else:
        ours.mkdir()
    assert Workspace.create(tmp_path).config.is_file()
