"""The command of many scenes: run-many."""

import sys
from pathlib import Path
from typing import Annotated

import tyro

import gags
from gags.cli.arguments import Cpus, Flat, Gpus, Photos, StageOptions
from gags.cli.console import ConsoleReporter
from gags.pipeline.settings import CaptureSettings
from gags.progress import seconds

Captures = Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="CAPTURE [CAPTURE ...]")]


def run_many(
    captures: Captures,
    /,
    *,
    out: Path,
    ray: str | None = None,
    gpus_per_scene: Gpus = None,
    cpus_per_scene: Cpus = None,
    photos: Photos = CaptureSettings(),
    settings: Annotated[StageOptions, Flat] = StageOptions(),
) -> int:
    """Turn many captures into scenes, one after the other or on a cluster.

    Each capture becomes a scene in a folder of its own name, as `gags run` makes it. One that fails is
    reported at the end, the others go on. A run that was stopped, wherever, resumes where it stopped.

    Args:
        captures: Captures as `gags run` takes them: photos and poses, photos alone, or videos.
        out: Folder of the scenes; made if it is not there.
        ray: Where the work is done: local (workers on this machine), auto or HOST:PORT (a Ray cluster that
            this machine belongs to). Default: one scene after the other in this process. Needs the extra
            `scale`.
        gpus_per_scene: GPUs that a worker of the cluster takes; a fraction shares one. Default: 1 where there
            are any, else 0.
        cpus_per_scene: Cores that a worker of the cluster takes, and no more threads. Default: those of a
            machine, divided among the scenes.
        photos: How photos are read.
        settings: Settings of the stages, the same for all scenes.
    """
    results = gags.run_many(
        captures,
        out,
        settings.settings(),
        photos=photos,
        ray=ray,
        gpus_per_scene=gpus_per_scene,
        cpus_per_scene=cpus_per_scene,
        progress=ConsoleReporter(),
    )
    width = max(len(result.name) for result in results)
    for result in results:
        state = f"failed: {result.error}" if result.error is not None else "done"
        print(f"{result.name:<{width}}  {seconds(result.seconds):>11}  {state}")
    for result in results:
        if result.details:
            print(f"{result.name}: {result.details}", file=sys.stderr)
    failed = sum(result.error is not None for result in results)
    if failed:
        print(f"{failed} of {len(results)} scenes failed; the same command tries them again, the rest stays")
        return 1
    print(f'All {len(results)} scenes are in {out}; ask one: gags query {results[0].out} "desk lamp"')
    return 0
