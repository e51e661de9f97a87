"""What a comparison leaves behind: figures of every seed, their medians, and tables of them for people."""

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from gags.compare.paper import ComparedTable, Figures

HEADINGS = (
    "mAcc\n%",
    "mIoU\n%",
    "splats\ns",
    "masks\ns",
    "language\ns",
    "query\nms",
    "bytes a\nGaussian",
    "peak\nMB",
)  # short enough for a terminal of 80 columns


@dataclass(frozen=True)
class SeedResult:
    """One method with one seed.

    Attributes:
        seed: Of sampling, training and the autoencoder; masks are the same for all seeds.
        evaluation: `Evaluation.to_json()`: every row, and the means.
        language_seconds: Time to learn language, from masks to what is kept.
        stages: Seconds of the stages within.
        query_ms: Median time of one text in one view.
        bytes_per_gaussian: Size of what is kept for a Gaussian.
        peak_memory_mb: The most memory that learning or asking took, 10⁶ bytes; None if unknown.
        query_seconds: Seconds to answer all labelled pairs, by heading of the paper's Table 3; empty if
            unknown, without the parts that a method has not.
        figures: More figures of the method by name, such as the cosine of an autoencoder; see
            `learnt_figures`.
    """

    seed: int
    evaluation: dict[str, Any]
    language_seconds: float
    stages: dict[str, float]
    query_ms: float
    bytes_per_gaussian: float
    peak_memory_mb: float | None
    query_seconds: dict[str, float] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def mean_accuracy(self) -> float:
        """mAcc over all labelled pairs, in [0, 1]."""
        return self.evaluation["overall"]["mean_accuracy"]

    @property
    def mean_iou(self) -> float:
        """mIoU over all labelled pairs, in [0, 1]."""
        return self.evaluation["overall"]["mean_iou"]

    def to_json(self) -> dict[str, Any]:
        """As in `compare.json`."""
        plain = asdict(self)
        evaluation = plain.pop("evaluation")
        if not self.figures:
            del plain["figures"]
        return {"seed": self.seed, "mAcc": self.mean_accuracy, "mIoU": self.mean_iou} | plain | evaluation


@dataclass(frozen=True)
class MethodResult:
    """One method with all seeds.

    Attributes:
        method: Its name.
        title: What it is.
        prompts: How the photos were prompted.
        scene: Prompts, masks and seconds of the scene it learnt from; see `Described.figures`.
        seeds: One result a seed.
    """

    method: str
    title: str
    prompts: str
    scene: dict[str, Any]
    seeds: tuple[SeedResult, ...]

    def median(self, figure: Callable[[SeedResult], float]) -> float:
        """Median of a figure over the seeds."""
        return statistics.median(map(figure, self.seeds))

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of each stage: Gaussians and masks (shared with other methods), and language (median)."""
        return self.scene["seconds"] | {"language": self.median(lambda seed: seed.language_seconds)}

    @property
    def peak_memory_mb(self) -> float | None:
        """Median over the seeds of which it is known, 10⁶ bytes."""
        known = [seed.peak_memory_mb for seed in self.seeds if seed.peak_memory_mb is not None]
        return statistics.median(known) if known else None

    def to_json(self) -> dict[str, Any]:
        """As in `compare.json`: medians over the seeds, then every seed with all rows."""
        return {
            "method": self.method,
            "title": self.title,
            "prompts": self.prompts,
            "mAcc": self.median(lambda seed: seed.mean_accuracy),
            "mIoU": self.median(lambda seed: seed.mean_iou),
            "seconds": self.seconds,
            "query_ms": self.median(lambda seed: seed.query_ms),
            "bytes_per_gaussian": self.median(lambda seed: seed.bytes_per_gaussian),
            "peak_memory_mb": self.peak_memory_mb,
            "scene": {key: self.scene[key] for key in ("prompts", "masks")},
            "seeds": [seed.to_json() for seed in self.seeds],
        }


@dataclass(frozen=True)
class Comparison:
    """All figures of one scene.

    Attributes:
        labels: Folder of ground truth.
        protocol: Rules of scoring.
        encoder: Encoder of masks and texts.
        methods: One result a method, in the order asked for.
        tables: Tables with the paper's figures beside ours; empty without ablations.
    """

    labels: Path
    protocol: str
    encoder: str
    methods: tuple[MethodResult, ...]
    tables: tuple[ComparedTable, ...] = ()

    def __getitem__(self, method: str) -> MethodResult:
        return next(result for result in self.methods if result.method == method)

    def to_json(self) -> dict[str, Any]:
        """As in `compare.json`; mAcc and mIoU are shares in [0, 1], those of the paper are in %."""
        content: dict[str, Any] = {
            "labels": str(self.labels),
            "protocol": self.protocol,
            "encoder": self.encoder,
            "methods": [result.to_json() for result in self.methods],
        }
        if self.tables:
            content["tables"] = [table.to_json() for table in self.tables]
        return content

    def printable(self) -> list[Table]:
        """The comparison for a terminal: the main table, then those with the paper's figures."""
        return [main_table(self), *(compared_table(self, table) for table in self.tables)]


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


def compared_table(comparison: Comparison, wanted: ComparedTable) -> Table:
    """A table with the paper's figures beside ours."""
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


def _published(figures: Figures | None) -> tuple[str, ...]:
    values = (figures.mean_iou, figures.mean_accuracy) if figures else (None, None)
    return tuple("–" if value is None else f"{value:.2f}" for value in values)


def _best(share: float, best: float) -> str:
    text = f"{100 * share:.1f}"
    return f"[bold]{text}[/bold]" if share == best else text
