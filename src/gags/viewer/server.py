"""The viewer in the browser: a server that sends the page and the Gaussians, and answers over a websocket."""

import contextlib
import hashlib
import html
import json
import socket
import threading
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response, WebSocket
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from gags.errors import GagsError
from gags.query.names import EVERYDAY
from gags.scene import Scene
from gags.serve.settings import LOCAL_ADDRESSES, THIS_MACHINE
from gags.viewer.guard import ViewerGuard
from gags.viewer.outbox import ADDRESS, Outbox
from gags.viewer.page import live_page
from gags.viewer.scene import ViewerScene
from gags.viewer.session import Session

FIRST_PORT = 8080
PORTS_TRIED = 100  # one after the other, until one is free
START_SECONDS = 20.0
LEAST_MESSAGE = 1 << 20  # bytes that every message may have …
MESSAGE_PER_GAUSSIAN = 2  # … and those that a selection with changes takes
MOST_BROWSERS = 64
WATCH_SECONDS = 2.0  # between two looks at the scene's folder
OTHER_SCENE = "The server shows another scene now: reload the page."
FRAME_HEIGHT = 620  # px, in a notebook


class Viewer:
    """A scene in the browser, until `stop`. In a notebook it shows itself in the cell.

    Args:
        scene: The scene.
        words: Words to name things with.
        host: Address to listen on. With another one than this machine's own, what people correct is not kept.
        port: Port to listen on; if it is taken, the next free one.
        up: What is up; None for what the scene was told, else what photos and ground say. [3]
        framed: Whether a notebook may show the page in a frame.

    Attributes:
        url: Where the page is.
        port: The port it listens on.
        sessions: The browsers that are connected.

    Raises:
        GagsError: If the address cannot be listened on.
    """

    def __init__(
        self,
        scene: Scene,
        *,
        words: Sequence[str] = EVERYDAY,
        host: str = THIS_MACHINE,
        port: int = FIRST_PORT,
        up: np.ndarray | None = None,
        framed: bool = False,
    ) -> None:
        self._local = host in LOCAL_ADDRESSES
        self._words, self._up = words, up
        self._shown = ViewerScene(scene, words, up, write=self._local)
        self._told = ""  # what was said of the scene's folder
        self._reloading = threading.Lock()
        self._ended = threading.Event()
        self._outbox = Outbox()
        self.sessions: set[Session] = set()
        self._listener = listening(host, port)
        self.port = int(self._listener.getsockname()[1])
        self.url = f"http://{_in_url(host)}:{self.port}"
        app = ViewerGuard(self._app(), local=self._local, framed=framed)
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            ws="websockets-sansio",
            ws_max_size=LEAST_MESSAGE + MESSAGE_PER_GAUSSIAN * len(self._shown),
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name="viewer", daemon=True)
        self._thread.start()
        end = time.monotonic() + START_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > end:
                raise GagsError(f"the viewer did not start on {self.url}; try another --port")
            time.sleep(0.02)
        # So that the first question need not wait for the encoder.
        threading.Thread(target=self._warm_up, name="warm up", daemon=True).start()
        threading.Thread(target=self._watch, name="watch", daemon=True).start()

    def _serve(self) -> None:
        self._server.run(sockets=[self._listener])

    def _warm_up(self) -> None:
        with contextlib.suppress(GagsError):  # the page that needs it is told
            self._shown.warm_up()

    def _watch(self) -> None:
        """Say so when another process makes the scene anew."""
        while not self._ended.wait(WATCH_SECONDS):
            changed = self._shown.changed()
            if changed == self._told:
                continue
            self._told = changed
            if changed:
                print(f"{self._root}: {changed} Reload the page to see the new one.", flush=True)
            for session in list(self.sessions):
                session.tell_changed()

    def reload(self) -> None:
        """Show the scene as its folder has it now, if it was made anew; pages see it when they are reloaded.

        Raises:
            GagsError: If it cannot be loaded, as while a stage runs; the former one goes on being shown.
        """
        with self._reloading:
            former = self._shown.scene
            if not former.changed():
                return
            former.workspace.check_free()
            scene = Scene.load(self._root, need_photos=False)
            if scene.field.encoder_name == former.field.encoder_name and "encoder" in vars(former):
                scene.encoder = former.encoder
            self._shown, self._told = ViewerScene(scene, self._words, self._up, write=self._local), ""
        print(f"{self._root}: loaded anew", flush=True)
        threading.Thread(target=self._warm_up, name="warm up", daemon=True).start()

    @property
    def _root(self) -> Path:
        return self._shown.scene.workspace.root

    def _app(self) -> FastAPI:
        app = FastAPI(title="gags", docs_url=None, redoc_url=None, openapi_url=None)
        app.exception_handler(GagsError)(_told)
        app.get("/")(self.page)
        app.get("/favicon.ico")(lambda: Response(status_code=204))
        app.get("/scene.json")(self.scene)
        app.get("/splats/{number}")(self.splats)
        app.get("/harmonics/{number}")(self.harmonics)
        app.get(f"/{ADDRESS}/{{token}}")(self.file)
        app.websocket("/socket")(self.socket)
        return app

    def page(self, request: Request) -> Response:
        """The page."""
        title = self._root.resolve().name
        return _sent(request, live_page(title).encode(), "text/html; charset=utf-8")

    def scene(self, request: Request) -> Response:
        """What the page reads first."""
        content = json.dumps(self._shown.scene_json(), allow_nan=False, separators=(",", ":"))
        return _sent(request, content.encode(), "application/json")

    def splats(self, request: Request, number: int, mark: str = "") -> Response:
        """A chunk of Gaussians; with a mark, only of the scene that has it."""
        return self._chunk(request, number, mark, harmonics=False)

    def harmonics(self, request: Request, number: int, mark: str = "") -> Response:
        """The harmonics of a chunk; with a mark, only of the scene that has it."""
        return self._chunk(request, number, mark, harmonics=True)

    def _chunk(self, request: Request, number: int, mark: str, *, harmonics: bool) -> Response:
        shown = self._shown
        if mark not in ("", shown.mark):
            return Response(OTHER_SCENE, 409, media_type="text/plain")
        packed = shown.packed
        if not 0 <= number < packed.chunk_count:
            raise HTTPException(404, "there is no such chunk")
        content = packed.harmonics(number) if harmonics else packed.chunk(number)
        return _sent(request, content, "application/octet-stream")

    def file(self, token: str) -> Response:
        """A file that was made for a page."""
        path = self._outbox.take(token)
        if path is None:
            raise HTTPException(404, "there is no such file, or it was fetched already")
        kind = "video/mp4" if path.suffix == ".mp4" else "application/octet-stream"
        done = BackgroundTask(path.unlink, missing_ok=True)
        return FileResponse(path, media_type=kind, filename=path.name, background=done)

    async def socket(self, socket: WebSocket) -> None:
        """Everything else, over one websocket a browser."""
        if len(self.sessions) >= MOST_BROWSERS:
            await socket.close(code=1013, reason="too many browsers are connected")
            return
        await socket.accept()
        session = Session(
            socket,  # type: ignore[arg-type]
            self._shown,
            self._outbox,
            writable=self._local,
            reload=self.reload,
        )
        self.sessions.add(session)
        try:
            await session.run()
        finally:
            self.sessions.discard(session)

    def wait(self) -> None:
        """Serve until interrupted."""
        while self._thread.is_alive():
            self._thread.join(0.5)

    def stop(self) -> None:
        """Close the server."""
        for session in list(self.sessions):
            session.gone = True
        self._ended.set()
        self._server.should_exit = True
        self._thread.join(5)
        self._outbox.close()

    def __enter__(self) -> "Viewer":
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()

    def _repr_html_(self) -> str:
        """The page in a frame, which notebooks show."""
        url = html.escape(self.url)
        return (
            f'<iframe src="{url}" width="100%" height="{FRAME_HEIGHT}" style="border:0" '
            f'title="The scene in 3D"></iframe><p><a href="{url}" target="_blank">{url}</a></p>'
        )


def _told(request: Request, error: Exception) -> Response:
    """What is wrong with the scene, in one line, for the page to show."""
    return Response(" ".join(str(error).split()), 500, media_type="text/plain")


def _sent(request: Request, content: bytes, kind: str) -> Response:
    """What browsers keep as long as it stays the same; compressed, unless they are on this machine."""
    etag = f'"{hashlib.sha256(content).hexdigest()[:24]}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if etag in known:
        return Response(status_code=304, headers=headers)
    here = request.client is not None and request.client.host in LOCAL_ADDRESSES
    if not here and "gzip" in request.headers.get("accept-encoding", ""):
        packer = zlib.compressobj(1, wbits=31)
        content = packer.compress(content) + packer.flush()
        headers["Content-Encoding"] = "gzip"
    return Response(content, media_type=kind, headers=headers)


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens on the first free port, from `port` on.

    Raises:
        GagsError: If the address does not belong to this machine, or no port is free.
    """
    last = min(port + PORTS_TRIED, 65536)
    try:
        family, kind, protocol, _, _ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise GagsError(f"--host {host} is no address of this machine ({error.strerror})") from error
    reason = "all are taken"
    for candidate in range(port, last):
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, candidate))
            listener.listen(128)
        except OSError as error:
            listener.close()
            reason = error.strerror or reason
            continue
        return listener
    raise GagsError(f"cannot listen on {host}, port {port} to {last - 1} ({reason}); choose another --port")


def _in_url(host: str) -> str:
    if host in ("0.0.0.0", "::"):
        return "localhost"
    return f"[{host}]" if ":" in host else host
