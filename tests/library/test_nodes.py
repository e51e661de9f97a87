"""Trees of scenes: kept and read as they were, and asked as `gags locate` asks."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from tests.helpers.blobs import NEGATIVES, word_vector
from tests.helpers.made_library import PictureEncoder, tree

from gags.library.nodes import Means, Nodes
from gags.library.rank import Asked, Phrases
from gags.query.relevancy import Queries
from gags.things.things import Things

RED, GREEN = "red ball", "green ball"


class KnowingEncoder(PictureEncoder):
    """The toy encoder; it knows what it takes to be a match, and which phrases mean the same."""

    same_meaning = 0.9
    least_match = 0.9


def asked(text: str, encoder: PictureEncoder | None = None) -> Queries:
    encoder = encoder or KnowingEncoder()
    queries = Asked.of_text(text, encoder, Phrases.of(encoder)).queries
    assert queries is not None
    return queries


def test_what_is_kept_is_read_as_it_was():
    nodes = tree(["floor", RED, RED], [-1, -1, 1], kept=[0, 2])
    read = Nodes.from_bytes(nodes.to_bytes())
    assert read is not None
    for name in ("starts", "members", "parents", "photos", "seen_by", "levels", "embeddings"):
        np.testing.assert_array_equal(getattr(read.things, name), getattr(nodes.things, name))
    for name in ("embeddings", "against", "weights"):
        np.testing.assert_array_equal(getattr(read.means, name), getattr(nodes.means, name))
    assert read.kept.tolist() == [True, False, True]


@pytest.mark.parametrize("cut", [0, 9, 300, -1])
def test_what_is_damaged_is_said_to_be(cut):
    assert Nodes.from_bytes(tree([RED, GREEN], [-1, -1]).to_bytes()[:cut]) is None


def test_parts_that_do_not_fit_each_other_are_damage():
    whole, other = tree([RED, GREEN], [-1, -1]), tree([RED], [-1])
    assert Nodes.from_bytes(Nodes(whole.things, whole.kept, other.means).to_bytes()) is None
    assert Nodes.from_bytes(tree([RED, GREEN], [1, 0]).to_bytes()) is None  # a circle


def test_margins_are_those_of_the_gaussians_in_the_mean():
    nodes, queries = tree([RED, GREEN, "floor"], [-1, -1, -1]), asked(RED)
    expected = nodes.means.embeddings @ word_vector(RED) - nodes.means.against
    np.testing.assert_allclose(nodes._margins(queries)[:, 0], expected, atol=1e-6)


def test_phrases_of_one_meaning_do_not_count_against_a_text():
    class Same(KnowingEncoder):
        negatives = (*NEGATIVES, RED)

    nodes, queries = tree([RED, GREEN, "floor"], [-1, -1, -1]), asked(RED, Same())
    every = np.stack([word_vector(word) for word in Same.negatives])
    largest = (nodes.means.embeddings @ every.T).max(axis=1)
    nodes.means.against[:] = largest + 0.02  # as single Gaussians would have it
    others = (nodes.means.embeddings @ every[:2].T).max(axis=1) + 0.02
    expected = nodes.means.embeddings @ word_vector(RED) - others
    np.testing.assert_allclose(nodes._margins(queries)[:, 0], expected, atol=1e-6)


def test_the_best_is_chosen_first_and_nothing_that_lies_in_it_follows():
    words = ["floor", RED, GREEN, RED, RED, GREEN]
    nodes = tree(words, [-1, -1, -1, 1, 1, 2], photos=[20, 20, 20, 2, 2, 2], levels=[2, 2, 2, 0, 0, 0])
    chosen = list(nodes.chosen(asked(RED)))
    assert [one.thing for one in chosen] == [1, chosen[1].thing, chosen[2].thing]
    assert {one.thing for one in chosen} == {0, 1, 2}
    assert [one.matches for one in chosen] == [True, False, False]
    assert all(first.value >= second.value for first, second in pairwise(chosen))
    phrases = np.stack([word_vector(word) for word in NEGATIVES])
    margins = []
    for masks, gaussians in zip(nodes.things.embeddings, nodes.means.embeddings, strict=True):
        both = masks / np.linalg.norm(masks.astype(float)) + gaussians / np.linalg.norm(gaussians)
        both = both / np.linalg.norm(both)
        margins.append(both @ word_vector(RED) - (phrases @ both).max())
    assert chosen[0].value == pytest.approx(max(margins), abs=1e-5)  # of itself, or of a part
    assert chosen[1].value == pytest.approx(max(margins[0], margins[2], margins[5]), abs=1e-5)
    assert chosen[0].score == pytest.approx(1 / (1 + np.exp(-10 * max(margins))), abs=1e-5)


def test_what_has_no_row_is_not_chosen():
    nodes = tree(["floor", RED, GREEN, RED], [-1, -1, -1, 1], levels=[2, 2, 2, 0], kept=[0, 2, 3])
    assert next(nodes.chosen(asked(RED))).thing == 3
    assert 1 not in [one.thing for one in nodes.chosen(asked(RED))]
    assert list(tree([RED], [-1], kept=[]).chosen(asked(RED))) == []


def test_an_encoder_that_was_never_measured_does_not_say_what_matches():
    chosen = list(tree([RED, GREEN], [-1, -1]).chosen(asked(RED, PictureEncoder())))
    assert [one.matches for one in chosen] == [None, None]


def test_a_text_that_asks_for_a_part_gets_a_part_of_the_right_whole():
    handle, mug = "handle", "mug"
    words = ["floor", mug, "jug", handle, handle]
    nodes = tree(words, [-1, -1, -1, 1, 2], levels=[2, 2, 2, 1, 1], weights=[9, 1, 1, 0.2, 0.2])
    text = "mug handle"

    class Parts(KnowingEncoder):
        def encode_texts(self, texts):
            both = word_vector(mug) + word_vector(handle)
            mean = both / np.linalg.norm(both)
            return np.stack([mean if one == text else word_vector(one) for one in texts]).astype(np.float32)

    queries = asked(text, Parts())
    assert queries.wholes is not None
    first = next(nodes.chosen(queries))
    assert (first.thing, first.matches) == (3, True)  # not 4, which is a handle as well
    lone = tree(["floor", mug, "jug"], [-1, -1, -1], levels=[2, 2, 2])
    assert next(lone.chosen(queries)).thing == 1


def test_reaches_are_those_of_what_has_no_parts():
    nodes = tree(["floor", RED, GREEN, RED, GREEN], [-1, -1, -1, 1, 2], weights=[1, 9, 9, 1, 4])
    margins = np.array([0.0, 0.4, -0.5, 0.3, -0.2])
    reach = nodes._reach(margins)
    assert reach.best == 0.4
    # Leaves: 0, 3 and 4 with weights 1, 1 and 4: the median is -0.2, as is the least.
    assert reach.typical == pytest.approx(-0.2)
    many = nodes._reach(np.array([0.3, 0.4, 0.2, 0.35, 0.39]))
    assert many.typical == pytest.approx((0.3 + 0.4) / 2)  # the text names most of the scene


def test_means_of_gaussians_are_weighted_by_opacity():
    class Decoder:
        def chunks(self, features):
            return features.split(2)

        def embeddings(self, features):
            return features

    rng = np.random.default_rng(0)
    features = rng.normal(size=(5, 3)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    opacities = np.array([0.1, 0.9, 0.5, 0.7, 0.2], np.float32)
    phrases = np.eye(3, dtype=np.float32)[:2]
    scene = type("Scene", (), {})()
    scene.field = type("Field", (), {"features": torch.from_numpy(features), "decoder": Decoder()})()
    scene.gaussians = type("Gaussians", (), {"opacities": torch.from_numpy(opacities)})()
    things = Things.build(np.array([0, 1, 2, 3, 4, 4]), np.array([0, 0, 0, 1, 1, 0]), [np.arange(3)] * 2)
    means = Means.of_scene(scene, things, Phrases(torch.from_numpy(phrases)))
    for node, rows in enumerate(([0, 1, 2, 4], [3, 4])):
        weights = opacities[rows].astype(np.float64)
        np.testing.assert_allclose(
            means.embeddings[node], np.average(features[rows], axis=0, weights=weights), atol=1e-6
        )
        largest = (features[rows] @ phrases.T).max(axis=1)
        assert means.against[node] == pytest.approx(np.average(largest, weights=weights), abs=1e-6)
        assert means.weights[node] == pytest.approx(weights.sum())
