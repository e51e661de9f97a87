"""How many threads there are, and how they wait."""

import math
import os
import platform
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gags import threads


@pytest.fixture
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_allowed_cores", lambda: 4)
    monkeypatch.setattr(threads, "_quota", lambda own, root: math.inf)


@pytest.mark.usefixtures("four_cores")
def test_idle_threads_sleep_soon_unless_the_user_wants_otherwise():
    environment: dict[str, str] = {}
    threads.settle(environment)
    assert environment == {"GOMP_SPINCOUNT": "3000", "KMP_BLOCKTIME": "1"}
    environment = {"GOMP_SPINCOUNT": "7"}
    threads.settle(environment)
    assert environment == {"GOMP_SPINCOUNT": "7", "KMP_BLOCKTIME": "1"}
    environment = {"OMP_WAIT_POLICY": "ACTIVE"}
    threads.settle(environment)
    assert environment == {"OMP_WAIT_POLICY": "ACTIVE"}


@pytest.mark.parametrize(
    ("quota", "given", "expected"),
    [
        (math.inf, {}, {}),
        (4.0, {}, {}),
        (1.5, {}, {"OMP_NUM_THREADS": "2", "NUMBA_NUM_THREADS": "2"}),
        (0.2, {}, {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}),
        (1.5, {"OMP_NUM_THREADS": "3"}, {"OMP_NUM_THREADS": "3", "NUMBA_NUM_THREADS": "3"}),
        (math.inf, {"OMP_NUM_THREADS": "1,2"}, {"OMP_NUM_THREADS": "1,2", "NUMBA_NUM_THREADS": "1"}),
        (math.inf, {"OMP_NUM_THREADS": "9"}, {"OMP_NUM_THREADS": "9", "NUMBA_NUM_THREADS": "4"}),
        (math.inf, {"OMP_NUM_THREADS": "many"}, {"OMP_NUM_THREADS": "many"}),
        (1.5, {"NUMBA_NUM_THREADS": "3"}, {"OMP_NUM_THREADS": "2", "NUMBA_NUM_THREADS": "3"}),
        (1.5, {"NUMBA_NUM_THREADS": ""}, {"OMP_NUM_THREADS": "2", "NUMBA_NUM_THREADS": "2"}),
        (1.5, {"OMP_NUM_THREADS": "+03"}, {"OMP_NUM_THREADS": "+03", "NUMBA_NUM_THREADS": "3"}),
        (1.5, {"OMP_NUM_THREADS": " 4 , 2"}, {"OMP_NUM_THREADS": " 4 , 2", "NUMBA_NUM_THREADS": "4"}),
    ],
)
def test_threads_are_as_many_as_the_user_says_or_the_share_of_time_allows(
    monkeypatch: pytest.MonkeyPatch, quota: float, given: dict[str, str], expected: dict[str, str]
):
    monkeypatch.setattr(threads, "_allowed_cores", lambda: 4)
    monkeypatch.setattr(threads, "_quota", lambda own, root: quota)
    environment = {"OMP_WAIT_POLICY": "ACTIVE", **given}
    threads.settle(environment)
    assert environment == {"OMP_WAIT_POLICY": "ACTIVE", **expected}


@pytest.mark.parametrize("value", ["", " ", "abc", "0", "-3", "4,", "4,x", "2,0", "4.5", "٣", "9" * 5000])
def test_a_number_of_threads_that_is_none_does_not_lift_the_quota(
    monkeypatch: pytest.MonkeyPatch, value: str
):
    """OpenMP passes over each of these, and takes all cores."""
    monkeypatch.setattr(threads, "_allowed_cores", lambda: 4)
    monkeypatch.setattr(threads, "_quota", lambda own, root: 1.5)
    environment = {"OMP_WAIT_POLICY": "ACTIVE", "OMP_NUM_THREADS": value}
    threads.settle(environment)
    assert environment == {
        "OMP_WAIT_POLICY": "ACTIVE",
        "OMP_NUM_THREADS": "2",
        "NUMBA_NUM_THREADS": "2",
    }


def _write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_the_quota_of_control_groups_of_version_2_is_the_least_of_all_above(tmp_path: Path):
    own, mount = tmp_path / "own", tmp_path / "cgroup"
    own.write_text("0::/user/job\n")
    assert threads._quota(own, mount) == math.inf  # nothing mounted
    _write(mount / "user/job", cpu__max="max 100000\n")
    assert threads._quota(own, mount) == math.inf
    _write(mount / "user/job", cpu__max="350000 100000\n")
    _write(mount / "user", cpu__max="250000 100000\n")
    assert threads._quota(own, mount) == 2.5


def test_inside_a_container_the_quota_lies_at_the_mount(tmp_path: Path):
    own, mount = tmp_path / "own", tmp_path / "cgroup"
    own.write_text("0::/docker/0123456789\n")
    _write(mount, cpu__max="150000 100000\n")
    assert threads._quota(own, mount) == 1.5


def test_the_quota_of_control_groups_of_version_1(tmp_path: Path):
    own, mount = tmp_path / "own", tmp_path / "cgroup"
    own.write_text("9:memory:/job\n4:cpu,cpuacct:/job\n1:name=systemd:/job\n")
    folder = mount / "cpu,cpuacct/job"
    _write(folder, cpu__cfs_quota_us="-1\n", cpu__cfs_period_us="100000\n")
    assert threads._quota(own, mount) == math.inf
    _write(folder, cpu__cfs_quota_us="300000\n", cpu__cfs_period_us="100000\n")
    assert threads._quota(own, mount) == 3
    _write(mount / "memory/job", cpu__cfs_quota_us="1\n", cpu__cfs_period_us="100000\n")
    assert threads._quota(own, mount) == 3  # not the group of the processor


@pytest.mark.parametrize("mounted", ["cpu,cpuacct", "cpu"])
def test_a_controller_of_version_1_is_found_whatever_its_folder_is_called(tmp_path: Path, mounted: str):
    """The kernel lists controllers in one order, and systemd mounts them in another one."""
    own, mount = tmp_path / "own", tmp_path / "cgroup"
    own.write_text("4:cpuacct,cpu:/job\n")
    _write(mount / "cpuset/job", cpu__cfs_quota_us="100000\n", cpu__cfs_period_us="100000\n")
    assert threads._quota(own, mount) == math.inf
    _write(mount / mounted / "job", cpu__cfs_quota_us="300000\n", cpu__cfs_period_us="100000\n")
    assert threads._quota(own, mount) == 3


def test_a_machine_without_control_groups_has_no_quota(tmp_path: Path):
    assert threads._quota(tmp_path, tmp_path / "nothing") == math.inf


def test_usable_cores_are_at_least_one_and_at_most_those_allowed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(threads, "_allowed_cores", lambda: 4)
    for quota, cores in ((0.01, 1), (2.0, 2), (2.1, 3), (64.0, 4), (math.inf, 4)):
        monkeypatch.setattr(threads, "_quota", lambda own, root, quota=quota: quota)
        assert threads.usable_cores() == cores


def test_libraries_that_read_no_environment_get_the_number_of_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(threads, "usable_cores", lambda: 3)
    for given, expected in (("2", 2), ("4,2", 4), ("none", 3), ("", 3)):
        monkeypatch.setenv("OMP_NUM_THREADS", given)
        assert threads.wished_threads() == expected


def test_cores_in_words(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    for usable, expected in ((8, "8 cores"), (2, "2 of 8 cores")):
        monkeypatch.setattr(threads, "usable_cores", lambda usable=usable: usable)
        assert threads.cores_in_words() == expected


def test_the_next_item_is_made_while_the_caller_works_on_the_last():
    made, asked = [], threading.Event()

    def items() -> Iterator[int]:
        for n in range(3):
            made.append((n, threading.current_thread() is threading.main_thread()))
            if n == 1:
                asked.set()
            yield n

    drawn = threads.ahead(items())
    assert next(drawn) == 0
    assert asked.wait(5)  # without a request for it
    assert list(drawn) == [1, 2]
    assert made == [(0, False), (1, False), (2, False)]


def test_an_error_ahead_comes_after_the_items_before_it():
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    drawn = threads.ahead(items())
    assert next(drawn) == 1
    with pytest.raises(ValueError, match="no more"):
        next(drawn)


def _in_new_process(code: str, **environment: str) -> str:
    settled = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
    kept = {name: value for name, value in os.environ.items() if name not in settled}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=kept | environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_the_package_is_enough_and_comes_before_torch():
    code = "import gags, os, sys; assert 'torch' not in sys.modules; print(os.environ.get('GOMP_SPINCOUNT'))"
    assert _in_new_process(code) == "3000"
    assert _in_new_process(code, OMP_WAIT_POLICY="ACTIVE") == "None"


def test_one_variable_holds_for_all_libraries():
    code = "import gags, torch, numba; print(torch.get_num_threads(), numba.get_num_threads())"
    assert _in_new_process(code, OMP_NUM_THREADS="1") == "1 1"


def test_a_command_leaves_products_of_numpy_to_one_thread_unless_the_user_wants_otherwise(monkeypatch):
    environment: dict[str, str] = {}
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    threads.settle_command(environment)
    assert environment == {}  # there PyTorch may multiply by OpenBLAS
    monkeypatch.setattr(platform, "machine", lambda: "AMD64")
    threads.settle_command(environment)
    assert environment == {"OPENBLAS_NUM_THREADS": "1"}
    environment = {"OPENBLAS_NUM_THREADS": "3"}
    threads.settle_command(environment)
    assert environment == {"OPENBLAS_NUM_THREADS": "3"}


def test_a_command_says_so_before_numpy_is_loaded():
    code = (
        "import os, platform, sys; platform.machine = lambda: 'x86_64';"
        "from gags.cli import main; sys.argv = ['gags', '--version']; main();"
        "assert 'numpy' not in sys.modules; assert os.environ['OPENBLAS_NUM_THREADS'] == '1'"
    )
    clean = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    subprocess.run([sys.executable, "-c", code], env=clean, check=True)


def test_threads_of_a_pool_do_not_start_further_ones():
    """In a process of its own: PyTorch's number of threads, once used, cannot be told from the default."""
    code = """
import torch
from gags.threads import single_threaded_pool
torch.set_num_threads(3)
with single_threaded_pool(2, "test") as pool:
    def work(_):
        torch.randn(300, 300) @ torch.randn(300, 300)  # a thread that first works may take the default
        return torch.get_num_threads()
    assert list(pool.map(work, range(4))) == [1] * 4
assert torch.get_num_threads() == 3
"""
    subprocess.run([sys.executable, "-c", code], check=True)
