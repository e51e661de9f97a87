"""Memory for the CPU kernels: it starts at cache lines, and scratch memory is used again in the next call."""

import threading

import numpy as np

_LINE = 64  # bytes
_MOST_KEPT = 1 << 28  # bytes; larger memory is freed at once


def aligned(size: int, dtype: type = np.float32) -> np.ndarray:
    """Uninitialised memory for `size` numbers that starts at a cache line."""
    number = np.dtype(dtype).itemsize
    memory = np.empty(size * number + _LINE, np.uint8)
    skip = -memory.ctypes.data % _LINE
    return memory[skip : skip + size * number].view(dtype)


class Scratch:
    """Memory that one call needs; fresh pages in each call would take longer than the work on them.

    Whoever takes memory must hold `lock` until done with it.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._kept: dict[str, np.ndarray] = {}

    def take(self, name: str, size: int, dtype: type = np.float32) -> np.ndarray:
        """Memory for `size` numbers, with any content; the same memory for the same name."""
        need = size * np.dtype(dtype).itemsize
        memory = self._kept.get(name)
        if memory is None or len(memory) < need:
            memory = aligned(need + need // 4, np.uint8)
            if len(memory) <= _MOST_KEPT:
                self._kept[name] = memory
        return memory[:need].view(dtype)
