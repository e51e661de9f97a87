"""Things from masks: balls are found, wholes come before their parts, groups are told from things."""

from dataclasses import replace

import numpy as np
import pytest
from tests.helpers.blobs import DIM, WORDS, make_scene, word_vector

from gags.evaluate.metrics import iou
from gags.segment.masks import Masks
from gags.things.find import find_things
from gags.things.things import Things


@pytest.fixture(scope="module")
def scene():
    return make_scene()


@pytest.fixture(scope="module")
def things(scene):
    return find_things(scene.gaussians, scene.items())


def made(*members: list[int], photos: list[int] | None = None) -> Things:
    """Things of these Gaussians, each agreed on by fewer photos than those before."""
    owners = np.repeat(np.arange(len(members)), [len(rows) for rows in members])
    counts = photos or list(range(len(members) + 3, 3, -1))
    return Things.build(np.concatenate(members), owners, [np.arange(count) for count in counts])


def _mask(things: Things, thing: int, count: int) -> np.ndarray:
    mask = np.zeros(count, bool)
    mask[things[thing]] = True
    return mask


def best_of(things: Things, truth: np.ndarray) -> int:
    return max(range(len(things)), key=lambda thing: iou(_mask(things, thing, len(truth)), truth))


def test_every_ball_is_one_thing_and_no_whole_holds_a_piece_of_it_alone(scene, things):
    wholes = np.flatnonzero(things.parents < 0).tolist()
    for ball in range(1, 5):
        truth = scene.owner == ball
        best = max(wholes, key=lambda thing: iou(_mask(things, thing, len(truth)), truth))
        assert iou(_mask(things, best, len(truth)), truth) > 0.85
        assert things.photos[best] == 8
        others = [t for t in wholes if t != best and iou(_mask(things, t, len(truth)), truth) > 0.1]
        assert others == []


def test_a_thing_has_the_embedding_of_its_own_masks(scene, things):
    assert things.embeddings.shape == (len(things), DIM)
    np.testing.assert_allclose(np.linalg.norm(things.embeddings.astype(float), axis=1), 1, atol=1e-2)
    words = np.stack([word_vector(word) for word in WORDS])
    for ball in range(5):
        best = best_of(things, scene.owner == ball)
        cosines = words @ things.embeddings[best].astype(float)
        assert cosines.argmax() == ball
        assert cosines[ball] > 0.9


def test_every_gaussian_that_photos_see_lies_in_a_thing(scene, things):
    held = np.zeros(len(scene.owner), bool)
    held[things.members] = True
    assert held.mean() > 0.98


def test_wholes_come_before_what_lies_in_them(things):
    rows = np.arange(len(things))
    assert (things.parents < rows).all()
    for thing in rows:
        chain = things.chain(thing)
        assert chain[0] == thing
        assert things.parents[chain[-1]] == -1
        assert all(things.within(above)[thing] for above in chain)


def test_photos_without_masks_leave_no_things(scene):
    things = find_things(scene.gaussians, [])
    assert len(things) == 0
    assert things.means(np.ones((4, 2)), np.ones(4)).shape == (0, 2)
    assert things.is_group.tolist() == []


def test_means_are_weighted():
    things = made([0, 1], [2])
    values, weights = np.array([[1.0, 0], [4.0, 0], [7.0, 9]]), np.array([2.0, 1.0, 5.0])
    np.testing.assert_allclose(things.means(values, weights), [[2, 0], [7, 9]])


def test_what_few_photos_cut_out_of_a_whole_does_not_stand_out():
    things = made([*range(20)], [*range(10)], [0, 1, 2], photos=[40, 20, 9])
    things.parents = np.array([-1, 0, 1], np.int32)
    assert [things.stands_out(thing) for thing in range(3)] == [True, True, False]


def test_a_group_is_what_holds_several_that_masks_take_for_wholes():
    things = made([*range(9)], [0, 1, 2], [3, 4, 5], [6], [0], photos=[10, 9, 8, 2, 9])
    things.parents = np.array([-1, 0, 0, 0, 1], np.int32)
    things.levels = np.array([1.8, 1.5, 1.4, 1.8, 0.1], np.float32)
    assert things.is_group.tolist() == [True, False, False, False, False]
    del things.is_group
    things.levels[2] = 0.3  # a part: of two wholes only one is left
    assert things.is_group.tolist() == [False] * 5


def test_two_that_share_most_of_themselves_are_not_several():
    things = made([*range(20)], [*range(12)], [*range(6, 18)], [*range(15, 20)], photos=[10, 9, 8, 2])
    things.parents = np.array([-1, 0, 0, 0], np.int32)
    things.levels = np.array([1.8, 1.5, 1.5, 1.5], np.float32)
    assert things.is_group.tolist() == [False] * 4
    del things.is_group
    things.photos[3] = 9  # a third one that is apart from the first
    assert things.is_group.tolist() == [True, False, False, False]


def test_what_holds_a_group_is_one():
    things = made([*range(9)], [*range(8)], [0, 1], [2, 3], photos=[9, 9, 9, 9])
    things.parents = np.array([-1, 0, 1, 1], np.int32)
    assert things.is_group.tolist() == [True, True, False, False]


def test_saved_things_come_back_if_they_were_found_from_the_same(tmp_path, things):
    path = tmp_path / "things.safetensors"
    assert Things.load(path, stamp="a") is None
    things.save(path, "a", "these")
    loaded = Things.load(path, stamp="a")
    assert loaded is not None
    for name in ("starts", "members", "parents", "photos", "seen_by", "levels", "embeddings"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(things, name))
    assert Things.load(path, stamp="b") is None
    assert Things.load(path, splats="these") is not None
    assert Things.load(path, splats="others") is None
    things.parents[0] = 7
    things.save(path, "a")
    assert Things.load(path, stamp="a") is None
    path.write_bytes(b"no safetensors")
    assert Things.load(path, stamp="a") is None


def test_what_hardly_any_photo_cuts_out_of_what_all_see_is_no_thing(scene):
    camera, described = scene.items()[0]
    empty = replace(
        described,
        masks=Masks(
            np.full_like(described.masks.labels, -1),
            np.zeros(0, np.int8),
            np.zeros((0, 4), np.int32),
            np.zeros(0, np.float32),
        ),
        embeddings=np.zeros((0, DIM), np.float16),
    )
    items = [(camera, described if number < 3 else empty) for number in range(40)]
    assert len(find_things(scene.gaussians, items)) == 0
