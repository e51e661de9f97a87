"""A comparison as tables for people."""

from rich.box import SIMPLE_HEAD
from rich.table import Table

from gags.compare.paper import Figures, PaperTable
from gags.compare.results import MethodResult
from gags.compare.run import Comparison

HEADINGS = (
    *("mAcc\n%", "mIoU\n%", "splats\ns", "masks\ns", "language\ns"),
    *("query\nms", "bytes a\nGaussian", "peak\nMB"),
)  # short enough for a terminal of 80 columns


def main_table(comparison: Comparison) -> Table:
    """One row a method: quality, seconds of each stage, time of a query, size, memory."""
    seeds = len(comparison.methods[0].seeds)
    title = f"protocol {comparison.protocol}, encoder {comparison.encoder}"
    title = f"{title}, median of {seeds} seeds" if seeds > 1 else f"{title}, 1 seed"
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("method", no_wrap=True)
    for name in HEADINGS:
        table.add_column(name, justify="right")
    best = {figure: max(map(figure, comparison.methods)) for figure in (_accuracy, _iou)}
    for result in comparison.methods:
        table.add_row(
            result.method,
            *(_best(figure(result), best[figure]) for figure in best),
            *(f"{result.seconds[stage]:.0f}" for stage in ("gaussians", "masks", "language")),
            f"{result.median(lambda seed: seed.query_ms):.0f}",
            f"{result.median(lambda seed: seed.bytes_per_gaussian):.0f}",
            "–" if result.peak_memory_mb is None else f"{result.peak_memory_mb:.0f}",
        )
    table.caption = (
        "Splats and masks are made once and shared. Bytes: language alone. Peak: resident memory of "
        "the method's own process, libraries and encoder included."
    )
    return table


def ablation_table(comparison: Comparison, wanted: PaperTable) -> Table:
    """A table of the paper with its figures beside ours."""
    table = Table(title=wanted.title, box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("")
    for name in ("mIoU\n%", "mAcc\n%", "paper\nmIoU %", "paper\nmAcc %"):
        table.add_column(name, justify="right")
    for row in wanted.rows:
        result = comparison[row.method]
        ours = (f"{100 * figure(result):.2f}" for figure in (_iou, _accuracy))
        table.add_row(row.label, *ours, *_published(row.paper))
    return table


def _accuracy(result: MethodResult) -> float:
    return result.median(lambda seed: seed.mean_accuracy)


def _iou(result: MethodResult) -> float:
    return result.median(lambda seed: seed.mean_iou)


def _published(figures: Figures | None) -> tuple[str, str]:
    return ("–", "–") if figures is None else (f"{figures.mean_iou:.2f}", f"{figures.mean_accuracy:.2f}")


def _best(share: float, best: float) -> str:
    text = f"{100 * share:.1f}"
    return f"[bold]{text}[/bold]" if share == best else text
