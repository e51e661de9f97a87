"""What the runs of a benchmark come to: best and median, by scene and over all scenes, beside the paper's.

A run makes Gaussians, prompts and what is learnt anew. The best run of a method on a scene is the one of
largest mIoU, and both of its figures are taken; of the median, each figure is the median of that figure over
the runs. "overall" is the mean over the scenes of what stands in their columns, as in the paper.
"""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from gags.compare.datasets import Dataset
from gags.compare.paper import PublishedRow, PublishedTable, published
from gags.compare.results import MethodResult, SeedResult

METRICS = {"mean_accuracy": "mAcc", "mean_iou": "mIoU"}
OVERALL = "overall"
MINUTES = ("Prep.", "GS", "Lang.")
SECONDS = ("IE", "Rend.", "Pred.", "OSH")


@dataclass(frozen=True)
class Entry:
    """One method on one scene in one run.

    Attributes:
        scene: Name of the scene.
        run: Number of the run, from 0; also the seed of everything in it.
        preset: Preset of the settings.
        result: What came out; it has one seed.
        data: Which photos, points and labels it was made from, see `data_stamp`; empty in results of earlier
            versions.
    """

    scene: str
    run: int
    preset: str
    result: MethodResult
    data: str = ""

    @property
    def key(self) -> tuple[str, int, str]:
        """Scene, run and method: a benchmark has one entry of each."""
        return self.scene, self.run, self.result.method

    def share(self, metric: str) -> float:
        """A figure of `METRICS`, in [0, 1]."""
        return getattr(self.result.seeds[0], metric)

    def minutes(self) -> dict[str, float]:
        """Minutes of training, by heading of Table 3."""
        seconds = self.result.seconds
        parts = (seconds["masks"], seconds["gaussians"], seconds["language"])
        return {heading: part / 60 for heading, part in zip(MINUTES, parts, strict=True)}

    def to_json(self) -> dict[str, Any]:
        """As in `benchmark.json`, with every labelled pair."""
        content = self.result.to_json()
        (seed,) = content.pop("seeds")
        kept = ("rows", "stages", "query_seconds", "figures", "held_out", "trained_on")
        about = {"scene": self.scene, "run": self.run, "preset": self.preset}
        about |= {"data": self.data} if self.data else {}
        counts = content.pop("scene")
        return about | content | {"counts": counts} | {key: seed[key] for key in kept if key in seed}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """The entry that `to_json` wrote.

        Raises:
            KeyError: If something is missing.
            TypeError: If something is of another kind.
        """
        overall = {
            "pairs": len(content["rows"]),
            "mean_accuracy": content["mAcc"],
            "mean_iou": content["mIoU"],
        }
        splits = {key: content[key] for key in ("held_out", "trained_on") if key in content}
        seconds = dict(content["seconds"])
        seed = SeedResult(
            seed=content["run"],
            evaluation={"rows": content["rows"], "overall": overall} | splits,
            language_seconds=seconds.pop("language"),
            stages=content["stages"],
            query_ms=content["query_ms"],
            bytes_per_gaussian=content["bytes_per_gaussian"],
            peak_memory_mb=content["peak_memory_mb"],
            query_seconds=content["query_seconds"],
            figures=content.get("figures", {}),
        )
        about = {name: content[name] for name in ("method", "title", "prompts")}
        result = MethodResult(**about, scene=content["counts"] | {"seconds": seconds}, seeds=(seed,))
        data = str(content.get("data", ""))
        return cls(content["scene"], content["run"], content["preset"], result, data)


@dataclass(frozen=True)
class Failure:
    """What could not be done.

    Attributes:
        scene: Name of the scene.
        reason: Why, in one line.
        run: Number of the run, from 0; None if the scene could not be used at all.
        method: Name of the method; None if no method could learn.
    """

    scene: str
    reason: str
    run: int | None = None
    method: str | None = None

    def untried(self, scenes: Sequence[str], runs: int, methods: Sequence[str]) -> bool:
        """Whether a call for these scenes, runs 0 to `runs` − 1 and methods leaves this as it was."""
        asked = self.scene in scenes
        asked &= self.run is None or self.run < runs
        return not (asked and (self.method is None or self.method in methods))

    @property
    def what(self) -> str:
        """What could not be done, in a few words."""
        run = "" if self.run is None else f", run {self.run}"
        return f"{self.scene}{run}{f', {self.method}' if self.method else ''}"


@dataclass(frozen=True)
class Standing:
    """Figures of one method, of one scene or of all.

    Attributes:
        runs: How many runs there are; of several scenes, of the one that has fewest.
        best: Figure of the best run by metric, in [0, 1].
        median: Median of each figure by metric, in [0, 1].
    """

    runs: int
    best: dict[str, float]
    median: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """As in `benchmark.json`."""
        named = {
            name: {METRICS[metric]: share for metric, share in figures.items()}
            for name, figures in (("best", self.best), ("median", self.median))
        }
        return {"runs": self.runs, **named}


def standing_of_runs(entries: Sequence[Entry]) -> Standing:
    """Best and median of the runs of one method on one scene; there is at least one."""
    best = max(entries, key=lambda entry: (entry.share("mean_iou"), entry.share("mean_accuracy")))
    return Standing(
        len(entries),
        {metric: best.share(metric) for metric in METRICS},
        {metric: statistics.median(entry.share(metric) for entry in entries) for metric in METRICS},
    )


def standing_of_scenes(scenes: Sequence[Standing]) -> Standing:
    """Means over the scenes of one method."""
    return Standing(
        min(scene.runs for scene in scenes),
        {metric: statistics.fmean(scene.best[metric] for scene in scenes) for metric in METRICS},
        {metric: statistics.fmean(scene.median[metric] for scene in scenes) for metric in METRICS},
    )


class Standings:
    """All entries of a benchmark, by method and scene.

    Args:
        entries: What came out.
        scenes: The scenes that were asked for; "overall" needs all of them.
    """

    def __init__(self, entries: Iterable[Entry], scenes: Sequence[str]) -> None:
        self.scenes = tuple(scenes)
        self.by_method: dict[str, dict[str, list[Entry]]] = {}
        for entry in entries:
            self.by_method.setdefault(entry.result.method, {}).setdefault(entry.scene, []).append(entry)

    def of(self, method: str, scene: str) -> Standing | None:
        """Figures of a method on a scene, or on all by the name "overall"; None if a scene has none."""
        runs = self.by_method[method]
        if scene == OVERALL:
            parts = [self.of(method, each) for each in self.scenes]
            known = [part for part in parts if part is not None]
            return standing_of_scenes(known) if known and len(known) == len(parts) else None
        return standing_of_runs(runs[scene]) if scene in runs else None

    def first(self, method: str) -> Entry:
        """Any entry of a method, for its title and preset."""
        return next(entry for entries in self.by_method[method].values() for entry in entries)

    def time(self, method: str, seconds: Callable[[Entry], float | None]) -> float | None:
        """A time of a method: median over the runs of each scene, then mean over the scenes that have it."""
        medians = []
        for entries in self.by_method[method].values():
            known = [value for value in map(seconds, entries) if value is not None]
            medians += [statistics.median(known)] if known else []
        return statistics.fmean(medians) if medians else None

    def to_json(self) -> dict[str, Any]:
        """By method, then by scene and "overall", as in `benchmark.json`."""
        content: dict[str, Any] = {}
        for method in self.by_method:
            found = {scene: self.of(method, scene) for scene in (*self.scenes, OVERALL)}
            content[method] = {k: v.to_json() if v is not None else None for k, v in found.items()}
        return content


@dataclass(frozen=True)
class TableRow:
    """One row of figures.

    Attributes:
        system: What the row is about, in the paper's words where it has any.
        source: Whose figures they are: "paper", or method, preset, and best or median of how many runs.
        method: The method of ours; None for the paper's figures.
        cells: One figure a column; None where there is none.
        title: What the method of ours is; empty for the paper's figures.
    """

    system: str
    source: str
    method: str | None
    cells: tuple[float | None, ...]
    title: str = ""


@dataclass(frozen=True)
class BenchmarkTable:
    """One of the paper's tables with our figures.

    Attributes:
        number: Its number in the paper.
        title: What it measures, and the unit.
        columns: Headings.
        rows: The paper's rows in its order, each followed by ours; then methods that the paper has not.
        decimals: How many decimals are worth printing.
    """

    number: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]
    decimals: int = 2

    @property
    def notes(self) -> tuple[str, ...]:
        """What methods of ours are, where their titles say more than the paper's row; one line a method."""
        titles = {row.method: row.title for row in self.rows if row.method and row.title != row.system}
        return tuple(f"{method}: {title}" for method, title in titles.items())

    def to_json(self) -> dict[str, Any]:
        """As in `benchmark.json`."""
        return {
            "number": self.number,
            "title": self.title,
            "columns": list(self.columns),
            "rows": [vars(row) | {"cells": list(row.cells)} for row in self.rows],
        }


def paper_tables(standings: Standings, dataset: Dataset) -> tuple[BenchmarkTable, ...]:
    """The paper's tables 1 to 6 with our figures; of 4 to 6 those that another method than `gags` is in."""
    if not standings.by_method:
        return ()
    tables = [
        _quality(standings, dataset, "quality", ("mean_accuracy",), "1", "Localisation: mAcc, %"),
        _quality(standings, dataset, "quality", ("mean_iou",), "2", "Segmentation: mIoU, %"),
        *_times(standings),
    ]
    for name in ("granularity", "fusion", "losses"):
        table = published(name)
        methods = {method for row in table.rows.values() for method in row.methods} - {"gags"}
        if methods & standings.by_method.keys():
            metrics = tuple(next(iter(table.rows.values())).figures)
            tables.append(_quality(standings, dataset, name, metrics, table.number, table.title))
    return tuple(tables)


def _quality(
    standings: Standings, dataset: Dataset, name: str, metrics: Sequence[str], number: str, title: str
) -> BenchmarkTable:
    """A table of shares: columns are the scenes where the paper has them, else their mean alone."""
    table = published(name)
    by_scene = all(
        scene in row.figures[metrics[0]] for row in table.rows.values() for scene in dataset.scenes
    )
    places = (*standings.scenes, OVERALL) if by_scene else (OVERALL,)
    columns = tuple((metric, place) for metric in metrics for place in places)
    rows: list[TableRow] = []
    for row in table.rows.values():
        rows.append(_published_row(row, table, columns, dataset, standings.scenes))
        for method in row.methods:
            rows += _own_rows(row.label, method, columns, standings)
    if name == "quality":
        named = {method for row in table.rows.values() for method in row.methods}
        for method in (method for method in standings.by_method if method not in named):
            rows += _own_rows(standings.first(method).result.title, method, columns, standings)
    headings = [place if by_scene else METRICS[metric] for metric, place in columns]
    return BenchmarkTable(number, title, tuple(headings), tuple(rows))


def _published_row(
    row: PublishedRow,
    table: PublishedTable,
    columns: Sequence[tuple[str, str]],
    dataset: Dataset,
    scenes: Sequence[str],
) -> TableRow:
    """The paper's figures; a mean is over the scenes that were asked for, where the paper has these."""
    figures = [(row.figures[metric], place) for metric, place in columns]
    if not all(dataset.name in known for known, _ in figures):
        cells = [known.get("mip360-ovs") for known, _ in figures]
        return TableRow(row.label, "paper, Mip-NeRF 360", None, tuple(cells))
    if set(scenes) == set(dataset.scenes):
        cells = [known.get(dataset.name if place == OVERALL else place) for known, place in figures]
    elif dataset.name in table.means:
        cells = [
            statistics.fmean(known[scene] for scene in scenes) if place == OVERALL else known.get(place)
            for known, place in figures
        ]
    else:
        cells = [known[dataset.name] for known, _ in figures]
        return TableRow(row.label, "paper, all scenes", None, tuple(cells))
    return TableRow(row.label, "paper", None, tuple(cells))


def _own_rows(
    system: str, method: str, columns: Sequence[tuple[str, str]], standings: Standings
) -> list[TableRow]:
    """Best and median of a method; one row if there is one run, none if the method has not run."""
    if method not in standings.by_method:
        return []
    found = [(metric, standings.of(method, place)) for metric, place in columns]
    counts = sorted({standing.runs for _, standing in found if standing})
    runs = " to ".join(map(str, counts[:1] + counts[1:][-1:]))
    about = f"{method} ({standings.first(method).preset})"
    rows = []
    for name in ("best",) if runs == "1" else ("best", "median"):
        cells = tuple(100 * getattr(s, name)[metric] if s else None for metric, s in found)
        words = "1 run" if runs == "1" else f"{name} of {runs}"
        title = standings.first(method).result.title
        rows.append(TableRow(system, f"{about}, {words}", method, cells, title))
    return rows


def _times(standings: Standings) -> list[BenchmarkTable]:
    """Table 3, one half each: minutes of training, and seconds to answer all labelled pairs of a scene."""

    def minutes(entry: Entry) -> dict[str, float]:
        return entry.minutes()

    def seconds(entry: Entry) -> dict[str, float]:
        return entry.result.seeds[0].query_seconds

    return [
        _time_table(standings, "Training, minutes", "training_minutes", MINUTES, minutes),
        _time_table(standings, "All queries of a scene, seconds", "query_seconds", SECONDS, seconds),
    ]


def _time_table(
    standings: Standings,
    title: str,
    metric: str,
    headings: Sequence[str],
    times: Callable[[Entry], dict[str, float]],
) -> BenchmarkTable:
    """Half of Table 3: the parts by heading, and their sum."""
    table = published("times")
    rows: list[TableRow] = []

    def add(system: str, method: str) -> None:
        parts = [standings.time(method, lambda entry, h=h: times(entry).get(h)) for h in headings]
        known = [part for part in parts if part is not None]
        first = standings.first(method)
        cells = (*parts, sum(known) if known else None)
        rows.append(TableRow(system, f"{method} ({first.preset})", method, cells, first.result.title))

    for row in table.rows.values():
        figures = row.figures[metric]
        rows.append(TableRow(row.label, "paper", None, tuple(figures.get(h) for h in (*headings, "total"))))
        for method in (method for method in row.methods if method in standings.by_method):
            add(row.label, method)
    named = {method for row in table.rows.values() for method in row.methods}
    for method in (method for method in standings.by_method if method not in named):
        add(standings.first(method).result.title, method)
    return BenchmarkTable("3", title, (*headings, "total"), tuple(rows), decimals=1)
