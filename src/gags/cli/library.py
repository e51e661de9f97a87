"""The command for many scenes at once: put them into a library, ask it, list it."""

import json as json_module
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

import gags
from gags.cli.arguments import number
from gags.cli.console import ConsoleReporter
from gags.errors import GagsError, LibraryError
from gags.files.ranges import Range
from gags.library.records import STATE_WORDS, Found
from gags.library.taught import TaughtName

TOP = Range(1, 10_000)

Place = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="LIB")]


@dataclass(frozen=True)
class Add:
    """Put finished scenes in. One that the library has is replaced."""

    library: Place
    """Folder of the library, or its URL in an object store (s3://, gs://, az://); made if it is not there."""
    scenes: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="WS [WS ...]")]
    """Folders of scenes."""
    name: str = ""
    """Name of the scene in the library, if it is one. Default: that of its folder."""


@dataclass(frozen=True)
class Search:
    """Find which scenes hold what a text names, or what is like a picture or a thing, and where.

    Texts find in a scene what gags locate finds there; scenes rank by relevancy (Eq. 8). Pictures and things
    rank by the cosine of their embeddings. Coordinates are in the frame and units of each scene.
    """

    library: Place
    """Folder or URL of the library."""
    text: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[TEXT]")] = ""
    """What to look for."""
    image: Path | None = None
    """Picture of what to look for, instead of a text."""
    like: str = ""
    """Thing to find more of, instead of a text: SCENE:THING, as a search prints it."""
    top: Annotated[int, number("top", int, TOP)] = 20
    """Results, of each encoder."""
    scene: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Scene to look in, by name; may be given again. Default: all."""
    out: Path | None = None
    """HTML page to write, with a picture of each result."""
    json: bool = False
    """Print a JSON list instead of a table."""


@dataclass(frozen=True)
class List:
    """List the scenes of a library, and whether they changed since they were added."""

    library: Place
    """Folder or URL of the library."""
    json: bool = False
    """Print a JSON list instead of a table."""


@dataclass(frozen=True)
class Remove:
    """Take scenes out of a library. Their folders stay as they are."""

    library: Place
    """Folder or URL of the library."""
    scenes: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="SCENE [SCENE ...]")]
    """Names of the scenes."""


@dataclass(frozen=True)
class Teach:
    """Teach a library what you call a thing that a search found; later texts that are the name find it first.

    Names that a scene was taught (gags teach) come with it when it is added.
    """

    library: Place
    """Folder or URL of the library."""
    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[NAME]")] = ""
    """What to call it; case, hyphens and an article before it do not matter."""
    like: str = ""
    """The thing: SCENE:THING, as a search prints it."""
    list: bool = False
    """List what was taught, here and in the scenes."""
    forget: str = ""
    """Name to forget."""
    json: bool = False
    """List as JSON."""


Action = (
    Annotated[Add, tyro.conf.subcommand("add")]
    | Annotated[Search, tyro.conf.subcommand("search")]
    | Annotated[List, tyro.conf.subcommand("list")]
    | Annotated[Remove, tyro.conf.subcommand("remove")]
    | Annotated[Teach, tyro.conf.subcommand("teach")]
)


def library(*, action: Annotated[Action, tyro.conf.arg(name="")]) -> int | None:
    """Ask many scenes at once: which of them hold something, and where (extra `library`).

    Args:
        action: What to do.
    """
    match action:
        case Add():
            return _add(action)
        case Search():
            _search(action)
        case List():
            _list(action)
        case Remove():
            gags.Library(action.library).remove(_some(action.scenes, "SCENE"))
            print(f"{', '.join(action.scenes)}: taken out of {action.library}")
        case Teach():
            _teach(action)


def _add(action: Add) -> int:
    """Add all scenes that can be; returns 1 if one could not."""
    scenes = _some(action.scenes, "WS")
    if action.name and len(scenes) > 1:
        raise LibraryError(f"--name is for one scene, here are {len(scenes)}; add them one by one")
    target, progress, failed = gags.Library(action.library), ConsoleReporter(), 0
    for folder in scenes:
        try:
            record = target.add(folder, name=action.name, progress=progress)
        except GagsError as error:
            if len(scenes) == 1:
                raise
            failed += 1
            print(f"gags library: {folder} is not added: {error}", file=sys.stderr)
        else:
            print(f"{record.name}: {record.things} things and parts, encoder {record.encoder}")
    return int(failed > 0)


def _search(action: Search) -> None:
    target = gags.Library(action.library)
    found = target.search(
        action.text or None,
        image=action.image,
        like=action.like or None,
        top=action.top,
        scenes=action.scene,
        progress=ConsoleReporter(),
    )
    asked = action.text or (f"Like {action.like}" if action.like else f"Like the picture {action.image}")
    if action.out is not None:
        gags.write_found(action.out, asked, found, library=action.library)
    if action.json:
        print(json_module.dumps([result.to_json() for result in found], indent=2))
        return
    _print_found(found)
    if action.out is not None:
        print(f"\n{action.out}")


def _print_found(found: Sequence[Found]) -> None:
    encoders = list(dict.fromkeys(result.encoder for result in found))
    width = max((len(result.like) for result in found), default=0)
    for encoder in encoders:
        own = [result for result in found if result.encoder == encoder]
        print(f"encoder {encoder}, by {own[0].by}")
        for result in own:
            center = ", ".join(f"{value:.4g}" for value in result.oriented.center)
            notes = [", ".join(result.names)]
            notes += ["no match, the nearest there is"] if result.matches is False else []
            notes += [STATE_WORDS[result.state]] if STATE_WORDS[result.state] else []
            print(f"  {result.like:<{width}}  {result.score:.2f} at ({center})  {'; '.join(notes)}")
    if not found:
        print("nothing found: there are no scenes to look in")


def _list(action: List) -> None:
    records = gags.Library(action.library).scenes()
    if action.json:
        print(json_module.dumps([record.to_json() for record in records], indent=2))
        return
    width = max((len(record.name) for record in records), default=0)
    for record in records:
        note = f"  {STATE_WORDS[record.state]}" if STATE_WORDS[record.state] else ""
        print(
            f"{record.name:<{width}}  {record.things} things, encoder {record.encoder}  {record.path}{note}"
        )
    if not records:
        print(f"{action.library} has no scenes; put one in with gags library add {action.library} WS")


def _teach(action: Teach) -> None:
    target = gags.Library(action.library)
    if action.forget:
        if action.name or action.like or action.list:
            raise LibraryError("--forget takes only the name: gags library teach LIB --forget NAME")
        count = target.forget(action.forget)
        print(f"forgot {action.forget!r}, {count} thing{'s' if count > 1 else ''}")
    elif action.name and action.like:
        taught = target.teach(action.name, action.like)
        print(f"{taught.name}: {taught.scene}:{taught.thing}")
    elif action.name or action.like:
        raise LibraryError(
            'a name and --like belong together: gags library teach LIB "Oma\'s cup" --like SCENE:THING'
        )
    else:
        _print_names(target.names(), action.json)


def _print_names(names: Sequence[TaughtName], json: bool) -> None:
    if json:
        print(json_module.dumps([name.to_json() for name in names], indent=2))
        return
    width = max((len(name.name) for name in names), default=0)
    for name in names:
        thing = "what looks like it" if name.thing is None else f"{name.scene}:{name.thing}"
        print(f"{name.name:<{width}}  {thing}, taught in the {name.by}, encoder {name.encoder}")
    if not names:
        print('nothing was taught; teach a name: gags library teach LIB "Oma\'s cup" --like SCENE:THING')


def _some(given: Sequence[Path] | Sequence[str], what: str) -> list:
    if not given:
        raise LibraryError(f"no {what} is given; name one at least, see gags library --help")
    return list(given)
