"""The commands that ask a scene, take things out of it, or show it."""

import json as json_module
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro
from rich.table import Table

import gags
from gags.cli.arguments import ExampleImage, ExamplePixel, SceneFolder, Texts, number, parse_pixel
from gags.cli.console import ConsoleReporter
from gags.cli.terminal import ResultConsole
from gags.errors import QueryError
from gags.gaussians.files import writer_for
from gags.query.edit import parse_color
from gags.query.frame import Unit
from gags.query.names import EVERYDAY
from gags.scene import Scene
from gags.viewer.run import PORTS


def query(
    scene: SceneFolder,
    texts: Texts,
    /,
    *,
    image: ExampleImage = None,
    like: ExamplePixel = None,
    view: tuple[str, ...] = (),
    out: Path | None = None,
    json: bool = False,
) -> None:
    """Find what texts name, or what a picture shows: heat map, mask, peak and 3D box.

    Args:
        scene: Folder of the scene.
        texts: What to look for.
        image: A picture of what to look for, instead of a text or beside texts. It should fill the picture;
            what is transparent does not count.
        like: A pixel of a photo that shows it, as frame_0030:410,220: what is there, then what looks like it.
        view: Photos to answer in, by name. Default: the three that show each answer best.
        out: Folder for the pictures. Default: answers/ in the scene's folder.
        json: Print a JSON list instead of a table.
    """
    shown = None if like is None else parse_pixel(like)
    rows = gags.write_answers(
        scene, texts, view, image=image, like=shown, out=out, progress=ConsoleReporter()
    )
    if json:
        _print_json(rows)
        return
    width = max(len(row["text"]) for row in rows)
    for row in rows:
        x, y = row["peak"]
        answer = f"{row['score']:.2f} at ({x}, {y})" if row["instances"] else "nothing in the scene matches"
        print(f"{row['text']:<{width}}  {answer} in {row['view']}  {row['overlay']}")


def locate(
    scene: SceneFolder,
    texts: Texts,
    /,
    *,
    image: ExampleImage = None,
    like: ExamplePixel = None,
    json: bool = False,
) -> None:
    """Find every instance of what texts name: centre, oriented box, score, and how many photos see it.

    Coordinates and lengths are in the frame and units of the capture; of a scene whose unit is known (`gags
    units`), also in that. Two mugs are two rows.

    Args:
        scene: Folder of the scene.
        texts: What to look for.
        image: A picture of what to look for, instead of a text or beside texts. It should fill the picture;
            what is transparent does not count.
        like: A pixel of a photo that shows it, as frame_0030:410,220: what is there, then what looks like it.
        json: Print a JSON list, one entry an instance, instead of a table.
    """
    if texts or (image is None and like is None):
        _check_texts(texts)
    shown = None if like is None else parse_pixel(like)
    progress = ConsoleReporter()
    loaded = Scene.load(scene, progress=progress)
    queries = loaded.queries(texts, image=image, like=shown)
    found, unit = loaded.locate(queries, progress=progress), loaded.frame.unit
    if json:
        _print_json([instance.to_json(unit) for rows in found for instance in rows])
        return
    width = max(map(len, queries.texts))
    for text, rows in zip(queries.texts, found, strict=True):
        for row in rows:
            center = ", ".join(f"{value:.4g}" for value in row.box.center)
            size = sized(row.box, unit)
            print(f"{text:<{width}}  {row.score:.2f} at ({center}), {size}, in {row.views} photos")
        if not rows:
            print(f"{text:<{width}}  nothing in the scene matches")


def catalog(
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
    entries, folder = gags.write_catalog(scene, words or EVERYDAY, out=out, progress=ConsoleReporter())
    if json:
        _print_json({"things": [entry.to_json() for entry in entries]})
    elif not entries:
        print("no thing stands out: the scene has no masks that photos agree on; run `gags describe`")
    else:
        ResultConsole().print(catalog_table(entries))
        print(f"{folder / 'catalog.json'}\n{folder / 'catalog.png'}")


def extract(
    scene: SceneFolder, texts: Texts, /, *, out: Path, invert: bool = False, ids: bool = False
) -> None:
    """Cut the things that texts name out of the scene: connected, solid pieces, every Gaussian as it was.

    What is cut out is what `gags locate` lists. Nothing is written if nothing matches.

    Args:
        scene: Folder of the scene; stays as it is.
        texts: What to cut out.
        out: File to write: .ply, .spz, .splat, .glb, .gltf, or .usd (extra `usd`).
        invert: Cut out everything else instead.
        ids: Also write which thing each Gaussian belongs to, as a property `thing` of a .ply, and beside it
            the names and boxes of the things, as <name>.things.json.
    """
    loaded, found = _located(scene, texts, out)
    some = loaded.extract(found, out, invert=invert, ids=ids, progress=ConsoleReporter())
    _print_written(len(some), loaded, out, if_none="there is nothing to cut out")


def delete(scene: SceneFolder, texts: Texts, /, *, out: Path, invert: bool = False) -> None:
    """Write the scene without the things that texts name; the scene itself stays as it is.

    What is left out is what `gags locate` lists.

    Args:
        scene: Folder of the scene; stays as it is.
        texts: What to leave out.
        out: File to write: .ply, .spz, .splat, .glb, .gltf, or .usd (extra `usd`).
        invert: Leave out everything else instead.
    """
    loaded, found = _located(scene, texts, out)
    rest = loaded.delete(found, out, invert=invert, progress=ConsoleReporter())
    _print_written(len(rest), loaded, out, if_none="no Gaussian is left")


def recolor(scene: SceneFolder, texts: Texts, /, *, out: Path, color: str, invert: bool = False) -> None:
    """Write the scene with the things that texts name in one colour; the scene itself stays as it is.

    What is coloured is what `gags locate` lists.

    Args:
        scene: Folder of the scene; stays as it is.
        texts: What to colour.
        out: File to write: .ply, .spz, .splat, .glb, .gltf, or .usd (extra `usd`).
        color: As "#ff0000" or "red".
        invert: Colour everything else instead.
    """
    rgb = parse_color(color)
    loaded, found = _located(scene, texts, out)
    loaded.recolor(found, rgb, out, invert=invert, progress=ConsoleReporter())
    count = int(loaded.mask_of(found, invert=invert).sum())
    print(f"{out}: {count} of {len(loaded.gaussians)} Gaussians coloured")


def catalog_table(entries: Sequence[gags.Entry]) -> Table:
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


def sized(box: gags.OrientedBox, unit: Unit | None) -> str:
    """Lengths of a box's sides, and in a unit if there is one."""
    size = " × ".join(f"{value:.3g}" for value in box.size)
    if unit is None:
        return size
    return f"{size} ({' × '.join(f'{value:.3g}' for value in unit.of(box.size))} {unit.name})"


def _path(entries: Sequence[gags.Entry], row: int) -> tuple[int, ...]:
    """Rows from the whole down to a part."""
    parent = entries[row].part_of
    return (*(_path(entries, parent) if parent is not None else ()), row)


def _located(folder: Path, texts: tuple[str, ...], out: Path) -> tuple[Scene, list[list[gags.Instance]]]:
    """A scene, and what the texts name in it, printed; `out` is checked before the work."""
    _check_texts(texts)
    writer_for(out)  # before the scene is loaded, which takes a while
    progress = ConsoleReporter()
    scene = Scene.load(folder, progress=progress)
    scene.check_output(out)
    found = scene.locate(texts, progress=progress)
    for text, instances in zip(texts, found, strict=True):
        scores = ", ".join(f"{instance.score:.2f}" for instance in instances)
        words = f"{len(instances)} found, score {scores}" if instances else "nothing in the scene matches"
        print(f"{text}: {words}")
    return scene, found


def _print_written(count: int, scene: Scene, out: Path, *, if_none: str) -> None:
    whole = len(scene.gaussians)
    print(f"{out}: {count} of {whole} Gaussians" if count else f"{if_none}, {out} is not written")


def _check_texts(texts: tuple[str, ...]) -> None:
    if not texts or not all(text.strip() for text in texts):
        raise QueryError('nothing to look for; add a text that is not empty, as in: WS "red mug"')


def _print_json(content: object) -> None:
    print(json_module.dumps(content, indent=2))


Port = Annotated[int, number("port", int, PORTS)]
LOCAL_ADDRESSES = ("127.0.0.1", "localhost", "::1")


def view(
    scene: SceneFolder,
    /,
    *,
    port: Port = 8080,
    host: str = "127.0.0.1",
    words: Path | None = None,
    up: Annotated[str | None, tyro.conf.arg(metavar="AXIS|X,Y,Z")] = None,
    open: bool = False,
    export: Annotated[Path | None, tyro.conf.arg(metavar="PAGE.html")] = None,
) -> None:
    """Look at the scene in the browser: ask it, click on things, measure, cut out. Ends with Ctrl-C.

    Open the address that is printed. Every browser has its own texts, selection and edits. Names that are
    corrected in the page, a unit and what is up are kept in the scene; all else of it stays as it is.

    Args:
        scene: Folder of the scene.
        port: Port to listen on; the next free one is taken if it is not. From 1 to 65535.
        host: Address to listen on. With another one than the default, other machines reach the scene, and
            nothing is kept.
        words: Names for what is clicked on, a text file with one a line. Default: a few hundred everyday
            things.
        up: What is up: an axis, as z or --up=-y, or three numbers. Default: what the page was told before,
            else what the photos and the ground say.
        open: Open the page in the browser at once.
        export: Write the scene as one page to this file instead. It opens in any browser, without Python, a
            server or a network, and can be asked for a list of about 1,500 words, for the words of `words`
            and for taught names.
    """
    if export is not None:
        _export(scene, export, words, up, open)
        return
    if host not in LOCAL_ADDRESSES:
        print(
            f"gags view: warning: listening on {host}: whoever reaches this machine over the network can "
            "look at the scene, ask it and download it; there is no password and no encryption",
            file=sys.stderr,
        )
    gags.view(
        scene, port=port, host=host, words=words or EVERYDAY, up=up, open=open, progress=ConsoleReporter()
    )


def _export(scene: Path, out: Path, words: Path | None, up: str | None, open: bool) -> None:
    page = gags.export_page(scene, out, words=words or EVERYDAY, up=up, progress=ConsoleReporter())
    print(
        f"{page.path}: {page.size / 1e6:.1f} MB, {page.gaussians:,} Gaussians, {page.things:,} things and "
        f"parts, {page.words:,} words"
    )
    if open:
        webbrowser.open(page.path.resolve().as_uri())
