"""Large scenes that are made up: photos under several names go through the stages that measure them."""

from dataclasses import replace

import pytest
import torch
from benchmarks.large import Case, Row, fitted, slope
from benchmarks.large_scene import Made
from tests.helpers.blobs import make_scene
from tests.helpers.toy_capture import HEIGHT, PALETTE, WIDTH, write_capture

import gags.scene
from benchmarks import large_stages
from gags import pipeline
from gags.capture import read_saved_capture
from gags.embed.description import Descriptions
from gags.gaussians import SH_C0
from gags.gaussians.ply import save_ply
from gags.workspace import Workspace

DIFFERENT, PHOTOS = 3, 7


@pytest.fixture
def made(tmp_path, monkeypatch) -> Made:
    """Photos of the balls in `blobs`, of which three are different; stand-ins go when the test ends."""
    for name in ("choose_models", "load_segmenter", "load_encoder"):
        monkeypatch.setattr(pipeline, name, getattr(pipeline, name))
    monkeypatch.setattr(gags.scene, "load_encoder", gags.scene.load_encoder)
    monkeypatch.setattr(large_stages, "DIFFERENT", DIFFERENT)
    monkeypatch.setattr(large_stages, "STEPS", 5)
    made, toy = Made(tmp_path), make_scene(DIFFERENT)
    write_capture(made.capture, DIFFERENT)
    colors = torch.from_numpy(PALETTE[toy.owner] / 255).float()
    save_ply(replace(toy.gaussians, sh=((colors - 0.5) / SH_C0)[:, None]), made.splats)
    return made


def test_photos_under_other_names_are_described_under_their_own(made):
    case = Case("distill", 0, PHOTOS, WIDTH, HEIGHT)
    large_stages.prepare(made, case)
    scene = Workspace.open(made.scene(PHOTOS))
    record, views = scene.record("describe"), read_saved_capture(scene.capture).train
    assert record is not None
    assert len(views) == PHOTOS
    items = Descriptions(scene, views)
    items.check(record.stamp)
    masks = [len(description.masks) for _, description in items]  # read whole: each says of which photo it is
    assert masks[:DIFFERENT] * 2 == masks[: 2 * DIFFERENT]
    assert min(masks) > 0
    for stage in ("distill", "things"):
        work, note = getattr(large_stages, stage)(made, replace(case, stage=stage))
        work()
        assert note()
    assert scene.field.exists()
    assert scene.things.exists()


def test_growth_is_fitted_over_what_differs_in_one_thing():
    base = Case("train", 100, 10, 8, 6)
    cases = [base, replace(base, photos=20), replace(base, photos=40), replace(base, gaussians=300)]
    rows = [Row(case, 0.0, 0.0, 50.0, 50.0 + 3 * case.photos**0.5, 0.0) for case in cases]
    found = fitted(rows, "train", "photos")
    assert [size for size, _ in found] == [10, 20, 40]
    assert slope([size for size, _ in found], [row.grown for _, row in found]) == pytest.approx(0.5)
