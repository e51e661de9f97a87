"""Things from masks: balls are found, pairs are united or not, parts know their whole."""

import numpy as np
import pytest
from tests.helpers.blobs import make_scene

from gags.evaluate.metrics import iou
from gags.things.find import find_things, groups_of_pairs, nested
from gags.things.things import Things


@pytest.fixture(scope="module")
def scene():
    return make_scene()


@pytest.fixture(scope="module")
def things(scene):
    items = scene.items()
    return find_things(scene.gaussians, items)


def made(*members: list[int], photos: list[int] | None = None) -> Things:
    owners = np.repeat(np.arange(len(members)), [len(rows) for rows in members])
    counts = photos or list(range(len(members) + 3, 3, -1))
    return Things.build(np.concatenate(members), owners, [np.arange(count) for count in counts])


def test_every_ball_is_one_thing_and_its_halves_are_none(scene, things):
    wholes = np.flatnonzero(things.parents < 0).tolist()
    for ball in range(1, 5):
        truth = scene.owner == ball
        best = max(wholes, key=lambda thing: iou(_mask(things, thing, len(truth)), truth))
        assert iou(_mask(things, best, len(truth)), truth) > 0.85
        assert things.photos[best] == 8
        others = [t for t in wholes if t != best and iou(_mask(things, t, len(truth)), truth) > 0.1]
        assert others == []


def _mask(things: Things, thing: int, count: int) -> np.ndarray:
    mask = np.zeros(count, bool)
    mask[things[thing]] = True
    return mask


def test_photos_without_masks_leave_no_things(scene):
    things = find_things(scene.gaussians, [])
    assert len(things) == 0
    assert things.means(np.ones((4, 2)), np.ones(4)).shape == (0, 2)


def test_means_are_weighted():
    things = made([0, 1], [2])
    values, weights = np.array([[1.0, 0], [4.0, 0], [7.0, 9]]), np.array([2.0, 1.0, 5.0])
    np.testing.assert_allclose(things.means(values, weights), [[2, 0], [7, 9]])


def test_parts_belong_to_the_smallest_thing_that_holds_them_and_is_agreed_on_more():
    room, table, leg, beside = [*range(20)], [*range(10)], [0, 1, 2], [9, 20, 21]
    things = made(room, table, leg, beside)
    assert nested(things, 22).tolist() == [-1, 0, 1, -1]
    things.parents = nested(things, 22)
    assert [things.stands_out(thing) for thing in range(4)] == [True, True, True, True]
    things.photos = np.array([40, 20, 9, 3], np.int32)
    assert [things.stands_out(thing) for thing in range(4)] == [True, True, False, True]


def test_pairs_are_united_best_first_unless_others_in_the_group_are_apart():
    joint, apart = np.zeros((4, 4)), np.zeros((4, 4))
    joint[1, 0], joint[2, 1], apart[2, 0] = 9, 8, 3  # 2 would join 1, but not 0
    joint[3, 2], apart[3, 2] = 5, 5  # as often apart: stays alone
    assert groups_of_pairs(joint, apart).tolist() == [0, 0, 2, 3]
    assert groups_of_pairs(joint, np.zeros((4, 4))).tolist() == [0, 0, 0, 0]


def test_saved_things_come_back_if_they_were_found_from_the_same(tmp_path):
    things, path = made([0, 1, 5], [1]), tmp_path / "things.safetensors"
    assert Things.load(path, "a") is None
    things.save(path, "a")
    loaded = Things.load(path, "a")
    assert loaded is not None
    assert [loaded[thing].tolist() for thing in range(2)] == [[0, 1, 5], [1]]
    assert loaded.photos.tolist() == things.photos.tolist()
    assert Things.load(path, "b") is None
    path.write_bytes(b"no safetensors")
    assert Things.load(path, "a") is None
