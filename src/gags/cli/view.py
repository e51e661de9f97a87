"""`gags view WS [--port N] [--host ADDRESS] [--words FILE]`."""

import importlib.util
import sys
from pathlib import Path

from gags.cli.common import SceneFolder
from gags.errors import GagsError, QueryError
from gags.query.catalog import read_words
from gags.query.words import EVERYDAY
from gags.scene import Scene

LOCAL = ("127.0.0.1", "localhost", "::1")


def command(
    scene: SceneFolder, /, *, port: int = 8080, host: str = "127.0.0.1", words: Path | None = None
) -> None:
    """Look at the scene in the browser: ask it, click on things, cut them out. Ends with Ctrl-C.

    Nothing is opened by itself: open the address that is printed. Every browser has its own texts, selection
    and edits; the scene on disk stays as it is.

    Args:
        scene: Folder of the scene.
        port: Port to listen on; the next free one is taken if it is not.
        host: Address to listen on. With another one than the default, other machines reach the scene.
        words: Names for what is clicked on, a text file with one a line. Default: a few hundred everyday
            things.
    """
    if not 1 <= port <= 65535:
        raise QueryError(f"--port {port} is no port; choose one from 1024 to 65535")
    if importlib.util.find_spec("viser") is None:
        raise GagsError("the viewer needs the extra `view`; pip install 'gags[view]'")
    chosen = EVERYDAY if words is None else read_words(words)
    loaded = Scene.load(scene)
    from gags.viewer.server import Viewer

    if host not in LOCAL:
        print(
            f"gags view: warning: listening on {host}: whoever reaches this machine over the network can "
            "look at the scene, ask it and download it; there is no password and no encryption",
            file=sys.stderr,
        )
    with Viewer(loaded, words=chosen, host=host, port=port) as viewer:
        print(f"{scene}: {viewer.url} (Ctrl-C ends)", flush=True)
        try:
            viewer.wait()
        except KeyboardInterrupt:
            print("\nclosed")
