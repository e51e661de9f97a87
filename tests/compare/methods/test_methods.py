"""The registry: what each method changes, and nothing else."""

from dataclasses import replace

import pytest
import torch
from tests.helpers.blobs import ToyEncoder, make_scene

from gags.compare.detector import NONE
from gags.compare.methods import DEFAULT, all_methods, chosen_methods
from gags.compare.methods.autoencoder import AutoencoderSettings
from gags.compare.methods.field import OneField
from gags.compare.methods.goi import Goi, GoiSettings
from gags.compare.methods.grouping import GaussianGrouping, GroupingSettings
from gags.compare.methods.langsplat import LangSplat, LangSplatSettings
from gags.compare.methods.learner import Inputs
from gags.compare.methods.legaussians import LEGaussians, LEGaussiansSettings
from gags.compare.methods.uncompressed import Uncompressed
from gags.compare.paper import ablation_methods, published, side_by_side
from gags.distill import samples
from gags.distill.presets import PRESETS
from gags.distill.settings import DistillSettings
from gags.errors import CompareError
from gags.progress import SILENT

SHARED = DistillSettings(steps=7, pixels_per_photo=48, top_k=5)
LOSSES = {"losses-none", "losses-region", "losses-entropy", "losses-all"}
WITHOUT_PROMPTS = {"legaussians"}  # looks at tiles of photos, not at masks


def test_methods_change_what_they_are_about():
    known = all_methods(SHARED, LangSplatSettings(steps=9))
    assert known["gags"].learner == OneField(SHARED)
    assert known["part"].learner == OneField(replace(SHARED, consensus=False, levels="part"))
    assert known["langsplat"].learner == LangSplat(LangSplatSettings(steps=9), pixels_per_photo=48, top_k=5)
    by_gaussian = replace(known["langsplat"].learner, asked="gaussians")
    assert known["langsplat-gaussians"].learner == by_gaussian
    assert known["langsplat-own-prompts"].learner == known["langsplat"].learner
    assert known["langsplat-uncompressed"].learner == Uncompressed(5)
    for name, preset in PRESETS.items():
        assert known[f"gags-{name}"].learner == OneField(preset.distill)
    assert known["n2f2"].learner.settings == replace(SHARED, consensus=False)
    assert known["uplift"].learner.top_k == 5
    assert known["grouping"].learner == GaussianGrouping(GroupingSettings(), 48, 5)
    assert known["goi"].learner == Goi(GoiSettings(), "published", 48, 5)
    assert known["goi-calibrated"].learner == Goi(GoiSettings(), "calibrated", 48, 5)
    assert known["by-distance"].learner == OneField(replace(SHARED, granularity="distance"))
    assert known["average-consensus"].learner == OneField(replace(SHARED, levels="averaged"))


def test_all_but_the_losses_have_a_twin_with_uniform_prompts():
    known = all_methods(SHARED)
    assert known.pop("langsplat-own-prompts").prompts == "crops"
    for name in PRESETS:
        assert known.pop(f"gags-{name}").prompts == name
    for name in [name for name in known if name.startswith("crops-")]:
        twin, plain = known.pop(name), known[name.removeprefix("crops-")]
        assert (twin.learner, twin.prompts) == (plain.learner, "crops")
    plain = {name for name in known if not name.startswith("uniform-")}
    assert {known[name].prompts for name in plain} == {"granularity-aware"}
    assert known.keys() - plain == {f"uniform-{name}" for name in plain - LOSSES - WITHOUT_PROMPTS}
    for name in plain - LOSSES - WITHOUT_PROMPTS:
        twin = known[f"uniform-{name}"]
        expected = {"name": f"uniform-{name}", "title": f"{known[name].title}, uniform", "prompts": "uniform"}
        assert twin == replace(known[name], **expected)


def test_what_runs_by_default_is_there():
    known = all_methods()
    assert set(DEFAULT) <= known.keys()
    assert [known[name].title for name in DEFAULT] == [
        "GAGS",
        "LangSplat (three fields, masks of all methods)",
        "levels averaged",
        "sub-part level alone",
        "part level alone",
        "whole level alone",
        "N2F2, fused after training",
        "training-free uplift",
    ]


def test_losses_are_added_one_after_the_other():
    known = all_methods(SHARED)
    losses = next(table for table in side_by_side() if table.title.startswith("Losses"))
    rows = [row.method for row in losses.rows]
    settings = [known[name].learner.settings for name in rows]
    terms = [(s.region_aware, s.entropy_weight, s.consistency_weight) for s in settings]
    assert terms == [(False, 0, 0), (True, 0, 0), (True, 0.01, 0), (True, 0.01, 0.0939)]
    common = {replace(s, region_aware=True, entropy_weight=0, consistency_weight=0) for s in settings}
    assert common == {
        replace(
            SHARED,
            consensus=False,
            granularity="distance",
            region_aware=True,
            entropy_weight=0,
            consistency_weight=0,
            consistency_by="region",
        )
    }


def test_every_row_of_the_papers_tables_has_a_method():
    known = all_methods()
    assert set(ablation_methods()) <= set(known)
    granularity = next(table for table in side_by_side() if table.title.startswith("Granularity"))
    learners = [known[row.method].learner.settings for row in granularity.rows]
    # Nothing differs but the levels; fixed ones do not go by `granularity`.
    assert len({replace(s, levels="learnt", granularity="distance") for s in learners}) == 1


def test_the_papers_uniform_prompts_are_langsplats():
    """Table 4: its rows without granularity-aware prompts have LangSplat's generator."""
    known = all_methods()
    rows = published("granularity").rows
    for label in ("averaged", "learnt"):
        first, *others = rows[f"{label}, uniform prompts"].methods
        assert known[first].prompts == "crops"
        assert [known[name].prompts for name in others] == ["uniform"]
        (aware,) = rows[label].methods
        assert {known[name].learner for name in (first, *others)} == {known[aware].learner}


def test_names_are_checked_and_count_once():
    assert [m.name for m in chosen_methods(["part", "gags", "part"], all_methods())] == ["part", "gags"]
    with pytest.raises(CompareError, match="no method 'lerf'; --methods takes some of: gags, langsplat"):
        chosen_methods(["gags", "lerf"], all_methods())
    with pytest.raises(CompareError, match="no method was asked for"):
        chosen_methods([], all_methods())


def test_what_0_1_0_learnt_still_counts():
    """The names of the classes are in the hash of what a result depends on."""
    known = all_methods()
    learners = {name: type(known[name].learner).__name__ for name in ("gags", "langsplat", "n2f2", "uplift")}
    assert list(learners.values()) == ["OneField", "LangSplat", "FusedLevels", "Uplift"]
    assert {type(known[name].learner).__name__ for name in ablation_methods()} == {*learners.values()} - {
        "Uplift"
    }


@pytest.mark.parametrize(
    "learner",
    [
        LangSplat(LangSplatSettings(steps=2, batch_pixels=50, autoencoder=AutoencoderSettings(steps=2))),
        GaussianGrouping(GroupingSettings(steps=2, batch=50, detector=NONE)),
        Goi(GoiSettings(steps=2, batch=50, detector=NONE)),
        LEGaussians(LEGaussiansSettings(NONE, codebook_steps=2, steps=2), "masks", batch=50),
    ],
    ids=lambda learner: type(learner).__name__,
)
@pytest.mark.parametrize("times", [1, 2])
def test_what_learns_from_pixels_alone_takes_more_of_larger_scenes(learner, times, monkeypatch, tmp_path):
    """Twice as many Gaussians as a batch is meant for: each is in as many pixels a step all the same."""
    scene = make_scene(views=4)
    monkeypatch.setattr(samples, "ENOUGH_FOR", len(scene.gaussians) // times)
    asked, drawn = [], torch.randint

    def remember(*arguments, **options):
        asked.append(next(a for a in arguments if isinstance(a, tuple))[0])
        return drawn(*arguments, **options)

    monkeypatch.setattr(torch, "randint", remember)
    inputs = Inputs(scene.gaussians, scene.items(noise=0.1), ToyEncoder())
    (tmp_path / "method" / "seed_0").mkdir(parents=True)
    learner.learn(inputs, 0, tmp_path / "method" / "seed_0" / "language.safetensors", SILENT)
    assert asked.count(50 * times) == 2
