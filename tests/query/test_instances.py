"""Instances of texts on balls whose places are known, with relevancies made by hand."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.helpers import blobs
from tests.helpers.blobs import make_scene

from gags.evaluate.metrics import iou
from gags.gaussians import Gaussians
from gags.query.instances import Instance, locate_instances
from gags.query.space import Space
from gags.things.find import find_things
from gags.things.things import Things

RED, BLUE = 1, 3  # balls


class MadeQueries:
    """Relevancy of one text: a value a ball (row 0 is the floor)."""

    texts = ("ball",)
    vague_phrases = False
    temperature = 10.0
    least_match = None
    wholes = parts = None
    whole_of = (-1,)
    vectors = torch.zeros(1, 1)

    def __init__(self, owner: np.ndarray, *values: float) -> None:
        self.values = torch.tensor(values, dtype=torch.float32)[torch.from_numpy(owner)][:, None]

    def margins_of_gaussians(self, field):
        return torch.logit(self.values) / self.temperature

    def example(self, row):
        return None

    def relevancy_of_margins(self, margins):
        return torch.sigmoid(self.temperature * margins)


FIELD = SimpleNamespace(features=None)


def found(scene: blobs.Scene, things: Things, *values: float) -> list[Instance]:
    return locate_instances(scene.gaussians, FIELD, MadeQueries(scene.owner, *values), things)[0]


def things_of(scene: blobs.Scene) -> Things:
    """Its things, of which nobody knows what their masks say: relevancies are made by hand."""
    things = find_things(scene.gaussians, scene.items())
    return replace(things, embeddings=np.zeros((len(things), 0), np.float16))


def touching_balls() -> blobs.Scene:
    """Two balls side by side: the blue one is moved to where it touches the red one."""
    scene = make_scene()
    moved = torch.from_numpy(scene.owner == BLUE)
    scene.gaussians.means[moved] += torch.tensor([2.0, 1.15, 0.0])  # from (-1, -1) to (1, 0.15)
    ids = [blobs._ids(scene.gaussians, scene.owner, camera) for camera in scene.cameras]
    return blobs.Scene(scene.gaussians, scene.owner, scene.cameras, ids)


@pytest.fixture(scope="module")
def scene():
    return make_scene()


@pytest.fixture(scope="module")
def things(scene):
    return things_of(scene)


@pytest.mark.parametrize("with_masks", [True, False])
def test_two_equal_balls_are_two_instances(scene, things, with_masks):
    rows = found(scene, things if with_masks else Things.none(), 0.1, 0.9, 0.1, 0.9, 0.1)
    assert len(rows) == 2
    for ball in (RED, BLUE):
        truth = scene.owner == ball
        row = max(rows, key=lambda row: iou(row.mask.numpy(), truth))
        assert iou(row.mask.numpy(), truth) > 0.7
        assert row.score == pytest.approx(0.9, abs=0.05)
        centre = scene.gaussians.means.numpy()[truth].mean(axis=0)
        assert np.linalg.norm(row.box.center - centre) < 0.1
        np.testing.assert_allclose(row.box.size, 0.8, atol=0.15)


def test_balls_that_touch_are_two_if_masks_tell_them_apart():
    scene = touching_balls()
    means = scene.gaussians.means.numpy()
    gap = np.linalg.norm(means[scene.owner == RED][:, None] - means[scene.owner == BLUE][None], axis=-1).min()
    assert gap < 0.15  # within a Gaussian's two standard deviations
    rows = found(scene, things_of(scene), 0.1, 0.9, 0.1, 0.9, 0.1)
    owners = [int(np.bincount(scene.owner[row.mask.numpy()]).argmax()) for row in rows]
    assert sorted(owners) == [RED, BLUE]


def test_best_comes_first_and_what_is_far_below_is_dropped(scene, things):
    rows = found(scene, things, 0.1, 0.88, 0.1, 0.9, 0.6)
    assert [round(row.score, 1) for row in rows] == [0.9, 0.8]


def test_nothing_matches_if_canonical_phrases_say_everything_better(scene, things):
    assert found(scene, things, 0.1, 0.49, 0.1, 0.3, 0.2) == []


def test_the_floor_answers_as_a_whole(scene, things):
    rows = found(scene, things, 0.9, 0.1, 0.1, 0.1, 0.1)
    assert len(rows) == 1
    assert iou(rows[0].mask.numpy(), scene.owner == 0) > 0.8


def test_a_row_as_json(scene, things):
    (row,) = found(scene, things, 0.1, 0.9, 0.1, 0.1, 0.1)
    row.views = 7
    record = row.to_json()
    assert (record["text"], record["views"], record["gaussians"]) == ("ball", 7, int(row.mask.sum()))
    corners = np.array(record["box"]["corners"])
    np.testing.assert_allclose(corners.mean(axis=0), record["center"])
    assert np.linalg.norm(corners[1] - corners[0]) == pytest.approx(record["box"]["size"][0])


def line(*positions: float) -> Gaussians:
    count = len(positions)
    means = torch.zeros(count, 3)
    means[:, 0] = torch.tensor(positions)
    quats = torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1)
    return Gaussians(means, quats, torch.zeros(count, 3), torch.full((count,), 2.0), torch.zeros(count, 1, 3))


def test_floaters_are_dropped_and_what_nobody_knows_inside_is_taken_along():
    large, stray, other = [0.01 * k for k in range(100)], [5.0], [9 + 0.01 * k for k in range(100)]
    gaussians = line(*large, *stray, *other)
    members = np.array([*range(0, 100, 2), 100, *range(101, 201)])
    owners = np.array([0] * 51 + [1] * 100)
    space = Space.build(gaussians, Things.build(members, owners, [np.arange(5), np.arange(4)]))
    rows = space.without_floaters(members[:51])
    assert rows.tolist() == [*range(0, 100, 2)]
    assert np.flatnonzero(space.filled(rows)).tolist() == [*range(100)]
    whole = np.isin(np.arange(201), np.arange(100))
    box = space.box(np.arange(100))
    assert space.is_fragment(np.isin(np.arange(201), [10, 11]), whole, box)
    assert not space.is_fragment(np.isin(np.arange(201), [150, 151]), whole, box)


def test_a_box_is_made_when_it_is_first_wanted(monkeypatch):
    scene = make_scene()
    things, made = things_of(scene), []
    box = Space.box
    monkeypatch.setattr(Space, "box", lambda space, rows: made.append(len(rows)) or box(space, rows))
    (red, *_) = found(scene, things, 0.2, 0.9, 0.2, 0.3, 0.2)
    assert not made
    members = scene.gaussians.means[red.mask].numpy()
    assert red.box.contains(members).mean() > 0.9
    assert red.box is red.box
    assert len(made) == 1
