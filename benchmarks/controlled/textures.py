"""Patches that surfaces fall into by colour and place: the same in every view, as a label on a box is."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from benchmarks.controlled.names import generator
from benchmarks.controlled.truth import Truth
from gags.capture import Camera

OBJECT_PATCHES = 2, 3  # large patches of an object or part, and small patches of a large one
STUFF_PATCHES = 3, 2
FINER = 3  # times that small patches are halved, for prompts that bring up finer ones
COLOR_WEIGHT = 1.0  # of colours beside places
COLOR_BLUR = 1.5  # cells
SAMPLES = 4000  # points of a surface that its patches are found from
ROUNDS = 10


@dataclass(frozen=True, eq=False)
class Surface:
    """What is seen at every cell of a view.

    Attributes:
        points: Place in the world, 0 where unknown. float32 [h, w, 3]
        colors: CIE Lab, 0 to 255 each. float32 [h, w, 3]
    """

    points: np.ndarray
    colors: np.ndarray


@dataclass(frozen=True, eq=False)
class Patches:
    """Patches of one surface, that is of one leaf id.

    Attributes:
        shift: Subtracted from place and colour, then
        scale: multiplied to them. [6] each
        large: Centres of the large patches. [L, 6]
        small: Centres of the small patches of each. List of [S, 6]
        cuts: Directions across which small patches are halved again and again. [FINER, 6]
    """

    shift: np.ndarray
    scale: np.ndarray
    large: np.ndarray
    small: Sequence[np.ndarray]
    cuts: np.ndarray

    def of(self, points: np.ndarray, colors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Large and, within it, small patch of some points. [n, 3] twice → int64 [n] twice"""
        features = (np.hstack([points, colors]) - self.shift) * self.scale
        large = nearest(features, self.large)
        small = np.zeros_like(large)
        for row in np.unique(large):
            small[large == row] = nearest(features[large == row], self.small[row])
        return large, small

    def finer(self, points: np.ndarray, colors: np.ndarray) -> np.ndarray:
        """Ever finer pieces of its small patch that each point lies in: halves, quarters, eighths.

        Args:
            points: Places. [n, 3]
            colors: Colours. [n, 3]

        Returns:
            Number of the piece within the small patch, below 2, 4, 8. int64 [FINER, n]
        """
        features = (np.hstack([points, colors]) - self.shift) * self.scale
        large, small = self.of(points, colors)
        centres = np.empty_like(features)
        for row in np.unique(large):
            centres[large == row] = self.small[row][small[large == row]]
        sides = (features - centres) @ self.cuts.T > 0
        return np.cumsum(sides * 2 ** np.arange(FINER), axis=1).T.astype(np.int64)


def see(image: np.ndarray, depth: np.ndarray, camera: Camera, width: int, height: int) -> Surface:
    """Places and colours at the cells of a grid laid over a photo.

    Args:
        image: The photo. uint8 RGB [H, W, 3]
        depth: Depth of the view, of any size, 0 where nothing is.
        camera: The view.
        width: Cells along a row.
        height: Cells along a column.
    """
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    colors = cv2.cvtColor(cv2.GaussianBlur(small, (0, 0), COLOR_BLUR), cv2.COLOR_RGB2LAB)
    return Surface(surface_points(depth, camera, width, height), colors.astype(np.float32))


def surface_points(depth: np.ndarray, camera: Camera, width: int, height: int) -> np.ndarray:
    """Places in the world at the cells of a grid laid over a view, 0 where nothing is.

    Args:
        depth: Depth of the view, of any size, 0 where nothing is.
        camera: The view.
        width: Cells along a row.
        height: Cells along a column.

    Returns:
        float32 [height, width, 3]
    """
    z = cv2.resize(depth.astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST)
    centres = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), axis=-1)
    points = camera.resized(width, height).unproject(centres, z)
    return np.where(z[..., None] > 0, points, 0).astype(np.float32)


def find_patches(
    surfaces: Sequence[Surface], ids: Sequence[np.ndarray], truth: Truth, seed: int
) -> dict[int, Patches]:
    """Patches of every surface, by leaf id, from all views together.

    Args:
        surfaces: What each view sees.
        ids: Leaf id of every cell of each view. [h, w] each
        truth: What the ids are.
        seed: Of the patches.
    """
    leaves = np.concatenate([view.ravel() for view in ids])
    features = np.concatenate(
        [np.concatenate([view.points, view.colors], axis=-1).reshape(-1, 6) for view in surfaces]
    )
    found = {}
    for leaf in (int(leaf) for leaf in np.unique(leaves) if truth.whole_of[leaf] >= 0):
        rng = generator("patches", seed, leaf)
        rows = np.flatnonzero(leaves == leaf)
        rows = rows[rng.permutation(len(rows))[:SAMPLES]]
        counts = OBJECT_PATCHES if truth.is_object[truth.whole_of[leaf]] else STUFF_PATCHES
        cuts = generator("cuts", seed, leaf).standard_normal((FINER, features.shape[1]))
        found[leaf] = _patches(features[rows].astype(np.float64), counts, cuts, rng)
    return found


def patch_maps(
    surface: Surface, ids: np.ndarray, patches: dict[int, Patches], *, finer: bool = False
) -> np.ndarray:
    """Large and small patch that every cell of a view lies in, -1 for none.

    Args:
        surface: What the view sees.
        ids: Leaf id of every cell. [h, w]
        patches: From `find_patches`.
        finer: Whether pieces of small patches follow.

    Returns:
        Numbers of the large patches of each leaf, and of the small ones of each large one; then, if asked
        for, of the halves, quarters and eighths of each small one. int64 [2, h, w] or [2 + FINER, h, w]
    """
    maps = np.full((2 + FINER * finer, *ids.shape), -1, np.int64)
    for leaf in (int(leaf) for leaf in np.unique(ids) if int(leaf) in patches):
        cells = ids == leaf
        maps[:2, cells] = patches[leaf].of(surface.points[cells], surface.colors[cells])
        if finer:
            maps[2:, cells] = patches[leaf].finer(surface.points[cells], surface.colors[cells])
    return maps


def _patches(
    features: np.ndarray, counts: tuple[int, int], cuts: np.ndarray, rng: np.random.Generator
) -> Patches:
    """Patches of one surface from places and colours of its points. [n, 6]"""
    shift = features.mean(axis=0)
    spread = [np.linalg.norm(features[:, part].std(axis=0)) for part in (slice(3), slice(3, 6))]
    weights = [1 / max(spread[0], 1e-6), COLOR_WEIGHT / (spread[1] + 5)]
    scale = np.repeat(weights, 3)
    features = (features - shift) * scale
    large = k_means(features, counts[0], rng)
    rows = nearest(features, large)
    small = [k_means(features[rows == row], counts[1], rng) for row in range(len(large))]
    return Patches(shift, scale, large, small, cuts)


def k_means(features: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Centres of at most `count` clusters (Lloyd). [n, D] → [k, D]; k is at least 1."""
    if len(features) <= count:
        return features if len(features) else np.zeros((1, features.shape[1]))
    centres = features[rng.choice(len(features), count, replace=False)]
    for _ in range(ROUNDS):
        rows = nearest(features, centres)
        kept = np.unique(rows)
        centres = np.stack([features[rows == row].mean(axis=0) for row in kept])
    return centres


def nearest(features: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Row of the centre nearest to each feature. [n, D], [k, D] → int64 [n]"""
    return (np.square(centres).sum(axis=1) - 2 * features @ centres.T).argmin(axis=1)
