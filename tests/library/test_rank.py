"""Ranking by Eq. 8, and one result of things that lie in one another."""

import numpy as np
import pytest
import torch
from tests.helpers.blobs import DIM

from gags.library.rank import AS_GOOD, Asked, Node, Phrases, best_unrelated


def units(count: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class Encoder:
    """Texts and phrases are given; the second phrase means the same as the text."""

    name = "made up"
    temperature = 20.0
    same_meaning = 0.9
    negatives = ("one", "same", "three")
    least_match = 0.1

    def __init__(self) -> None:
        self.text = units(1, 1)[0]
        same = self.text + 0.05 * units(1, 2)[0]
        self.phrases = np.stack([units(1, 3)[0], same / np.linalg.norm(same), units(1, 4)[0]])

    def encode_texts(self, texts):
        return self.phrases if len(texts) == 3 else self.text[None]


def test_scores_of_a_text_are_relevancies_of_equation_8_without_phrases_of_one_meaning():
    encoder, things = Encoder(), units(50, 5)
    asked = Asked.of_text("cup", encoder, Phrases.of(encoder))
    fit = asked.fit(things)
    cosines, phrases = things @ encoder.text, things @ encoder.phrases.T
    ratios = np.exp(20 * cosines)[:, None] / (np.exp(20 * cosines)[:, None] + np.exp(20 * phrases[:, [0, 2]]))
    np.testing.assert_allclose(fit.scores, ratios.min(axis=1), atol=1e-5)
    sums = cosines + cosines - phrases[:, [0, 2]].max(axis=1)
    np.testing.assert_array_equal(fit.matches, sums >= 0.1)
    assert 0 < fit.matches.sum() < 50


def test_scores_of_an_example_are_cosines_and_say_nothing_of_matches():
    vector, things = units(1, 1)[0], units(9, 2)
    fit = Asked(vector).fit(things)
    np.testing.assert_allclose(fit.scores, things @ vector, atol=1e-6)
    assert fit.matches is None
    assert Asked(vector).by == "cosine"


def test_dot_products_of_searches_are_margins_and_cosines():
    encoder, things = Encoder(), units(40, 6)
    phrases = Phrases.of(encoder)
    kept = np.append(things, phrases.against(things)[:, None], axis=1)
    margin, cosine = Asked.of_text("cup", encoder, phrases).searches
    largest = (things @ encoder.phrases.T).max(axis=1)
    np.testing.assert_allclose(kept @ margin, things @ encoder.text - largest, atol=1e-6)
    np.testing.assert_allclose(kept @ cosine, things @ encoder.text, atol=1e-6)


def test_a_text_whose_phrases_all_count_needs_one_search():
    encoder = Encoder()
    encoder.same_meaning = 2.0
    asked = Asked.of_text("cup", encoder, Phrases.of(encoder))
    assert bool(asked.counted.all())
    assert len(asked.searches) == 1
    assert len(Asked(encoder.text).searches) == 1


def node(thing: int, chain: tuple[int, ...] = (), photos: int = 10, scene: str = "a") -> Node:
    return Node(scene, thing, (thing, *chain), photos)


def test_of_a_whole_and_its_parts_the_best_stands_for_all():
    nodes = [node(0), node(1, (0,)), node(2, (1, 0)), node(3)]
    values = np.array([0.1, 0.5, 0.3, 0.2])
    assert best_unrelated(nodes, values, 10) == [1, 3]
    assert best_unrelated(nodes, values, 1) == [1]


def test_siblings_are_no_relatives_and_equal_numbers_of_two_scenes_are_none():
    nodes = [node(1, (0,)), node(2, (0,)), node(1, (0,), scene="b")]
    assert best_unrelated(nodes, np.array([0.3, 0.2, 0.1]), 10) == [0, 1, 2]


def test_of_relatives_that_fit_as_well_the_one_that_most_photos_cut_out_is_shown():
    nodes = [node(0, photos=40), node(1, (0,), photos=3), node(9, photos=50)]
    near, far = 0.5 - 0.9 * AS_GOOD, 0.5 - 1.1 * AS_GOOD
    assert best_unrelated(nodes, np.array([near, 0.5, near]), 10) == [0, 2]
    assert best_unrelated(nodes, np.array([far, 0.5, far]), 10) == [1, 2]


def test_what_stands_for_a_part_is_no_relative_of_what_was_given_before():
    # The whole 0 has parts 1 and 2; 1 is best by far, then 2 and 0 fit alike: 0 holds 1, so 2 is given.
    nodes = [node(0, photos=90), node(1, (0,)), node(2, (0,))]
    assert best_unrelated(nodes, np.array([0.4, 0.9, 0.41]), 10) == [1, 2]


def test_results_come_in_order_of_what_is_shown():
    # 1 is the best; the whole that stands for it fits worse than 9.
    nodes = [node(0, photos=40), node(1, (0,), photos=3), node(9)]
    assert best_unrelated(nodes, np.array([0.48, 0.5, 0.49]), 10) == [2, 0]


@pytest.mark.parametrize("count", [0, 3])
def test_top_may_be_more_than_there_is(count):
    assert len(best_unrelated([node(k) for k in range(count)], np.zeros(count), 20)) == count


def test_phrases_are_embedded_once_as_float32():
    phrases = Phrases.of(Encoder())
    assert phrases.vectors.dtype == torch.float32
    assert phrases.vectors.shape == (3, DIM)
