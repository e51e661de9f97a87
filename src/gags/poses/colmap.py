"""pycolmap, without its handlers of signals: everything here imports it from this module.

It takes SIGTERM and the signals of a crash to print a stack of its own. That needs memory, so that a process
that was stopped while it asked for some (`kill`, `timeout`, a container or a cluster that ends a job) stood
still for ever.
"""

import signal
from contextlib import suppress

_TAKEN = (
    signal.SIGTERM,
    signal.SIGABRT,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGSEGV,
    getattr(signal, "SIGBUS", signal.SIGSEGV),  # not on Windows
)

_before = {number: signal.getsignal(number) for number in _TAKEN}

import pycolmap  # noqa: E402

with suppress(ValueError):  # in another thread than the first one, handlers cannot be set
    for _number, _handler in _before.items():
        if _handler is not None:
            signal.signal(_number, _handler)

__all__ = ["pycolmap"]
