"""Colours of the Gaussians in the viewer: one RGB each, for every mode. Pure functions on arrays."""

from collections.abc import Sequence

import numpy as np

from gags.draw.colors import LEVEL_COLORS, colorize, luminance
from gags.draw.pictures import DEPTH_COLORMAP, DESATURATION
from gags.gaussians import SH_C0
from gags.viewer.state import Layer

UNMATCHED_BRIGHTNESS = 0.55  # of what matches no text
UNSELECTED_BRIGHTNESS = 0.35  # of what is not selected, while something is
SELECTED_WHITENESS = 0.25  # share of white in what is selected
LEAST_LAYER_OPACITY = 0.45  # of a layer's colour where the strength just reaches the threshold
LEAST_LAYER_BRIGHTNESS = 0.7  # of a layer's colour there; 1 where the strength is highest
GAUSSIANS_SAMPLED = 20000  # to find the principal directions of all


def base_colors(sh: np.ndarray) -> np.ndarray:
    """Colours of Gaussians that do not change with the direction of view: degree 0 of their harmonics.

    Args:
        sh: Spherical-harmonic coefficients. [N, K, 3]

    Returns:
        uint8 [N, 3]
    """
    return np.round(np.clip(0.5 + SH_C0 * sh[:, 0], 0, 1) * 255).astype(np.uint8)


def relevancy_colors(base: np.ndarray, layers: Sequence[Layer], threshold: float) -> np.ndarray:
    """What matches a text gets the colour of its layer, brighter where it matches better; the rest is dim.

    Where several layers match, the one of the highest relevancy is shown.

    Args:
        base: Colours of the scene. uint8 [N, 3]
        layers: The layers to show; without any, the colours stay.
        threshold: Strength from which on a Gaussian matches.

    Returns:
        uint8 [N, 3]
    """
    if not layers:
        return base
    grey = luminance(base)[:, None]
    colors = UNMATCHED_BRIGHTNESS * (base + DESATURATION * (grey - base))
    best = np.full(len(base), -1.0, np.float32)
    for layer in layers:
        rows = np.flatnonzero(layer.matching(threshold) & (layer.relevancy > best))
        if not len(rows):
            continue
        best[rows] = layer.relevancy[rows]
        span = max(float(layer.strength.max()) - threshold, 1e-6)
        above = np.clip((layer.strength[rows] - threshold) / span, 0, 1)[:, None]
        glow = (LEAST_LAYER_BRIGHTNESS + (1 - LEAST_LAYER_BRIGHTNESS) * above) * np.array(
            layer.color, np.float32
        )
        opacity = LEAST_LAYER_OPACITY + (1 - LEAST_LAYER_OPACITY) * above
        colors[rows] = base[rows] + opacity * (glow - base[rows])
    return np.round(np.clip(colors, 0, 255)).astype(np.uint8)


def granularity_colors(weights: np.ndarray) -> np.ndarray:
    """The colours of sub-part, part and whole, mixed by the granularity weights ω. [N, 3] → uint8 [N, 3]"""
    return np.round(np.clip(weights @ LEVEL_COLORS.astype(np.float32), 0, 255)).astype(np.uint8)


def embedding_colors(vectors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Vectors as colours, alike where they are alike: their three principal directions as RGB.

    Args:
        vectors: What each Gaussian means: its decoded embedding. [N, r]
        weights: How much each counts in choosing the directions, e.g. its opacity. [N]

    Returns:
        uint8 [N, 3]
    """
    step = max(1, len(vectors) // GAUSSIANS_SAMPLED)
    sample, share = vectors[::step].astype(np.float64), weights[::step, None].astype(np.float64)
    mean = (share * sample).sum(0) / max(float(share.sum()), 1e-12)
    _, directions = np.linalg.eigh(((sample - mean) * share).T @ (sample - mean))
    directions = directions[:, ::-1][:, :3]
    directions = directions * np.where(directions.sum(axis=0) < 0, -1.0, 1.0)  # else the sign is arbitrary
    coordinates = (vectors - mean.astype(np.float32)) @ directions.astype(np.float32)
    padded = np.zeros((len(vectors), 3), np.float32)
    padded[:, : coordinates.shape[1]] = coordinates
    low, high = np.percentile(padded[::step], [2, 98], axis=0)
    scaled = (padded - low) / np.maximum(high - low, 1e-9)
    return np.round(np.clip(scaled, 0, 1) * 255).astype(np.uint8)


def depth_colors(means: np.ndarray, position: np.ndarray, solid: np.ndarray) -> np.ndarray:
    """Distance from a point as brightness, near is bright; equal ratios are equal steps.

    Args:
        means: Centres. [N, 3]
        position: Where the camera is, in the same frame. [3]
        solid: Gaussians whose distances set the range. bool [N]

    Returns:
        uint8 [N, 3]
    """
    distance = np.maximum(np.linalg.norm(means - np.asarray(position, means.dtype), axis=1), 1e-9)
    near, far = np.percentile(distance[solid] if solid.any() else distance, [2, 98])
    steps = np.log(far / distance) / max(np.log(far / near), 1e-6)
    return colorize(0.08 + 0.9 * np.clip(steps, 0, 1), DEPTH_COLORMAP)


def highlighted(colors: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Some Gaussians brighter, all others darker. uint8 [N, 3], bool [N] → uint8 [N, 3]"""
    drawn = UNSELECTED_BRIGHTNESS * colors.astype(np.float32)
    drawn[mask] = colors[mask] + SELECTED_WHITENESS * (255.0 - colors[mask])
    return np.round(drawn).astype(np.uint8)
