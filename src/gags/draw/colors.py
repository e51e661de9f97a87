"""Colours of the pictures: perceptual colour maps, one colour a mask, one colour a level."""

from functools import cache

import cv2
import numpy as np

LEVEL_COLORS = np.array([(240, 168, 40), (86, 170, 236), (20, 158, 118)], dtype=np.uint8)
"""Sub-part, part, whole; told apart by colour-blind readers too (after Okabe and Ito). [3, 3]"""

NOTHING = (58, 60, 66)  # where no Gaussian is, or no mask
HALO = (14, 16, 20)  # dark rim that keeps a line readable on any photo
ANSWER_OUTLINE = (255, 255, 255)
TRUTH_OUTLINE = (64, 224, 255)
PROMPT_DOT = (255, 214, 64)  # of a point that a segmenter was asked about

_LUMA = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)
_GOLDEN_RATIO = 0.61803398875  # its multiples, modulo 1, are spread evenly however many are taken


@cache
def _table(name: str) -> np.ndarray:
    """The 256 colours of a colour map. uint8 RGB [256, 3]"""
    ramp = np.arange(256, dtype=np.uint8)[:, None]
    table = cv2.applyColorMap(ramp, getattr(cv2, f"COLORMAP_{name.upper()}"))[:, 0, ::-1].copy()  # from BGR
    table.flags.writeable = False
    return table


def colorize(values: np.ndarray, colormap: str) -> np.ndarray:
    """Colours of values through one of OpenCV's colour maps.

    Args:
        values: Numbers in [0, 1]; others are clamped, NaN counts as 0. [...]
        colormap: Name of the colour map, as in `cv2.COLORMAP_INFERNO` but in small letters: "inferno".

    Returns:
        uint8 RGB. [..., 3]
    """
    clean = np.nan_to_num(np.asarray(values, np.float32), nan=0.0, posinf=1.0, neginf=0.0)
    return _table(colormap)[np.round(np.clip(clean, 0.0, 1.0) * 255).astype(np.uint8)]


def luminance(rgb: np.ndarray) -> np.ndarray:
    """Brightness of colours (Rec. 709 weights), in the unit of `rgb`. [..., 3] → float32 [...]"""
    return np.asarray(rgb, np.float32) @ _LUMA


def label_colors(count: int) -> np.ndarray:
    """The first `count` of an endless row of distinct colours; colour k never depends on `count`.

    Hues step by the golden ratio through OKLCH, in three brightnesses, so neighbours in the row differ.

    Args:
        count: How many colours, 0 or more.

    Returns:
        uint8 RGB. [count, 3]
    """
    row = np.arange(count)
    hue = 2 * np.pi * ((0.07 + _GOLDEN_RATIO * row) % 1.0)
    lightness = np.array([0.74, 0.62, 0.85])[row % 3]
    chroma = np.array([0.15, 0.16, 0.11])[row % 3]
    return _oklab_to_rgb(lightness, chroma * np.cos(hue), chroma * np.sin(hue))


def _oklab_to_rgb(L: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """OKLab (Ottosson 2020) to 8-bit sRGB."""
    long = (L + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (L - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (L - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = np.stack(
        [
            4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
            -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
            -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
        ],
        axis=-1,
    ).clip(0.0, 1.0)
    gamma = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(gamma * 255).astype(np.uint8)
