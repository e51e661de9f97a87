"""Which methods can be compared, by name."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from gags.compare.methods.langsplat import LangSplat, LangSplatSettings
from gags.compare.methods.learner import Learner
from gags.compare.methods.levels import OneField
from gags.compare.methods.n2f2 import WeightedFusion
from gags.compare.methods.uplift import Uplift
from gags.distill.settings import DistillSettings
from gags.errors import CompareError

Prompts = Literal["granularity-aware", "uniform"]
DEFAULT = ("gags", "langsplat", "average", "sub-part", "part", "whole", "n2f2", "uplift")
PAPER_ENTROPY, PAPER_CONSISTENCY = 0.002, 0.1  # λ_e and λ_c of the second half, as released
UNIFORM = "uniform-"  # before the name of a method: the same with uniform prompts


@dataclass(frozen=True)
class Method:
    """A row of the comparison.

    Attributes:
        name: Under this name it is asked for and kept.
        title: What it is, for the table.
        learner: What learns and answers.
        prompts: How the photos were prompted before masks were cut; as many prompts in total either way.
    """

    name: str
    title: str
    learner: Learner
    prompts: Prompts = "granularity-aware"


def all_methods(
    distill: DistillSettings = DistillSettings(), langsplat: LangSplatSettings = LangSplatSettings()
) -> dict[str, Method]:
    """Every method by name.

    Args:
        distill: Settings of distillation that all methods share; the methods change what they are about.
        langsplat: Settings of LangSplat alone.
    """
    plain = replace(distill, consensus=False)  # masks agree across photos in GAGS alone, no baseline has that
    paper = replace(plain, granularity="distance")
    bare = replace(paper, region_aware=False, entropy_weight=0.0, consistency_weight=0.0)
    region = replace(bare, region_aware=True)
    entropy = replace(region, entropy_weight=PAPER_ENTROPY)
    fields = LangSplat(langsplat, distill.batch_regions, distill.pixels_per_photo, distill.top_k)
    given = [
        Method("gags", "GAGS", OneField(distill)),
        Method("langsplat", "LangSplat (three fields)", fields),
        Method("average", "levels averaged", OneField(replace(plain, levels="averaged"))),
        Method("sub-part", "sub-part level alone", OneField(replace(plain, levels="sub-part"))),
        Method("part", "part level alone", OneField(replace(plain, levels="part"))),
        Method("whole", "whole level alone", OneField(replace(plain, levels="whole"))),
        Method("n2f2", "weighted fusion (N2F2)", WeightedFusion(plain)),
        Method("uplift", "training-free uplift", Uplift(distill.top_k)),
        Method("no-consensus", "GAGS without consensus", OneField(plain)),
        Method(
            "by-distance",
            "GAGS, granularity learnt by distance",
            OneField(replace(distill, granularity="distance")),
        ),
        Method("by-distance-alone", "the same without consensus", OneField(paper)),
        Method(
            "average-consensus", "levels averaged, consensus", OneField(replace(distill, levels="averaged"))
        ),
    ]
    given += [
        replace(m, name=UNIFORM + m.name, title=f"{m.title}, uniform", prompts="uniform") for m in given
    ]
    given += [
        Method("losses-none", "GAGS without the three losses", OneField(bare)),
        Method("losses-region", "+ region-aware", OneField(region)),
        Method("losses-entropy", "+ entropy", OneField(entropy)),
        Method(
            "losses-all", "+ consistency", OneField(replace(entropy, consistency_weight=PAPER_CONSISTENCY))
        ),
    ]
    return {method.name: method for method in given}


def chosen_methods(names: Sequence[str], known: dict[str, Method]) -> list[Method]:
    """Some of the known methods by name, each once, in the order asked for.

    Raises:
        CompareError: If a name is unknown or there is none.
    """
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        problem = f"there is no method {unknown[0]!r}" if unknown else "no method was asked for"
        raise CompareError(f"{problem}; --methods takes some of: {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(names)]
