"""`gags query WS TEXT… [--view NAME…] [--out DIR] [--json]`."""

import json as json_module
from pathlib import Path
from typing import Annotated

import tyro

from gags.cli.common import SceneFolder
from gags.cli.console import ConsoleReporter
from gags.draw.answer_files import write_answers
from gags.errors import QueryError
from gags.scene import Scene


def command(
    scene: SceneFolder,
    texts: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="TEXT [TEXT ...]")],
    /,
    *,
    view: tuple[str, ...] = (),
    out: Path | None = None,
    json: bool = False,
) -> None:
    """Find what texts name: heat map, mask, peak and 3D box.

    Args:
        scene: Folder of the scene.
        texts: What to look for.
        view: Photos to answer in, by name. Default: the three where each text is found best.
        out: Folder for the pictures. Default: answers/ in the scene's folder.
        json: Print a JSON list instead of a table.
    """
    if not texts:
        raise QueryError('nothing to look for; add a text, as in: gags query WS "red mug"')
    loaded = Scene.load(scene)
    views = [loaded.capture[name] for name in view] or None
    folder = out or loaded.workspace.root / "answers"
    queries = loaded.queries(texts)
    rows = write_answers(loaded, queries, views, folder, progress=ConsoleReporter())
    if json:
        print(json_module.dumps(rows, indent=2))
        return
    width = max(len(row["text"]) for row in rows)
    for row in rows:
        x, y = row["peak"]
        print(f"{row['text']:<{width}}  {row['score']:.2f} at ({x}, {y}) in {row['view']}  {row['overlay']}")
