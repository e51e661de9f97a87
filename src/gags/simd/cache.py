"""Kernels that Numba compiles once on a machine, and again whenever something that they are made of changes.

Numba keeps machine code beside the source file (or in the user's cache folder, if that one cannot be written)
and looks at this one file to know whether the code is still right. But machine code also holds whatever was
inlined: kernels of other files, the intrinsics of `gags.simd` and constants such as the smallest alpha. So
`kernel` adds a hash of these to what Numba compares.

Numba offers no hook for that: this file relies on its private `numba.core.caching.FunctionCache`.
"""

import functools
import hashlib
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import CodeType, FunctionType, ModuleType
from typing import Any, TypeVar

import numpy as np
from numba import njit
from numba.core.caching import FunctionCache
from numba.np.ufunc.parallel import threading_layer

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(**options: Any) -> Callable[[Function], Function]:
    """Compile a function with `numba.njit` and keep the machine code on disk until an ingredient changes.

    Args:
        options: Of `numba.njit`, such as `parallel=True`.

    Returns:
        The decorator. Where no folder can be written, the function is compiled in every process.
    """

    def decorate(function: Function) -> Function:
        compiled: Any = njit(**options)(function)
        if hasattr(compiled, "enable_caching"):  # a plain function if NUMBA_DISABLE_JIT is set
            try:
                compiled._cache = _KernelCache(function)
            except RuntimeError as error:
                _warn_once(str(error))
        if options.get("parallel") and hasattr(compiled, "py_func"):
            compiled = _InTurn(compiled)
        return compiled

    return decorate


class _InTurn:
    """A parallel kernel that may be called while another thread runs one.

    Where Numba finds no OpenMP, and its wheels find none on macOS, its own threads ("workqueue") end the
    process if two parallel kernels start at once. There, one waits for the other.

    Args:
        compiled: The kernel.
    """

    _turn = threading.RLock()
    _together = False  # whether kernels may run at once; known after the first has run

    def __init__(self, compiled: Any) -> None:
        functools.update_wrapper(self, compiled.py_func)
        self._compiled = compiled

    def __call__(self, *args: Any, **named: Any) -> Any:
        if _InTurn._together:
            return self._compiled(*args, **named)
        with self._turn:
            result = self._compiled(*args, **named)
            with suppress(ValueError):  # no parallel loop has run yet
                _InTurn._together = threading_layer() != "workqueue"
            return result

    def __getattr__(self, name: str) -> Any:
        if name == "_compiled":  # of a copy that is being made
            raise AttributeError(name)
        return getattr(self._compiled, name)


@functools.cache
def _warn_once(reason: str) -> None:
    warnings.warn(f"{reason}; set NUMBA_CACHE_DIR to a folder that can be written", stacklevel=3)


class _KernelCache(FunctionCache):
    """Numba's cache of one function, which is also out of date when an ingredient has changed."""

    _stamped = False

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        self._stamp()
        return super().load_overload(sig, target_context)

    def save_overload(self, sig: Any, data: Any) -> None:
        self._stamp()
        try:
            super().save_overload(sig, data)
        except OSError as error:  # a full disk: what was compiled is in memory all the same
            _warn_once(f"compiled kernels cannot be kept ({error.strerror})")

    def _stamp(self) -> None:
        # At the first call, not at import: that would be slow, and the modules are not complete yet.
        if not self._stamped:
            self._stamped = True
            file = self._cache_file
            file._source_stamp = (file._source_stamp, fingerprint(self._py_func))


def fingerprint(function: Any) -> str:
    """Hash of what a kernel is made of: files of the functions it calls, and the constants they read.

    Functions count at any depth, if they belong to the package of the kernel; so do the Python parts of
    intrinsics, which write LLVM code. A function's file counts as a whole.

    Args:
        function: The kernel, compiled or not.

    Returns:
        64 hexadecimal digits.
    """
    function = _python_function(function)
    package = function.__module__.partition(".")[0]
    files: set[str] = set()
    constants: set[str] = set()
    known, todo = {function}, [function]
    while todo:
        current = todo.pop()
        files.add(_file_hash(current.__code__.co_filename))
        for name, value in _globals_read(current, package):
            value = _python_function(value)
            if isinstance(value, FunctionType):
                if value not in known and value.__module__.partition(".")[0] == package:
                    known.add(value)
                    todo.append(value)
            elif _is_constant(value):
                number = (value.dtype.str, value.tobytes()) if isinstance(value, np.ndarray) else value
                constants.add(f"{current.__module__}.{name} = {number!r}")
    return hashlib.sha256(repr((sorted(files), sorted(constants))).encode()).hexdigest()


def _is_constant(value: Any) -> bool:
    """Whether Numba writes such a value into machine code, and its text says all there is to it."""
    if isinstance(value, tuple):
        return all(map(_is_constant, value))
    return isinstance(value, bool | int | float | complex | str | bytes | np.generic | np.ndarray)


def _python_function(value: Any) -> Any:
    """What a compiled function or an intrinsic was made from; anything else as it is."""
    if isinstance(value, ModuleType | type):
        return value
    return getattr(value, "py_func", None) or getattr(value, "_defn", None) or value


def _globals_read(function: FunctionType, package: str) -> Iterator[tuple[str, Any]]:
    """Globals that a function may read, and their values; also as attributes of the package's modules."""
    names = set(_names(function.__code__))
    for name in names & function.__globals__.keys():
        value = function.__globals__[name]
        if not isinstance(value, ModuleType):
            yield name, value
        elif value.__name__.partition(".")[0] == package:
            yield from ((f"{name}.{part}", vars(value)[part]) for part in names & vars(value).keys())


def _names(code: CodeType) -> Iterator[str]:
    """Names of globals and attributes in a function and in those defined inside it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _file_hash(path: str) -> str:
    try:
        stat = os.stat(path)
        return _content_hash(path, stat.st_mtime_ns, stat.st_size)
    except OSError:  # inside a zip file, which Numba's own stamp covers
        return ""


@functools.cache
def _content_hash(path: str, mtime_ns: int, size: int) -> str:
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()
