"""The commands that end in figures: demo, evaluate, compare."""

import json as json_module
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

import gags
from gags.cli.arguments import Flat, Photos, SceneFolder
from gags.cli.console import ConsoleReporter
from gags.compare.harness import COMPARISON_FILE, CompareSettings
from gags.compare.methods import DEFAULT
from gags.evaluate.metrics import Evaluation, Summary
from gags.evaluate.protocols import ALL
from gags.files import write_json
from gags.models.choose import SMALL_ENCODER, SMALL_SEGMENTER
from gags.pipeline import CaptureSettings, RunSettings
from gags.workspace import Workspace

STDOUT = Path("-")


def demo(
    *,
    out: Path = Path("gags-demo"),
    segmenter: str = SMALL_SEGMENTER,
    encoder: str = SMALL_ENCODER,
) -> None:
    """Run the bundled capture through everything and show what comes out.

    Args:
        out: Folder of the scene; made if it is not there.
        segmenter: Model that cuts photos into masks, see `gags run --help`.
        encoder: Model that embeds masks and texts, see `gags run --help`.
    """
    result = gags.demo(out, segmenter=segmenter, encoder=encoder, progress=ConsoleReporter())
    Console().print(summary_table(result.evaluation))
    print(f"\nThe report: {result.page}")
    print(f'Ask something else: gags query {out} "{result.example}"')


def evaluate(
    scene: SceneFolder, /, *, labels: Path, protocol: str = "lerf-ovs", json: Path | None = None
) -> None:
    """Score a scene's answers against labelled photos.

    All rows, and a page that shows the worst answers, go to the scene's report/ as evaluation_PROTOCOL.json
    and .html; the means to report/metrics.json.

    Args:
        scene: Folder of the scene.
        labels: Folder of <photo>.json files in the LERF-OVS format.
        protocol: Named rules of scoring: lerf-ovs (all labelled photos), held-out (the same, of photos that
            were not trained on), select-3d (Gaussians chosen in 3D), or all.
        json: File for all rows and means too; - prints them, and nothing else, on stdout. With --protocol
            all, one entry a protocol.
    """
    scored = gags.evaluate(scene, labels, protocol, progress=ConsoleReporter())
    figures = {name: evaluation.to_json() for name, evaluation in scored.items()}
    figures = figures if protocol == ALL else figures[protocol]
    if json == STDOUT:
        print(json_module.dumps(figures, indent=2))
        return
    if json is not None:
        write_json(json, figures)
    files = Workspace(scene)
    for name, evaluation in scored.items():
        Console().print(summary_table(evaluation))
        print(f"Worst answers: {files.evaluation_page(name)}\nEvery answer: {files.evaluation(name)}\n")


def summary_table(result: Evaluation) -> Table:
    """Means by category and split, worst category first."""
    table = Table(title=f"protocol {result.protocol}")
    table.add_column("category")
    for name in ("pairs", "mAcc %", "mIoU %", "mAP %"):
        table.add_column(name, justify="right")
    for category, means in sorted(result.categories.items(), key=lambda item: item[1].mean_iou):
        table.add_row(category, *_cells(means))
    table.add_section()
    table.add_row("photos trained on", *_cells(result.trained_on))
    table.add_row("photos held out", *_cells(result.held_out))
    table.add_row("all", *_cells(result.overall), style="bold")
    return table


def _cells(means: Summary) -> list[str]:
    shares = (means.mean_accuracy, means.mean_iou, means.mean_average_precision)
    return [str(means.pairs), *("–" if s != s else f"{100 * s:.1f}" for s in shares)]


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

    A comparison that was stopped resumes where it stopped; what has not changed is not done again. Every
    figure, seed and row goes to compare.json in the folder of the comparison.

    Args:
        capture: Photos and poses (COLMAP, nerfstudio, Polycam, Record3D).
        labels: Folder of <photo>.json files in the LERF-OVS format.
        out: Folder of the comparison; made if it is not there.
        methods: Of gags, langsplat, average, sub-part, part, whole, n2f2, uplift; no-consensus (gags without
            it) and average-consensus (average with it); all of these with uniform prompts (uniform-gags, …);
            by-distance and by-distance-alone; the paper's losses one after the other (losses-none, -region,
            -entropy, -all); legaussians (from photos alone) and legaussians-masks; grouping
            (Gaussian Grouping); goi and goi-calibrated.
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
