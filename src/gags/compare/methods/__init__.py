"""Which methods can be compared, by name: a system is a file here and a row in `all_methods`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from gags.compare.methods.field import OneField, ablation_rows
from gags.compare.methods.goi import Goi, GoiSettings
from gags.compare.methods.grouping import GaussianGrouping, GroupingSettings
from gags.compare.methods.langsplat import LangSplat, LangSplatSettings
from gags.compare.methods.learner import Method
from gags.compare.methods.legaussians import LEGaussiansSettings, cut_by_protocol, rows_of
from gags.compare.methods.n2f2 import FusedLevels
from gags.compare.methods.uncompressed import Uncompressed
from gags.compare.methods.uplift import Uplift
from gags.distill.presets import PRESETS
from gags.distill.settings import DistillSettings
from gags.errors import CompareError

DEFAULT = ("gags", "langsplat", "average", "sub-part", "part", "whole", "n2f2", "uplift")
UNIFORM = "uniform-"  # before the name of a method: the same with uniform prompts
OF_PRESET = "gags-"  # before the name of a preset: GAGS with its settings, prompts and masks
CROPS = "crops-"  # the same with LangSplat's own prompts, which are the uniform ones of the paper's Table 4


def all_methods(
    distill: DistillSettings = DistillSettings(),
    langsplat: LangSplatSettings = LangSplatSettings(),
    legaussians: LEGaussiansSettings = LEGaussiansSettings(),
    grouping: GroupingSettings = GroupingSettings(),
    goi: GoiSettings = GoiSettings(),
    presets: Mapping[str, DistillSettings] | None = None,
) -> dict[str, Method]:
    """Every method by name.

    Args:
        distill: Settings of distillation that all methods share; the methods change what they are about.
        langsplat: Settings of LangSplat alone.
        legaussians: Settings of LEGaussians alone.
        grouping: Settings of Gaussian Grouping alone.
        goi: Settings of GOI alone.
        presets: Settings of the methods that are a preset, such as `gags-paper`, where these differ from the
            preset's.
    """
    three_fields = LangSplat(langsplat, pixels_per_photo=distill.pixels_per_photo, top_k=distill.top_k)
    by_gaussian = replace(three_fields, asked="gaussians")
    systems = [
        Method("gags", "GAGS", OneField(distill)),
        Method("langsplat", "LangSplat (three fields, masks of all methods)", three_fields),
        Method("langsplat-gaussians", "LangSplat, asked by Gaussian", by_gaussian),
        Method("langsplat-uncompressed", "LangSplat, uncompressed, by Gaussian", Uncompressed(distill.top_k)),
        Method("n2f2", "N2F2, fused after training", FusedLevels(replace(distill, consensus=False))),
        Method("uplift", "training-free uplift", Uplift(distill.top_k)),
        *ablation_rows(distill, uniform=True),
    ]
    dense, on_masks = rows_of(legaussians, distill)
    systems += [on_masks, cut_by_protocol(on_masks)]
    grouped = GaussianGrouping(grouping, distill.pixels_per_photo, distill.top_k)
    coded = Goi(goi, pixels_per_photo=distill.pixels_per_photo, top_k=distill.top_k)
    calibrated = replace(coded, plane="calibrated")
    systems += [
        Method("grouping", grouped.title(), grouped),
        Method("goi", coded.title(), coded),
        Method("goi-calibrated", calibrated.title(), calibrated),
    ]
    uniform = [
        replace(m, name=UNIFORM + m.name, title=f"{m.title}, uniform", prompts="uniform") for m in systems
    ]
    crops = [
        replace(m, name=CROPS + m.name, title=f"{m.title}, LangSplat's prompts", prompts="crops")
        for m in ablation_rows(distill, uniform=True)
    ]
    own_prompts = Method("langsplat-own-prompts", "LangSplat, own prompts", three_fields, prompts="crops")
    own_settings = {name: preset.distill for name, preset in PRESETS.items()} | dict(presets or {})
    by_preset = [
        Method(f"{OF_PRESET}{name}", f"GAGS, preset {name}", OneField(own_settings[name]), prompts=name)
        for name in PRESETS
    ]
    rows = [*systems, *by_preset, own_prompts, dense, *uniform, *crops]
    rows += ablation_rows(distill, uniform=False)
    return {method.name: method for method in rows}


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
