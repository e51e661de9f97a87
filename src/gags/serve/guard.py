"""What stands before every request: its size, its rate, and the name that it calls this machine by."""

import json
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_ADDRESSES = 10_000  # whose rates are remembered
BURST = 2.0  # seconds' worth of requests that may come at once


class Rates:
    """A bucket of requests for each address: it fills at the allowed rate, a request takes one out.

    Args:
        rate: Requests a second.
        clock: Seconds from any start; tests pass their own.
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock, self._most = rate, clock, max(1.0, BURST * rate)
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # of each address: left, when

    def wait(self, address: str) -> float:
        """Take a request out; 0 if there was one, else the seconds until there is."""
        now = self._clock()
        left, before = self._left.pop(address, (self._most, now))
        left = min(self._most, left + self._rate * (now - before))
        allowed = left >= 1
        self._left[address] = (left - allowed, now)
        if len(self._left) > MOST_ADDRESSES:
            self._left.popitem(last=False)
        return 0.0 if allowed else (1 - left) / self._rate


class Guard:
    """Refuses what is too large (413), too often (429), or meant for another machine (421).

    Web pages that people visit may send requests to this machine under a name of their own; a service that
    listens on this machine alone answers its own names only.

    Args:
        app: What answers.
        rates: How often an address may ask.
        largest: Bytes of a body.
        hosts: Names that the service is called by; all if empty.
        free: Paths that no rate is counted for.
    """

    def __init__(
        self, app: ASGIApp, *, rates: Rates, largest: int, hosts: Sequence[str] = (), free: Sequence[str] = ()
    ) -> None:
        self._app, self._rates, self._largest = app, rates, largest
        self._hosts, self._free = frozenset(hosts), frozenset(free)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if self._hosts and without_port(headers.get(b"host", "")) not in self._hosts:
            await refuse(send, 421, "this service answers under the name of this machine alone")
            return
        address = (scope.get("client") or ("",))[0]
        wait = 0.0 if scope["path"] in self._free else self._rates.wait(address)
        if wait:
            seconds = max(1, round(wait + 0.5))
            await refuse(send, 429, f"too many requests; come back in {seconds} s", retry=seconds)
            return
        await self._limited(scope, receive, send, headers.get(b"content-length", ""))

    async def _limited(self, scope: Scope, receive: Receive, send: Send, length: str) -> None:
        problem = f"the request is larger than {self._largest:,} bytes"
        if length.isdecimal() and int(length) > self._largest:
            await refuse(send, 413, problem)
            return
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._largest:
                raise HTTPException(413, problem)
            return message

        await self._app(scope, counted, send)


def without_port(host: str) -> str:
    """The name in a `Host` header, without brackets."""
    if host.startswith("["):
        return host.partition("]")[0].removeprefix("[")
    return host.rpartition(":")[0] if ":" in host else host


async def refuse(send: Send, status: int, problem: str, retry: int | None = None) -> None:
    """Answer a request with a problem, as JSON."""
    body = json.dumps({"detail": problem}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if retry is not None:
        headers.append((b"retry-after", str(retry).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
