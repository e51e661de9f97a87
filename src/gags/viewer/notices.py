"""What one browser is told: errors, news, and progress of what takes a while."""

import asyncio
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import viser

from gags.errors import GagsError
from gags.progress import Bar, Reporter

NoteColor = Literal["gray", "orange", "red"]
NOTE_SECONDS = 6.0  # after which a note that asks for nothing disappears


class Notices:
    """Notifications in one browser, and callbacks whose errors become notifications.

    Args:
        client: The browser.

    Attributes:
        closed: Whether the browser is gone.
    """

    def __init__(self, client: viser.ClientHandle) -> None:
        self._client = client
        self._background: set[asyncio.Future[None]] = set()
        self.closed = False

    def tell(
        self, title: str, body: str, *, color: NoteColor = "gray", seconds: float | None = NOTE_SECONDS
    ) -> None:
        """Show a notification for a while; until it is closed, if `seconds` is None."""
        if not self.closed:
            self._client.add_notification(title, body, color=color, auto_close_seconds=seconds)

    def guarded(self, work: Callable[[], None]) -> Callable[[object], None]:
        """`work` as a callback whose errors are shown in this browser."""

        def run(_: object) -> None:
            try:
                work()
            except GagsError as error:
                self.tell("That did not work", str(error), color="red", seconds=None)
            except Exception as error:
                if self.closed:  # the browser left meanwhile
                    return
                traceback.print_exc(file=sys.stderr)
                text = f"unexpected {type(error).__name__}: {error}; the terminal shows more"
                self.tell("That did not work", text, color="red", seconds=None)

        return run

    def in_background(self, work: Callable[[], None]) -> None:
        """Run `work`, guarded, in a thread beside the event loop; call it in that loop."""
        future = asyncio.get_running_loop().run_in_executor(None, self.guarded(work), None)
        self._background.add(future)
        future.add_done_callback(self._background.discard)

    @contextmanager
    def busy(self, title: str, after: float = 0.2) -> Iterator[Reporter]:
        """Show that something takes a while, if it takes longer than `after` seconds."""
        progress = PageReporter(self._client, title)
        timer = threading.Timer(after, progress.show)
        timer.daemon = True
        timer.start()
        try:
            yield progress
        finally:
            timer.cancel()
            progress.close()


class PageReporter(Reporter):
    """Progress as a notification in one browser."""

    def __init__(self, client: viser.ClientHandle, title: str) -> None:
        self._client, self._title, self._body = client, title, "…"
        self._lock = threading.Lock()
        self._note: viser.NotificationHandle | None = None
        self._closed = False

    def show(self) -> None:
        """Show the notification, unless the work is over."""
        with self._lock:
            if not self._closed:
                self._note = self._client.add_notification(
                    self._title, self._body, loading=True, with_close_button=False
                )

    def close(self) -> None:
        """Remove the notification."""
        with self._lock:
            self._closed = True
            if self._note is not None:
                self._note.remove()

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "steps") -> Iterator[Bar]:
        """Show the count of a stage."""
        yield _PageBar(self, name, total, unit)

    def say(self, message: str) -> None:
        """Show a line."""
        with self._lock:
            self._body = message
            if self._note is not None and not self._closed:
                self._note.body = message


class _PageBar(Bar):
    def __init__(self, progress: PageReporter, name: str, total: int, unit: str) -> None:
        super().__init__(total)
        self._progress, self._name, self._unit = progress, name, unit

    def advance(self, steps: int = 1, note: str = "") -> None:
        super().advance(steps, note)
        self._progress.say(f"{self._name}: {self.done} of {self.total} {self._unit}")
