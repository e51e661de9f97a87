"""The GAGS paper's figures (arXiv 2412.13654) and the ablations of it, as `tables/` has them.

`published` gives one of the paper's tables as it stands there. `ablations` gives the methods that are GAGS
with other settings, `side_by_side` the tables that put the paper's figures beside ours.
"""

import math
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from gags.errors import CompareError

PUBLISHED = ("quality", "times", "granularity", "fusion", "losses")
"""Names of the paper's tables: 1 and 2, 3, 4, 5, 6."""


@dataclass(frozen=True)
class PublishedRow:
    """One row of a table of the paper.

    Attributes:
        label: What it is called there, or what it changes.
        methods: The methods of ours that are its system; of Tables 1 to 3 and 5 the first runs by default.
            What each leaves out or swaps is in its title, which stands below the table.
        figures: Value by metric, then by column; without those that the paper leaves out.
    """

    label: str
    methods: tuple[str, ...]
    figures: dict[str, dict[str, float]]


@dataclass(frozen=True)
class PublishedTable:
    """A table of the paper.

    Attributes:
        number: Its number or numbers there.
        title: What it measures, and the unit.
        rows: Its rows by label, in the paper's order.
        means: Columns that are means of others, by name.
        sums: Columns that are sums of others, by name.
    """

    number: str
    title: str
    rows: dict[str, PublishedRow]
    means: dict[str, tuple[str, ...]]
    sums: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Figures:
    """Published figures, in %; None for one that is not given.

    Attributes:
        mean_iou: mIoU.
        mean_accuracy: mAcc.
    """

    mean_iou: float | None
    mean_accuracy: float | None


@dataclass(frozen=True)
class ComparedRow:
    """One row of a table with the paper's figures beside ours.

    Attributes:
        label: What the row changes.
        method: The method of ours that fills it.
        paper: What the paper reports; None where it has no figure.
    """

    label: str
    method: str
    paper: Figures | None = None


@dataclass(frozen=True)
class ComparedTable:
    """A table with the paper's figures beside ours.

    Attributes:
        title: What it is about.
        rows: Its rows.
    """

    title: str
    rows: tuple[ComparedRow, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries; figures are the paper's, in %."""
        rows = [
            {"label": row.label, "method": row.method, "paper": vars(row.paper) if row.paper else None}
            for row in self.rows
        ]
        return {"title": self.title, "rows": rows}


@dataclass(frozen=True)
class Ablation:
    """A method that is GAGS with other settings.

    Attributes:
        name: Name of the method.
        title: What it is.
        settings: Settings of distillation by name; the others stay.
        uniform: Whether there is the same with uniform prompts, too.
        paper_losses: Whether it takes the paper's losses away from what has them, see `paper_losses`.
    """

    name: str
    title: str
    settings: dict[str, Any]
    uniform: bool
    paper_losses: bool


@cache
def published(name: str) -> PublishedTable:
    """One of the paper's tables.

    Args:
        name: One of `PUBLISHED`.

    Raises:
        CompareError: If the file of the table is missing or damaged.
    """
    return published_table(_read(name), f"{name}.toml")


def published_table(content: dict[str, Any], file: str) -> PublishedTable:
    """A table of the paper from what its file holds.

    Args:
        content: The file as a dictionary.
        file: Its name, for errors.

    Raises:
        CompareError: If a row has an unknown key, not as many figures as there are columns, or no figure that
            is a number of 0 or more; or if something is missing.
    """
    try:
        columns = content["columns"]
        rows = [_published_row(row, columns) for row in content["rows"]]
        known = {column for names in columns.values() for column in names}
        means, sums = ({k: tuple(v) for k, v in content.get(key, {}).items()} for key in ("means", "sums"))
        unknown = {name for made in (means, sums) for k, v in made.items() for name in (k, *v)} - known
        if unknown:
            raise ValueError(f"there is no column {min(unknown)!r}")
        if len({row.label for row in rows}) < len(rows):
            raise ValueError("two rows have the same label")
        by_label = {row.label: row for row in rows}
        return PublishedTable(content["number"], content["title"], by_label, means, sums)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(file, error) from error


def _published_row(row: dict[str, Any], columns: dict[str, list[str]]) -> PublishedRow:
    metrics = row.keys() - {"label", "methods"}
    if not metrics or metrics - columns.keys():
        raise ValueError(f"row {row['label']!r} has figures {sorted(metrics)}, columns {sorted(columns)}")
    figures: dict[str, dict[str, float]] = {}
    for metric in (metric for metric in columns if metric in metrics):
        values = [float(value) for value in row[metric]]
        if len(values) != len(columns[metric]) or any(value < 0 for value in values):
            raise ValueError(f"row {row['label']!r} needs {len(columns[metric])} figures of 0 or more")
        pairs = zip(columns[metric], values, strict=True)
        figures[metric] = {column: value for column, value in pairs if not math.isnan(value)}
    return PublishedRow(row["label"], tuple(row["methods"]), figures)


@cache
def ablations() -> tuple[Ablation, ...]:
    """Methods that are GAGS with other settings, from `tables/ablations.toml`.

    Raises:
        CompareError: If the file is missing or damaged.
    """
    try:
        return tuple(
            Ablation(
                name,
                entry["title"],
                entry["settings"],
                uniform=entry.get("uniform", True),
                paper_losses=entry.get("paper_losses", False),
            )
            for name, entry in _read("ablations")["methods"].items()
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise _damaged("ablations.toml", error) from error


@cache
def paper_losses() -> dict[str, Any]:
    """Settings of distillation that give other settings the paper's losses, by name.

    Raises:
        CompareError: If the file of the ablations is missing or damaged.
    """
    try:
        return dict(_read("ablations")["paper-losses"])
    except (KeyError, TypeError) as error:
        raise _damaged("ablations.toml", error) from error


@cache
def side_by_side() -> tuple[ComparedTable, ...]:
    """The paper's comparison with LangSplat and its ablations (tables 4 to 6), as our methods fill them.

    Raises:
        CompareError: If a file is missing or damaged, or a row names a figure that the paper has not.
    """
    try:
        return tuple(
            ComparedTable(table["title"], tuple(_compared_row(row) for row in table["rows"]))
            for table in _read("ablations")["tables"]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged("ablations.toml", error) from error


def _compared_row(row: dict[str, Any]) -> ComparedRow:
    if "paper" not in row:
        return ComparedRow(row["label"], row["method"])
    table, label, column = row["paper"]
    figures = published(table).rows[label].figures
    known = (
        figures[metric][column] if metric in figures else None for metric in ("mean_iou", "mean_accuracy")
    )
    paper = Figures(*known)
    return ComparedRow(row["label"], row["method"], paper)


def ablation_methods() -> list[str]:
    """Methods that the tables of `side_by_side` need, each once."""
    return list(dict.fromkeys(row.method for table in side_by_side() for row in table.rows))


def _read(name: str) -> dict[str, Any]:
    try:
        return tomllib.loads((files("gags.compare") / "tables" / f"{name}.toml").read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise _damaged(f"{name}.toml", error) from error


def _damaged(file: str, error: Exception) -> CompareError:
    return CompareError(f"gags/compare/tables/{file} is missing or damaged ({error!r}); install gags again")
