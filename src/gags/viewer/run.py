"""Start the viewer: on the command line until Ctrl-C, in a notebook in its cell."""

import importlib.util
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gags.errors import GagsError
from gags.files.ranges import Range, check_value
from gags.progress import SILENT, Reporter
from gags.query.names import EVERYDAY, read_words
from gags.scene import Scene
from gags.viewer.first_view import parse_up
from gags.viewer.scene import missing_photos_text

if TYPE_CHECKING:
    from gags.viewer.server import Viewer

PORTS = Range(1, 65_535)
NEEDED = ("fastapi", "uvicorn", "websockets")


def view(
    scene: Scene | Path | str,
    *,
    port: int = 8080,
    host: str = "127.0.0.1",
    words: Sequence[str] | Path = EVERYDAY,
    up: Sequence[float] | np.ndarray | str | None = None,
    open: bool = False,
    progress: Reporter = SILENT,
) -> "Viewer | None":
    """Show a scene in the browser until Ctrl-C; the address is printed. In a notebook, show it in the cell.

    Args:
        scene: The scene, or its folder. Names, a unit and what is up that are set in the page are kept there;
            all else stays as it is.
        port: Port to listen on; the next free one is taken if it is not.
        host: Address to listen on. With another one than the default, other machines reach the scene, and
            nothing is kept.
        words: Names for what is clicked on; or a text file of them, one a line.
        up: What is up: an axis, as "z" or "-y", or three numbers. Default: what the page was told, else what
            the photos and the ground say.
        open: Open the page in the browser.
        progress: Told what keeps Gaussians from a GPU that is there.

    Returns:
        In a notebook the viewer, which goes on until its `stop`; else nothing, when it has ended.

    Raises:
        GagsError: If the extra `view` is not installed, or the address cannot be listened on.
        SettingsError: If there is no such port.
        QueryError: If `up` is no direction.
    """
    check_value("port", port, int, PORTS)
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise GagsError(
            f"the viewer needs the extra `view` ({missing[0]} is missing); pip install 'gags[view]'"
        )
    direction = parse_up(up) if isinstance(up, str) else None if up is None else np.asarray(up, np.float64)
    words = read_words(words) if isinstance(words, Path) else words
    loaded = scene if isinstance(scene, Scene) else Scene.load(scene, need_photos=False, progress=progress)
    from gags.viewer.server import Viewer

    notebook = in_notebook()
    viewer = Viewer(loaded, words=words, host=host, port=port, up=direction, framed=notebook)
    if notebook:
        return viewer
    with viewer:
        if lacks := missing_photos_text(loaded):
            print(f"{loaded.workspace.root}: {lacks}")
        if viewer.port != port:
            print(f"port {port} is taken, so it is {viewer.port}")
        print(f"{loaded.workspace.root}: {viewer.url} (Ctrl-C ends)", flush=True)
        if open:
            webbrowser.open(viewer.url)
        try:
            viewer.wait()
        except KeyboardInterrupt:
            print("\nclosed")
    return None


def in_notebook() -> bool:
    """Whether this runs in the kernel of a notebook, which shows what a cell returns."""
    shell = sys.modules.get("IPython")
    found = shell.get_ipython() if shell is not None and hasattr(shell, "get_ipython") else None
    return found is not None and hasattr(found, "kernel")
