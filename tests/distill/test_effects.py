"""Settings without an effect are refused, and those with one are not: by the table, and by training."""

from dataclasses import fields, replace

import pytest
import torch
from tests.helpers.blobs import make_scene
from torch import Tensor

from gags.distill.effects import ALWAYS, DESCRIBE_NEEDS, DISTILL_NEEDS, refuse_ignored
from gags.distill.presets import PRESETS, choose_settings, named_preset
from gags.distill.settings import DistillSettings
from gags.distill.train import train_field
from gags.errors import WorkspaceError
from gags.segment.settings import DescribeSettings

PHOTO = {"schedule": "photo"}
AVERAGED = ({"levels": "averaged"}, "levels averaged")
UNTRAINED = ({"steps": 0}, "steps 0")
GRID, CROPS = ({"prompts": "grid"}, "prompts grid"), ({"prompts": "crops"}, "prompts crops")
DISTANCE = {"granularity": "distance"}
SMOOTHED = PHOTO | {"region_aware": True, "consistency_weight": 0.0}

# Of every setting of distillation that other settings can leave without an effect: changes to `lite` under
# which it has one, then what takes it away, each alone, with the words that the message must have.
DISTILL = {
    "hidden": (
        {},
        [({"decoder": "one-net"}, "decoder one-net"), ({"decoder": "two-nets"}, "decoder two-nets")],
    ),
    "photo_scale": (PHOTO, [({"schedule": "mixed"}, "schedule mixed")]),
    "step_pixels": (PHOTO, [({"schedule": "mixed"}, "schedule mixed"), UNTRAINED]),
    "batch_regions": ({}, [(PHOTO, "schedule photo"), UNTRAINED]),
    "pixels_per_photo": (
        {},
        [(PHOTO | {"step_pixels": 0}, "schedule photo and step_pixels 0"), UNTRAINED],
    ),
    "single_share": ({}, [(PHOTO, "schedule photo"), UNTRAINED]),
    "loss": ({}, [UNTRAINED]),
    "units": ({}, [UNTRAINED]),
    "counted": ({}, [UNTRAINED]),
    "region_aware": ({}, [UNTRAINED]),
    "region_smoothing": (
        SMOOTHED,
        [
            ({"schedule": "mixed"}, "schedule mixed"),
            ({"levels": "part"}, "levels part"),
            UNTRAINED,
            ({"region_aware": False}, "region_aware false and consistency_weight 0"),
        ],
    ),
    "granularity": (
        {},
        [AVERAGED, UNTRAINED],
    ),
    "sharpness": (
        {},
        [
            ({"levels": "whole"}, "levels whole"),
            (DISTANCE, "granularity distance"),
            UNTRAINED,
        ],
    ),
    "entropy_weight": (
        DISTANCE,
        [
            ({"levels": "sub-part"}, "levels sub-part"),
            ({"granularity": "repeatability"}, "granularity repeatability"),
            UNTRAINED,
        ],
    ),
    "consistency_weight": ({}, [UNTRAINED]),
    "consistency_by": (
        {},
        [({"consistency_weight": 0.0}, "consistency_weight 0"), UNTRAINED],
    ),
    "detach_granularity": (
        {},
        [AVERAGED, UNTRAINED],
    ),
    "feature_rate": ({}, [UNTRAINED]),
    "decoder_rate": ({}, [UNTRAINED]),
    "rate_decay": ({}, [UNTRAINED]),
    "top_k": ({}, [(PHOTO | {"step_pixels": 0}, "schedule photo and step_pixels 0")]),
}
DESCRIBE = {
    "grid_side": (
        {"prompts": "grid"},
        [({"prompts": "density"}, "prompts density"), ({"prompts": "released"}, "prompts released")],
    ),
    "prompts_per_patch": (
        {},
        [GRID, CROPS],
    ),
    "exponent": (
        {},
        [
            ({"prompts": "released"}, "prompts released"),
            GRID,
            CROPS,
        ],
    ),
    "replacement": ({}, [GRID, CROPS]),
    "contained_share": ({"drop_contained": True}, [({"drop_contained": False}, "drop_contained false")]),
    "container_share": ({"drop_contained": True}, [({"drop_contained": False}, "drop_contained false")]),
}
# More ways to meet a need that has several.
ALSO_MET = {
    "pixels_per_photo": (PHOTO, PHOTO | {"step_pixels": 8}, {"step_pixels": 0}),
    "region_smoothing": (
        PHOTO | {"region_aware": False, "consistency_weight": 0.1},
        PHOTO | {"region_aware": True, "consistency_weight": 0.1},
    ),
    "top_k": (PHOTO, {"step_pixels": 0}),
    "grid_side": ({"prompts": "crops"},),
    "prompts_per_patch": ({"prompts": "released"},),
    "replacement": ({"prompts": "released"},),
}
CASES = [(DistillSettings(), name, *case) for name, case in DISTILL.items()]
CASES += [(DescribeSettings(), name, *case) for name, case in DESCRIBE.items()]


@pytest.mark.parametrize(
    ("table", "settings"), [(DISTILL_NEEDS, DistillSettings), (DESCRIBE_NEEDS, DescribeSettings)]
)
def test_the_table_has_every_setting_once_and_asks_only_for_settings(table: dict, settings: type):
    names = [field.name for field in fields(settings)]
    assert list(table) == names
    assert {need.name for every in table.values() for needs in every for need in needs} <= set(names)


@pytest.mark.parametrize(("table", "cases"), [(DISTILL_NEEDS, DISTILL), (DESCRIBE_NEEDS, DESCRIBE)])
def test_the_cases_below_are_all_that_are_conditional(table: dict, cases: dict):
    assert {name for name, needs in table.items() if needs != ALWAYS} == set(cases)
    for name, (_, unmet) in cases.items():
        assert len(unmet) >= len(table[name])


@pytest.mark.parametrize(("settings", "name", "met", "unmet"), CASES, ids=[case[1] for case in CASES])
def test_a_setting_is_refused_where_it_has_no_effect(settings, name: str, met: dict, unmet: list):
    base = replace(settings, **met)
    given = {name: getattr(base, name)}
    refuse_ignored(given, base)
    for more in ALSO_MET.get(name, ()):
        refuse_ignored(given, replace(settings, **more))
    for change, words in unmet:
        with pytest.raises(WorkspaceError) as caught:
            refuse_ignored(given, replace(base, **change))
        message = str(caught.value)
        assert message.startswith(f"{name} has no effect with {words}")
        assert "\n" not in message
        refuse_ignored({}, replace(base, **change))  # nobody gave it


@pytest.mark.parametrize("settings", [DistillSettings(), DescribeSettings()])
def test_settings_that_always_count_are_never_refused(settings):
    table = DISTILL_NEEDS if isinstance(settings, DistillSettings) else DESCRIBE_NEEDS
    for preset in PRESETS.values():
        base = preset.distill if isinstance(settings, DistillSettings) else preset.describe
        refuse_ignored({name: None for name, needs in table.items() if needs == ALWAYS}, base)


def test_the_message_says_what_to_set():
    with pytest.raises(WorkspaceError) as caught:
        choose_settings("released", None, {"single_share": 0.5})
    assert str(caught.value) == (
        "single_share has no effect with schedule photo; leave it out, or set schedule to mixed"
    )
    by_pixel = {"region_smoothing": 3, "region_aware": False, "consistency_weight": 0.0}
    with pytest.raises(WorkspaceError, match="region_aware to true, or consistency_weight to something"):
        choose_settings("released", None, by_pixel)


# --- what the table says is what training does ------------------------------------------------------

OTHER = {
    "feature_dim": 8, "decoder": "two-nets", "hidden": 16, "start": "uplift", "schedule": "photo",
    "photo_scale": 0.75, "step_pixels": 100, "steps": 7, "batch_regions": 4, "pixels_per_photo": 64,
    "single_share": 0.2, "consensus": True, "levels": "part", "loss": "mixture", "units": "means",
    "counted": "any-level", "region_aware": False, "region_smoothing": 15, "granularity": "repeatability",
    "sharpness": 5.0, "entropy_weight": 1.0, "consistency_weight": 1.0, "consistency_by": "area",
    "detach_granularity": False, "feature_rate": 0.2, "decoder_rate": 0.02, "rate_decay": "constant",
    "top_k": 2, "seed": 7, "asked": "pixels",
}  # fmt: skip
FLIPPED = {
    "decoder": "one-net", "start": "zero", "schedule": "mixed", "consensus": False, "loss": "weighted",
    "units": "sums", "counted": "all-levels", "region_aware": True, "granularity": "distance",
    "consistency_by": "region", "detach_granularity": True, "rate_decay": "cosine", "asked": "gaussians",
}  # fmt: skip


@pytest.mark.parametrize("name", ["lite", "paper", "released"])
def test_a_setting_changes_the_field_exactly_where_the_table_says_so(name: str):
    scene = make_scene(views=2)
    items = scene.items(noise=1.0)
    for _, description in items:
        description.masks.labels[0, :, 20:30] = -1  # so that `counted` makes a difference

    def trained(settings: DistillSettings) -> Tensor:
        field = train_field(scene.gaussians, items, settings)
        return torch.cat([field.features.flatten(), *[p.flatten() for p in field.decoder.parameters()]])

    # Rates at which a few steps tell levels apart, without which smoothing has nothing to smooth.
    base = replace(named_preset(name).distill, steps=6, batch_regions=8, pixels_per_photo=500)
    if name == "released":
        base = replace(base, steps=16, pixels_per_photo=128, step_pixels=64)
    base = replace(base, feature_rate=0.3, decoder_rate=0.03)
    start, ignored = trained(base), []
    for key, value in OTHER.items():
        other = replace(base, **{key: FLIPPED[key] if getattr(base, key) == value else value})
        found = trained(other)
        if found.shape == start.shape and torch.equal(found, start):
            ignored.append(key)
    unmet = [
        key
        for key, every in DISTILL_NEEDS.items()
        if not all(any(need.met(base) for need in needs) for needs in every)
    ]
    assert ignored == unmet
