"""The registry: what each method changes, and nothing else."""

from dataclasses import replace

import pytest

from gags.compare.methods import DEFAULT, all_methods, chosen_methods
from gags.compare.methods.langsplat import LangSplat, LangSplatSettings
from gags.compare.methods.levels import OneField
from gags.compare.paper import TABLES, ablation_methods
from gags.distill.settings import DistillSettings
from gags.errors import CompareError

SHARED = DistillSettings(steps=7, pixels_per_photo=48, top_k=5)


def test_methods_change_what_they_are_about():
    known = all_methods(SHARED, LangSplatSettings(steps=9))
    assert known["gags"].learner == OneField(SHARED)
    assert known["part"].learner == OneField(replace(SHARED, consensus=False, levels="part"))
    assert known["langsplat"].learner == LangSplat(
        LangSplatSettings(steps=9), pixels_per_photo=48, top_k=5, batch_groups=SHARED.batch_regions
    )
    assert {known[name].prompts for name in DEFAULT} == {"granularity-aware"}
    for name in DEFAULT:
        twin = known[f"uniform-{name}"]
        assert twin == replace(known[name], name=twin.name, title=twin.title, prompts="uniform")


def test_losses_are_added_one_after_the_other():
    known = all_methods(SHARED)
    losses = next(table for table in TABLES if table.title.startswith("Losses"))
    rows = [row.method for row in losses.rows]
    settings = [known[name].learner.settings for name in rows]
    terms = [(s.region_aware, s.entropy_weight, s.consistency_weight) for s in settings]
    assert terms == [(False, 0, 0), (True, 0, 0), (True, 0.002, 0), (True, 0.002, 0.1)]
    assert len({replace(s, region_aware=True, entropy_weight=0, consistency_weight=0) for s in settings}) == 1


def test_every_row_of_the_paper_has_a_method():
    known = all_methods()
    assert set(ablation_methods()) <= set(known)
    granularity = next(table for table in TABLES if table.title.startswith("Granularity"))
    learners = [known[row.method].learner.settings for row in granularity.rows]
    assert len({replace(settings, levels="learnt") for settings in learners}) == 1  # nothing else differs


def test_names_are_checked_and_count_once():
    assert [m.name for m in chosen_methods(["part", "gags", "part"], all_methods())] == ["part", "gags"]
    with pytest.raises(CompareError, match="no method 'lerf'; --methods takes some of: gags, langsplat"):
        chosen_methods(["gags", "lerf"], all_methods())
    with pytest.raises(CompareError, match="no method was asked for"):
        chosen_methods([], all_methods())
