"""`gags poses PHOTOS|VIDEO --out CAPTURE`."""

from pathlib import Path
from typing import Annotated

import tyro

from gags.cli.common import Flat
from gags.cli.console import ConsoleReporter
from gags.poses import PoseSettings, poses


def command(
    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PHOTOS|VIDEO")],
    /,
    *,
    out: Path,
    settings: Annotated[PoseSettings, Flat] = PoseSettings(),
) -> None:
    """Find where photos, or the frames of a video, were taken from (structure from motion, with COLMAP).

    A capture that has poses but no sparse points, such as a recording of Record3D, keeps its poses and gets
    points.

    Writes a capture for `gags run`: undistorted photos in images/, poses and sparse points in sparse/0/. A
    run that was stopped goes on where it was. `gags run PHOTOS` does this by itself.

    Args:
        source: Folder of photos, a video, or a capture with poses but no points.
        out: Folder of the capture; made if it is not there.
        settings: How poses are found.
    """
    poses(source, out, settings, ConsoleReporter())
    print(f"Now: gags run {out} --out my_scene")
