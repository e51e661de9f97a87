"""How the set of Gaussians changes in training: split where the picture is wrong, prune what is unseen.

Densification follows a budget (Mallick et al. 2024, "Taming 3DGS"): a schedule says how many Gaussians there
may be at a step, and those of the largest screen-space gradient are split first, so that time and memory are
known beforehand. Pruning by the strongest blending weight follows Niemeyer et al. 2024, "RadSplat".
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import torch
from numba import prange
from torch import Tensor

from gags.capture.camera import Camera
from gags.gaussians import Gaussians, largest_weights
from gags.reconstruct.settings import ReconstructSettings
from gags.reconstruct.state import TrainingState
from gags.render.cuda_view import to_device
from gags.render.reference import rotation_matrices
from gags.simd.cache import kernel

SPLIT_OFFSET = 0.5  # of the standard deviation along the longest axis: where the halves go
SPLIT_LENGTH = 0.6  # what is left of the longest axis; with the offset it covers the parent
SPLIT_WIDTH = 0.8  # what is left of the other axes
NEAREST_PERCENTILE = 1  # of the points in view; a few stray points do not count
FLOATER_SHARE = 0.5  # of the distance to the nearest points: what is nearer to a camera floats
VIEW_MARGIN = 0.15  # of the picture's size: how far beyond its edge a Gaussian still reaches into it
PAIRS_AT_ONCE = 1 << 24  # of Gaussians and cameras, on a GPU: 1 GB


@dataclass(frozen=True)
class Densifier:
    """When and where Gaussians are added and removed.

    Attributes:
        settings: Budget, thresholds and schedule.
        initial_count: Number of Gaussians that training began with.
    """

    settings: ReconstructSettings
    initial_count: int

    @property
    def last_step(self) -> int:
        """First step from which on no Gaussians are added."""
        return int(self.settings.steps * self.settings.densify_until)

    def gathers(self, step: int) -> bool:
        """Whether gradients of this step still count for a densification to come."""
        return step < self.last_step

    def due(self, step: int) -> bool:
        """Whether Gaussians are split and pruned after this many steps."""
        return (
            self.settings.densify_from <= step <= self.last_step and step % self.settings.densify_every == 0
        )

    def budget(self, step: int) -> int:
        """How many Gaussians there may be after this many steps."""
        start = self.settings.densify_from
        share = (step - start + self.settings.densify_every) / max(1, self.last_step - start)
        share = min(max(share, 0.0), 1.0)
        most = max(self.settings.max_gaussians, self.initial_count)
        return int(self.initial_count + share * (most - self.initial_count))

    def revise(self, state: TrainingState) -> None:
        """Prune transparent Gaussians, then split those with the largest gradient, within the budget."""
        state.keep(state.gaussians.opacities >= self.settings.prune_opacity, "all are transparent")
        room = self.budget(state.step) - len(state)
        score = state.gradient_sum / state.seen.clamp(min=1)
        candidates = int((score >= self.settings.densify_gradient).sum())
        chosen = score.argsort(descending=True, stable=True)[: max(0, min(room, candidates))]
        split(state, chosen)
        state.forget_gradients()


def split(state: TrainingState, chosen: Tensor) -> None:
    """Replace Gaussians by two halves along their longest axis; parents keep their row, as the first half.

    Args:
        state: Changed in place; the second halves are appended in the order of `chosen`, without momentum.
        chosen: Indices of the Gaussians to split. int64 [S]
    """
    parents = state.gaussians[chosen]
    longest = parents.log_scales.argmax(dim=1, keepdim=True)
    axis = rotation_matrices(parents.quats).gather(2, longest[:, None].expand(-1, 3, 1))[..., 0]
    offset = SPLIT_OFFSET * parents.log_scales.gather(1, longest).exp() * axis
    shrink = torch.full_like(parents.log_scales, float(np.log(SPLIT_WIDTH)))
    shrink.scatter_(1, longest, float(np.log(SPLIT_LENGTH)))
    parents.log_scales = parents.log_scales + shrink
    state.gaussians.means[chosen] = parents.means + offset
    state.gaussians.log_scales[chosen] = parents.log_scales
    parents.means = parents.means - offset
    state.append(parents)


def nearest_depths(points: np.ndarray, cameras: Iterable[Camera]) -> list[float]:
    """How near to each camera the sparse points come: the depth that 1 % of those in view stay below.

    Args:
        points: Sparse points, world units. [P, 3]
        cameras: Views.

    Returns:
        A depth for every camera, 0 where no point is in view.
    """
    nearest = []
    for camera in cameras:
        xy, depth = camera.project(points)
        inside = (depth > 0) & (xy >= 0).all(axis=1) & (xy < (camera.width, camera.height)).all(axis=1)
        nearest.append(float(np.percentile(depth[inside], NEAREST_PERCENTILE)) if inside.any() else 0.0)
    return nearest


def floating(means: Tensor, cameras: Sequence[Camera], nearest: Sequence[float]) -> Tensor:
    """Which centres hover right before a camera, where no sparse point is: the usual place for floaters.

    What one photo shows and the others do not (a screen whose picture changed, a passer-by, an edge of the
    lens) is cheapest to explain by something that only that camera sees.

    Args:
        means: Centres, world units. [N, 3]
        cameras: Views that the Gaussians are trained on.
        nearest: How near to each camera real things come, see `nearest_depths`.

    Returns:
        Mask of floaters. bool [N]
    """
    if means.device.type != "cpu":
        return floating_torch(means, cameras, nearest)
    floats = _before_a_camera(means.numpy(), _packed(cameras, nearest), VIEW_MARGIN)
    return torch.from_numpy(floats)


def floating_torch(means: Tensor, cameras: Sequence[Camera], nearest: Sequence[float]) -> Tensor:
    """The same in PyTorch, on any device."""
    found = torch.zeros(len(means), dtype=torch.bool, device=means.device)
    if not len(cameras) or not len(means):
        return found
    there = to_device(_packed(cameras, nearest), means.device)
    for views in there.split(max(1, PAIRS_AT_ONCE // len(means))):
        # Columns and rows in widths and heights of the picture, times the depth.
        xyz = torch.baddbmm(views[:, :3, 3:], views[:, :3, :3], means.T.expand(len(views), -1, -1))
        xy, depth = xyz[:, :2] / views[:, 3, :2, None], xyz[:, 2:]
        near = (depth > 0) & (depth < views[:, 3, 3:, None])
        inside = ((xy > -VIEW_MARGIN * depth) & (xy < (1 + VIEW_MARGIN) * depth)).all(dim=1, keepdim=True)
        found |= (near & inside).any(dim=0)[0]
    return found


def _packed(cameras: Sequence[Camera], nearest: Sequence[float]) -> np.ndarray:
    """Cameras as K[R|t] and a row (width, height, 0, depth of the farthest floater). float32 [V, 4, 4]"""
    rows = [
        np.concatenate(
            [camera.K @ camera.viewmat[:3], [[camera.width, camera.height, 0, FLOATER_SHARE * depth]]]
        )
        for camera, depth in zip(cameras, nearest, strict=True)
    ]
    return np.array(rows, np.float32).reshape(-1, 4, 4)


@kernel(parallel=True)
def _before_a_camera(means, views, margin) -> np.ndarray:  # pragma: no cover - compiled
    """Whether points are in view and nearer than its limit; views are K[R|t], (width, height, 0, limit)."""
    found = np.zeros(len(means), np.bool_)
    for i in prange(len(means)):
        a, b, c = means[i]
        for view in views:
            depth = view[2, 0] * a + view[2, 1] * b + view[2, 2] * c + view[2, 3]
            if depth <= 0 or depth >= view[3, 3]:
                continue
            x = (view[0, 0] * a + view[0, 1] * b + view[0, 2] * c + view[0, 3]) / depth / view[3, 0]
            y = (view[1, 0] * a + view[1, 1] * b + view[1, 2] * c + view[1, 3]) / depth / view[3, 1]
            if -margin < x < 1 + margin and -margin < y < 1 + margin:
                found[i] = True
                break
    return found


def strongest_weights(
    gaussians: Gaussians, cameras: Iterable[Camera], kept: Iterable[np.ndarray | None] = ()
) -> Tensor:
    """Largest blending weight of every Gaussian over the pixels of some cameras, 0 if it is never seen.

    Args:
        gaussians: N Gaussians.
        cameras: Views to look from; small ones are enough.
        kept: Which pixels of each view count, None for all; all of all views if it is left out. bool [H, W]

    Returns:
        Weights in [0, 1]. float32 [N]
    """
    strongest = torch.zeros(len(gaussians), device=gaussians.means.device)
    for camera, counted in zip_longest(cameras, kept):
        places = None
        if counted is not None:
            places = to_device(np.flatnonzero(counted), strongest.device)
        strongest = torch.maximum(strongest, largest_weights(gaussians, camera, places=places))
    return strongest
