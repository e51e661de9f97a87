"""The command that answers over HTTP."""

from typing import Annotated

import tyro

import gags
from gags.cli.arguments import Flat
from gags.cli.console import ConsoleReporter
from gags.serve.settings import ServeSettings

Folders = Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="WS|LIB [WS|LIB ...]")]


def serve(folders: Folders, /, *, settings: Annotated[ServeSettings, Flat] = ServeSettings()) -> None:
    """Answer over HTTP: query, locate, catalog, search, pictures and cut-outs as JSON and files.

    Listens on this machine alone, and wants a token that is printed at the start, unless told otherwise.

    Args:
        folders: Scenes, and libraries of scenes.
        settings: Where to listen, who may ask, and how much.
    """
    gags.serve(folders, settings, progress=ConsoleReporter())
