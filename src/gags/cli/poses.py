"""`gags poses PHOTOS|VIDEO --out CAPTURE`."""

from pathlib import Path
from typing import Annotated

import tyro

from gags.capture import load_capture
from gags.capture.load import has_poses
from gags.cli.arguments import Flat
from gags.cli.console import ConsoleReporter
from gags.poses import PoseSettings, find_points, find_poses


def poses(
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
    progress = ConsoleReporter()
    if has_poses(source) and not len(load_capture(source, require_points=False).points):
        progress.say(f"{source} has poses, but no points: finding these")
        find_points(source, out, settings, progress)
    else:
        find_poses(source, out, settings, progress)
    print(f"Now: gags run {out} --out my_scene")
