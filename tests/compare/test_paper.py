"""The paper's figures as data: they agree with each other, belong to methods, stand beside ours as before."""

import copy
from dataclasses import replace
from itertools import product

import pytest

from gags.compare.methods import all_methods
from gags.compare.methods.field import OneField
from gags.compare.paper import (
    PUBLISHED,
    Figures,
    ablation_methods,
    published,
    published_table,
    side_by_side,
)
from gags.distill.presets import PRESETS
from gags.errors import CompareError

ROWS = [(name, label) for name in PUBLISHED for label in published(name).rows]
QUALITY = ("Gaussian Grouping", "LEGaussians", "GOI", "LangSplat", "GAGS")
SCENES = ("ramen", "teatime", "waldo_kitchen", "figurines", "room", "counter", "garden", "bonsai")


@pytest.mark.parametrize(("name", "label"), ROWS)
def test_overall_figures_are_those_of_the_scenes(name: str, label: str):
    """A mean of four scenes, each rounded to 0.01, is the given one within 0.01; sums are exact."""
    table = published(name)
    for by_column in table.rows[label].figures.values():
        for column, others in table.means.items():
            if column in by_column:
                mean = sum(by_column[other] for other in others) / len(others)
                assert by_column[column] == pytest.approx(mean, abs=0.00501)
        for column, others in table.sums.items():
            assert by_column[column] == sum(by_column.get(other, 0) for other in others)


@pytest.mark.parametrize(("name", "label"), ROWS)
def test_every_row_belongs_to_methods_that_there_are(name: str, label: str):
    methods = published(name).rows[label].methods
    assert set(methods) <= all_methods().keys()
    assert methods


def test_every_scene_has_every_figure():
    rows = published("quality").rows
    assert tuple(rows) == QUALITY
    for label, metric in product(QUALITY, ("mean_accuracy", "mean_iou")):
        assert rows[label].figures[metric].keys() == {*SCENES, "lerf-ovs", "mip360-ovs"}
        assert all(0 < value < 100 for value in rows[label].figures[metric].values())
    assert rows["GAGS"].figures["mean_iou"]["waldo_kitchen"] == 55.8
    assert rows["LangSplat"].figures["mean_accuracy"]["garden"] == 52.38
    assert rows["LEGaussians"].figures["mean_iou"]["counter"] == 35.26


def test_tables_agree_but_for_one_figure():
    """Table 4 gives the mIoU of GAGS as 63.94, Tables 2 and 6 as 64.49."""
    gags = published("quality").rows["GAGS"].figures
    learnt = published("granularity").rows["learnt"].figures
    losses = published("losses").rows["consistency"].figures
    fusion = published("fusion").rows["GAGS"].figures["mean_accuracy"]
    assert fusion == {column: gags["mean_accuracy"][column] for column in fusion}
    assert losses == {metric: {"mip360-ovs": gags[metric]["mip360-ovs"]} for metric in losses}
    assert learnt["mean_accuracy"] == losses["mean_accuracy"]
    assert (learnt["mean_iou"]["mip360-ovs"], losses["mean_iou"]["mip360-ovs"]) == (63.94, 64.49)


def test_what_the_paper_leaves_out_is_left_out():
    rows = published("times").rows
    assert rows["LangSplat"].figures["query_seconds"] == {"Rend.": 15, "Pred.": 34, "total": 49}
    assert rows["GOI"].figures["query_seconds"]["OSH"] == 2342
    assert rows["GAGS"].figures["training_minutes"] == {"Prep.": 25, "GS": 10, "Lang.": 50, "total": 85}


def test_rows_stand_beside_the_method_that_they_are():
    """Label, method, the paper's mIoU and mAcc: the paper's GAGS is not `gags` with any preset."""
    without = "without granularity-aware segmentation"
    crops = "LangSplat's prompts (the paper's uniform ones)"
    tables = {
        table.title: [(r.label, r.method, *((r.paper.mean_iou, r.paper.mean_accuracy) if r.paper else ()))
                      for r in table.rows]
        for table in side_by_side()
    }  # fmt: skip
    assert tables == {
        "The two methods (paper: means over the scenes of a benchmark)": [
            ("LangSplat (paper: LERF)", "langsplat", 50.70, 77.53),
            ("GAGS (paper: LERF)", "losses-all", 54.12, 81.66),
            ("LangSplat (paper: Mip-NeRF 360)", "langsplat", 54.68, 73.09),
            ("GAGS (paper: Mip-NeRF 360)", "losses-all", 64.49, 88.67),
            ("gags, as its preset has it", "gags"),
        ],
        "Losses, one added after the other": [
            ("none", "losses-none", 55.14, 77.31),
            ("+ region-aware", "losses-region", 59.97, 82.83),
            ("+ entropy", "losses-entropy", 61.68, 84.56),
            ("+ consistency (the paper's)", "losses-all", 64.49, 88.67),
        ],
        "Granularity: which levels, which prompts": [
            ("sub-part alone", "sub-part", 47.78, 77.32),
            ("part alone", "part", 61.68, 85.74),
            ("whole alone", "whole", 58.63, 78.51),
            ("averaged", "average", 59.45, 84.88),
            ("learnt", "by-distance-alone", 63.94, 88.67),
            (f"sub-part alone, {without}", "uniform-sub-part"),
            (f"part alone, {without}", "uniform-part"),
            (f"whole alone, {without}", "uniform-whole"),
            (f"averaged, {without}", "uniform-average"),
            (f"learnt, {without}", "uniform-by-distance-alone"),
            (f"averaged, {crops}", "crops-average", 53.72, 76.84),
            (f"learnt, {crops}", "crops-by-distance-alone", 60.99, 86.27),
        ],
        "How levels are fused": [
            ("averaged", "average", 59.45, 84.88),
            ("weighted fusion (N2F2, Eq. 9)", "n2f2", None, 83.56),
            ("learnt by distance", "by-distance-alone", 63.94, 88.67),
            ("learnt by repeatability", "no-consensus"),
            ("learnt by distance, with consensus", "by-distance"),
            ("averaged, with consensus", "average-consensus"),
            ("gags, as its preset has it", "gags"),
        ],
    }
    assert len(ablation_methods()) == len(set(ablation_methods())) == 22


def test_tables_as_json():
    losses = side_by_side()[1].to_json()
    assert losses["title"] == "Losses, one added after the other"
    assert losses["rows"][0] == {
        "label": "none",
        "method": "losses-none",
        "paper": vars(Figures(mean_iou=55.14, mean_accuracy=77.31)),
    }
    fusion = side_by_side()[3].to_json()["rows"]
    assert fusion[1]["paper"] == {"mean_iou": None, "mean_accuracy": 83.56}
    assert fusion[3]["paper"] is None


def test_ablations_start_from_the_papers_settings_whatever_the_preset():
    """With `lite` losses-all has the paper's terms; where GAGS has them, both are GAGS."""
    lite, paper = (PRESETS[name].distill for name in ("lite", "released"))
    with_lite, with_paper = (all_methods(each) for each in (lite, paper))
    for method in ("gags", "losses-all", "by-distance-alone"):
        assert with_paper[method].learner == OneField(paper)
    ours = {"consensus": False, "granularity": "distance", "region_aware": True}
    weights = {"entropy_weight": 0.01, "consistency_weight": 0.0939, "consistency_by": "region"}
    own = PRESETS["paper"].distill  # λ belong to the units of the terms: sums of squares, as in `lite`
    assert (lite.units, lite.loss) == (own.units, own.loss)
    assert weights == {name: getattr(own, name) for name in weights}
    assert with_lite["losses-all"].learner == OneField(replace(lite, **ours, **weights))
    for known, base in ((with_lite, replace(lite, **ours, **weights)), (with_paper, paper)):
        none = replace(base, region_aware=False, entropy_weight=0.0, consistency_weight=0.0)
        assert known["losses-none"].learner == OneField(none)
        region = replace(base, entropy_weight=0.0, consistency_weight=0.0)
        assert known["losses-region"].learner == OneField(region)
        assert known["losses-entropy"].learner == OneField(replace(base, consistency_weight=0.0))


TABLE = {
    "number": "9",
    "title": "Apples, %",
    "columns": {"mean_iou": ["red", "green", "all"]},
    "means": {"all": ["red", "green"]},
    "rows": [{"label": "GAGS", "methods": ["gags"], "mean_iou": [10, 30.0, float("nan")]}],
}


def test_a_table_by_hand():
    table = published_table(TABLE, "apples.toml")
    assert (table.number, table.title, table.means, table.sums) == (
        "9",
        "Apples, %",
        {"all": ("red", "green")},
        {},
    )
    row = table.rows["GAGS"]
    assert (row.methods, row.figures) == (("gags",), {"mean_iou": {"red": 10.0, "green": 30.0}})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean_iou": [10, 30]}, "needs 3 figures"),
        ({"mean_iou": [10, 30, -1]}, "needs 3 figures"),
        ({"mean_iou": ["ten", 30, 20]}, "could not convert"),
        ({"mean_iuo": [10, 30, 20]}, "mean_iuo"),
    ],
)
def test_a_row_that_does_not_fit_its_columns_is_an_error(change: dict, message: str):
    content = copy.deepcopy(TABLE)
    content["rows"][0].update(change)
    with pytest.raises(CompareError, match=rf"tables/apples\.toml is missing or damaged.*{message}"):
        published_table(content, "apples.toml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"means": {"mean": ["red", "green"]}}, "no column 'mean'"),
        ({"rows": TABLE["rows"] * 2}, "two rows have the same label"),
        ({"rows": [{"label": "GAGS", "methods": ["gags"]}]}, "has figures"),
        ({"title": None}, None),
    ],
)
def test_a_table_that_contradicts_itself_is_an_error(change: dict, message: str | None):
    content = TABLE | change
    if message is None:
        del content["title"]
    with pytest.raises(CompareError, match=message or "KeyError.*title"):
        published_table(content, "apples.toml")


def test_a_table_that_is_not_there_is_an_error():
    with pytest.raises(CompareError, match=r"tables/prices\.toml is missing or damaged"):
        published("prices")
