"""Who may ask the viewer: its own page, under a name of this machine, and reading alone."""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("starlette", reason="needs the extra `view`")

from gags.viewer.guard import ViewerGuard

LOCAL = {"host": "127.0.0.1:8080"}


async def _app(scope, receive, send):
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"etag", b"x")]})
    await send({"type": "http.response.body", "body": b"there"})


def _asked(headers, *, kind="http", method="GET", local=True, framed=False):
    sent = []

    async def receive():
        return {"type": f"{kind}.connect"}

    async def send(message):
        sent.append(message)

    scope = {"type": kind, "method": method, "path": "/"}
    scope["headers"] = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    guard = ViewerGuard(_app, local=local, framed=framed)
    with ThreadPoolExecutor(1) as pool:  # this thread may have a browser's event loop
        pool.submit(lambda: asyncio.run(guard(scope, receive, send))).result()
    return sent


def _status(*arguments, **options):
    return _asked(*arguments, **options)[0]["status"]


def test_the_page_itself_may_read():
    assert _status(LOCAL) == 200
    assert _status(LOCAL | {"origin": "http://127.0.0.1:8080"}) == 200
    assert _status({"host": "localhost:9000", "origin": "http://localhost:9000"}) == 200  # through ssh -L
    assert _status({"host": "[::1]:8080"}) == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "", "192.168.1.5"]
)
def test_another_name_of_this_machine_is_refused(host):
    assert _status({"host": host}) == 421
    assert (
        _asked({"host": host, "origin": f"http://{host}"}, kind="websocket")[0]["type"] == "websocket.close"
    )


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:8081", "http://127.0.0.1", ""]
)
def test_another_page_is_refused(origin):
    assert _status(LOCAL | {"origin": origin}) == 403
    assert _asked(LOCAL | {"origin": origin}, kind="websocket")[0]["type"] == "websocket.close"


def test_a_websocket_says_which_page_it_is_of():
    assert _asked(LOCAL, kind="websocket")[0]["type"] == "websocket.close"
    own = LOCAL | {"origin": "http://127.0.0.1:8080"}
    assert _asked(own, kind="websocket")[0]["type"] == "websocket.accept"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_is_written_over_http(method):
    assert _status(LOCAL, method=method) == 405


def test_other_machines_use_addresses_or_the_own_name():
    assert _status({"host": "192.168.1.5:8080"}, local=False) == 200
    assert _status({"host": "[fe80::1]:8080"}, local=False) == 200
    assert _status({"host": socket.gethostname()}, local=False) == 200
    assert _status({"host": "evil.example"}, local=False) == 421  # a name that is made to point here


def test_pages_are_framed_by_notebooks_alone():
    def policy(**options):
        headers = dict(_asked(LOCAL, **options)[0]["headers"])
        assert headers[b"etag"] == b"x"
        assert headers[b"x-content-type-options"] == b"nosniff"
        return headers[b"content-security-policy"].decode()

    assert policy() == "frame-ancestors 'none'"
    assert "http://localhost:*" in policy(framed=True)
