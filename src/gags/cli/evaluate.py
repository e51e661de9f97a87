"""`gags evaluate WS --labels DIR [--protocol NAME|all] [--json FILE|-]`."""

import json as json_module
from pathlib import Path

from rich.console import Console
from rich.table import Table

from gags.cli.common import SceneFolder
from gags.cli.console import ConsoleReporter
from gags.evaluate.labels import load_labels
from gags.evaluate.metrics import Evaluation, Summary
from gags.evaluate.protocols import ALL, PROTOCOLS, protocols_called
from gags.evaluate.score import Scored, evaluate_scene
from gags.files import write_json
from gags.report.worst import write_evaluation_page
from gags.scene import Scene

STDOUT = Path("-")


def command(
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
    progress, frames, loaded = ConsoleReporter(), load_labels(labels), Scene.load(scene)
    chosen = [rules.name for rules in protocols_called(protocol, frames, loaded.capture)]
    if protocol == ALL and len(chosen) < len(PROTOCOLS):
        progress.warn("protocol held-out is left out: no labelled photo was held out")
    scored: dict[str, Scored] = {}
    pages: dict[str, Path] = {}
    for name in chosen:
        scored[name] = evaluate_scene(loaded, frames, name, progress=progress)
        pages[name] = write_evaluation_page(loaded, frames, scored[name].evaluation, progress=progress)
    figures = {name: result.evaluation.to_json() for name, result in scored.items()}
    figures = figures if protocol == ALL else figures[protocol]
    if json == STDOUT:
        print(json_module.dumps(figures, indent=2))
        return
    if json is not None:
        write_json(json, figures)
    for name, result in scored.items():
        Console().print(summary_table(result.evaluation))
        print(f"Worst answers: {pages[name]}\nEvery answer: {result.rows}\n")


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
