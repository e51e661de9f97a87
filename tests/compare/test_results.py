"""Medians, JSON and printed tables of hand-made results."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from gags.compare.paper import ComparedRow, ComparedTable, Figures
from gags.compare.results import Comparison, MethodResult, SeedResult

SCENE = {"prompts": 120, "masks": {"sub-part": 9, "part": 5, "whole": 3}}


def _seed(
    seed: int, accuracy: float, iou: float, seconds: float, ms: float, peak: float | None
) -> SeedResult:
    overall = {"pairs": 4, "mean_accuracy": accuracy, "mean_iou": iou}
    evaluation = {"protocol": "lerf-ovs", "overall": overall, "rows": [{"category": "cup", "iou": iou}]}
    stages = {"Distilling": seconds / 2}
    return SeedResult(seed, evaluation, seconds, stages, ms, 32.0, peak)


def _method(name: str, *seeds: SeedResult) -> MethodResult:
    return MethodResult(
        name,
        f"The method {name}",
        "granularity-aware",
        SCENE | {"seconds": {"gaussians": 60.4, "masks": 30.5}},
        seeds,
    )


@pytest.fixture
def comparison() -> Comparison:
    gags = _method(
        "gags",
        _seed(0, 0.75, 0.40, 10.0, 4.0, 500.0),
        _seed(1, 0.50, 0.52, 12.0, 6.0, None),
        _seed(2, 1.00, 0.44, 17.0, 5.0, 700.0),
    )
    part = _method("part", *(_seed(seed, 0.75, 0.30, 8.0, 2.4, None) for seed in range(3)))
    table = ComparedTable(
        "Levels", (ComparedRow("learnt", "gags", Figures(64.49, 88.67)), ComparedRow("part alone", "part"))
    )
    return Comparison(Path("labels"), "lerf-ovs", "lite", (gags, part), (table,))


def _printed(comparison: Comparison) -> list[list[str]]:
    """Words of every line of all tables, 80 columns wide."""
    out = StringIO()
    for table in comparison.printable():
        Console(file=out, width=80).print(table)
    return [line.split() for line in out.getvalue().splitlines() if line.strip()]


def test_main_table_has_medians(comparison: Comparison):
    lines = _printed(comparison)
    assert lines[0] == ["protocol", "lerf-ovs,", "encoder", "lite,", "median", "of", "3", "seeds"]
    # method, mAcc, mIoU; seconds of Gaussians, masks and language; ms a query; bytes a Gaussian; MB
    assert ["gags", "75.0", "44.0", "60", "30", "12", "5", "32", "600"] in lines
    assert ["part", "75.0", "30.0", "60", "30", "8", "2", "32", "–"] in lines


def test_the_best_are_bold(comparison: Comparison):
    column = comparison.printable()[0].columns
    assert list(column[1].cells) == ["[bold]75.0[/bold]"] * 2
    assert list(column[2].cells) == ["[bold]44.0[/bold]", "30.0"]


def test_one_seed_is_no_median(comparison: Comparison):
    single = Comparison(Path("labels"), "held-out", "lite", (_method("gags", _seed(0, 1, 1, 1, 1, 1)),))
    assert _printed(single)[0] == ["protocol", "held-out,", "encoder", "lite,", "1", "seed"]
    assert len(single.printable()) == 1


def test_the_papers_figures_stand_beside_ours(comparison: Comparison):
    lines = _printed(comparison)
    assert ["Levels"] in lines
    assert ["learnt", "44.00", "75.00", "64.49", "88.67"] in lines
    assert ["part", "alone", "30.00", "75.00", "–", "–"] in lines


def test_json_has_medians_and_every_seed(comparison: Comparison):
    content = comparison.to_json()
    assert {key: content[key] for key in ("labels", "protocol", "encoder")} == {
        "labels": "labels",
        "protocol": "lerf-ovs",
        "encoder": "lite",
    }
    gags, part = content["methods"]
    seeds = gags.pop("seeds")
    assert gags == {
        "method": "gags",
        "title": "The method gags",
        "prompts": "granularity-aware",
        "mAcc": 0.75,
        "mIoU": 0.44,
        "seconds": {"gaussians": 60.4, "masks": 30.5, "language": 12.0},
        "query_ms": 5.0,
        "bytes_per_gaussian": 32.0,
        "peak_memory_mb": 600.0,
        "scene": SCENE,
    }
    assert [(seed["seed"], seed["mAcc"], seed["mIoU"], seed["peak_memory_mb"]) for seed in seeds] == [
        (0, 0.75, 0.40, 500.0),
        (1, 0.50, 0.52, None),
        (2, 1.00, 0.44, 700.0),
    ]
    assert seeds[1]["rows"] == [{"category": "cup", "iou": 0.52}]
    assert (seeds[1]["language_seconds"], seeds[1]["stages"]) == (12.0, {"Distilling": 6.0})
    assert part["peak_memory_mb"] is None
    assert [row["paper"] for row in content["tables"][0]["rows"]] == [
        {"mean_iou": 64.49, "mean_accuracy": 88.67},
        None,
    ]


def test_methods_are_found_by_name(comparison: Comparison):
    assert comparison["part"].title == "The method part"


def test_without_ablations_json_has_no_tables(comparison: Comparison):
    plain = Comparison(comparison.labels, comparison.protocol, comparison.encoder, comparison.methods)
    assert "tables" not in plain.to_json()
