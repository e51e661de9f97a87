"""The command that teaches a scene names of things."""

import json as json_module
from pathlib import Path
from typing import Annotated

import tyro

import gags
from gags.cli.arguments import SceneFolder, column_and_row
from gags.cli.console import ConsoleReporter
from gags.errors import QueryError
from gags.query.pointed import Level
from gags.query.taught import checked_name, load_taught
from gags.scene import Scene
from gags.workspace import Workspace

Name = Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]


def teach(
    scene: SceneFolder,
    name: Name = None,
    /,
    *,
    view: str | None = None,
    at: Annotated[str | None, tyro.conf.arg(metavar="X,Y")] = None,
    level: Level | None = None,
    list: bool = False,
    forget: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None,
    json: bool = False,
) -> None:
    """Teach a scene what you call a thing, by pointing at it in a photo: gags teach WS "Oma's cup" --view V
    --at X,Y

    Later texts that are the name mean this thing, in every command and in the viewer; case, apostrophes,
    hyphens and an article or "my" before it do not matter. More clicks under one name add up. Without a
    click, the taught names are listed.

    Args:
        scene: Folder of the scene.
        name: What to call the thing.
        view: Photo to point into, by name.
        at: Column and row of a pixel that shows the thing, px from the top left of the photo as the scene has
            it.
        level: How much of what is there is meant. Default: what the photos take for one thing.
        list: List what was taught.
        forget: Name to forget, with all of its clicks.
        json: List as JSON.
    """
    if forget is not None:
        if name is not None or view is not None or at is not None or list:
            raise QueryError("--forget takes only the name to forget, as in: gags teach WS --forget NAME")
        count = Scene.load(scene, progress=ConsoleReporter()).forget(forget)
        print(f"forgot {forget!r}, {count} click{'s' if count > 1 else ''}")
    elif name is None and view is None and at is None:
        _print_list(scene, json)
    elif name is None or view is None or at is None:
        raise QueryError(
            'a name, --view and --at belong together: gags teach WS "Oma\'s cup" --view V --at X,Y'
        )
    else:
        _teach(scene, checked_name(name), view, _pixel(at), level)


def _teach(folder: Path, name: str, view: str, at: tuple[int, int], level: Level | None) -> None:
    progress = ConsoleReporter()
    scene = Scene.load(folder, progress=progress)
    taught = scene.teach(name, view, at, level=level, progress=progress)
    instances = scene.locate(taught.name, progress=progress)[0]
    (answer,) = gags.write_answers(scene, taught.name, [taught.view], progress=progress)
    print(f"{taught.name}: {len(taught.members):,} Gaussians at {at} in {taught.view}  {answer['overlay']}")
    for one in instances:
        center = ", ".join(f"{value:.4g}" for value in one.box.center)
        size = " × ".join(f"{value:.3g}" for value in one.box.size)
        what = "taught" if one.certain else "looks like it"
        print(f"  {what}: {one.score:.2f} at ({center}), {size}, in {one.views} photos")


def _print_list(folder: Path, json: bool) -> None:
    entries = load_taught(Workspace.open(folder).taught)
    if json:
        print(json_module.dumps([entry.to_json() for entry in entries], indent=2))
        return
    width = max((len(entry.name) for entry in entries), default=0)
    for entry in entries:
        level = f", {entry.level}" if entry.level else ""
        print(f"{entry.name:<{width}}  {len(entry.members):,} Gaussians at {entry.at} in {entry.view}{level}")
    if not entries:
        print('nothing was taught; teach a name: gags teach WS "Oma\'s cup" --view V --at X,Y')


def _pixel(text: str) -> tuple[int, int]:
    pixel = column_and_row(text)
    if pixel is None:
        raise QueryError(f"--at {text!r} is no pixel; give column and row in px, as in --at 410,220")
    return pixel
