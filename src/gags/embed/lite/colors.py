"""What colour a region has and what colours a text asks for, in the eleven basic colour terms.

The terms are those of Berlin & Kay 1969, on which people of many languages agree. Classifiers learn to ignore
the colour of things, so that "blue cloth" and "red cloth" are the same to them; this tells them apart.
"""

import json
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

import cv2
import numpy as np

TERMS = ("black", "white", "grey", "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown")

SYNONYMS = {
    "gray": "grey", "silver": "grey", "violet": "purple", "lilac": "purple", "navy": "blue", "cyan": "blue",
    "turquoise": "blue", "beige": "brown", "gold": "yellow", "golden": "yellow", "crimson": "red",
    "scarlet": "red", "maroon": "red", "magenta": "pink",
}  # fmt: skip

NAMES_OF_THINGS = frozenset({"orange", "gold", "silver", "violet"})
"""Words that name a thing rather than its colour where a text ends with them."""

LIGHTNESS_WEIGHT = 0.7  # of L* in distances, against a* and b*: lightness changes more than hue
TERM_SPREAD = 12.0  # standard deviation of a term around its examples, units of CIELAB
_EVEN = 1.0 / len(TERMS)


def color_shares(pixels: np.ndarray) -> np.ndarray:
    """How much of some pixels each term describes.

    A pixel is shared between the terms by the distance of their nearest examples in CIELAB.

    Args:
        pixels: uint8 sRGB [P, 3]

    Returns:
        Shares that sum to 1; all equal for no pixels. float32 [11]
    """
    if not len(pixels):
        return np.full(len(TERMS), _EVEN, np.float32)
    colors = _cielab(pixels)
    squared = [((colors[:, None] - examples) ** 2).sum(-1).min(1) for examples in _examples()]
    distances = np.stack(squared, axis=1)
    closeness = np.exp((distances.min(axis=1, keepdims=True) - distances) / (2 * TERM_SPREAD**2))
    return (closeness / closeness.sum(axis=1, keepdims=True)).mean(axis=0).astype(np.float32)


def color_vector(shares: np.ndarray) -> np.ndarray:
    """Shares less an even mixture, as a unit vector: colours agree by their dot product. float32 [11]"""
    centred = shares - _EVEN
    return (centred / max(float(np.linalg.norm(centred)), 1e-6)).astype(np.float32)


def asked_colors(text: str) -> tuple[list[str], str]:
    """Split a text into the colours it asks for and the rest.

    Args:
        text: E.g. "the dark blue cup".

    Returns:
        The terms it names, here blue, and the text without them, "the dark cup", or the whole text if nothing
        else is in it.
    """
    words = re.findall(r"[^\s,/-]+", text)
    found: list[str] = []
    rest: list[str] = []
    for place, word in enumerate(words):
        plain = word.lower().strip(".;:!?\"'()")
        term = SYNONYMS.get(plain, plain)
        if term in TERMS and not (plain in NAMES_OF_THINGS and place == len(words) - 1):
            found.append(term)
        else:
            rest.append(word)
    if not found:
        return [], text
    return found, " ".join(rest) or text


def text_color_vectors(colors: Sequence[Sequence[str]]) -> np.ndarray:
    """Vector of the colours that each text asks for, 0 where it asks for none. float32 [T, 11]"""
    vectors = np.zeros((len(colors), len(TERMS)), np.float32)
    for row, terms in enumerate(colors):
        if terms:
            shares = np.zeros(len(TERMS))
            shares[[TERMS.index(term) for term in terms]] = 1 / len(set(terms))
            vectors[row] = color_vector(shares)
    return vectors


@cache
def _examples() -> list[np.ndarray]:
    """Typical colours of each term, in light and in shade, from sRGB to CIELAB. float32 [K, 3] each"""
    table = json.loads((files("gags") / "data" / "lite" / "colors.json").read_text("utf-8"))
    return [_cielab(np.array(table[term], np.uint8)) for term in TERMS]


def _cielab(pixels: np.ndarray) -> np.ndarray:
    """CIELAB with lightness scaled down. uint8 sRGB [P, 3] → float32 [P, 3]"""
    lab = cv2.cvtColor(pixels[:, None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[:, 0]
    return lab * np.array([LIGHTNESS_WEIGHT, 1, 1], np.float32)
