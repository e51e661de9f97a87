"""One browser: what it asks over its websocket, answered in threads; its errors are told to it alone."""

import asyncio
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from gags.errors import GagsError, QueryError
from gags.progress import Bar, Reporter
from gags.viewer.answers import ANSWERS, CHANGES
from gags.viewer.messages import Asked, Handler
from gags.viewer.outbox import Outbox
from gags.viewer.scene import ViewerScene
from gags.viewer.wire import packed, unpacked

MOST_AT_ONCE = 16  # questions of one browser; a page that sends more does not wait for answers
NEWS_SECONDS = 0.2  # between two news of one progress
READ_ONLY = (
    "the scene is kept as it is while other machines are listened to; open it on this machine alone, "
    "or over ssh -L"
)


class Socket(Protocol):
    """What a session needs of a websocket."""

    async def receive(self) -> dict[str, Any]:
        """The next event, as ASGI has it."""
        ...

    async def send_text(self, data: str) -> None:
        """Send a text."""
        ...

    async def send_bytes(self, data: bytes) -> None:
        """Send bytes."""
        ...


class BrowserIsGone(GagsError):  # noqa: N818  # what happened
    """Nobody waits for the answer any more."""


class Session:
    """Everything that belongs to one browser.

    Args:
        socket: Its websocket, accepted.
        shown: The scene, shared with other browsers.
        outbox: For files.
        writable: Whether what people correct is kept in the scene.
        reload: Makes the server show the scene as its folder has it now.

    Attributes:
        gone: Whether the browser has left.
    """

    def __init__(
        self,
        socket: Socket,
        shown: ViewerScene,
        outbox: Outbox,
        *,
        writable: bool = True,
        reload: Callable[[], None] = lambda: None,
    ) -> None:
        self._socket, self._shown, self._outbox, self._writable = socket, shown, outbox, writable
        self._answers: dict[str, Handler] = {**ANSWERS, "reload": lambda *_: (reload(), ({}, {}))[1]}
        self._loop = asyncio.get_running_loop()
        self._sending = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self.gone = False

    async def run(self) -> None:
        """Answer until the browser leaves."""
        hello = {"count": len(self._shown), "mark": self._shown.mark, "writable": self._writable}
        await self.send({"hello": hello, "changed": self._shown.changed()})
        try:
            while (event := await self._socket.receive())["type"] == "websocket.receive":
                received = event.get("text")
                await self._take(event["bytes"] if received is None else received)
        finally:
            self.gone = True
            for task in self._tasks:
                task.cancel()

    async def _take(self, received: str | bytes) -> None:
        try:
            values, parts = unpacked(received)
        except QueryError as error:
            await self.send({"id": None, "error": str(error)})
            return
        number, what = values.get("id"), values.get("do")
        problem = ""
        if type(number) is not int or not isinstance(what, str) or what not in self._answers:
            number, problem = None, "this is nothing that the viewer answers"
        elif len(self._tasks) >= MOST_AT_ONCE:
            problem = "too many questions wait; this one is left out"
        elif what in CHANGES and not self._writable:
            problem = READ_ONLY
        if problem:
            await self.send({"id": number, "error": problem})
            return
        task = asyncio.create_task(
            self._answer(int(number or 0), str(what), Asked(values, parts, self._shown))
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, number: int, what: str, asked: Asked) -> None:
        progress = PageReporter(self, number)
        try:
            values, parts = await asyncio.to_thread(self._answers[what], asked, self._outbox, progress)
        except BrowserIsGone:
            return
        except GagsError as error:
            await self.send({"id": number, "error": " ".join(str(error).split())})
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            text = f"unexpected {type(error).__name__}: {error}; the terminal shows more"
            await self.send({"id": number, "error": text})
        else:
            await self.send({"id": number, "result": values}, parts)

    async def send(self, message: dict[str, Any], parts: dict[str, bytes] | None = None) -> None:
        """Send a message, unless the browser has left."""
        content = packed(message, parts)
        async with self._sending:
            if self.gone:
                return
            try:
                await (
                    self._socket.send_text(content)
                    if isinstance(content, str)
                    else self._socket.send_bytes(content)
                )
            except (RuntimeError, OSError):  # it left just now
                self.gone = True

    def tell(self, number: int, text: str, share: float | None) -> None:
        """Tell how far a question is; from any thread."""
        if self.gone:
            raise BrowserIsGone("the browser has left")
        self._send_soon({"id": number, "progress": text, "share": share})

    def tell_changed(self) -> None:
        """Tell that the scene's folder was made anew, or is what it was again; from any thread."""
        self._send_soon({"changed": self._shown.changed()})

    def _send_soon(self, message: dict[str, Any]) -> None:
        with suppress(RuntimeError):  # the server has ended
            self._loop.call_soon_threadsafe(lambda: self._loop.create_task(self.send(message)))


class PageReporter(Reporter):
    """Progress of one question, told to its page."""

    def __init__(self, session: Session, number: int) -> None:
        self._session, self._number = session, number

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "steps") -> Iterator[Bar]:
        """Tell the count of a stage."""
        yield _PageBar(self, name, total, unit)

    def say(self, message: str) -> None:
        """Tell a line."""
        self.tell(message)

    def warn(self, message: str) -> None:
        """Tell a warning."""
        self.tell(message)

    def tell(self, text: str, share: float | None = None) -> None:
        """Tell a text, and which share is done; stops the work if nobody listens any more."""
        self._session.tell(self._number, text, share)


class _PageBar(Bar):
    def __init__(self, progress: PageReporter, name: str, total: int, unit: str) -> None:
        super().__init__(total)
        self._progress, self._name, self._unit = progress, name, unit
        self._told = 0.0

    def advance(self, steps: int = 1, note: str = "") -> None:
        super().advance(steps, note)
        now = time.monotonic()
        if now - self._told < NEWS_SECONDS and self.done < self.total:
            return
        self._told = now
        text = f"{self._name}: {self.done} of {self.total} {self._unit}"
        self._progress.tell(text, self.done / max(self.total, 1))
