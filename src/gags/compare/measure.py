"""Measuring what a method costs: time of its stages, memory of a process of its own, time of a query."""

import multiprocessing
import os
import platform
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import psutil
import torch

from gags._version import __version__
from gags.capture.camera import Camera
from gags.embed.encoder import Encoder
from gags.errors import CompareError
from gags.evaluate.answerer import Answerer
from gags.evaluate.protocols import Protocol, judge
from gags.evaluate.score import make_asker
from gags.progress import Stopwatch

T = TypeVar("T")
TIMED_QUERIES = 9
QUERY_PARTS = {"IE": "image encoding", "Rend.": "rendering", "Pred.": "answering", "OSH": "hyperplane"}
"""Parts of the work of answering, see `gags.progress.part`, by the headings of the paper's Table 3. What is
neither of the others is prediction: decoding, relevancy, masks and peaks, texts."""
PACKAGES = ("torch", "numpy", "numba", "transformers", "gsplat")  # whose versions may change a figure
SECONDS_TO_STOP = 5.0  # that an interrupted process has before it is killed


def query_ms(
    answerer: Answerer, camera: Camera, texts: Sequence[str], encoder: Encoder, protocol: Protocol
) -> float:
    """Median time from one text, already encoded, to its peak and mask in one view, once warm, ms."""
    ask = make_asker(answerer, texts, encoder, protocol)

    def answer(text: str) -> float:
        began = time.perf_counter()
        found = ask(camera, [text])
        judge(protocol, found, 0)
        return time.perf_counter() - began

    answer(texts[0])
    return 1000 * statistics.median(answer(texts[turn % len(texts)]) for turn in range(TIMED_QUERIES))


def query_stopwatch() -> Stopwatch:
    """A stopwatch for the parts of answering; it waits for a GPU, which goes on after a call has returned."""
    return Stopwatch(torch.cuda.synchronize) if torch.cuda.is_available() else Stopwatch()


def query_seconds(watch: Stopwatch) -> dict[str, float]:
    """Seconds that a stopwatch counted, by heading of Table 3; without parts that there were not."""
    parts = {heading: watch.seconds.get(part) for heading, part in QUERY_PARTS.items()}
    return {heading: round(seconds, 4) for heading, seconds in parts.items() if seconds is not None}


def machine() -> dict[str, Any]:
    """What computes here: processor, its cores, memory in 10⁹ bytes, and the GPU if there is one."""
    found = {
        "processor": _processor_name(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": platform.platform(),
    }
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found


def _processor_name() -> str:
    """Name that the maker gave the processor, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Versions of this package, of Python, and of what may change a figure; without what is not installed."""
    found = {"gags": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def peak_memory_mb() -> float | None:
    """The most memory this process ever used (resident set), 10⁶ bytes; None if the system does not tell.

    `getrusage` is the second choice: on Linux its figure is not reset when a process starts another program.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            peak = next(line for line in file if line.startswith("VmHWM:"))
        return int(peak.split()[1]) * 1024 / 1e6
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def in_own_process(function: Callable[..., T], *arguments: Any) -> T:
    """Call a function in a fresh process, so that its peak of memory is its own.

    The process ends when this one does, however that ends. When this one is interrupted (Ctrl-C), the
    function gets a KeyboardInterrupt, too, and some seconds to clean up.

    Args:
        function: A function of a module.
        arguments: Its arguments; they, and the result, can be pickled.

    Raises:
        CompareError: If the process dies; else what the function raises, with its traceback as the cause.
    """
    others = multiprocessing.active_children()
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=_start_worker)
    worker: BaseProcess | None = None
    try:
        future = pool.submit(function, *arguments)
        worker = _new_process(others)
        return future.result()
    except BrokenProcessPool:
        pool.shutdown()
        raise CompareError(
            f"the process of {function.__name__} died (exit code {worker.exitcode if worker else None}); it "
            "may have run out of memory: free some, or shrink the photos (--max-size), and run the same line "
            "again"
        ) from None
    except KeyboardInterrupt:
        _stop(worker or _new_process(others))
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _new_process(others: Sequence[BaseProcess]) -> BaseProcess | None:
    """The process that was started since `others` were listed."""
    return next((process for process in multiprocessing.active_children() if process not in others), None)


def _stop(worker: BaseProcess | None) -> None:
    """Ask a process to stop, and kill it if it does not."""
    if worker is not None:
        worker.terminate()
        killer = threading.Timer(SECONDS_TO_STOP, worker.kill)
        killer.daemon = True
        killer.start()


def _start_worker() -> None:
    """What the fresh process does first: make it end with its parent, and let it be interrupted."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent receives it too and then stops us
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    """End this process when its parent is gone; a worker of a pool would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)  # every file is written atomically: nothing can be left half done
