"""Colours that show something else than the scene's own: how finely things are described."""

from dataclasses import dataclass

import numpy as np
import torch

from gags.draw.colors import LEVEL_COLORS
from gags.scene import Scene

LEVELS = ("sub-part", "part", "whole")
TAILS = (0.05, 0.95)  # quantiles of what varies, which become nothing and all of a level's colour
GAUSSIANS_SAMPLED = 20000  # to find the principal directions of all
CONTRAST = 2.0  # exponent of the stretched shares: above 1, the largest of the three shows more


@dataclass(frozen=True, eq=False)
class ModeColors:
    """Colours of a mode.

    Attributes:
        rgb: uint8 [N, 3]
        legend: What colours mean: names with colours, 0 to 255.
    """

    rgb: np.ndarray
    legend: list[tuple[str, list[int]]]


def granularity(scene: Scene) -> ModeColors:
    """The granularity weights ω of every Gaussian, stretched to what varies in the scene.

    The weights of one scene lie close together: shown as they are, all is one grey mixture.
    """
    with torch.no_grad():
        weights = scene.field.decoder.granularity(scene.field.features).softmax(dim=-1).cpu().numpy()
    legend = [(str(level), color) for level, color in zip(LEVELS, LEVEL_COLORS.tolist(), strict=True)]
    return ModeColors(stretched_levels(weights), legend)


def meanings(scene: Scene) -> ModeColors:
    """What the Gaussians mean as colours: what means the same has the same colour."""
    with torch.no_grad():
        vectors = scene.field.decoder.coordinates(scene.field.features).cpu().numpy()
    return ModeColors(embedding_colors(vectors, scene.gaussians.opacities.cpu().double().numpy()), [])


def stretched_levels(weights: np.ndarray) -> np.ndarray:
    """Colours of three weights, each stretched between its tails. [N, 3] → uint8 [N, 3]"""
    low, high = np.quantile(weights, TAILS, axis=0)
    spread = np.maximum(high - low, 1e-6)
    shares = np.clip((weights - low) / spread, 0, 1) ** CONTRAST + 1e-3
    shares /= shares.sum(axis=1, keepdims=True)
    return np.round(np.clip(shares @ LEVEL_COLORS.astype(np.float64), 0, 255)).astype(np.uint8)


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
