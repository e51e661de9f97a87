"""Threads that suit the machine: as many as this process may use, and none that spins for long.

PyTorch, Numba and MKL run on OpenMP, whose idle threads wait in a loop by default, for milliseconds. On a
machine with other work they wait for a core that is not theirs: with as many busy processes beside it as
there are cores, a stage takes several times as long. Threads that sleep at once lose a third of the speed
alone, since most waits last some microseconds; so they spin for about as long, and then sleep
(`benchmarks/neighbours.py`). OpenMP reads the environment once, when the first of these libraries is loaded;
so `import gags` sets it, before them, and only what the user has not set.
"""

import math
import os
import platform
import re
import threading
from collections.abc import Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from gags.files import cgroups

T = TypeVar("T")

_WAITING = {"GOMP_SPINCOUNT": "3000", "KMP_BLOCKTIME": "1"}
"""How idle threads wait: turns of the loop with GNU's OpenMP (Linux), some 50 µs; milliseconds with LLVM's
(macOS, Windows), of which 1 is the least above 0."""

_WAIT_POLICY = "OMP_WAIT_POLICY"  # the same for all of them, if the user says so


def settle(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let threads sleep while they wait for long, and let there be no more than this process may use.

    Variables that are set already stay as they are, but for numbers of threads that are none: libraries pass
    over these, and take all cores. A number of threads in OMP_NUM_THREADS holds for Numba, too.

    Args:
        environment: Variables of the process.
    """
    if _WAIT_POLICY not in environment:
        for name, value in _WAITING.items():
            environment.setdefault(name, value)
    cores, wished = usable_cores(), _whole(environment.get("OMP_NUM_THREADS", ""))
    if wished is None and cores < _allowed_cores():  # the libraries know the allowed cores, not the share
        environment["OMP_NUM_THREADS"] = str(cores)
        wished = cores
    if wished is not None and _whole(environment.get("NUMBA_NUM_THREADS", "")) is None:
        environment["NUMBA_NUM_THREADS"] = str(max(1, min(wished, _allowed_cores())))


def settle_command(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let NumPy's products run in one thread, in processes that are the package's own.

    OpenBLAS's idle threads spin for 30 ms after every product: a tenth of all describing, taken from threads
    that work. Few products here are large. In a user's process others may be, so `settle` leaves them alone.
    On other processors than x86, PyTorch may multiply by OpenBLAS, too; there nothing is set.

    Args:
        environment: Variables of the process; a number that the user has set stays.
    """
    if platform.machine().lower() in ("x86_64", "amd64"):
        environment.setdefault("OPENBLAS_NUM_THREADS", "1")


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items; the next one is made in another thread while the caller works on the one it has.

    Args:
        items: Only the other thread draws from it. What it raises, the caller gets in its turn.
    """
    with ThreadPoolExecutor(1, "ahead") as thread:
        end = object()
        waiting = thread.submit(next, items, end)
        while (item := waiting.result()) is not end:
            waiting = thread.submit(next, items, end)
            yield item  # type: ignore[misc]


def single_threaded_pool(threads: int, name: str) -> ThreadPoolExecutor:
    """Threads in which PyTorch's own operations do not start further ones.

    No ready-made limit does this: joblib refuses `inner_max_num_threads` for threads, and threadpoolctl does
    not change PyTorch's own setting. That setting belongs to a thread, but is also the default of threads
    that start later. So all threads start here, and then the caller's setting is restored. A thread takes the
    default when it first works or is asked for it, also if it was set before: so it is asked first.
    """
    import torch  # not for those who only want to settle

    usual = torch.get_num_threads()
    all_started = threading.Barrier(threads)

    def start() -> None:
        torch.get_num_threads()
        torch.set_num_threads(1)

    pool = ThreadPoolExecutor(threads, name, initializer=start)
    list(pool.map(lambda _: all_started.wait(), range(threads)))
    torch.set_num_threads(usual)
    return pool


def usable_cores() -> int:
    """How many cores this process may use: those it is allowed, or fewer if its share of time is less.

    The share is the quota of control groups (of a container, or a job of a cluster), rounded up.
    """
    return max(1, math.ceil(min(_allowed_cores(), _quota(cgroups.OWN, cgroups.ROOT))))


def cores_in_words() -> str:
    """How many cores this process may use, and of how many: "8 cores", "2 of 8 cores"."""
    usable, there = usable_cores(), os.cpu_count() or 1
    return f"{usable} of {there} cores" if usable < there else f"{usable} cores"


def wished_threads() -> int:
    """How many threads a library may start that reads no environment: OMP_NUM_THREADS, else one a core."""
    return _whole(os.environ.get("OMP_NUM_THREADS", "")) or usable_cores()


def _allowed_cores() -> int:
    """Cores that the scheduler may give this process."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no such call
        return os.cpu_count() or 1


def _quota(own: Path, root: Path) -> float:
    """Cores' worth of time that control groups give this process; infinity if they set no bound.

    Args:
        own: Says which groups this process is in.
        root: Where control groups are mounted.
    """
    folders = cgroups.folders("cpu", own, root)
    return min((_quota_of_folder(folder) for _, folder in folders), default=math.inf)


def _quota_of_folder(folder: Path) -> float:
    """Cores' worth of time of one control group, of version 2 (`cpu.max`) or version 1."""
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = (
                (folder / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period")
            )
        share = float(quota) / float(period)
    except (OSError, ValueError, ZeroDivisionError):  # not there, or "max": no bound
        return math.inf
    return share if share > 0 else math.inf  # version 1 writes −1 for no bound


def _whole(text: str) -> int | None:
    """The first number of a list such as "4,2", as OpenMP reads it; None unless all are whole and above 0."""
    numbers = [re.fullmatch(r"\s*\+?0*([1-9][0-9]{0,8})\s*", part) for part in text.split(",")]
    return int(numbers[0][1]) if numbers[0] and all(numbers) else None
