"""`gags compare CAPTURE --labels DIR --out DIR [--methods …] [--seeds K] [--ablations] [--json]`."""

import json as json_module
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

import gags
from gags.cli.arguments import Flat, Photos
from gags.cli.console import ConsoleReporter
from gags.compare.harness import COMPARISON_FILE, CompareSettings
from gags.compare.methods import DEFAULT
from gags.pipeline import CaptureSettings, RunSettings


def compare(
    capture: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[CAPTURE]")] = None,
    /,
    *,
    labels: Path,
    out: Path,
    methods: tuple[str, ...] = DEFAULT,
    scene: Path | None = None,
    splats: Path | None = None,
    comparison: Annotated[CompareSettings, Flat] = CompareSettings(),
    json: bool = False,
    photos: Photos = CaptureSettings(),
    settings: Annotated[RunSettings, Flat] = RunSettings(),
) -> None:
    """Compare the method with baselines: same Gaussians, same masks, same encoder, one table.

    A comparison that was stopped goes on where it was; what has not changed is not done again. Every figure,
    seed and row goes to compare.json in the folder of the comparison.

    Args:
        capture: Folder with photos and poses (COLMAP or nerfstudio).
        labels: Folder of <photo>.json files in the LERF-OVS format.
        out: Folder of the comparison; made if it is not there.
        methods: Of gags, langsplat, average, sub-part, part, whole, n2f2, uplift; no-consensus (gags without
            it) and average-consensus (average with it); all of these with uniform prompts (uniform-gags, …);
            the paper's losses one after the other (losses-none, -region, -entropy, -all).
        scene: Finished scene whose Gaussians and masks are used, instead of a CAPTURE; it is only read.
        splats: Existing 3DGS .ply to use instead of training Gaussians.
        comparison: What is compared.
        json: Print compare.json on stdout instead of tables.
        photos: How photos are read.
        settings: Settings of the stages.
    """
    result = gags.compare(
        capture,
        labels,
        out,
        methods,
        comparison,
        scene=scene,
        splats=splats,
        photos=photos,
        stages=settings,
        progress=ConsoleReporter(),
        progress_in_child=ConsoleReporter,
    )
    if json:
        print(json_module.dumps(result.to_json(), indent=2))
        return
    for table in result.printable():
        Console().print(table)
    print(f"Every figure: {out / COMPARISON_FILE}")
