"""Colours of pixels and of texts."""

import numpy as np
import pytest

from gags.embed.lite.colors import TERMS, asked_colors, color_shares, color_vector, text_color_vectors


@pytest.mark.parametrize(
    ("pixel", "term"),
    [
        ((0, 0, 255), "blue"),
        ((250, 10, 10), "red"),
        ((255, 255, 255), "white"),
        ((0, 0, 0), "black"),
        ((120, 122, 118), "grey"),
        ((101, 67, 33), "brown"),
        ((255, 165, 0), "orange"),
        ((255, 255, 0), "yellow"),
        ((0, 128, 0), "green"),
        ((128, 0, 128), "purple"),
        ((255, 182, 193), "pink"),
    ],
)
def test_plain_colors_have_their_name(pixel: tuple[int, int, int], term: str) -> None:
    shares = color_shares(np.array([pixel], np.uint8))
    assert TERMS[shares.argmax()] == term
    assert shares.argmax() == (color_vector(shares) @ text_color_vectors([[t] for t in TERMS]).T).argmax()


def test_shares_are_of_the_pixels() -> None:
    blue, red = np.array([[30, 60, 180]], np.uint8), np.array([[200, 25, 30]], np.uint8)
    shares = color_shares(np.concatenate([blue, blue, blue, red]))
    assert color_shares(blue)[TERMS.index("blue")] > 0.9
    np.testing.assert_allclose(shares, 0.75 * color_shares(blue) + 0.25 * color_shares(red), atol=1e-6)
    np.testing.assert_allclose(shares.sum(), 1, atol=1e-6)
    np.testing.assert_allclose(color_shares(np.empty((0, 3), np.uint8)), 1 / 11, rtol=1e-6)


def test_vectors_are_unit_and_centred() -> None:
    vectors = text_color_vectors([["red"], [], ["blue", "white"]])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 0, 1], atol=1e-6)
    np.testing.assert_allclose(vectors.sum(axis=1), 0, atol=1e-6)
    expected = np.full(11, -1 / 11)  # one term against an even mixture, by hand
    expected[TERMS.index("red")] += 1
    np.testing.assert_allclose(vectors[0], expected / np.linalg.norm(expected), atol=1e-6)
    even = color_vector(np.full(11, 1 / 11, np.float32))
    np.testing.assert_allclose(even, 0, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "colors", "rest"),
    [
        ("Red mug", ["red"], "mug"),
        ("the dark-blue cup", ["blue"], "the dark cup"),
        ("something gray", ["grey"], "something"),
        ("red", ["red"], "red"),
        ("an orange", [], "an orange"),
        ("orange cup", ["orange"], "cup"),
        ("blue and white bowl", ["blue", "white"], "and bowl"),
        ("tea-towel on the desk", [], "tea-towel on the desk"),
    ],
)
def test_colors_that_a_text_asks_for(text: str, colors: list[str], rest: str) -> None:
    assert asked_colors(text) == (colors, rest)
