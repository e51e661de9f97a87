"""`gags catalog WS [--words FILE] [--json] [--out DIR]`."""

import json as json_module
from pathlib import Path

import cv2
from rich.console import Console
from rich.table import Table

from gags.cli.common import SceneFolder
from gags.cli.console import ConsoleReporter
from gags.draw.named_things import picture_of_entries
from gags.errors import QueryError
from gags.files import atomic_write
from gags.query.catalog import Entry, read_words
from gags.query.words import EVERYDAY
from gags.scene import Scene


def command(
    scene: SceneFolder, /, *, words: Path | None = None, json: bool = False, out: Path | None = None
) -> None:
    """List what is in the scene: its things, each with the words that name it best, and a labelled picture.

    Things are what the masks of many photos agree on. They are written to catalog.json and catalog.png.

    Args:
        scene: Folder of the scene.
        words: Names to choose from, a text file with one a line. Default: a few hundred everyday things.
        json: Print the content of catalog.json instead of a table.
        out: Folder for catalog.json and catalog.png. Default: catalog/ in the scene's folder.
    """
    chosen = EVERYDAY if words is None else read_words(words)
    loaded = Scene.load(scene)
    progress = ConsoleReporter()
    entries = loaded.catalog(chosen, progress=progress)
    content = {"things": [entry.to_json() for entry in entries]}
    folder = out or loaded.workspace.root / "catalog"
    picture = picture_of_entries(loaded, entries)
    try:
        with atomic_write(folder / "catalog.json") as path:
            path.write_text(json_module.dumps(content, indent=2) + "\n", encoding="utf-8")
        with atomic_write(folder / "catalog.png") as path:
            path.write_bytes(cv2.imencode(".png", picture[..., ::-1])[1].tobytes())
    except OSError as error:
        raise QueryError(f"cannot write to {folder} ({error.strerror}); choose another --out") from error
    if json:
        print(json_module.dumps(content, indent=2))
        return
    if not entries:
        print("no thing stands out: the scene has no masks that photos agree on; run `gags describe`")
        return
    Console().print(catalog_table(entries))
    print(f"{folder / 'catalog.json'}\n{folder / 'catalog.png'}")


def catalog_table(entries: list[Entry]) -> Table:
    """One row a thing, its parts below it."""
    table = Table()
    for title in ("thing", "score", "or", "photos", "size"):
        table.add_column(title, justify="right" if title in ("score", "photos") else "left")
    for row, entry in sorted(enumerate(entries), key=lambda pair: _path(entries, pair[0])):
        depth = len(_path(entries, row)) - 1
        others = ", ".join(word for word, _ in entry.names[1:4])
        size = " × ".join(f"{side:.3g}" for side in entry.box.size)
        table.add_row("  " * depth + entry.name, f"{entry.names[0][1]:.2f}", others, str(entry.photos), size)
    return table


def _path(entries: list[Entry], row: int) -> tuple[int, ...]:
    """Rows from the whole down to a part."""
    parent = entries[row].part_of
    return (*(_path(entries, parent) if parent is not None else ()), row)
