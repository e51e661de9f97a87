"""What a view shows of the Gaussians: values as maps, and which of them it sees at all."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numba import prange
from torch import Tensor

from gags.capture.camera import Camera
from gags.gaussians import Gaussians, keep_view, render
from gags.progress import part
from gags.render import Backend, Rendering
from gags.simd.cache import kernel

KNOWN_ALPHA = 0.5  # pixels with less are background: nothing is known about them
MAPS_AT_ONCE = 32  # channels rendered together, to bound memory


@dataclass(frozen=True, eq=False)
class ValueMaps:
    """What some values of the Gaussians look like in one view.

    Attributes:
        values: Mean value of what each pixel shows, one map a value; 0 where not known, unless pixels
            themselves are asked. float32 [T, H, W]
        known: Pixels where enough was rendered to know, on the same device. bool [H, W]
        levels: Where a method answers on three levels: the maps of each, of which `values` holds one a text.
            float32 [3, T, H, W]
        masks: Where a method has its own rule for masks. bool [T, H, W]
        peaks: Where a method has its own rule for peaks: column and row of each, px; (−1, −1) for none.
            int64 [T, 2]
        instances: Where things are counted: the maps of the n instances of each text. float32 [n, H, W] each
    """

    values: Tensor
    known: Tensor
    levels: Tensor | None = None
    masks: Tensor | None = None
    peaks: Tensor | None = None
    instances: Sequence[Tensor] | None = None

    @classmethod
    def of(cls, maps: np.ndarray, covered: np.ndarray) -> "ValueMaps":
        """Maps that are arrays, float32 [T, H, W] and bool [H, W]; nothing is copied."""
        return cls(torch.from_numpy(maps), torch.from_numpy(covered))

    def within(self, kept: Tensor) -> "ValueMaps":
        """The same with nothing at pixels that are not kept [H, W]: no value, no mask, nothing known."""
        return replace(
            self,
            values=torch.where(kept, self.values, 0.0),
            known=self.known & kept,
            levels=None if self.levels is None else torch.where(kept, self.levels, 0.0),
            masks=None if self.masks is None else self.masks & kept,
            instances=None
            if self.instances is None
            else [torch.where(kept, each, 0.0) for each in self.instances],
        )

    @cached_property
    def maps(self) -> np.ndarray:
        """The values as an array; from a GPU they are copied. float32 [T, H, W]"""
        return self.values.cpu().numpy()

    @cached_property
    def covered(self) -> np.ndarray:
        """What is known as an array. bool [H, W]"""
        return self.known.cpu().numpy()


class Renderer:
    """Renders values of a scene's Gaussians; the view that was asked last is kept, for the next text.

    Args:
        gaussians: The scene; must not change after.
    """

    def __init__(self, gaussians: Gaussians) -> None:
        self.gaussians = gaussians
        self._kept: tuple[bytes, Callable[[Tensor], Rendering]] | None = None

    def __call__(self, camera: Camera, values: Tensor) -> Rendering:
        """Render values [N, C] on black, without gradients."""
        size = np.array([camera.width, camera.height])
        view = b"".join(part.tobytes() for part in (camera.viewmat, camera.K, size))
        kept = self._kept  # read once: threads may ask for other views meanwhile
        if kept is None or kept[0] != view:
            kept = self._kept = view, keep_view(self.gaussians, camera)
        with part("rendering"):
            return kept[1](values)


@torch.no_grad()
def render_values(
    gaussians: Gaussians,
    values: Tensor,
    camera: Camera,
    *,
    backend: Backend = "auto",
    renderer: Renderer | None = None,
) -> ValueMaps:
    """Render values of the Gaussians: Σ w v / Σ w at every pixel.

    All Gaussians take part, so that what stands in front hides what is behind.

    Args:
        gaussians: The scene.
        values: T values of each Gaussian. [N, T]
        camera: The view.
        backend: Rasteriser.
        renderer: Of the same Gaussians, if the same view is asked again and again; it chooses the rasteriser.
    """
    means = gaussians.means
    maps = means.new_empty(values.shape[1], camera.height, camera.width)
    known = torch.zeros(camera.height, camera.width, dtype=torch.bool, device=means.device)
    for first in range(0, values.shape[1], MAPS_AT_ONCE):
        some = values[:, first : first + MAPS_AT_ONCE].to(means).contiguous()
        drawn = renderer(camera, some) if renderer else render(gaussians, camera, some, backend=backend)
        known = drawn.alphas >= KNOWN_ALPHA
        into = maps[first : first + MAPS_AT_ONCE]
        if means.device.type == "cpu":
            _mean_values(drawn.colors.numpy(), drawn.alphas.numpy(), into.numpy())
        else:
            mean = drawn.colors / drawn.alphas.clamp(min=KNOWN_ALPHA)[..., None]
            into.copy_((mean * known[..., None]).permute(2, 0, 1))
    return ValueMaps(maps, known)


@kernel(parallel=True)
def _mean_values(sums, alphas, means) -> None:  # pragma: no cover - compiled
    """Mean values of pixels, 0 where nothing is known: sums [H, W, C] over alphas [H, W], as [C, H, W]."""
    for row in prange(len(alphas)):
        for column in range(alphas.shape[1]):
            alpha = alphas[row, column]
            known = alpha >= np.float32(KNOWN_ALPHA)
            for k in range(sums.shape[2]):
                means[k, row, column] = sums[row, column, k] / alpha if known else np.float32(0)


SEEN_SHARE = 0.2  # of an instance that a photo must show to see it: from any side, half of a thing is hidden
DEPTH_TOLERANCE = 0.05  # of the distance, up to which what lies behind the rendered surface is seen
LONGEST_SIDE = 200  # px, of the depth maps that tell what is hidden


def seen_in(gaussians: Gaussians, cameras: Sequence[Camera], masks: Sequence[Tensor]) -> np.ndarray:
    """Which photos see which instances: at least a fifth of it lies in the picture and is not hidden.

    Args:
        gaussians: The scene.
        cameras: Cameras of V photos.
        masks: Gaussians of n instances. bool [N] each

    Returns:
        bool [V, n]
    """
    means = gaussians.means.cpu().double().numpy()
    opacities = gaussians.opacities.cpu().double().numpy()
    rows = [np.flatnonzero(mask.cpu().numpy()) for mask in masks]
    seen = np.zeros((len(cameras), len(masks)), bool)
    for number, camera in enumerate(cameras if masks else ()):
        there = visible(gaussians, means, camera)
        for instance, members in enumerate(rows):
            weights = opacities[members]
            seen[number, instance] = weights @ there[members] >= SEEN_SHARE * max(weights.sum(), 1e-12)
    return seen


WHOLE = 8  # power of the share of an instance that lies in the picture, against how near it is


def how_well_shown(gaussians: Gaussians, cameras: Iterable[Camera], rows: Sequence[np.ndarray]) -> np.ndarray:
    """How well photos show some instances: all of it before all else, then from near, with little hidden.

    Args:
        gaussians: The scene.
        cameras: Cameras of V photos.
        rows: Gaussians of each of n instances. int64 [m] each

    Returns:
        0 where a photo does not show it; to be compared between photos of one instance only. float64 [V, n]
    """
    means = gaussians.means.cpu().double().numpy()
    weights = gaussians.opacities.cpu().double().numpy()
    photos = []
    for camera in cameras:
        there = visible(gaussians, means, camera)
        inside, depths = _in_picture(means, camera)
        scores = np.zeros(len(rows))
        for number, own in enumerate(rows):
            seen, total = own[there[own]], max(float(weights[own].sum()), 1e-12)
            if len(seen):
                whole, share = weights[own] @ inside[own] / total, weights[seen].sum() / total
                depth = float(np.average(depths[seen], weights=weights[seen]))
                scores[number] = whole**WHOLE * share / max(depth, 1e-12)
        photos.append(scores)
    return np.array(photos).reshape(len(photos), len(rows))


@torch.no_grad()
def visible(gaussians: Gaussians, means: np.ndarray, camera: Camera) -> np.ndarray:
    """Which Gaussians have their centre inside the picture and not behind the rendered surface.

    Args:
        gaussians: The scene.
        means: Their centres. float64 [N, 3]
        camera: The camera.

    Returns:
        bool [N]
    """
    camera = camera.within(LONGEST_SIDE)
    depths = render(gaussians, camera, gaussians.sh[:, 0]).depths.cpu().numpy()
    _, _, seen = _look(means, camera, depths)
    return seen


def _in_picture(means: np.ndarray, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Which points [N, 3] lie before a camera and inside its picture, and their depths. bool, float64 [N]"""
    inside, depths, _ = _look(means, camera, np.zeros((0, 0), np.float32))
    return inside, depths


def _look(
    means: np.ndarray, camera: Camera, surface: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which points lie inside a picture, their depths, and which are not behind a surface [H, W] there."""
    count = len(means)
    inside, depths, seen = np.zeros(count, bool), np.empty(count), np.zeros(count, bool)
    _look_at_points(
        means,
        np.ascontiguousarray(camera.viewmat, np.float64),
        np.ascontiguousarray(camera.K, np.float64),
        camera.width,
        camera.height,
        surface,
        inside,
        depths,
        seen,
    )
    return inside, depths, seen


@kernel(parallel=True)
def _look_at_points(
    points, viewmat, K, width, height, surface, inside, depths, seen
) -> None:  # pragma: no cover - compiled
    """`Camera.project` of points [N, 3], and what is asked of each; without a surface, none is seen."""
    for i in prange(len(points)):
        x, y, z = points[i]
        depth = viewmat[2, 0] * x + viewmat[2, 1] * y + viewmat[2, 2] * z + viewmat[2, 3]
        depths[i] = depth
        if depth <= 0:
            continue
        before = max(depth, 1e-9)
        u = (viewmat[0, 0] * x + viewmat[0, 1] * y + viewmat[0, 2] * z + viewmat[0, 3]) / before
        v = (viewmat[1, 0] * x + viewmat[1, 1] * y + viewmat[1, 2] * z + viewmat[1, 3]) / before
        u, v = u * K[0, 0] + K[0, 2], v * K[1, 1] + K[1, 2]
        inside[i] = 0 <= u < width and 0 <= v < height
        if inside[i] and surface.size > 0:
            nearest = surface[int(v), int(u)]
            seen[i] = nearest > 0 and depth <= nearest * np.float32(1 + DEPTH_TOLERANCE)
