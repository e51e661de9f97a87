"""Figures of the experiment as tables beside the paper's, and as JSON."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gags.compare.methods.learner import Method
from gags.compare.paper import ComparedTable, side_by_side

FIGURES = {
    "mAcc": "mean_accuracy",
    "mIoU": "mean_iou",
    "mAP": "mean_average_precision",
    "best IoU": "mean_best_iou",
}
"""Columns of the table → figures of an evaluation."""


@dataclass(frozen=True)
class Outcome:
    """One method with all its seeds.

    Attributes:
        method: The method.
        evaluations: `Evaluation.to_json()` of every seed.
        seconds: Time to learn, of every seed.
    """

    method: Method
    evaluations: tuple[dict[str, Any], ...]
    seconds: tuple[float, ...]

    def percent(self, column: str) -> float:
        """Median of a column of the table over the seeds, %."""
        return 100 * statistics.median(e["overall"][FIGURES[column]] for e in self.evaluations)

    def to_json(self) -> dict[str, Any]:
        """Medians (%), then the means of every seed as shares."""
        seeds = [
            {"seconds": round(seconds, 1), **evaluation["overall"]}
            for evaluation, seconds in zip(self.evaluations, self.seconds, strict=True)
        ]
        medians = {column: round(self.percent(column), 2) for column in FIGURES}
        return {"method": self.method.name, "title": self.method.title, **medians, "seeds": seeds}


def main_table(outcomes: Sequence[Outcome]) -> str:
    """One Markdown row a method."""
    lines = [f"| method | {' | '.join(FIGURES)} | s |", "|---|" + "---|" * (len(FIGURES) + 1)]
    for outcome in outcomes:
        figures = " | ".join(f"{outcome.percent(column):.1f}" for column in FIGURES)
        lines.append(f"| {outcome.method.name} | {figures} | {statistics.median(outcome.seconds):.0f} |")
    return "\n".join(lines)


def paper_tables(outcomes: Sequence[Outcome]) -> list[str]:
    """Those rows of the paper's tables whose method was run; tables of one row are left out."""
    by_name = {outcome.method.name: outcome for outcome in outcomes}
    filled = [_paper_table(table, by_name) for table in side_by_side()]
    return [text for text in filled if text]


def _paper_table(table: ComparedTable, outcomes: dict[str, Outcome]) -> str:
    """One table as Markdown, empty if it would have fewer than two rows."""
    lines = [f"**{table.title}**", "", "| | mIoU | mAcc | paper mIoU | paper mAcc |", "|---|---|---|---|---|"]
    head = len(lines)
    for row in table.rows:
        if row.method in outcomes:
            outcome, paper = outcomes[row.method], row.paper
            theirs = f"{paper.mean_iou:.2f} | {paper.mean_accuracy:.2f}" if paper else "– | –"
            ours = f"{outcome.percent('mIoU'):.2f} | {outcome.percent('mAcc'):.2f}"
            lines.append(f"| {row.label} | {ours} | {theirs} |")
    return "\n".join(lines) if len(lines) > head + 1 else ""
