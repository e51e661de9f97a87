"""A model of gags's own made of two small files, its npm package, and registries on this machine."""

import hashlib
import io
import ssl
import stat
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from gags.models.known import ModelFile, OwnModel

CONTENTS = {"encoder.onnx": b"an image encoder", "sam.onnx": b"a mask decoder"}
TARBALL = "/tiny/-/tiny-1.0.0.tgz"
"""Where a registry keeps the package of `TINY`."""

TINY = OwnModel(
    "tiny",
    "segmenter",
    "a test",
    "MIT",
    tuple(ModelFile(name, len(c), hashlib.sha256(c).hexdigest()) for name, c in CONTENTS.items()),
    npm="tiny@1.0.0",
)


def write_files(folder: Path) -> Path:
    """The files of `TINY` in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in CONTENTS.items():
        (folder / name).write_bytes(content)
    return folder


def archive(contents: dict[str, bytes] = CONTENTS, *, below: str = "package/dist/") -> bytes:
    """A `.tgz` as npm packs one."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in contents.items():
            info = tarfile.TarInfo(below + name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def fake_npm(folder: Path, script: str) -> None:
    """An npm client of a few lines of shell."""
    folder.mkdir(parents=True, exist_ok=True)
    client = folder / "npm"
    client.write_text(f"#!/bin/sh\n{script}\n")
    client.chmod(client.stat().st_mode | stat.S_IXUSR)


Answer = Callable[[BaseHTTPRequestHandler], None]


class Registry(ThreadingHTTPServer):
    """A web server on this machine that answers every request with the next of its answers, then the last.

    Attributes:
        asked: Path and headers of every request so far.
        url: Its address.
    """

    daemon_threads = True

    def __init__(self, *answers: Answer, certificate: Path | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = list(answers)
        self.asked: list[tuple[str, dict[str, str]]] = []
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.url = f"{'https' if certificate else 'http'}://localhost:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    server: Registry

    def do_GET(self) -> None:
        self.server.asked.append((self.path, dict(self.headers)))
        answers = self.server.answers
        (answers.pop(0) if len(answers) > 1 else answers[0])(self)

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def serving(*answers: Answer, certificate: Path | None = None) -> Iterator[Registry]:
    """A registry while the block runs."""
    with Registry(*answers, certificate=certificate) as registry:
        thread = threading.Thread(target=registry.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield registry
        finally:
            registry.shutdown()
            thread.join()


def sends(
    content: bytes, *, length: int | None = None, kind: str = "application/octet-stream", status: int = 200
) -> Answer:
    """An answer with a content; `length` is what it promises, 0 for nothing."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        if length != 0:
            handler.send_header("Content-Length", str(len(content) if length is None else length))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def points_to(url: str) -> Answer:
    """An answer that sends on to another address."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", url)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer
