"""`gags view WS [--port N] [--host ADDRESS] [--words FILE]`."""

import sys
from pathlib import Path

import gags
from gags.cli.arguments import SceneFolder
from gags.query.words import EVERYDAY

LOCAL_ADDRESSES = ("127.0.0.1", "localhost", "::1")


def view(
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
    if host not in LOCAL_ADDRESSES:
        print(
            f"gags view: warning: listening on {host}: whoever reaches this machine over the network can "
            "look at the scene, ask it and download it; there is no password and no encryption",
            file=sys.stderr,
        )
    gags.view(scene, port=port, host=host, words=words or EVERYDAY)
