"""Pictures of nothing in particular: what an image net answers to them says nothing about a region."""

import cv2
import numpy as np

from gags.embed.base import CropRule
from gags.embed.crops import cut_crop

COUNT = 64
_SIDE = 192


def typical_crops(rules: tuple[CropRule, ...], size: int) -> np.ndarray:
    """Crops of blurred colour noise in the shape of a blob, the same on every machine.

    Regions cut out of photos share much that does not tell them apart: the grey around them, one blob in the
    middle, few edges. The mean feature of these pictures stands for it, so that it can be subtracted.

    Args:
        rules: The crops C of an encoder.
        size: Side S of its crops, px.

    Returns:
        uint8 RGB [64, C, S, S, 3]
    """
    random = np.random.RandomState(0)  # unlike default_rng, its stream is promised never to change
    crops = np.empty((COUNT, len(rules), size, size, 3), np.uint8)
    for number in range(COUNT):
        image, mask = _noise(random), _blob(random)
        rows, columns = np.nonzero(mask)
        box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        for place, rule in enumerate(rules):
            crops[number, place] = cut_crop(image, mask, box, rule, size)
    return crops


def _noise(random: np.random.RandomState) -> np.ndarray:
    """Colour noise of 3 to 24 cells a side around some colour. uint8 [192, 192, 3]"""
    cells = random.randint(3, 25)
    noise = random.randint(0, 256, (cells, cells, 3)).astype(np.float32)
    noise = cv2.resize(noise, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC) - 127
    colour, contrast = random.uniform(0, 255, 3), random.uniform(0.1, 1)
    return np.clip(colour + contrast * noise, 0, 255).astype(np.uint8)


def _blob(random: np.random.RandomState) -> np.ndarray:
    """An ellipse with bumps, always holding the centre. bool [192, 192]"""
    rows, columns = np.mgrid[:_SIDE, :_SIDE] / _SIDE - 0.5
    bumps = random.uniform(-1, 1, (5, 5)).astype(np.float32)
    bumps = np.clip(cv2.resize(bumps, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC), -1, 1)
    height, width = random.uniform(0.2, 0.45, 2)
    return np.hypot(rows / height, columns / width) < 1 + 0.4 * bumps
