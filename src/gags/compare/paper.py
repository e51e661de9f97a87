"""Figures of the GAGS paper (arXiv 2412.13654, METHOD §4), and its tables of ablations as ours fill them."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Figures:
    """Published figures, in %.

    Attributes:
        mean_iou: mIoU.
        mean_accuracy: mAcc.
    """

    mean_iou: float
    mean_accuracy: float


@dataclass(frozen=True)
class PaperRow:
    """One row of a table.

    Attributes:
        label: What the row changes.
        method: The method of ours that fills it.
        paper: What the paper reports; None where METHOD has no figure.
    """

    label: str
    method: str
    paper: Figures | None = None


@dataclass(frozen=True)
class PaperTable:
    """A table of ablations.

    Attributes:
        title: What it is about.
        rows: Its rows in the paper's order.
    """

    title: str
    rows: tuple[PaperRow, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries; figures are the paper's, in %."""
        rows = [
            {"label": row.label, "method": row.method, "paper": vars(row.paper) if row.paper else None}
            for row in self.rows
        ]
        return {"title": self.title, "rows": rows}


_WITHOUT = "without granularity-aware segmentation"

TABLES = (
    PaperTable(
        "The two methods (paper: means over the scenes of a benchmark)",
        (
            PaperRow("LangSplat (paper: LERF)", "langsplat", Figures(50.70, 77.53)),
            PaperRow("GAGS (paper: LERF)", "gags", Figures(54.12, 81.66)),
            PaperRow("LangSplat (paper: Mip-NeRF 360)", "langsplat", Figures(54.68, 73.09)),
            PaperRow("GAGS (paper: Mip-NeRF 360)", "gags", Figures(64.49, 88.67)),
        ),
    ),
    PaperTable(
        "Losses, one added after the other",
        (
            PaperRow("none", "losses-none", Figures(55.14, 77.31)),
            PaperRow("+ region-aware", "losses-region", Figures(59.97, 82.83)),
            PaperRow("+ entropy", "losses-entropy", Figures(61.68, 84.56)),
            PaperRow("+ consistency (the paper's)", "losses-all", Figures(64.49, 88.67)),
        ),
    ),
    PaperTable(
        "Granularity: which levels, which prompts",
        (
            PaperRow("sub-part alone", "sub-part", Figures(47.78, 77.32)),
            PaperRow("part alone", "part", Figures(61.68, 85.74)),
            PaperRow("whole alone", "whole", Figures(58.63, 78.51)),
            PaperRow("averaged", "average", Figures(59.45, 84.88)),
            PaperRow("learnt", "no-consensus", Figures(63.94, 88.67)),
            PaperRow(f"sub-part alone, {_WITHOUT}", "uniform-sub-part"),
            PaperRow(f"part alone, {_WITHOUT}", "uniform-part"),
            PaperRow(f"whole alone, {_WITHOUT}", "uniform-whole"),
            PaperRow(f"averaged, {_WITHOUT}", "uniform-average", Figures(53.72, 76.84)),
            PaperRow(f"learnt, {_WITHOUT}", "uniform-no-consensus", Figures(60.99, 86.27)),
        ),
    ),
    PaperTable(
        "How levels are fused",
        (
            PaperRow("averaged", "average", Figures(59.45, 84.88)),
            PaperRow("weighted fusion (N2F2, Eq. 9)", "n2f2"),
            PaperRow("learnt by distance, as the paper does", "by-distance-alone", Figures(63.94, 88.67)),
            PaperRow("learnt by repeatability", "no-consensus"),
            PaperRow("learnt by distance, with consensus", "by-distance"),
            PaperRow("averaged, with consensus", "average-consensus"),
            PaperRow("learnt by repeatability, with consensus (gags)", "gags"),
        ),
    ),
)
"""The paper's comparison with LangSplat, and its ablations on Mip-NeRF 360 (tables 4 to 6).

Rows that the paper has do without consensus, which is no part of it, but otherwise take our defaults; the
losses are added with the paper's weights.
"""


def ablation_methods() -> list[str]:
    """Methods that the tables need, each once."""
    return list(dict.fromkeys(row.method for table in TABLES for row in table.rows))
