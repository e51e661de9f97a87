"""Locks between processes: held by the process itself, and so gone when it ends, however that happens."""

import errno
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gags.errors import WorkspaceError
from gags.files.trouble import refused

_POLL_SECONDS = 0.1
_TAKEN = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
_HELD: dict[Path, tuple[int, int]] = {}  # thread that holds a lock, and how many times
_GUARD = threading.Lock()


@contextmanager
def locked(path: Path, held: str) -> Iterator[None]:
    """Hold a lock; the thread that holds it may take it again.

    Where the file system knows no locks (some network drives), nothing is locked.

    Args:
        path: File that stands for the lock. It is empty, and removed in the end; one that is left is no lock.
        held: What is wrong if another process or thread holds it, for the error.

    Raises:
        WorkspaceError: If another process or thread holds it.
        FileError: If the file cannot be made.
    """
    path, thread = path.absolute(), threading.get_ident()
    with _GUARD:
        owner, times = _HELD.get(path, (thread, 0))
        if owner != thread:
            raise WorkspaceError(held)
        _HELD[path] = thread, times + 1
    descriptor = None
    try:
        if not times:
            descriptor = _acquire(path, held)
        yield
    finally:
        if descriptor is not None:
            with suppress(OSError):  # Windows removes no open file; the next to hold the lock will
                path.unlink()
            os.close(descriptor)
        with _GUARD:
            if times:
                _HELD[path] = thread, times
            else:
                del _HELD[path]


@contextmanager
def locked_in_turn(
    path: Path,
    *,
    tell: Callable[[], None] = lambda: None,
    seconds: float = math.inf,
    busy: str = "",
    shared: bool = False,
) -> Iterator[None]:
    """Hold a lock; waits while another process or thread holds it.

    Where the file system knows no locks, nothing is locked.

    Args:
        path: File that stands for the lock. It stays, and is no lock while nobody holds it.
        tell: Called once if it has to be waited for.
        seconds: How long to wait.
        busy: What is wrong if it is held for longer, for the error.
        shared: Whether others may share the lock, see `take`.

    Raises:
        WorkspaceError: If it is still held after that time.
        OSError: If the file cannot be made.
    """
    with open(path, "a") as file:
        until, told = time.monotonic() + seconds, False
        while not take(file.fileno(), shared=shared):
            if not told:
                tell()
                told = True
            if time.monotonic() >= until:
                raise WorkspaceError(busy)
            time.sleep(_POLL_SECONDS)
        try:
            yield
        finally:
            _unlock(file.fileno())


def held_by_another(root: Path) -> str:
    """What `locked` says of a folder that another process works in."""
    return f"{root} is being worked on by another gags process; wait until that one ends, or stop it"


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock of a file; a file that is not there is not locked."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        return not take(descriptor)
    finally:
        os.close(descriptor)


def take(descriptor: int, *, shared: bool = False) -> bool:
    """Lock an open file if it is free, without waiting; it is free again when it is closed.

    Args:
        descriptor: The file, open for writing.
        shared: Whether others may share the lock; Windows knows no such locks, and shares nothing.

    Returns:
        Whether it was free. Where the file system knows no locks, it always is.
    """
    try:
        _lock(descriptor, shared)
    except OSError as error:
        return error.errno not in _TAKEN
    return True


def _acquire(path: Path, held: str) -> int:
    """An open file with a lock on it; the file is still the one of that path."""
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise refused(error, path, "cannot be written") from error
        free = take(descriptor)
        # The process that held the lock before may have removed the file since we opened it.
        if free and _same_file(descriptor, path):
            return descriptor
        os.close(descriptor)
        if not free:
            raise WorkspaceError(held)


def _lock(descriptor: int, shared: bool) -> None:
    """Lock an open file, without waiting.

    Raises:
        OSError: If it is locked, with one of `_TAKEN`; or if that cannot be done there.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


def _unlock(descriptor: int) -> None:
    """Give a lock back now: closing the file is not enough where a child process was forked meanwhile."""
    with suppress(OSError):
        try:
            import fcntl
        except ImportError:  # Windows, where no process is forked
            return
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
