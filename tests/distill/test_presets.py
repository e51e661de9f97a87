"""The presets: every constant, which preset two models get, changes on top, and the converted λ."""

import json
import math
from dataclasses import asdict, fields, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from gags.capture.camera import Camera
from gags.distill.decoder import Decoder
from gags.distill.mixed import MixedSchedule
from gags.distill.objective import Targets, Terms
from gags.distill.photo import PhotoPixels, PhotoSchedule
from gags.distill.presets import (
    PRESETS,
    REFERENCE_DIM,
    REFERENCE_DISTANCE,
    changed_fields,
    choose_settings,
    consistency_for_sums,
    entropy_for_sums,
    fitting_settings,
    named_preset,
    preset_for,
)
from gags.distill.samples import GROUP, Samples
from gags.distill.settings import DistillSettings
from gags.errors import GagsError, ModelError, WorkspaceError
from gags.segment.settings import DescribeSettings

DESCRIBE = {  # setting: lite, paper, released
    "prompts": ("density", "density", "released"),
    "grid_side": (32, 32, 32),
    "prompts_per_patch": (4, 16, 16),
    "exponent": (2.0, 2.0, 2.0),
    "replacement": (False, True, True),
    "least_novelty": (0.0, 0.0, 0.0),
    "min_iou": (0.7, 0.7, 0.7),
    "min_stability": (0.85, 0.85, 0.85),
    "stability_offset": (1.0, 1.0, 1.0),
    "stability_at": ("grid", "photo", "photo"),
    "score_first": (True, False, False),
    "box_nms_iou": (0.7, 0.7, 0.7),
    "second_box_nms": (False, True, True),
    "mask_nms_iou": (0.8, 0.8, 0.8),
    "min_score": (0.7, 0.7, 0.7),
    "drop_contained": (False, True, True),
    "contained_share": (0.85, 0.85, 0.85),
    "container_share": (0.5, 0.5, 0.5),
    "min_area": (100, 100, 100),
    "keep_largest": (False, True, True),
    "paint_by": ("area", "iou", "iou"),
    "crop": ("visible", "whole", "whole"),
    "crop_filter": ("encoder", "bilinear", "bilinear"),
    "seed": (0, 0, 0),
}
DISTILL = {
    "feature_dim": (16, 16, 16),
    "decoder": ("principal", "one-net", "two-nets"),
    "hidden": (128, 128, 128),
    "start": ("uplift", "zero", "zero"),
    "schedule": ("mixed", "mixed", "photo"),
    "photo_scale": (0.5, 0.5, 0.5),
    "step_pixels": (None, None, None),
    "steps": (1000, 10_000, 30_000),
    "batch_regions": (256, 64, 256),
    "pixels_per_photo": (24_000, 24_000, 24_000),
    "single_share": (0.5, 0.0, 0.0),
    "consensus": (True, False, False),
    "levels": ("learnt", "learnt", "learnt"),
    "loss": ("weighted", "weighted", "mixture"),
    "units": ("sums", "sums", "means"),
    "counted": ("any-level", "all-levels", "all-levels"),
    "region_aware": (False, True, True),
    "region_smoothing": (0, 0, 5),
    "granularity": ("repeatability", "distance", "distance"),
    "sharpness": (2.0, 2.0, 2.0),
    "entropy_weight": (-0.12, 0.01, 0.002),
    "consistency_weight": (0.05, 0.0939, 0.1),
    "consistency_by": ("area", "region", "area"),
    "detach_granularity": (True, False, True),
    "feature_rate": (3e-3, 4e-3, 1e-3),
    "decoder_rate": (1e-3, 1e-3, 1e-4),
    "rate_decay": ("cosine", "cosine", "constant"),
    "top_k": (16, 16, 16),
    "seed": (0, 0, 0),
    "asked": ("gaussians", "pixels", "pixels"),
}


@pytest.mark.parametrize(("column", "name"), enumerate(["lite", "paper", "released"]))
def test_every_constant_of_a_preset(column: int, name: str):
    preset = named_preset(name)
    assert asdict(preset.describe) == {key: row[column] for key, row in DESCRIBE.items()}
    assert asdict(preset.distill) == {key: row[column] for key, row in DISTILL.items()}


def test_fields_are_stale_where_they_are_learnt_by_other_rules_than_before():
    """So fields of `lite` and `released` stay, and those that an entropy over samples has shaped do not."""
    lite, paper, released = (PRESETS[name].distill for name in ("lite", "paper", "released"))
    assert [settings.lessons for settings in (lite, paper, released)] == [1, 2, 1]
    assert replace(paper, entropy_weight=0.0).lessons == 1
    assert replace(lite, granularity="distance").lessons == 2
    assert replace(lite, granularity="distance", levels="part").lessons == 1
    assert replace(lite, asked="pixels").lessons == 2
    assert replace(lite, asked="pixels", single_share=0.0).lessons == 1


def test_there_are_three_presets_and_the_defaults_are_lite():
    assert list(PRESETS) == ["lite", "paper", "released"]
    assert PRESETS["lite"].describe == DescribeSettings()
    assert PRESETS["lite"].distill == DistillSettings()


# --- which preset two models get -------------------------------------------------------------------

HUGE, LAION = "facebook/sam-vit-huge", "laion/CLIP-ViT-B-16-laion2B-s34B-b88K"


@pytest.mark.parametrize(
    ("segmenter", "encoder", "preset"),
    [
        ("mobile-sam", "lite", "lite"),
        ("mobile-sam", LAION, "lite"),
        (HUGE, "lite", "lite"),
        (HUGE, LAION, "paper"),
        (HUGE, "google/siglip-base-patch16-224", "paper"),
        (HUGE + "@main", LAION + "@main", "paper"),
        ("color", "color", "lite"),  # stand-ins of the tests
        (HUGE, "color", "lite"),
    ],
)
def test_the_preset_goes_by_the_models(segmenter: str, encoder: str, preset: str):
    assert preset_for(segmenter, encoder) == preset


@pytest.mark.parametrize(
    ("config", "preset"),
    [
        ({"model_type": "sam", "vision_config": {"hidden_size": 1280}}, "paper"),
        ({"model_type": "sam", "vision_config": {"hidden_size": 1024}}, "lite"),  # ViT-L
        ({"model_type": "sam_hq", "vision_config": {"hidden_size": 1280}}, "lite"),
        ({"model_type": "sam", "vision_config": {}}, "lite"),  # ViT-B, the default of the format
    ],
)
def test_a_local_folder_is_told_by_its_width(tmp_path: Path, config: dict, preset: str):
    folder = tmp_path / "sam"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"")
    assert preset_for(str(folder), LAION) == preset
    assert preset_for(str(folder), "lite") == "lite"


def test_a_folder_that_is_not_there_is_one_clear_line(tmp_path: Path):
    with pytest.raises(ModelError, match="missing"):
        preset_for(str(tmp_path / "missing"), LAION)


# --- changes on top ---------------------------------------------------------------------------------


def test_changes_go_on_top_of_a_preset():
    chosen = choose_settings("paper", {"prompts_per_patch": 9}, {"steps": 5, "feature_rate": 0.5})
    assert chosen.preset == "paper"
    assert chosen.describe == replace(PRESETS["paper"].describe, prompts_per_patch=9)
    assert chosen.distill == replace(PRESETS["paper"].distill, steps=5, feature_rate=0.5)
    assert changed_fields(chosen.describe, "paper") == ["prompts_per_patch"]
    assert changed_fields(chosen.distill, "paper") == ["steps", "feature_rate"]


def test_without_changes_a_preset_is_as_it_is():
    for name, preset in PRESETS.items():
        chosen = choose_settings(name)
        assert (chosen.describe, chosen.distill) == (preset.describe, preset.distill)
        assert changed_fields(chosen.describe, name) == changed_fields(chosen.distill, name) == []


def test_whole_settings_stand_for_themselves():
    describe, distill = DescribeSettings(min_iou=0.2), DistillSettings(sharpness=9.0)
    chosen = choose_settings("paper", describe, distill)
    assert chosen.describe is describe
    assert chosen.distill is distill


def test_changed_fields_names_all_that_differ_but_the_seed():
    lite = PRESETS["lite"].distill
    for field in fields(lite):
        expected = [] if field.name == "seed" else [field.name]
        other = replace(lite)
        object.__setattr__(other, field.name, "other")
        assert changed_fields(other, "lite") == expected
    rows = [key for key, row in DISTILL.items() if row[1] != row[2]]
    assert changed_fields(PRESETS["released"].distill, "paper") == rows


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: named_preset("papre"), r"no preset 'papre'; --preset takes auto, lite, paper, released"),
        (lambda: choose_settings("fast"), "no preset 'fast'"),
        (lambda: changed_fields(DistillSettings(), "auto"), "no preset 'auto'"),
        (
            lambda: choose_settings("paper", {"promts": "grid"}),
            "no setting 'promts'; there are: prompts, grid_side",
        ),
        (lambda: choose_settings("lite", None, {"step": 3}), "no setting 'step'; there are: feature_dim"),
        (
            lambda: choose_settings("paper", None, {"sharpness": 3.0}),
            "sharpness has no effect with granularity distance; leave it out, or set granularity to rep",
        ),
    ],
)
def test_what_does_not_exist_or_has_no_effect_is_one_clear_line(call, message: str):
    with pytest.raises(WorkspaceError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


# --- λ in the units of the paper's formulas ---------------------------------------------------------

REGIONS, DIM = 40, REFERENCE_DIM


class Fixed(Decoder):
    """A decoder that says the same about every batch: the embeddings and logits that it was given."""

    kind = "fixed"

    def __init__(self, decoded: Tensor, logits: Tensor) -> None:
        super().__init__()
        self.decoded, self.logits = decoded, logits

    @property
    def dim(self) -> int:
        return DIM

    def coordinates(self, features: Tensor) -> Tensor:
        return self.decoded

    def granularity(self, features: Tensor) -> Tensor:
        return self.logits


@pytest.fixture(scope="module")
def batch() -> SimpleNamespace:
    """Regions of 16 pixels each, every pixel a Gaussian of its own; the part is the level that counts.

    The masks of the three levels say the same, so that both forms of Eq. 3 measure the same residual: a
    vector of the reference length, spread over the channels as a Gaussian is.
    """
    rng = torch.Generator().manual_seed(0)
    count = REGIONS * GROUP
    wanted = torch.nn.functional.normalize(torch.randn(REGIONS, DIM, generator=rng), dim=-1)
    residual = torch.nn.functional.normalize(torch.randn(count, DIM, generator=rng), dim=-1)
    decoded = wanted.repeat_interleave(GROUP, 0) + REFERENCE_DISTANCE * residual
    logits = torch.tensor([0.0, 2.0, 1.0]) + 0.3 * torch.randn(count, 3, generator=rng)
    regions = torch.arange(REGIONS).repeat_interleave(GROUP)
    masks = torch.stack([regions, regions + REGIONS, regions + 2 * REGIONS], dim=-1).int()
    return SimpleNamespace(
        features=0.4 * torch.randn(count, 16, generator=rng),
        decoder=Fixed(decoded, logits.clamp(max=1.9).index_fill(1, torch.tensor([1]), 2.0)),
        masks=masks,
        indices=torch.arange(count, dtype=torch.int32)[:, None],
        targets=Targets(wanted.repeat(3, 1)),
    )


def paper_terms(batch: SimpleNamespace, density: Tensor | None = None) -> Terms:
    shape = (REGIONS, GROUP, -1)
    samples = Samples(
        batch.indices.reshape(shape),
        torch.ones(shape[:2])[..., None],
        batch.masks.reshape(shape),
        torch.ones(shape[:2]) if density is None else density,
        torch.ones(REGIONS, dtype=torch.int64),
        torch.full((3 * REGIONS,), float(GROUP)),
    )
    schedule = MixedSchedule(samples, batch.targets, PRESETS["paper"].distill)
    return schedule.batch_terms(batch.features, batch.decoder, torch.arange(REGIONS), 0)


def released_terms(batch: SimpleNamespace) -> Terms:
    count = REGIONS * GROUP
    places, levels = torch.arange(count), torch.ones(count, dtype=torch.int8)
    camera = Camera(np.eye(4), np.eye(3), GROUP, REGIONS)
    weights = torch.ones(count, 1)
    photo = PhotoPixels(camera, places, batch.masks, batch.indices, weights, levels)
    nothing = SimpleNamespace(means=torch.zeros(0, 3))
    schedule = PhotoSchedule(nothing, [photo], batch.targets, PRESETS["released"].distill)  # pyright: ignore[reportArgumentType]
    return schedule.pixel_terms(batch.features, batch.decoder, photo, places)


def test_the_entropy_of_paper_is_the_mean_over_the_photo(batch: SimpleNamespace):
    """Half of the pixels were drawn ten times as densely, as those of small masks are; each is a tenth."""
    density = torch.ones(REGIONS, GROUP)
    density[: REGIONS // 2] = 10.0
    omega = batch.decoder.logits.double().softmax(-1)
    each = -(omega * omega.log()).sum(-1).reshape(REGIONS, GROUP)
    few, many = each[: REGIONS // 2].sum() / 10, each[REGIONS // 2 :].sum()
    expected = (few + many) / (REGIONS // 2 * GROUP * 1.1)
    found = paper_terms(batch, density).entropy
    assert found is not None
    assert float(found) == pytest.approx(float(expected), rel=1e-5)
    assert abs(float(each.mean()) / float(expected) - 1) > 1e-4  # all alike would be another value


def test_the_terms_of_paper_weigh_as_those_of_released_do(batch: SimpleNamespace):
    paper, released = paper_terms(batch), released_terms(batch)
    # Eq. 3 and 4 of the batch, worked out apart: δ² against the mean of |x| over 512 channels; and the
    # entropy in full against a third of it.
    difference = batch.decoder.decoded - batch.targets.coordinates[batch.masks[:, 0]]
    assert float(paper.distillation) == pytest.approx(REFERENCE_DISTANCE**2, rel=1e-4)
    assert float(released.distillation) == pytest.approx(float(difference.abs().mean()), rel=1e-4)
    shares = batch.decoder.logits.softmax(-1)
    entropy = float(-(shares * shares.log()).sum(-1).mean())
    assert paper.entropy is not None
    assert released.entropy is not None
    assert float(paper.entropy) == pytest.approx(entropy, rel=1e-4)
    assert float(released.entropy) == pytest.approx(entropy / 3, rel=1e-4)
    ratios = []
    for terms, name in ((paper, "paper"), (released, "released")):
        assert terms.entropy is not None
        settings = named_preset(name).distill
        of_entropy = settings.entropy_weight * terms.entropy / terms.distillation
        of_spread = settings.consistency_weight * terms.consistency / terms.distillation
        ratios.append([float(of_entropy), float(of_spread)])
    assert ratios[0] == pytest.approx(ratios[1], rel=0.02)
    assert min(ratios[0]) > 0.01


def test_unconverted_weights_would_be_wrong(batch: SimpleNamespace):
    """The released program's λ_e beside sums: entropy would be five times too weak."""
    paper, released = paper_terms(batch), released_terms(batch)
    assert paper.entropy is not None
    assert released.entropy is not None
    too_weak = float((released.entropy / released.distillation) / (paper.entropy / paper.distillation))
    assert too_weak == pytest.approx(5.0, rel=0.03)
    assert PRESETS["paper"].distill.entropy_weight == pytest.approx(0.002 * too_weak, rel=0.03)


def test_the_conversion_is_the_derived_formula():
    """δ² / (3 · δ sqrt(2 / (π D))), and 16 in place of 3."""
    for distance, dim in ((0.53, 512), (0.3, 64)):
        first = distance * math.sqrt(2 / (math.pi * dim))
        assert entropy_for_sums(0.002, distance, dim) == pytest.approx(0.002 / 3 * distance**2 / first)
        assert consistency_for_sums(0.1, distance, dim) == pytest.approx(0.1 / 16 * distance**2 / first)
        assert consistency_for_sums(0.1, distance, dim, 4) == pytest.approx(0.1 / 4 * distance**2 / first)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("paper", {"steps": 0}, "features that start at 0 learn nothing in 0 steps"),
        ("released", {"region_smoothing": 4}, "distill.region_smoothing must be odd or 0, got 4"),
        ("released", {"photo_scale": 1.5}, "photo_scale must be a number above 0 and at most 1, got 1.5"),
        ("lite", {"top_k": float("inf")}, "distill.top_k must be a whole number from 1 to 256, got inf"),
        ("lite", 5, "distill must be DistillSettings, got 5"),
    ],
)
def test_impossible_values_are_refused_before_any_work(name, change, message):
    with pytest.raises(GagsError, match=message):
        choose_settings(name, distill=change)


def test_changes_for_several_presets_are_taken_where_they_have_an_effect():
    """The schedule of a change decides what the other changes do; seeds and whole settings change nothing."""
    changes = {"schedule": "mixed", "batch_regions": 32, "hidden": 64, "seed": 7}
    chosen, ignored = fitting_settings("released", {"exponent": 1.0, "min_area": 6}, changes)
    assert chosen.describe == replace(PRESETS["released"].describe, min_area=6)
    assert chosen.distill == replace(PRESETS["released"].distill, schedule="mixed", batch_regions=32)
    assert [line.partition(";")[0] for line in ignored] == [
        "exponent has no effect with prompts released",
        "hidden has no effect with decoder two-nets",
    ]
    whole, ignored = fitting_settings("paper", DescribeSettings(min_area=6), DistillSettings(steps=9))
    assert (whole.describe, whole.distill) == (PRESETS["paper"].describe, PRESETS["paper"].distill)
    assert ignored == []
    with pytest.raises(WorkspaceError, match="learn nothing in 0 steps"):
        fitting_settings("paper", None, {"steps": 0})
