"""The commands of the stages: run, poses, reconstruct, describe, distill, things."""

from pathlib import Path
from typing import Annotated

import tyro

import gags
from gags.capture.mask_files import AUTO as AUTO_MASKS
from gags.cli.arguments import (
    CaptureFolder,
    Cpus,
    Flat,
    Gpus,
    Photos,
    SceneFolder,
    StageOptions,
    given_settings,
)
from gags.cli.console import ConsoleReporter
from gags.distill.presets import AUTO_PRESET
from gags.distill.settings import DistillSettings
from gags.errors import GagsError
from gags.models.choose import AUTO
from gags.pipeline.settings import CaptureSettings
from gags.poses.settings import PoseSettings
from gags.reconstruct.settings import ReconstructSettings
from gags.segment.settings import DescribeSettings


def run(
    capture: CaptureFolder,
    /,
    *,
    out: Path,
    splats: Path | None = None,
    ray: str | None = None,
    gpus_per_scene: Gpus = None,
    cpus_per_scene: Cpus = None,
    photos: Photos = CaptureSettings(),
    settings: Annotated[StageOptions, Flat] = StageOptions(),
) -> None:
    """Turn photos into a scene that answers text.

    Finds poses if there are none, trains Gaussians, cuts the photos into masks, embeds these, distils one
    language field, and finds the things of the scene. A run that was stopped resumes where it stopped; stages
    whose settings and inputs have not changed are not done again.

    Args:
        capture: Photos and poses (COLMAP, nerfstudio, Polycam, Record3D), photos alone, or a video.
        out: Folder of the scene; made if it is not there.
        splats: Gaussians to use instead of training: .ply of 3DGS, .spz, .splat, .ksplat, .sog, .glb, .gltf.
        ray: Where the work is done: local (workers on this machine), auto or HOST:PORT (a Ray cluster that
            this machine belongs to). Default: in this process. Needs the extra `scale`.
        gpus_per_scene: GPUs that a worker of the cluster takes; a fraction shares one. Default: 1 where there
            are any, else 0.
        cpus_per_scene: Cores that a worker of the cluster takes, and no more threads. Default: all of a
            machine.
        photos: How photos are read.
        settings: Settings of the stages.
    """
    asked, progress = settings.settings(), ConsoleReporter()
    if ray is None:
        if gpus_per_scene is not None or cpus_per_scene is not None:
            raise GagsError("--gpus-per-scene and --cpus-per-scene divide a cluster; give --ray, too")
        scene = gags.run(capture, out, asked, photos=photos, splats=splats, progress=progress)
    else:
        scene = gags.run_on_ray(
            capture,
            out,
            asked,
            photos=photos,
            splats=splats,
            ray=ray,
            gpus_per_scene=gpus_per_scene,
            cpus_per_scene=cpus_per_scene,
            progress=progress,
        )
    print(f"The report: {scene.workspace.report / 'index.html'}")
    print(f'Ask it something: gags query {out} "desk lamp"')


def poses(
    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PHOTOS|VIDEO")],
    /,
    *,
    out: Path,
    masks: str = AUTO_MASKS,
    settings: Annotated[PoseSettings, Flat] = PoseSettings(),
) -> None:
    """Find where photos, or the frames of a video, were taken from (structure from motion, with COLMAP).

    A capture that has poses but no sparse points, such as a recording of Record3D, keeps its poses and gets
    points.

    Writes a capture for `gags run`: undistorted photos in images/, poses and sparse points in sparse/0/. A
    run that was stopped resumes where it stopped. `gags run PHOTOS` does this by itself.

    Args:
        source: Folder of photos, a video, or a capture with poses but no points.
        out: Folder of the capture; made if it is not there.
        masks: What is ignored in photos: what is black in the masks of a folder, or in one mask of all
            photos; none: nothing; auto: by masks/ beside the photos, mask_path of transforms.json, and alpha
            channels.
        settings: How poses are found.
    """
    gags.poses(source, out, settings, progress=ConsoleReporter(), masks=masks)
    print(f"Now: gags run {out} --out my_scene")


def reconstruct(
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
        splats: Gaussians to use instead of training: .ply of 3DGS, .spz, .splat, .ksplat, .sog, .glb, .gltf.
        photos: How photos are read.
        settings: Training of the Gaussians.
    """
    progress = ConsoleReporter()
    workspace = gags.reconstruct(capture, out, settings, photos=photos, splats=splats, progress=progress)
    figures = workspace.read_metrics()
    if "psnr" in figures:
        quality = f"held-out PSNR {figures['psnr']:.2f} dB, SSIM {figures['ssim']:.3f}"
        print(f"{figures['gaussians']} Gaussians, {quality}")
    print(f"The Gaussians are in {workspace.splats}")


def describe(
    scene: SceneFolder,
    /,
    *,
    preset: str = AUTO_PRESET,
    segmenter: str = AUTO,
    encoder: str = AUTO,
    settings: Annotated[DescribeSettings, tyro.conf.arg(name="describe")] = DescribeSettings(),
) -> None:
    """Cut every photo of a reconstructed scene into masks on three levels and embed each mask.

    Args:
        scene: Folder of the scene.
        preset: Settings that belong together: paper (every formula as in the paper), released (what the
            authors' program does), lite (best with the two small models); or auto: those that the scene was
            made with before, else paper for SAM ViT-H with a CLIP or SigLIP, lite for all other models.
        segmenter: Model that cuts photos into masks: a name of `gags models`, a SAM, SAM-HQ or SAM 2 by hub
            id or folder, or auto (SAM ViT-H on an NVIDIA GPU, else mobile-sam).
        encoder: Model that embeds masks and texts: a name of `gags models`, a CLIP or SigLIP by hub id or
            folder, or auto (the paper's CLIP where it can be loaded, else lite).
        settings: Prompts and masks; what is not given is the preset's. Defaults shown are those of lite.
    """
    workspace = gags.describe(
        scene,
        given_settings("describe", settings),
        preset=preset,
        segmenter=segmenter,
        encoder=encoder,
        progress=ConsoleReporter(),
    )
    counts = workspace.read_metrics().get("masks", {})
    print(f"{', '.join(f'{n} {level}' for level, n in counts.items())} masks in {workspace.descriptions}")


def distill(
    scene: SceneFolder,
    /,
    *,
    preset: str = AUTO_PRESET,
    settings: Annotated[DistillSettings, tyro.conf.arg(name="distill")] = DistillSettings(),
) -> None:
    """Learn one language field from the masks and embeddings of a scene's photos.

    Args:
        scene: Folder of the scene.
        preset: Settings that belong together: paper (every formula as in the paper), released (what the
            authors' program does), lite (best with the two small models); or auto: those that the scene was
            described with.
        settings: Distillation; what is not given is the preset's. Defaults shown are those of lite.
    """
    changes = given_settings("distill", settings)
    workspace = gags.distill(scene, changes, preset=preset, progress=ConsoleReporter())
    print(f"The language field is in {workspace.field}")


def things(scene: SceneFolder, /) -> None:
    """Find the things of a scene: Gaussians that masks of many photos cut out alike, and their parts.

    Args:
        scene: Folder of the scene.
    """
    found = gags.things(scene, progress=ConsoleReporter())
    kinds = found.kinds()
    groups = f", and {kinds.count('group')} groups of things" if "group" in kinds else ""
    print(f"{kinds.count('thing')} things with {kinds.count('part')} parts{groups}")
