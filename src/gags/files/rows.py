"""Arrays that are written row by row and then read: in memory, or in a file where they take too much."""

import mmap
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np

from gags.errors import WorkspaceError
from gags.files.memory import available_bytes

IN_MEMORY_SHARE = 0.1  # of what is available, that one array may take
MOST_IN_MEMORY = 1 << 26  # bytes; a file that was just written is in memory, too, as long as there is room


class Rows:
    """Rows of one shape and type, appended one after the other.

    Rows in the file are mapped from there: the system keeps as many in memory as it has room for, and drops
    them when it has not. The file has no name, and is gone with the array.

    Args:
        shape: Of a row; () for plain numbers.
        dtype: Of its numbers.
        folder: Where the file lies, on a disk with room for the rows; None for the system's folder.
        most: Bytes up to which rows stay in memory; by default a share of what is available.
    """

    def __init__(
        self, shape: tuple[int, ...], dtype: type, folder: Path | None = None, *, most: int | None = None
    ) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        self._most = min(MOST_IN_MEMORY, int(IN_MEMORY_SHARE * available_bytes())) if most is None else most
        self.folder = folder
        self._parts: list[np.ndarray] = []
        self._file: IO[bytes] | None = None
        self._map: mmap.mmap | None = None
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def in_file(self) -> bool:
        """Whether rows went into the file."""
        return self._file is not None

    def append(self, rows: np.ndarray) -> None:
        """Add rows [n, *shape]; not after `array`.

        Raises:
            WorkspaceError: If the file cannot be written.
        """
        rows = np.ascontiguousarray(rows, self.dtype)
        self._count += len(rows)
        size = self._count * self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))
        self._parts.append(rows)
        if self._file is None and size <= self._most:
            return
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115 - lives with the rows
            for part in self._parts:
                self._file.write(part.data)
            self._file.flush()
            self._parts = []
        except OSError as error:
            where = self.folder or tempfile.gettempdir()
            raise WorkspaceError(
                f"{size / 1e6:.0f} MB that memory does not hold cannot be written to {where} "
                f"({error.strerror}); make room there"
            ) from error

    def array(self) -> np.ndarray:
        """All rows. [n, *shape]"""
        if self._file is None:
            if len(self._parts) != 1:
                self._parts = [np.concatenate([np.zeros((0, *self.shape), self.dtype), *self._parts])]
            return self._parts[0]
        if self._map is None:
            self._map = mmap.mmap(self._file.fileno(), 0)
        return np.frombuffer(self._map, self.dtype).reshape(-1, *self.shape)

    def release(self) -> None:
        """Let go of what was read from the file: it is read anew when needed."""
        advise: Callable[[int], None] | None = getattr(self._map, "madvise", None)
        if advise is not None and hasattr(mmap, "MADV_DONTNEED"):
            advise(mmap.MADV_DONTNEED)
