"""`gags reconstruct CAPTURE --out WS`."""

from pathlib import Path
from typing import Annotated

import tyro

from gags.cli.common import CaptureFolder, Photos
from gags.cli.console import ConsoleReporter
from gags.pipeline import CaptureSettings, read_capture, reconstruct
from gags.reconstruct.settings import ReconstructSettings
from gags.workspace import Workspace


def command(
    capture: CaptureFolder,
    /,
    *,
    out: Path,
    splats: Path | None = None,
    photos: Photos = CaptureSettings(),
    settings: Annotated[ReconstructSettings, tyro.conf.arg(name="reconstruct")] = ReconstructSettings(),
) -> None:
    """Train 3D Gaussians from photos, or adopt an existing 3DGS file. Poses are found if there are none.

    Args:
        capture: Photos and poses (COLMAP, nerfstudio, Polycam, Record3D), photos alone, or a video.
        out: Folder of the scene; made if it is not there.
        splats: Existing 3DGS .ply to use instead of training Gaussians.
        photos: How photos are read.
        settings: Training of the Gaussians.
    """
    progress = ConsoleReporter()
    need = splats is None
    loaded = read_capture(capture, photos, require_points=need, find_poses_in=out, progress=progress)
    workspace = Workspace.create(out)
    reconstruct(loaded, workspace, settings, splats=splats, progress=progress)
    figures = workspace.read_metrics()
    if "psnr" in figures:
        quality = f"held-out PSNR {figures['psnr']:.2f} dB, SSIM {figures['ssim']:.3f}"
        print(f"{figures['gaussians']} Gaussians, {quality}")
    print(f"The Gaussians are in {workspace.splats}")
