"""Which node answers a text, and how much of it: trees and fits made by hand."""

from dataclasses import replace

import numpy as np
import pytest

from gags.query.choose import AS_GOOD, Chooser, Fits, fits_of
from gags.query.reach import Reach
from gags.query.space import weighted_median
from gags.things.things import Things

DESK, LAPTOP, SCREEN, KEYS, MUG, KEY = range(6)
SIZES = {SCREEN: 40, KEYS: 40, MUG: 30, KEY: 4}


def made(**changes) -> Things:
    """A desk: a laptop of a screen and a keyboard with a key, beside it a mug."""
    screen, keys, mug = np.arange(40), np.arange(40, 80), np.arange(80, 110)
    members = [np.arange(110), np.arange(80), screen, keys, mug, keys[:4]]
    things = Things(
        starts=np.cumsum([0] + [len(rows) for rows in members]),
        members=np.concatenate(members).astype(np.int32),
        parents=np.array([-1, DESK, LAPTOP, LAPTOP, DESK, KEYS], np.int32),
        photos=np.array([20, 30, 40, 40, 40, 4], np.int32),
        seen_by=np.full(6, 40, np.int32),
        levels=np.array([1.9, 1.8, 0.6, 0.6, 1.6, 0.0], np.float32),
        embeddings=np.zeros((6, 0), np.float16),
    )
    return replace(things, **changes)


def chooser(things: Things | None = None, means: np.ndarray | None = None) -> Chooser:
    means = np.random.default_rng(0).normal(size=(110, 3)) if means is None else means
    return Chooser(made() if things is None else things, np.ones(110), means)


def fit(screen: float, keys: float, mug: float, key: float | None = None, masks=None) -> Fits:
    """One text, by what it fits; nodes that hold others have the mean of their Gaussians."""
    key = keys if key is None else key
    below = keys * 36 / 40 + key * 4 / 40
    laptop = (screen + below) / 2
    desk = (laptop * 80 + mug * 30) / 110
    field = np.array([desk, laptop, screen, below, mug, key])[:, None]
    return Fits(field, field if masks is None else np.array(masks, float)[:, None])


def test_the_desk_is_a_group_of_a_laptop_and_a_mug():
    assert made().is_group.tolist() == [True] + [False] * 5


def test_parts_that_are_cut_out_often_make_no_group():
    """Legs and head of a teddy bear are cut out as often as all of it, but as parts."""
    bear = made(levels=np.array([1.0, 1.0, 0.8, 0.8, 0.8, 0.0], np.float32))
    assert not bear.is_group.any()


def test_a_whole_is_asked_for_by_its_name_though_a_fragment_fits_best():
    assert chooser().best(fit(0.7, 0.8, 0.0, key=1.0), 0) == LAPTOP
    assert chooser().first(fit(0.7, 0.8, 0.0, key=2.0), 0) == KEY


def test_a_node_that_few_photos_cut_out_fits_less_surely():
    """Four photos of the key, 40 of the keyboard: 1 · 4 / (4 + 3) against 0.82 · 40 / (40 + 3)."""
    assert chooser().first(fit(0.7, 0.8, 0.0, key=1.0), 0) == KEYS
    often = made(photos=np.array([20, 30, 40, 40, 40, 40], np.int32))
    assert chooser(often).first(fit(0.7, 0.8, 0.0, key=1.0), 0) == KEY


def test_what_no_photo_cuts_out_is_known_from_those_that_see_it():
    wall = made(
        parents=np.array([-1, DESK, LAPTOP, LAPTOP, -1, KEYS], np.int32),
        photos=np.array([20, 30, 40, 40, 0, 4], np.int32),
    )
    assert wall.is_leftover.tolist() == [False] * 4 + [True, False]
    assert chooser(wall).first(fit(0.1, 0.1, 0.9), 0) == MUG


def test_what_a_whole_adds_must_fit_too():
    assert chooser().best(fit(0.1, 0.9, 0.0), 0) == KEYS
    assert chooser().best(fit(0.9, 0.1, 0.0), 0) == SCREEN


@pytest.mark.parametrize(("base", "answer"), [(0.8, 0), (0.1, 2)])
def test_a_thin_rim_that_fits_badly_does_not_hide_what_lies_beyond(base, answer):
    """A pole, a rim around it, and the base: the whole is judged by all that it adds together."""
    members = [np.arange(160), np.arange(114), np.arange(100)]
    things = Things(
        starts=np.cumsum([0] + [len(rows) for rows in members]),
        members=np.concatenate(members).astype(np.int32),
        parents=np.array([-1, 0, 1], np.int32),
        photos=np.full(3, 20, np.int32),
        seen_by=np.full(3, 20, np.int32),
        levels=np.array([1.2, 0.55, 0.5], np.float32),
        embeddings=np.zeros((3, 0), np.float16),
    )
    fitting = np.repeat([0.84, -0.1, base], [100, 14, 46])
    field = np.array([fitting[rows].mean() for rows in members])[:, None]
    masks = np.full((3, 1), 0.8)
    assert Chooser(things, np.ones(160), np.zeros((160, 3))).best(Fits(field, masks), 0) == answer


def test_what_its_own_masks_say_counts():
    against = [0.0, -0.6, 0.8, 0.8, 0.0, 0.8]
    assert chooser().best(fit(0.6, 0.8, 0.0, masks=against), 0) == KEYS
    for_it = [0.0, 0.9, 0.8, 0.8, 0.0, 0.8]
    assert chooser().best(fit(0.6, 0.8, 0.0, masks=for_it), 0) == LAPTOP


def test_what_few_photos_cut_out_is_no_answer_if_more_cut_out_what_it_lies_in():
    rare = made(photos=np.array([20, 1, 40, 40, 40, 4], np.int32))
    assert chooser(rare).best(fit(0.7, 0.8, 0.0), 0) == KEYS
    assert chooser().best(fit(0.7, 0.8, 0.0), 0) == LAPTOP


def test_a_part_is_asked_for_within_its_whole():
    some = fit(0.3, 0.4, 0.9)  # the mug fits best of all
    assert chooser().best(some, 0) == MUG
    assert chooser().part(some, 0, LAPTOP) == KEYS
    assert chooser().part(some, 0, MUG) is None


def test_a_part_is_no_worse_for_being_cut_out_as_a_sub_part():
    """Alone, a text that fits the key best is answered by the keyboard; as a part of a laptop, by the key."""
    named = fit(0.1, 0.8, 0.1, key=1.0)
    often = made(
        photos=np.array([20, 30, 40, 40, 40, 40], np.int32),
        levels=np.array([1.9, 1.8, 0.6, 1.2, 1.6, 0.0], np.float32),
    )
    assert chooser(often).best(named, 0) == KEYS
    assert chooser(often).part(named, 0, LAPTOP) == KEY


def test_others_of_the_kind_fit_as_well_and_lie_elsewhere():
    assert chooser().others(fit(0.9, 0.9, 0.9 - AS_GOOD / 2), 0, LAPTOP) == [MUG]
    assert chooser().others(fit(0.9, 0.9, 0.9 - 2 * AS_GOOD), 0, LAPTOP) == []


@pytest.mark.parametrize(
    ("cosine", "size", "found"),
    [
        (0.95, 1.0, [MUG]),
        (0.95, 3.0, [MUG]),  # of another size, but it looks the same
        (0.4, 1.0, [MUG]),  # a mug of another colour
        (0.4, 3.0, []),
        (0.1, 1.0, []),
    ],
)
def test_others_of_the_kind_look_alike_or_are_as_large_and_somewhat_alike(cosine, size, found):
    means = np.random.default_rng(0).normal(size=(110, 3))
    means[80:] *= size
    vectors = np.zeros((6, 3))
    vectors[:, 0] = 1
    vectors[MUG] = [cosine, np.sqrt(1 - cosine**2), 0]
    vectors[DESK] = [0, 0, 1]
    alike = chooser(made(embeddings=vectors.astype(np.float16)), means)
    assert alike.others(fit(0.9, 0.9, 0.9), 0, LAPTOP) == found


FOOT, SHADE, BOOK, BALL = range(4)


def lamp(shade_size: float = 2.0, shade_at: float = 4.0) -> Chooser:
    """A foot, above it a shade that no mask unites with it; a book beside the foot, and a ball far away."""
    rng = np.random.default_rng(0)
    sizes = {FOOT: 1.0, SHADE: shade_size, BOOK: 2.0, BALL: 3.0}
    places = {FOOT: (0, 0, 0), SHADE: (0, 0, shade_at), BOOK: (3, 0, 0), BALL: (50, 0, 0)}
    means = np.concatenate([rng.normal(size=(50, 3)) * sizes[k] + places[k] for k in sizes])
    things = Things.build(np.arange(200), np.repeat(np.arange(4), 50), [np.arange(20)] * 4)
    return Chooser(things, np.ones(200), means)


def fits(foot: float, shade: float, book: float, ball: float) -> Fits:
    values = np.array([foot, shade, book, ball])[:, None]
    return Fits(values, values)


def test_what_lies_beside_the_answer_and_fits_as_well_is_a_piece_of_it():
    assert lamp().pieces(fits(0.95, 0.85, 0.1, 0.1), 0, FOOT, []) == [SHADE]
    assert lamp().pieces(fits(0.95, 0.85, 0.84, 0.1), 0, FOOT, []) == [SHADE, BOOK]
    assert lamp().pieces(fits(0.95, 0.85, 0.1, 0.9), 0, FOOT, []) == [SHADE]  # the ball is far away
    assert lamp().pieces(fits(0.95, 0.6, 0.1, 0.1), 0, FOOT, []) == []
    assert lamp().pieces(fits(0.95, 0.85, 0.1, 0.1), 0, FOOT, [SHADE]) == []  # another lamp, it was said


def test_a_piece_may_fit_worse_if_all_the_rest_fits_much_worse():
    assert lamp().pieces(fits(0.95, 0.7, 0.5, 0.5), 0, FOOT, []) == [SHADE]
    assert lamp().pieces(fits(0.95, 0.7, 0.65, 0.5), 0, FOOT, []) == []


@pytest.mark.parametrize(("parent", "found"), [(0, [3]), (-1, [])])
def test_other_parts_of_the_answers_own_thing_are_no_rivals_of_a_piece(parent, found):
    """The pole fits best, the rest of the foot less than the shade; as a thing of its own, it is a rival."""
    rng = np.random.default_rng(0)
    members = [np.arange(60), np.arange(30), np.arange(30, 60), np.arange(60, 90)]  # foot, pole, base, shade
    means = rng.normal(size=(90, 3)) * np.repeat([[1.0], [1.0], [2.5]], 30, axis=0)
    means[60:, 2] += 4
    things = Things(
        starts=np.cumsum([0] + [len(rows) for rows in members]),
        members=np.concatenate(members).astype(np.int32),
        parents=np.array([-1, 0, parent, -1], np.int32),
        photos=np.full(4, 20, np.int32),
        seen_by=np.full(4, 20, np.int32),
        levels=np.full(4, 0.5, np.float32),
        embeddings=np.zeros((4, 0), np.float16),
    )
    values = np.array([0.75, 0.95, 0.65, 0.7])[:, None]
    assert Chooser(things, np.ones(90), means).pieces(Fits(values, values), 0, 1, []) == found


def test_what_is_as_large_or_much_larger_is_no_piece():
    assert lamp(shade_size=1.1).pieces(fits(0.95, 0.85, 0.1, 0.1), 0, FOOT, []) == []
    assert lamp(shade_size=9.0).pieces(fits(0.95, 0.85, 0.1, 0.1), 0, FOOT, []) == []
    assert lamp(shade_at=40.0).pieces(fits(0.95, 0.85, 0.1, 0.1), 0, FOOT, []) == []


def test_weighted_median():
    assert weighted_median(np.array([3.0, 1.0, 2.0]), np.ones(3)) == 2.0
    assert weighted_median(np.array([3.0, 1.0, 2.0]), np.array([5.0, 1.0, 1.0])) == 3.0


def test_fits_are_shares_of_the_range_of_each_text():
    margins = np.linspace(-1, 1, 110)[:, None] * [1.0, 10.0]
    reaches = [Reach.of(column, np.ones(110)) for column in margins.T]
    made_of = fits_of(made(), margins, None, reaches, np.ones(110))
    np.testing.assert_allclose(made_of.of_gaussians[:, 0], made_of.of_gaussians[:, 1], atol=1e-12)
    assert made_of.of_gaussians[DESK, 0] == pytest.approx(0, abs=1e-9)
    assert made_of.of_gaussians[MUG, 0] == pytest.approx(margins[80:, 0].mean())
    np.testing.assert_array_equal(made_of.of_masks, made_of.of_gaussians)
