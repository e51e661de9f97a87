"""Best and median of runs, means over scenes, and the paper's tables with hand-made figures in them."""

from dataclasses import replace

import pytest

from gags.compare.datasets import DATASETS
from gags.compare.paper import published
from gags.compare.results import MethodResult, SeedResult
from gags.compare.standings import Entry, Failure, Standings, paper_tables

LERF, MIP = DATASETS["lerf-ovs"], DATASETS["mip360-ovs"]
COUNTS = {"prompts": 120, "masks": {"sub-part": 9, "part": 5, "whole": 3}}


def _entry(scene: str, run: int, accuracy: float, iou: float, method: str = "gags", **more) -> Entry:
    overall = {"pairs": 4, "mean_accuracy": accuracy, "mean_iou": iou}
    evaluation = {
        "protocol": "lerf-ovs-strict",
        "overall": overall,
        "rows": [{"category": "cup", "iou": iou}],
    }
    queries = more.get("query_seconds", {"Rend.": 3.0, "Pred.": 1.0})
    seed = SeedResult(
        run, evaluation, more.get("language", 600.0), {}, 5.0, 32.0, None, query_seconds=queries
    )
    seconds = {"gaussians": 120.0, "masks": 1800.0}
    result = MethodResult(
        method, f"The method {method}", "granularity-aware", COUNTS | {"seconds": seconds}, (seed,)
    )
    return Entry(scene, run, "paper", result)


RUNS = [
    _entry("ramen", 0, 0.60, 0.40),
    _entry("ramen", 1, 0.50, 0.52),
    _entry("ramen", 2, 0.80, 0.44),
    _entry("teatime", 0, 0.90, 0.60),
    _entry("teatime", 1, 0.70, 0.60),
]


def test_best_is_one_run_and_each_median_its_own():
    """Of ramen run 1 has the largest mIoU, so its mAcc counts too; of teatime mAcc decides between equals."""
    standings = Standings(RUNS, ("ramen", "teatime"))
    ramen, teatime = standings.of("gags", "ramen"), standings.of("gags", "teatime")
    assert (ramen.runs, ramen.best, ramen.median) == (
        3,
        {"mean_accuracy": 0.50, "mean_iou": 0.52},
        {"mean_accuracy": 0.60, "mean_iou": 0.44},
    )
    assert teatime.best == {"mean_accuracy": 0.90, "mean_iou": 0.60}
    assert teatime.median == {"mean_accuracy": pytest.approx(0.80), "mean_iou": 0.60}


def test_overall_is_the_mean_of_the_scenes():
    overall = Standings(RUNS, ("ramen", "teatime")).of("gags", "overall")
    assert overall.runs == 2
    assert overall.best == {"mean_accuracy": pytest.approx(0.70), "mean_iou": pytest.approx(0.56)}
    assert overall.median == {"mean_accuracy": pytest.approx(0.70), "mean_iou": pytest.approx(0.52)}


def test_no_overall_without_every_scene():
    standings = Standings(RUNS, ("ramen", "teatime", "figurines"))
    assert standings.of("gags", "figurines") is None
    assert standings.of("gags", "overall") is None
    content = standings.to_json()["gags"]
    assert content["overall"] is None
    assert content["ramen"] == {
        "runs": 3,
        "best": {"mAcc": 0.50, "mIoU": 0.52},
        "median": {"mAcc": 0.60, "mIoU": 0.44},
    }


def _rows(table, system):
    return {row.source: row.cells for row in table.rows if row.system == system}


def test_tables_1_and_2_have_ours_below_the_papers():
    """Of two of the four scenes the paper's mean is that of its two figures."""
    accuracy, iou, *_ = paper_tables(Standings(RUNS, ("ramen", "teatime")), LERF)
    assert (accuracy.number, accuracy.columns) == ("1", ("ramen", "teatime", "overall"))
    assert _rows(accuracy, "GAGS") == {
        "paper": (69.01, 88.14, pytest.approx((69.01 + 88.14) / 2)),
        "gags (paper), best of 2 to 3": pytest.approx((50, 90, 70)),
        "gags (paper), median of 2 to 3": pytest.approx((60, 80, 70)),
    }
    assert _rows(iou, "GAGS")["gags (paper), best of 2 to 3"] == pytest.approx((52, 60, 56))
    assert _rows(iou, "GOI") == {"paper": (33.69, 55.79, pytest.approx(44.74))}


def test_the_papers_own_mean_stands_where_all_scenes_were_asked_for():
    entries = [_entry(scene, 0, 0.5, 0.25, "uplift") for scene in LERF.scenes]
    accuracy, *_ = paper_tables(Standings(entries, LERF.scenes), LERF)
    assert _rows(accuracy, "LangSplat") == {"paper": (63.38, 88.14, 81.82, 76.79, 77.53)}
    assert _rows(accuracy, "The method uplift") == {"uplift (paper), 1 run": pytest.approx((50,) * 5)}
    assert [row.method for row in accuracy.rows][-1] == "uplift"


def test_table_3_has_medians_of_runs_and_means_of_scenes():
    """Minutes 1800 s / 60 of masks, 120 s of Gaussians, and 10, 12, 17 or 20 min of language."""
    entries = [
        _entry("ramen", run, 0.5, 0.5, language=60 * minutes, query_seconds={"Rend.": seconds, "Pred.": 1.0})
        for run, (minutes, seconds) in enumerate([(10, 3), (17, 4), (12, 8)])
    ]
    entries.append(_entry("teatime", 0, 0.5, 0.5, language=1200, query_seconds={"Pred.": 3.0, "OSH": 6.0}))
    *_, minutes, seconds = paper_tables(Standings(entries, ("ramen", "teatime")), LERF)
    assert minutes.columns == ("Prep.", "GS", "Lang.", "total")
    assert _rows(minutes, "GAGS") == {
        "paper": (25, 10, 50, 85),
        "gags (paper)": pytest.approx((30, 2, 16, 48)),
    }
    assert seconds.columns == ("IE", "Rend.", "Pred.", "OSH", "total")
    assert _rows(seconds, "GAGS") == {"paper": (None, 13, 11, None, 24), "gags (paper)": (None, 4, 2, 6, 12)}


def test_tables_4_to_6_are_shown_for_methods_that_ran():
    entries = [
        _entry(scene, 0, 0.5, 0.25, method)
        for scene in MIP.scenes
        for method in ("gags", "average", "n2f2", "losses-none")
    ]
    tables = {table.number: table for table in paper_tables(Standings(entries, MIP.scenes), MIP)}
    assert list(tables) == ["1", "2", "3", "4", "5", "6"]
    assert tables["4"].columns == tables["6"].columns == ("mIoU", "mAcc")
    assert _rows(tables["4"], "averaged") == {"paper": (59.45, 84.88), "average (paper), 1 run": (25, 50)}
    assert tables["5"].columns == (*MIP.scenes, "overall")
    assert _rows(tables["5"], "N2F2")["paper"] == (89.66, 94.59, 66.67, 83.33, 83.56)
    assert _rows(tables["6"], "none")["losses-none (paper), 1 run"] == (25, 50)
    few = paper_tables(Standings(entries[:1], ("room",)), MIP)
    assert [table.number for table in few] == ["1", "2", "3", "3"]


def test_tables_of_other_scenes_say_whose_figures_they_are():
    """The paper has Tables 4 to 6 for Mip-NeRF 360, and Tables 4 and 6 without its scenes."""
    lerf = [_entry("ramen", 0, 0.5, 0.25, method) for method in ("n2f2", "losses-none")]
    tables = {table.number: table for table in paper_tables(Standings(lerf, ("ramen",)), LERF)}
    assert tables["5"].columns == ("mAcc",)
    assert _rows(tables["5"], "N2F2") == {"paper, Mip-NeRF 360": (83.56,), "n2f2 (paper), 1 run": (50,)}
    few = [_entry("room", 0, 0.5, 0.25, "losses-none")]
    *_, losses = paper_tables(Standings(few, ("room",)), MIP)
    assert _rows(losses, "none")["paper, all scenes"] == (55.14, 77.31)


def test_tables_say_what_stands_below_the_papers_figures():
    """A title that is no more than the paper's name for the system says nothing new."""
    entries = [_entry("ramen", 0, 0.5, 0.25, method) for method in ("langsplat", "gags", "uplift")]
    own = replace(entries[1], result=replace(entries[1].result, title="GAGS"))
    for table in paper_tables(Standings([entries[0], own, entries[2]], ("ramen",)), LERF):
        assert table.notes == ("langsplat: The method langsplat",)
        rows = {row["method"]: row["title"] for row in table.to_json()["rows"]}
        assert rows == {
            None: "",
            "langsplat": "The method langsplat",
            "gags": "GAGS",
            "uplift": "The method uplift",
        }


def test_every_row_of_the_paper_is_in_its_table():
    tables = paper_tables(Standings(RUNS, ("ramen",)), LERF)
    systems = [row.system for row in tables[0].rows if row.source == "paper"]
    assert systems == list(published("quality").rows)
    assert paper_tables(Standings([], ("ramen",)), LERF) == ()


def test_an_entry_as_json():
    content = RUNS[1].to_json()
    assert {key: content[key] for key in ("scene", "run", "preset", "method", "mAcc", "mIoU")} == {
        "scene": "ramen",
        "run": 1,
        "preset": "paper",
        "method": "gags",
        "mAcc": 0.50,
        "mIoU": 0.52,
    }
    assert content["rows"] == [{"category": "cup", "iou": 0.52}]
    assert content["seconds"] == {"gaussians": 120.0, "masks": 1800.0, "language": 600.0}
    assert content["query_seconds"] == {"Rend.": 3.0, "Pred.": 1.0}
    assert content["counts"] == COUNTS


def test_what_failed_in_words():
    assert Failure("ramen", "no").what == "ramen"
    assert Failure("ramen", "no", 1).what == "ramen, run 1"
    assert Failure("ramen", "no", 0, "goi").what == "ramen, run 0, goi"
