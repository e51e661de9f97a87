"""What colour a region has and what colours a text asks for, in the eleven basic colour terms.

The terms are those of Berlin & Kay 1969, which people of many languages agree on. Classifiers learn to look
past the colour of things, so that "blue cloth" and "red cloth" are one to them; this tells them apart.
"""

import re
from collections.abc import Sequence

import cv2
import numpy as np

EXAMPLES: dict[str, tuple[tuple[int, int, int], ...]] = {
    "black": ((15, 15, 15), (40, 40, 42), (25, 28, 35)),
    "white": ((250, 250, 250), (225, 225, 225), (235, 232, 222), (205, 208, 212)),
    "grey": ((128, 128, 128), (95, 95, 97), (160, 160, 162), (70, 72, 75)),
    "red": ((200, 25, 30), (150, 20, 25), (225, 60, 50), (110, 15, 20), (180, 50, 60)),
    "orange": ((240, 140, 20), (230, 110, 30), (250, 165, 60)),
    "yellow": ((245, 220, 40), (250, 235, 120), (205, 175, 30), (170, 150, 40)),
    "green": ((40, 150, 50), (20, 90, 40), (130, 190, 70), (100, 120, 40), (60, 160, 120), (30, 60, 30)),
    "blue": ((30, 60, 180), (90, 140, 210), (20, 30, 90), (130, 180, 220), (40, 110, 150), (100, 200, 225)),
    "purple": ((120, 40, 150), (80, 30, 100), (160, 110, 190), (60, 20, 70), (140, 40, 110)),
    "pink": ((240, 150, 180), (225, 90, 140), (245, 195, 205), (220, 60, 120)),
    "brown": ((150, 75, 10), (110, 65, 35), (75, 45, 25), (150, 100, 60), (180, 140, 100), (50, 35, 25)),
}
"""Typical sRGB values of each term, in light and in shade."""

TERMS = tuple(EXAMPLES)

SYNONYMS = {
    "gray": "grey", "silver": "grey", "violet": "purple", "lilac": "purple", "navy": "blue", "cyan": "blue",
    "turquoise": "blue", "beige": "brown", "gold": "yellow", "golden": "yellow", "crimson": "red",
    "scarlet": "red", "maroon": "red", "magenta": "pink",
}  # fmt: skip

THINGS = frozenset({"orange", "gold", "silver", "violet"})
"""Words that name a thing rather than its colour where a text ends with them."""

LIGHTNESS_WEIGHT = 0.7  # of L* in distances, against a* and b*: light changes more than hue
BLUR = 12.0  # standard deviation of a term around its examples, units of CIELAB
_EVEN = 1.0 / len(TERMS)


def color_shares(pixels: np.ndarray) -> np.ndarray:
    """How much of some pixels each term describes.

    A pixel is shared between the terms by the distance of their nearest examples in CIELAB.

    Args:
        pixels: uint8 sRGB [P, 3]

    Returns:
        Shares that sum to 1; all alike for no pixels. float32 [11]
    """
    if not len(pixels):
        return np.full(len(TERMS), _EVEN, np.float32)
    examples = [_cielab(np.array(values, np.uint8)) for values in EXAMPLES.values()]
    colors = _cielab(pixels)
    squared = [((colors[:, None] - e) ** 2).sum(-1).min(1) for e in examples]
    distances = np.stack(squared, axis=1)
    closeness = np.exp((distances.min(axis=1, keepdims=True) - distances) / (2 * BLUR**2))
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
        if term in EXAMPLES and not (plain in THINGS and place == len(words) - 1):
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


def _cielab(pixels: np.ndarray) -> np.ndarray:
    """CIELAB with lightness scaled down. uint8 sRGB [P, 3] → float32 [P, 3]"""
    lab = cv2.cvtColor(pixels[:, None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[:, 0]
    return lab * np.array([LIGHTNESS_WEIGHT, 1, 1], np.float32)
