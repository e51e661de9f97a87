"""Masks of two rings of photos: figures against hand-worked cases, and a run on a toy capture."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from benchmarks.granularity import run
from benchmarks.granularity.arms import Arm, Counts, all_arms
from benchmarks.granularity.bootstrap import Bootstrap, Effect, plain_means, written
from benchmarks.granularity.cut import EncodedOnce, cut_photo, load_cut, made_by, save_cut
from benchmarks.granularity.measures import BestMasks, best_masks, found_in_both, surface_iou
from benchmarks.granularity.photos import known_objects, natural_rings
from benchmarks.granularity.tables import contrasts
from tests.helpers.blobs import WORDS, make_scene
from tests.helpers.toy_capture import HEIGHT, PALETTE, WIDTH, ColorSegmenter, write_objects

from gags.capture import Camera, Capture, View, save_capture
from gags.distill.evidence import Evidence
from gags.distill.presets import PRESETS
from gags.errors import CaptureError
from gags.gaussians import render
from gags.gaussians.ply import save_ply
from gags.segment.photo import segment_photo
from gags.segment.settings import DescribeSettings
from gags.workspace import Workspace

# --- photos ---


def test_rings_are_natural_classes_of_distances():
    distances = [1.5, 0.38, 0.6, 1.0, 0.7, 1.6, 0.95, 0.76]
    np.testing.assert_array_equal(natural_rings(distances), [2, 0, 0, 1, 0, 2, 1, 0])
    np.testing.assert_array_equal(natural_rings([3.0, 1.0, 2.0]), [2, 0, 1])


# --- arms ---


@pytest.fixture(scope="module")
def counts() -> Counts:
    """Of views of the toy scene from near and from three times as far."""
    scene = make_scene(2)
    cameras = [*scene.cameras, *(_moved(camera, 3) for camera in scene.cameras)]
    return Counts(scene.gaussians, cameras, range(4))


def test_arms_follow_the_paper_but_for_their_prompts(counts: Counts):
    arms = {arm.name: arm for arm in all_arms(counts, 4)}
    paper, lite = PRESETS["paper"].describe, DescribeSettings()
    prompting = {"prompts", "prompts_per_patch", "exponent", "replacement"}
    for name, arm in arms.items():
        rules = lite if name.endswith("lite") else paper
        same = {key: value for key, value in vars(arm.settings).items() if key not in prompting}
        assert same == {key: value for key, value in vars(rules).items() if key not in prompting}, name
    assert arms["crops"].settings.prompts == "crops"
    assert arms["grid"].settings.prompts == "grid"
    assert arms["density"].settings == paper
    assert arms["lite"].settings == lite
    assert arms["literal"].settings == replace(paper, exponent=-2.0)
    assert arms["released"].settings.replacement
    many, few = counts.total(paper), counts.total(lite)
    assert many > 1.5 * counts.total(replace(paper, exponent=0.0))  # half of the views are from far
    for name, wanted in (("uniform", many), ("literal-many", many), ("uniform-lite", few)):
        assert counts.total(arms[name].settings) == pytest.approx(wanted, rel=0.01), name
    assert counts.total(arms["literal"].settings) < 4 * 64 * 16


def test_laws_are_compared_with_as_many_uniform_prompts(counts: Counts):
    found = {(c.one, c.other) for c in contrasts(all_arms(counts, 4))}
    assert (("density", True), ("uniform", True)) in found
    assert (("lite", False), ("uniform-lite", False)) in found
    assert (("released", True), ("crops", True)) in found
    assert (("lite", False), ("crops", True)) in found
    assert sum(one[0] == other[0] for one, other in found) == 9  # containment, once an arm


# --- measures ---

NOTHING = np.full((20, 20), -1, np.int16)


def _labels(*levels: dict[int, tuple[slice, slice]]) -> np.ndarray:
    labels = np.stack([NOTHING] * 3)
    for level, boxes in enumerate(levels):
        for row, box in boxes.items():
            labels[level][box] = row
    return labels


def test_best_masks_of_an_object():
    objects = np.zeros((3, 20, 20), bool)
    objects[0, :20, :10] = True  # 200 px
    objects[1, :5, 10:] = True  # 50 px: too few
    labels = _labels(
        {0: np.s_[:10, :10], 1: np.s_[10:, :10]},  # two halves
        {2: np.s_[:, :12]},  # the object and 40 px more
        {3: np.s_[:, :]},  # everything
    )
    best = best_masks(labels, objects)
    np.testing.assert_allclose(best.ious, [[0.5, 0, 0], [200 / 240, 10 / 280, 0], [0.5, 50 / 400, 0]])
    # Half of the mask of everything lies on the object: that is not more than half.
    np.testing.assert_array_equal(best.rows, [[0, -1, -1], [2, -1, -1], [-1, -1, -1]])
    np.testing.assert_array_equal(best.visible, [True, False, False])


def _best(*ious: float, row: int = 0, visible: bool = True) -> BestMasks:
    """One object with the best mask of each level."""
    column = np.array(ious)[:, None]
    return BestMasks(column, np.where(column > 0, row, -1), np.array([visible]))


def test_an_object_counts_if_it_is_found_near_and_far():
    near = [_best(0.9, 0.2, 0.5), _best(0.1, 0.2, 0.3)]
    far = [_best(0.6, 0.7, 0.4), _best(0.9, 0.9, 0.9, visible=False)]
    both = found_in_both(near, far)
    assert both.shape == (4, 1, 2, 2)
    np.testing.assert_array_equal(both[:, 0, 0, 0], [1, 0, 0, 1])
    np.testing.assert_array_equal(both[:, 0, 1, 0], 0)
    assert np.isnan(both[:, 0, :, 1]).all()
    # By different levels: whole from near, part from far.
    levels = found_in_both([_best(0.1, 0.1, 0.8)], [_best(0.1, 0.8, 0.1)])
    np.testing.assert_array_equal(levels.ravel(), [0, 0, 0, 1])


def test_masks_are_compared_on_the_surface_that_both_photos_see():
    """Photo 0 sees Gaussians 0 to 5, photo 1 sees 2 to 7, each with a weight of 1.

    Mask 0 of photo 0 holds 0 to 4, so 2, 3, 4 of what both see. Photo 1 has mask 1 of 3 and 4, and mask 2 of
    5, 6 and 7, both on the same level; mask 3 of 2 to 4 is on another level.
    """
    members = {0: [0, 1, 2, 3, 4], 1: [3, 4], 2: [5, 6, 7], 3: [2, 3, 4]}
    entries = [(g, mask) for mask, held in members.items() for g in held]
    entries += [(g, 4) for g in range(6)] + [(g, 5) for g in range(2, 8)]
    entries.sort()
    gaussians, columns = np.array(entries).T
    starts = np.searchsorted(gaussians, np.arange(9))
    evidence = Evidence(
        starts, columns.astype(np.int32), np.ones(len(entries), np.float32), np.array([0, 1, 1, 1, 0, 1])
    )
    levels = np.array([1, 1, 1, 2], np.int8)
    near = BestMasks(np.zeros((3, 1)), np.array([[-1], [0], [-1]]), np.array([True]))
    far = BestMasks(np.zeros((3, 1)), np.array([[-1], [0], [2]]), np.array([True]))  # rows among its own
    iou = surface_iou(evidence, levels, [near, far], [0], [1])
    assert iou.shape == (3, 1, 1, 1)
    np.testing.assert_allclose(iou.ravel(), [0, (2 / 3 + 2 / 3) / 2, 0], atol=1e-6)
    # The object's mask in photo 1 is now the one of 5, 6 and 7, which nothing in photo 0 repeats.
    other = BestMasks(np.zeros((3, 1)), np.array([[-1], [1], [-1]]), np.array([True]))
    iou = surface_iou(evidence, levels, [near, other], [0], [1])
    np.testing.assert_allclose(iou.ravel(), [0, (2 / 3 + 0) / 2, 0], atol=1e-6)
    hidden = replace(far, visible=np.array([False]))
    assert np.isnan(surface_iou(evidence, levels, [near, hidden], [0], [1])).all()


# --- intervals ---


def test_means_of_draws_are_those_of_what_was_drawn():
    """Three objects, two near and three far photos, against drawing rows anew one by one."""
    rng = np.random.default_rng(1)
    values = rng.random((2, 3, 2, 3))
    values[:, 1, 0] = np.nan
    values[:, 2] = np.nan
    bootstrap = Bootstrap(3, 2, 3, draws=50, seed=4)
    found = bootstrap.means(values)
    again = np.random.default_rng(4)
    objects, near, far = (again.multinomial(n, np.full(n, 1 / n), size=50) for n in (3, 2, 3))
    for draw in range(50):
        drawn = values[:, np.repeat(np.arange(3), objects[draw])]
        drawn = drawn[:, :, np.repeat(np.arange(2), near[draw])]
        drawn = drawn[:, :, :, np.repeat(np.arange(3), far[draw])].reshape(2, 3, -1)
        each = [[float(np.nanmean(o)) for o in level if np.isfinite(o).any()] for level in drawn]
        expected = np.array([sum(level) / len(level) if level else np.nan for level in each])
        np.testing.assert_allclose(found[:, draw], expected)
    np.testing.assert_allclose(plain_means(values)[0], np.mean([np.nanmean(o) for o in values[0, :2]]))


def test_an_effect_is_shown_if_its_interval_has_one_sign():
    rng = np.random.default_rng(0)
    base = rng.random((1, 12, 5, 5))
    bootstrap = Bootstrap(12, 5, 5, draws=2000)
    (constant,) = bootstrap.effects(base + 0.2, base)
    np.testing.assert_allclose([constant.mean, constant.low, constant.high], 0.2)
    assert constant.shown
    (nil,) = bootstrap.effects(base, base)
    assert (nil.mean, nil.low, nil.high) == (0, 0, 0)
    assert not nil.shown
    # Objects differ by +1 and −1 in turn: the mean of 12 has a standard error of 1 / √12.
    turns = np.where(np.arange(12) % 2, 1.0, -1.0)[None, :, None, None]
    (mixed,) = bootstrap.effects(base + turns, base)
    assert mixed.mean == pytest.approx(0)
    assert mixed.high == pytest.approx(1.96 / np.sqrt(12), abs=0.12)
    assert written(mixed, 100).endswith(", not shown")
    assert written(Effect(0.021, 0.003, 0.04), 100) == "+2.1 (+0.3 to +4.0)"


# --- masks on disk ---


def _picture() -> np.ndarray:
    """A large red square with a green one inside, on a floor."""
    image = np.full((96, 128, 3), PALETTE[0], np.uint8)
    image[20:80, 30:100] = PALETTE[1]
    image[40:60, 50:70] = PALETTE[2]
    return image


@pytest.mark.parametrize("prompts", ["grid", "crops"])
def test_both_ways_of_containment_come_from_the_same_candidates(prompts: str):
    settings = replace(PRESETS["paper"].describe, prompts=prompts, grid_side=8)
    frames = 5 if prompts == "crops" else 1
    # All crops show the middle.
    points = np.tile(np.array([[64, 48], [56, 46], [52, 42]], np.float32), (frames, 1))
    model = ColorSegmenter()
    once = EncodedOnce(model)
    arm = Arm("toy", "toy", settings)
    cut = cut_photo(_picture(), points, once, arm)
    cut_photo(_picture(), points, once, arm)
    assert model.encoded == frames
    assert cut.prompts == len(points)
    for dropped in (True, False):
        alone = segment_photo(_picture(), points, ColorSegmenter(), replace(settings, drop_contained=dropped))
        np.testing.assert_array_equal(cut.labels[dropped], alone.labels)
        np.testing.assert_array_equal(cut.levels[dropped], alone.levels)


def test_masks_on_disk_are_taken_up_unless_made_otherwise(tmp_path: Path):
    arm = Arm("toy", "toy", replace(PRESETS["paper"].describe, prompts="grid"))
    points = np.array([[64, 48], [40, 30], [5, 5]], np.float32)
    cut, path = cut_photo(_picture(), points, ColorSegmenter(), arm), tmp_path / "arm" / "photo.npz"
    made = made_by(arm, "color", "splats", points)
    save_cut(cut, path, made)
    again = load_cut(path, made)
    assert again is not None
    for dropped in (True, False):
        np.testing.assert_array_equal(again.labels[dropped], cut.labels[dropped])
        np.testing.assert_array_equal(again.levels[dropped], cut.levels[dropped])
    for other in (
        made_by(arm, "color", "splats", points + 1),
        made_by(arm, "sam", "splats", points),
        made_by(replace(arm, settings=replace(arm.settings, min_iou=0.8)), "color", "splats", points),
    ):
        assert load_cut(path, other) is None
    path.write_bytes(path.read_bytes()[:100])
    assert load_cut(path, made) is None


# --- a whole run ---


def _moved(camera: Camera, factor: float) -> Camera:
    """The same camera from `factor` times as far."""
    viewmat = camera.viewmat.copy()
    viewmat[:3, 3] *= factor
    return Camera(viewmat, camera.K, camera.width, camera.height)


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Path:
    """Two photos from each of three distances, with instance maps, and a scene of them."""
    root = tmp_path_factory.mktemp("granularity")
    scene = make_scene(2)
    capture = root / "capture"
    (capture / "images").mkdir(parents=True)
    (capture / "instance").mkdir()
    colors = torch.from_numpy(PALETTE[scene.owner] / 255).float()
    one_hot = torch.nn.functional.one_hot(torch.from_numpy(scene.owner), len(WORDS)).float()
    views = []
    for ring, factor in enumerate((1.0, 1.4, 2.0)):
        for row, camera in enumerate(scene.cameras):
            seen = _moved(camera.resized(WIDTH, HEIGHT), factor)
            name = f"view_{ring}{row}"
            picture = (render(scene.gaussians, seen, colors).colors.clamp(0, 1) * 255).byte().numpy()
            cv2.imwrite(str(capture / "images" / f"{name}.png"), picture[..., ::-1])
            shares = render(scene.gaussians, seen, one_hot).colors.numpy()
            ids = np.where(shares.sum(-1) > 0.5, shares.argmax(-1) + 1, 0)
            cv2.imwrite(str(capture / "instance" / f"{name}.png"), ids.astype(np.uint8))
            views.append(View(f"{name}.png", capture / "images" / f"{name}.png", seen))
    write_objects(capture)
    workspace = Workspace.create(root / "scene")
    save_capture(Capture(capture, views), workspace.capture)
    save_ply(scene.gaussians, workspace.splats)
    return root


def _run(toy: Path, monkeypatch: pytest.MonkeyPatch, *extra: str) -> tuple[int, ColorSegmenter]:
    model = ColorSegmenter()
    monkeypatch.chdir(toy)
    monkeypatch.setattr(sys, "argv", ["run.py", "capture", "scene", "--out", "out", *extra])
    monkeypatch.setattr(run, "load_segmenter", lambda name, progress: model)
    return run.main(), model


def test_a_run_finds_the_balls_and_goes_on_where_it_was(toy: Path, monkeypatch, capsys):
    arms = ("--arms", "lite", "uniform-lite")
    code, model = _run(toy, monkeypatch, *arms, "--json")
    assert code == 0
    assert model.encoded == 6  # once a photo, for both arms
    found = json.loads(capsys.readouterr().out)
    assert list(found["arms"]) == ["uniform-lite", "lite"]
    assert found["objects"] == list(WORDS[1:])
    rings = [ring for _, ring in sorted(found["photos"].items())]
    assert rings == ["near", "near", "middle", "middle", "far", "far"]
    pairs = np.array(found["pairs"]["lite, kept"]["found"], float)
    assert pairs.shape == (4, 4, 2, 2)
    # Masks are the balls at "part" and "whole", and their left halves at "sub-part".
    assert np.nanmean(pairs[1]) == np.nanmean(pairs[2]) == np.nanmean(pairs[3]) == 1
    assert np.nanmean(pairs[0]) < 0.5
    surface = np.array(found["pairs"]["lite, kept"]["surface"], float)
    assert np.nanmean(surface[1]) > 0.7
    assert np.nanmean(surface[0]) < np.nanmean(surface[1]) - 0.1  # left is another half in each view
    law = found["effects"]["found"][0]
    assert law["compared"].startswith("`lite`")
    assert law["levels"][1] == {"mean": 0, "low": 0, "high": 0}

    folder = toy / "out" / "masks" / "lite"
    (folder / "view_20.npz").unlink()
    code, model = _run(toy, monkeypatch, *arms)
    assert (code, model.encoded) == (0, 1)
    printed = capsys.readouterr().out
    assert "4 objects, 2 near and 2 far photos" in printed
    assert "+0.0 (+0.0 to +0.0), not shown" in printed
    (folder / "view_20.npz").unlink()
    code, model = _run(toy, monkeypatch, *arms, "--only-compare")
    assert (code, model.encoded) == (0, 0)
    assert "2 near and 1 far photos" in capsys.readouterr().out


def test_mistakes_are_one_line(toy: Path, monkeypatch, capsys):
    assert _run(toy, monkeypatch, "--arms", "nonsense")[0] == 1
    assert "takes crops, grid" in capsys.readouterr().err
    assert _run(toy, monkeypatch, "--arms", "grid", "--only-compare")[0] == 1
    assert "near ring has masks" in capsys.readouterr().err


def test_labels_are_the_truth_where_there_are_no_instance_maps(tmp_path: Path):
    folder = tmp_path / "labels"
    folder.mkdir()
    square = [[10, 10], [29, 10], [29, 29], [10, 29]]
    table = {
        "info": {"name": "a.png", "width": 64, "height": 48},
        "objects": [{"category": "box", "segmentation": square, "bbox": [10, 10, 30, 30]}],
    }
    (folder / "a.json").write_text(json.dumps(table))
    camera = Camera(np.eye(4), np.array([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]]), 64, 48)
    views = [View(f"{name}.png", tmp_path / f"{name}.png", camera) for name in "ab"]
    objects = known_objects(tmp_path)
    assert objects.names == ["box"]
    assert [view.name for view in objects.views(Capture(tmp_path, views))] == ["a.png"]
    (box,) = objects.masks(views[0])
    assert box.sum() == 400
    (tmp_path / "objects.json").write_text("{}")
    (tmp_path / "instance").mkdir()
    with pytest.raises(CaptureError, match=r"no instance|no 8-bit"):
        known_objects(tmp_path).masks(views[0])
