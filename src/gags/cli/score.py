"""The commands that end in figures: demo, evaluate, compare, benchmark."""

import json as json_module
import sys
from pathlib import Path
from typing import Annotated

import tyro
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

import gags
from gags.cli.arguments import Flat, Photos, SceneFolder, StageOptions
from gags.cli.console import ConsoleReporter
from gags.cli.terminal import ResultConsole
from gags.compare.benchmark import BENCHMARK_FILE, BenchmarkSettings
from gags.compare.harness import COMPARISON_FILE, CompareSettings
from gags.compare.methods import DEFAULT
from gags.compare.standings import BenchmarkTable
from gags.evaluate.labels import LabelsBy
from gags.evaluate.metrics import Evaluation, Summary
from gags.evaluate.protocols import ALL
from gags.files import read_table, write_json
from gags.models.choose import SMALL_ENCODER, SMALL_SEGMENTER
from gags.pipeline.settings import CaptureSettings
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
    ResultConsole().print(summary_table(result.evaluation))
    print(f"\nThe report: {result.page}")
    print(f'Ask something else: gags query {out} "{result.example}"')


def evaluate(
    scene: SceneFolder,
    /,
    *,
    labels: Path,
    labels_by: LabelsBy = "name",
    protocol: str = "lerf-ovs",
    json: Path | None = None,
) -> None:
    """Score a scene's answers against labelled photos.

    All rows, and a page that shows the worst answers, go to the scene's report/ as evaluation_PROTOCOL.json
    and .html; the means to report/metrics.json.

    Args:
        scene: Folder of the scene.
        labels: Folder of <photo>.json files in the LERF-OVS format.
        labels_by: Whether label files find their photos by name, or by position: frame_00007 labels the
            seventh of all photos by name, trained on or held out, as in Mip-NeRF360-OVS.
        protocol: Named rules of scoring: lerf-ovs (all labelled photos), lerf-ovs-strict (the same by the
            rules that published figures are made by), held-out (lerf-ovs of photos that were not trained
            on), select-3d (Gaussians chosen in 3D), things (the instances of `gags locate`, also one by one;
            that the scene holds what is labelled is known), or all.
        json: File for all rows and means too; - prints them, and nothing else, on stdout. With --protocol
            all, one entry a protocol.
    """
    scored = gags.evaluate(scene, labels, protocol, labels_by=labels_by, progress=ConsoleReporter())
    figures = {name: evaluation.to_json() for name, evaluation in scored.items()}
    figures = figures if protocol == ALL else figures[protocol]
    if json == STDOUT:
        print(json_module.dumps(figures, indent=2))
        return
    if json is not None:
        write_json(json, figures)
    files = Workspace(scene)
    for name, evaluation in scored.items():
        ResultConsole().print(summary_table(evaluation))
        if _is_of(files.evaluation(name), evaluation):
            print(f"Worst answers: {files.evaluation_page(name)}\nEvery answer: {files.evaluation(name)}\n")


def _is_of(path: Path, evaluation: Evaluation) -> bool:
    """Whether a file holds the rows of an evaluation: of a scene that is only read, it holds older ones."""
    return json_module.dumps(read_table(path)) == json_module.dumps(evaluation.to_json())


def summary_table(result: Evaluation) -> Table:
    """Means by category and split, worst category first; of single instances, where they were counted."""
    table = Table(title=f"protocol {result.protocol}")
    table.add_column("category")
    names = ["pairs", "mAcc %", "mIoU %", "mAP %"]
    one_by_one = any(row.instances is not None for row in result.rows)
    if one_by_one:
        names += ["instances right %", "things found %"]
    for name in names:
        table.add_column(name, justify="right")
    for category, means in sorted(result.categories.items(), key=lambda item: item[1].mean_iou):
        table.add_row(category, *_cells(means, one_by_one))
    table.add_section()
    table.add_row("photos trained on", *_cells(result.trained_on, one_by_one))
    table.add_row("photos held out", *_cells(result.held_out, one_by_one))
    table.add_row("all", *_cells(result.overall, one_by_one), style="bold")
    return table


def _cells(means: Summary, one_by_one: bool) -> list[str]:
    shares = [means.mean_accuracy, means.mean_iou, means.mean_average_precision]
    if one_by_one:
        shares += [means.instance_precision, means.instance_recall]
    return [str(means.pairs), *("–" if s is None or s != s else f"{100 * s:.1f}" for s in shares)]


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
    settings: Annotated[StageOptions, Flat] = StageOptions(),
) -> None:
    """Compare the method with baselines: same Gaussians, same masks, same encoder, one table.

    A comparison that was stopped resumes where it stopped; what has not changed is not done again. Every
    figure, seed and row goes to compare.json in the folder of the comparison.

    Args:
        capture: Photos and poses (COLMAP, nerfstudio, Polycam, Record3D).
        labels: Folder of <photo>.json files in the LERF-OVS format.
        out: Folder of the comparison; made if it is not there.
        methods: Of gags; gags-lite, gags-paper, gags-released (every preset with its own prompts and masks);
            langsplat, langsplat-gaussians (asked by Gaussian), langsplat-uncompressed,
            langsplat-own-prompts; n2f2; grouping (Gaussian Grouping); legaussians (from photos alone),
            legaussians-masks, legaussians-masks-protocol (its masks cut by the protocol); goi,
            goi-calibrated; uplift; average, sub-part, part, whole; no-consensus (granularity by
            repeatability, without consensus) and average-consensus (average with it); most of these with
            uniform prompts (uniform-gags, …), ablations with LangSplat's (crops-average, …); by-distance and
            by-distance-alone; the paper's losses one after the other (losses-none, -region, -entropy, -all).
        scene: Finished scene whose Gaussians and masks are used, instead of a CAPTURE; it is only read.
        splats: Gaussians to use instead of training: .ply of 3DGS, .spz, .splat, .ksplat, .sog, .glb, .gltf.
        comparison: What is compared.
        json: Print compare.json on stdout instead of tables.
        photos: How photos are read.
        settings: Settings of the stages. gags-lite, gags-paper and gags-released take those of --describe and
            --distill that have an effect with their preset; the seeds of learning are those of --seeds.
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
        stages=settings.settings(),
        progress=ConsoleReporter(),
        progress_in_child=ConsoleReporter,
    )
    if json:
        print(json_module.dumps(result.to_json(), indent=2))
        return
    for table in result.printable():
        ResultConsole().print(table)
    print(f"Every figure: {out / COMPARISON_FILE}")


def benchmark(
    dataset: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="lerf-ovs|mip360-ovs")],
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")],
    /,
    *,
    out: Path,
    scenes: tuple[str, ...] = (),
    methods: tuple[str, ...] = (),
    labels: Path | None = None,
    runs: Annotated[BenchmarkSettings, Flat] = BenchmarkSettings(),
    json: bool = False,
    photos: Photos = CaptureSettings(test_every=0),
    settings: Annotated[StageOptions, Flat] = StageOptions(),
) -> int:
    """Run methods on a data set as people download it, and print the paper's tables with our figures.

    Every run makes Gaussians, prompts and what is learnt anew. What is done is not done again: a benchmark
    that was stopped resumes. What fails is listed with its reason and the rest goes on; the exit code is
    then 1. Everything goes to benchmark.json and index.html in the folder of the benchmark.

    Args:
        dataset: lerf-ovs (scenes figurines, ramen, teatime, waldo_kitchen) or mip360-ovs (room, counter,
            garden, bonsai).
        folder: Folder with a folder of photos and poses a scene, and the labels in label/SCENE.
        out: Folder of the benchmark; made if it is not there.
        scenes: Some of the scenes. Default: all.
        methods: Methods by name, see `gags compare --help`. Default: the systems of the paper's tables.
        labels: Folder that holds a folder of labels a scene, if that is not label/ in DIR.
        runs: What is run, and how often.
        json: Print benchmark.json on stdout instead of tables.
        photos: How photos are read; by default all of them are trained on, as the paper does.
        settings: Settings of the stages; the seeds are the number of the run.
    """
    result = gags.benchmark(
        dataset,
        folder,
        out,
        methods,
        runs,
        scenes=scenes,
        labels=labels,
        photos=photos,
        stages=settings.settings(),
        progress=ConsoleReporter(),
        progress_in_child=ConsoleReporter,
    )
    if json:
        print(json_module.dumps(result.to_json(), indent=2))
    else:
        for table in result.tables:
            ResultConsole().print(benchmark_table(table))
        print(f"The page: {result.page}\nEvery figure: {out / BENCHMARK_FILE}")
    for failure in result.failures:
        print(f"gags benchmark: {failure.what}: {failure.reason}", file=sys.stderr)
    return 1 if result.failures else 0


def benchmark_table(table: BenchmarkTable) -> Table:
    """One of the paper's tables with our figures; a system is named above its rows, what ours are below."""
    shown = Table(
        title=f"Table {table.number}. {table.title}", box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False
    )
    shown.add_column("", no_wrap=True)
    for name in table.columns:
        shown.add_column(name.replace("_", "\n"), justify="right")
    system = ""
    for row in table.rows:
        if row.system != system:
            shown.add_row(Text(row.system, style="bold"))
            system = row.system
        cells = ("–" if value is None else f"{value:.{table.decimals}f}" for value in row.cells)
        shown.add_row(Text(f"  {row.source}"), *cells)
    shown.caption = Text("\n".join(table.notes)) if table.notes else None
    shown.caption_justify = "left"
    return shown
