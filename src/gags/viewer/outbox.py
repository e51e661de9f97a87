"""Files made for pages: each is fetched once, under an address that nobody can guess, and then removed."""

import secrets
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gags.progress import Reporter

ADDRESS = "files"


class Outbox:
    """A temporary folder of files that pages fetch.

    Only what `place` made is found here: addresses are looked up, and never become paths.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="gags-view-")
        self._files: dict[str, Path] = {}
        self._film = threading.Lock()

    def place(self, name: str) -> Path:
        """Where a file is to be made. name: our own, not a page's"""
        token = secrets.token_urlsafe(24)
        path = Path(self._folder.name) / token / name
        path.parent.mkdir()
        self._files[token] = path
        return path

    def address(self, path: Path) -> str:
        """Where a page fetches a file that is finished."""
        return f"{ADDRESS}/{path.parent.name}"

    def take(self, token: str) -> Path | None:
        """The file of an address, which leads nowhere from now on; None if there is none."""
        path = self._files.pop(token, None)
        return path if path is not None and path.is_file() else None

    @contextmanager
    def filming(self, progress: Reporter) -> Iterator[None]:
        """Wait until no other film is rendered: two would take twice as long each."""
        if not self._film.acquire(blocking=False):
            progress.say("Another film is being rendered; this one waits")
            self._film.acquire()
        try:
            yield
        finally:
            self._film.release()

    def close(self) -> None:
        """Remove everything."""
        self._files.clear()
        self._folder.cleanup()
