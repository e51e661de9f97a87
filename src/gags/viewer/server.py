"""The viewer in the browser: a server that gives every browser a session of its own."""

import contextlib
import io
import socket
import threading
from collections.abc import Sequence
from typing import Any

import viser

from gags.errors import GagsError
from gags.query.names import EVERYDAY
from gags.scene import Scene
from gags.viewer.cameras import SCENE_SIZE, Place, first_view, pose_of, up_direction
from gags.viewer.scene import ViewerScene
from gags.viewer.session import Session

THIS_MACHINE = "127.0.0.1"
FIRST_PORT = 8080
PORTS_TRIED = 100  # one after the other, until one is free
NEAREST, FARTHEST = SCENE_SIZE / 2000, 200 * SCENE_SIZE  # that the browser draws, in its units


class _PrivateServer(viser.ViserServer):
    """A server that stays off the internet, even if a browser asks it to share its address there."""

    def request_share_url(self, verbose: bool = True) -> str | None:
        return None


class Viewer:
    """A scene in the browser, until `stop`.

    Args:
        scene: The scene; stays as it is.
        words: Words to name things with.
        host: Address to listen on.
        port: Port to listen on; if it is taken, the next free one.

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
    ) -> None:
        self._shown = ViewerScene(scene, words)
        self._views = list(scene.capture.views)
        cameras = [view.camera for view in self._views]
        self._place = Place.of_scene(self._shown.size, up_direction(cameras))
        self.sessions: dict[int, Session] = {}
        name = scene.workspace.root.resolve().name
        with contextlib.redirect_stdout(io.StringIO()):  # it prints a banner of its own
            self._server = _PrivateServer(host, free_port(host, port), label=name, verbose=False)
        self.url = f"http://{_in_url(host)}:{self._server.get_port()}"
        self._server.gui.configure_theme(dark_mode=True, show_logo=False, show_share_button=False)
        self._server.scene.set_up_direction(self._place.up)
        solid = self._shown.means[self._shown.solid]
        start = pose_of(cameras[first_view(cameras, solid)], solid, self._place.up)
        self._place.move(self._server.initial_camera, start)
        self._server.initial_camera.near, self._server.initial_camera.far = NEAREST, FARTHEST
        self._server.on_client_connect(self._connect)
        self._server.on_client_disconnect(self._disconnect)

    def _connect(self, client: viser.ClientHandle) -> None:
        session = Session(client, self._shown, self._views, self._place)
        self.sessions[client.client_id] = session
        session.start()

    def _disconnect(self, client: viser.ClientHandle) -> None:
        session = self.sessions.pop(client.client_id, None)
        if session is not None:
            session.close()

    def wait(self) -> None:
        """Serve until interrupted."""
        threading.Event().wait()

    def stop(self) -> None:
        """Close the server."""
        for session in self.sessions.values():
            session.close()
        with contextlib.redirect_stdout(io.StringIO()):
            self._server.stop()

    def __enter__(self) -> "Viewer":
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()


def free_port(host: str, port: int) -> int:
    """The first free port, from `port` on.

    Raises:
        GagsError: If the address does not belong to this machine, or no port is free.
    """
    last = min(port + PORTS_TRIED, 65536)
    try:
        family, _, _, _, _ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise GagsError(f"--host {host} is no address of this machine ({error.strerror})") from error
    reason = "all are taken"
    for candidate in range(port, last):
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, candidate))
            except OSError as error:
                reason = error.strerror or reason
                continue
            return candidate
    raise GagsError(f"cannot listen on {host}, port {port} to {last - 1} ({reason}); choose another --port")


def _in_url(host: str) -> str:
    if host in ("0.0.0.0", "::"):
        return "localhost"
    return f"[{host}]" if ":" in host else host
