"""Control groups are laid out in a folder as Linux shows them, both versions."""

from pathlib import Path

import psutil
import pytest

from gags.files import memory


def group(folder: Path, files: dict[str, str], stat: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text + "\n")
    (folder / "memory.stat").write_text(stat + "\n")


def left(tmp_path: Path, lines: str) -> list[int]:
    (tmp_path / "cgroup").write_text(lines)
    return list(memory._left_in_groups(tmp_path / "cgroup", tmp_path / "mounted"))


def test_version_2_counts_what_each_group_up_to_the_root_leaves(tmp_path):
    group(
        tmp_path / "mounted/user/job",
        {"memory.max": "8000", "memory.current": "5000"},
        "anon 3000\ninactive_file 1500",
    )
    group(tmp_path / "mounted/user", {"memory.max": "max", "memory.current": "9000"}, "inactive_file 1")
    # A limit of 8000, of which 5000 are taken, 1500 of these by files: 4500 are left. The other has no limit.
    assert left(tmp_path, "0::/user/job\n") == [4500]


def test_version_1_reads_the_memory_controller_alone(tmp_path):
    files = {"memory.limit_in_bytes": "900", "memory.usage_in_bytes": "500"}
    group(tmp_path / "mounted/memory/job", files, "total_inactive_file 100\ninactive_file 7")
    group(tmp_path / "mounted/cpu/job", files, "total_inactive_file 400")
    assert left(tmp_path, "3:cpu:/job\n2:memory:/job\n0::/\n") == [500]


def test_a_container_sees_its_group_as_the_root(tmp_path):
    group(tmp_path / "mounted", {"memory.max": "700", "memory.current": "200"}, "inactive_file 0")
    assert left(tmp_path, "0::/kubepods/pod1\n") == [500]


@pytest.mark.parametrize("lines", ["", "nonsense", "0::/nowhere\n"])
def test_without_groups_the_machine_counts(tmp_path, lines):
    assert left(tmp_path, lines) == []


def test_the_least_counts(monkeypatch):
    class Machine:
        available = 1000

    monkeypatch.setattr(psutil, "virtual_memory", Machine)
    monkeypatch.setattr(memory, "_left_in_groups", lambda groups, root: iter([3000, 250]))
    assert memory.available_bytes() == 250
    monkeypatch.setattr(memory, "_left_in_groups", lambda groups, root: iter([-5]))
    assert memory.available_bytes() == 0
