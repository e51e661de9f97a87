"""Standard output and errors as they come: without UTF-8, closed early, on a full disk, or not there."""

import contextlib
import io
import os
import sys
from typing import Any, TextIO

from rich.console import Console


def settle_streams() -> None:
    """Make sure that printing never fails for what is printed, only for where it goes.

    Letters that a terminal cannot show are replaced. Bytes of names that are no UTF-8 come out as they are.
    A stream that the caller has closed takes everything and shows nothing.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - as long as we run
        elif isinstance(stream, io.TextIOWrapper):
            utf8 = stream.encoding.lower().replace("-", "").replace("_", "") == "utf8"
            with contextlib.suppress(OSError):  # of what was closed since: then nothing can be shown there
                stream.reconfigure(errors="surrogateescape" if utf8 else "replace")


def tell(line: str) -> None:
    """Print a line on stderr; if nobody reads that, there is nobody to tell."""
    with contextlib.suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)


def flush() -> None:
    """Write out what was printed.

    Raises:
        OSError: If the reader has left, or there is no room. It will not be tried again.
    """
    try:
        sys.stdout.flush()
    except OSError:
        _give_up(sys.stdout)
        raise
    finally:
        try:
            sys.stderr.flush()
        except OSError:
            _give_up(sys.stderr)


def _give_up(stream: TextIO) -> None:
    """Send what a stream still holds to nowhere: Python would try to write it once more when it ends."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


class ResultConsole(Console):
    """rich's console for results on stdout; if their reader leaves, `gags.cli.main` hears of it.

    rich itself would end the program with exit code 1.
    """

    def on_broken_pipe(self) -> None:
        """Hand the error on."""
        raise BrokenPipeError


class ForgivingStderr:
    """stderr for progress: a run goes on when nobody reads it any more, or its log has no room."""

    def write(self, text: str) -> int:
        """Write, if that can be done."""
        with contextlib.suppress(OSError):
            return self._stream().write(text)
        return len(text)

    def flush(self) -> None:
        """Write out, if that can be done."""
        with contextlib.suppress(OSError):
            self._stream().flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream(), name)

    def _stream(self) -> TextIO:
        """The stream of now; of rich's stand-in while bars are shown, what is behind it."""
        return getattr(sys.stderr, "rich_proxied_file", sys.stderr)
