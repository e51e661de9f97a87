"""`gags run CAPTURE --out WS`."""

from pathlib import Path
from typing import Annotated

from gags.cli.common import CaptureFolder, Flat, Photos
from gags.cli.console import ConsoleReporter
from gags.pipeline import CaptureSettings, RunSettings, read_capture, run
from gags.report.write import write_scene_report


def command(
    capture: CaptureFolder,
    /,
    *,
    out: Path,
    splats: Path | None = None,
    photos: Photos = CaptureSettings(),
    settings: Annotated[RunSettings, Flat] = RunSettings(),
) -> None:
    """Turn photos into a scene that answers text.

    Finds poses if there are none, trains Gaussians, cuts the photos into masks, embeds these and distils one
    language field. A run that was stopped goes on where it was; stages whose settings and inputs have not
    changed are not done again.

    Args:
        capture: Photos and poses (COLMAP, nerfstudio, Polycam, Record3D), photos alone, or a video.
        out: Folder of the scene; made if it is not there.
        splats: Existing 3DGS .ply to use instead of training Gaussians.
        photos: How photos are read.
        settings: Settings of the stages.
    """
    progress = ConsoleReporter()
    need = splats is None
    loaded = read_capture(capture, photos, require_points=need, find_poses_in=out, progress=progress)
    scene = run(loaded, out, settings, splats=splats, progress=progress)
    page = write_scene_report(scene, progress=progress)
    print(f"The report: {page}")
    print(f'Ask it something: gags query {out} "desk lamp"')
