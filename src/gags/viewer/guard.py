"""What stands before every request to the viewer: whom it is addressed to, which page sends it, what it does.

Web pages that people visit may send requests to this machine, too. Browsers tell them apart: `Host` is the
name that the page was opened under, `Origin` the page that sends. A page under a name of its own that is made
to point here, and a page of somebody else, are both refused, websockets included.
"""

import ipaddress
import socket
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gags.serve.guard import refuse, without_port
from gags.serve.settings import LOCAL_ADDRESSES

POLICY_VIOLATION = 1008  # why a websocket is closed
READING = ("GET", "HEAD")
_NOTEBOOKS = "http://localhost:* http://127.0.0.1:* https://localhost:* vscode-webview:"
_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


class ViewerGuard:
    """Refuses requests under another name (421), from other pages (403), and other methods than GET (405).

    Args:
        app: What answers.
        local: Whether only this machine is listened to; then only its own names are answered. Else also
            addresses in numbers and this machine's name in the network are.
        framed: Whether a notebook may show the page in a frame.
    """

    def __init__(self, app: ASGIApp, *, local: bool, framed: bool = False) -> None:
        self._app, self._local = app, local
        frames = _NOTEBOOKS if framed else "'none'"
        self._headers = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
        self._headers.append((b"content-security-policy", f"frame-ancestors {frames}".encode()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, as ASGI has it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        status, problem = self._problem(scope, headers.get(b"host", ""), headers.get(b"origin"))
        if status and scope["type"] == "http":
            await refuse(send, status, problem)
        elif status:
            await receive()
            await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": problem})
        else:
            await self._app(scope, receive, self._marked(send) if scope["type"] == "http" else send)

    def _problem(self, scope: Scope, host: str, origin: str | None) -> tuple[int, str]:
        """Status and reason to refuse a request; 0 if there is none."""
        if not self._known(without_port(host)):
            return 421, "the viewer answers under the name of this machine alone"
        websocket = scope["type"] == "websocket"
        if (origin is not None or websocket) and urlsplit(origin or "").netloc.lower() != host.lower():
            return 403, "the viewer answers its own page alone"
        if not websocket and scope["method"] not in READING:
            return 405, "the viewer is asked over its websocket"
        return 0, ""

    def _known(self, name: str) -> bool:
        """Whether a name is one that only this machine has; names of others may be made to point here."""
        name = name.lower()
        if name in LOCAL_ADDRESSES:
            return True
        if self._local:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            own = socket.gethostname().lower()
            return name in (own, f"{own}.local", socket.getfqdn().lower())
        return True

    def _marked(self, send: Send) -> Send:
        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message.get("headers", [])}
                more = [
                    pair for pair in self._headers if pair[0] not in given or pair[0].startswith(b"content-s")
                ]
                message = {**message, "headers": [*message.get("headers", []), *more]}
            await send(message)

        return marked
