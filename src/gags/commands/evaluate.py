"""`gags evaluate WS --labels DIR`."""

import json as json_module
from pathlib import Path

from rich.console import Console
from rich.table import Table

from gags.commands.common import SceneFolder
from gags.console import ConsoleReporter
from gags.evaluate.answerer import FieldAnswerer
from gags.evaluate.labels import load_labels
from gags.evaluate.protocols import evaluate
from gags.evaluate.results import Evaluation, Summary
from gags.files import atomic_write
from gags.scene import Scene


def command(
    scene: SceneFolder, /, *, labels: Path, protocol: str = "lerf-ovs", json: Path | None = None
) -> None:
    """Score a scene's answers against labelled photos.

    Args:
        scene: Folder of the scene.
        labels: Folder of <photo>.json files in the LERF-OVS format.
        protocol: Named rules of scoring.
        json: File for all rows and means.
    """
    loaded = Scene.load(scene)
    result = evaluate(
        FieldAnswerer(loaded.gaussians, loaded.field),
        loaded.capture,
        load_labels(labels),
        loaded.encoder,
        protocol,
        report=ConsoleReporter(),
    )
    figures = result.to_json()
    loaded.workspace.update_metrics({protocol: {k: v for k, v in figures.items() if k != "rows"}})
    if json is not None:
        with atomic_write(json) as path:
            path.write_text(json_module.dumps(figures, indent=2) + "\n")
    Console().print(summary_table(result))


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
