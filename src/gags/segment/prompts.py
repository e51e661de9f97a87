"""How many prompts each part of a photo gets, and where: denser where a surface is seen from farther away."""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from gags.capture.camera import Camera
from gags.gaussians import Gaussians, render
from gags.progress import SILENT, Reporter
from gags.segment.frames import even_grid, zoomed_grids
from gags.segment.nearest import VISIBLE_WITHIN, nearest_of_small, sample_depth, upscale_nearest
from gags.segment.settings import DescribeSettings

PATCHES = 8  # patches a side of the image
SUBPATCHES = 10  # sub-patches a side of a patch
MAX_PER_PATCH = 400
DEPTH_WIDTH = 320  # px; finer depth changes numbers of prompts by 0.3 to 1.5 % (`benchmarks/README.md`)
SURFACE_ALPHA = 0.5  # pixels more transparent than this show no surface


class PromptPlacer:
    """Prompts of every photo of a scene: granularity-aware (GAGS Eq. 1; `docs/method.md`) or on even grids.

    d_min depends on all photos. Their depths are compared first, 160 px wide: 0.15 MB a photo. The released
    law looks up the Gaussians in them instead. The depth on which prompts are counted is rendered again for
    each photo. Even grids need no depth.

    Args:
        gaussians: The scene; even grids do not look at it.
        cameras: Of all photos that get prompts.
        settings: Prompts.
        progress: Told about progress.
    """

    def __init__(
        self,
        gaussians: Gaussians,
        cameras: Sequence[Camera],
        settings: DescribeSettings,
        *,
        progress: Reporter = SILENT,
    ) -> None:
        self._gaussians = gaussians
        self._cameras = cameras
        self._settings = settings
        if settings.prompts in ("grid", "crops"):
            return
        self._means = gaussians.means.cpu().numpy()
        if settings.prompts == "released":
            self._least = np.full(len(gaussians), np.inf)  # d_min of each centre
            for camera, depth in self._rendered(progress):
                lower_to_seen(self._least, camera, self._means, depth)
        else:
            self._small = [sample_depth(depth) for _, depth in self._rendered(progress)]
            self._nearest = nearest_of_small(self._small, cameras)

    def _rendered(self, progress: Reporter) -> Iterator[tuple[Camera, np.ndarray]]:
        """Every camera with what `render_depth` shows."""
        with progress.stage("Rendering depth", len(self._cameras), "views") as bar:
            for camera in self._cameras:
                yield camera, render_depth(self._gaussians, camera)
                bar.advance()

    def place(self, row: int, name: str) -> np.ndarray:
        """Prompts of one photo.

        Args:
            row: Row of the photo's camera among the cameras.
            name: Name of the photo; with the seed it decides the draw.

        Returns:
            Points (x, y) in px. float32 [P, 2]
        """
        settings, camera = self._settings, self._cameras[row]
        if settings.prompts == "grid":
            return even_grid(settings.grid_side, camera.width, camera.height)
        if settings.prompts == "crops":
            return zoomed_grids(settings.grid_side, camera.width, camera.height)
        depth, base = render_depth(self._gaussians, camera), settings.prompts_per_patch
        if settings.prompts == "released":
            counts = released_per_patch(depth, self._least, camera, self._means, base=base)
        else:
            nearest = upscale_nearest(self._nearest[row], self._small[row], depth)
            counts = prompts_per_patch(depth, nearest, base=base, exponent=settings.exponent)
        return sample_prompts(
            counts,
            camera,
            self._means,
            depth,
            seed=settings.seed,
            name=name,
            replacement=settings.replacement,
        )


def render_depth(gaussians: Gaussians, camera: Camera, width: int = DEPTH_WIDTH) -> np.ndarray:
    """Expected depth of a view, at most `width` px wide, 0 where nothing is. float32 [h, w]"""
    factor = min(1.0, width / camera.width)
    small = camera.resized(round(camera.width * factor), max(1, round(camera.height * factor)))
    rendering = render(gaussians, small, gaussians.means.new_zeros(len(gaussians), 1))
    opaque = rendering.alphas >= SURFACE_ALPHA
    return torch.where(opaque, rendering.depths, 0).cpu().numpy()


def prompt_density(
    depth: np.ndarray, nearest: np.ndarray, *, base: float, exponent: float = 2.0
) -> np.ndarray:
    """Prompts a patch by the distance of each pixel alone: N0 · (d / d_min)^exponent, GAGS Eq. 1 unaveraged.

    Args:
        depth: Depth of the view, 0 where nothing was hit. [h, w]
        nearest: d_min of the view, from `nearest_depths`. [h, w]
        base: N0, prompts of a patch seen from nearest.
        exponent: 2 is the paper's law, 0 gives every patch `base` prompts, −2 is the law that the sentence
            after Eq. 1 describes.

    Returns:
        float32 [h, w]; NaN where there is no depth.
    """
    seen = (depth > 0) & (nearest > 0)
    ratio = np.divide(depth, nearest, out=np.ones(depth.shape, np.float32), where=seen)
    return np.where(seen, base * ratio**exponent, np.nan).astype(np.float32)


def prompts_per_patch(
    depth: np.ndarray, nearest: np.ndarray, *, base: float, exponent: float = 2.0, grid: int = PATCHES
) -> np.ndarray:
    """Number of prompts of each patch (GAGS Eq. 1): n = N0 · mean (d / d_min)², rounded, 1 to 400.

    With exponent 0 a fractional N0 is spread over the patches, so that their total is right.

    Args:
        depth: Depth of the view, 0 where nothing was hit. [h, w]
        nearest: d_min of the view, from `nearest_depths`. [h, w]
        base: N0, prompts of a patch seen from nearest; also of a patch without any depth.
        exponent: 2 is the paper's law, 0 gives every patch `base` prompts, −2 is the law that the sentence
            after Eq. 1 describes.
        grid: Patches a side.

    Returns:
        int64 [grid, grid]
    """
    if exponent == 0:
        ends = np.floor(base * np.arange(grid * grid + 1) + 0.5)
        return np.clip(np.diff(ends), 1, MAX_PER_PATCH).astype(np.int64).reshape(grid, grid)
    density = prompt_density(depth, nearest, base=base, exponent=exponent)
    seen = np.isfinite(density)
    totals = _sum_cells(np.where(seen, density, 0.0), grid)
    counts = _sum_cells(seen, grid)
    mean = np.divide(totals, counts, out=np.full((grid, grid), float(base)), where=counts > 0)
    return np.clip(np.floor(mean + 0.5), 1, MAX_PER_PATCH).astype(np.int64)


def released_per_patch(
    depth: np.ndarray,
    least: np.ndarray,
    camera: Camera,
    means: np.ndarray,
    *,
    base: float,
    grid: int = PATCHES,
) -> np.ndarray:
    """Number of prompts of each patch by the released program of GAGS, its form of Eq. 1.

    With ρ = mean d / mean d_min over the pixels of a patch onto which a visible Gaussian centre projects,
    n = clamp(⌊√N0 · ρ⌋, 1, 20)². There is a cliff: a patch with ρ < 1, or without such a pixel, gets 1
    prompt, but one with ρ = 1 gets N0.

    d is the depth of the surface at a pixel; d_min is that of the centre that projects onto it, in the view
    that sees this centre from nearest. Centres that count as visible lie behind the surface more often than
    before it. So ρ does fall below 1 in views from nearest: in a tenth of all patches of desk and pantry.

    Args:
        depth: Depth of the view, of any size. [h, w]
        least: d_min of each centre, see `lower_to_seen`; of several that project onto one pixel, the least
            counts. [N]
        camera: The view.
        means: Centres of the Gaussians, world units. [N, 3]
        base: N0, prompts of a patch seen from nearest; the released program has 16.
        grid: Patches a side.

    Returns:
        int64 [grid, grid]
    """
    seen, x, y, _ = _visible_centres(camera, means, depth)
    order = np.argsort(least[seen], kind="stable")
    pixel, first = np.unique((y * camera.width + x)[order], return_index=True)
    y, x = np.divmod(pixel, camera.width)
    surface = depth[y * depth.shape[0] // camera.height, x * depth.shape[1] // camera.width]
    columns, rows = _edges(camera.width, grid), _edges(camera.height, grid)
    patch = (np.searchsorted(rows, y, "right") - 1) * grid + np.searchsorted(columns, x, "right") - 1
    # The means are over the same pixels, so that their ratio is that of the sums.
    total, nearest = (
        np.bincount(patch, weights=values, minlength=grid * grid)
        for values in (surface, least[seen][order][first])
    )
    ratio = np.divide(total, nearest, out=np.zeros(grid * grid), where=nearest > 0)
    side = np.clip(np.floor(np.sqrt(base) * ratio), 1, np.sqrt(MAX_PER_PATCH))
    return np.where(ratio < 1, 1, side**2).astype(np.int64).reshape(grid, grid)


def lower_to_seen(least: np.ndarray, camera: Camera, means: np.ndarray, depth: np.ndarray) -> None:
    """Take the depths of the centres that one more view sees, where they are the least so far.

    Args:
        least: Least depth of each centre in the views so far, infinite where none saw it; changed in
            place. [N]
        camera: The view.
        means: Centres of the Gaussians, world units. [N, 3]
        depth: Depth of the view, of any size. [h, w]
    """
    seen, _, _, z = _visible_centres(camera, means, depth)
    least[seen] = np.minimum(least[seen], z)


def sample_prompts(
    counts: np.ndarray,
    camera: Camera,
    means: np.ndarray,
    depth: np.ndarray,
    *,
    seed: int,
    name: str,
    replacement: bool = False,
) -> np.ndarray:
    """Draw prompts, denser where many Gaussians lie (GAGS 6.1).

    Each patch is cut into 10×10 sub-patches. The probability of a sub-patch is proportional to the number of
    its pixels onto which a visible Gaussian centre projects; where a patch has no such pixel, to its area.
    Sub-patches are drawn without replacement, because few prompts find more things that way, unless there are
    more prompts than sub-patches with a probability above 0. Inside a sub-patch, every pixel has the same
    probability.

    Args:
        counts: Prompts of each patch. [G, G]
        camera: The view; prompts are in px of its image.
        means: Centres of the Gaussians, world units. [N, 3]
        depth: Depth of the view, of any size, to decide which centres are visible. [h, w]
        seed: Seed of the run.
        name: Name of the photo; seed and name alone decide the draw, not the order of photos.
        replacement: Whether a sub-patch may be drawn again before all others are, as in the released program.

    Returns:
        Prompts (x, y) at pixel centres, patch by patch. float32 [sum(counts), 2]
    """
    grid = counts.shape[0]
    cells = grid * SUBPATCHES
    columns, rows = _edges(camera.width, cells), _edges(camera.height, cells)
    x, y = _centre_pixels(camera, means, depth)
    cell = (np.searchsorted(rows, y, "right") - 1) * cells + np.searchsorted(columns, x, "right") - 1
    # Pixels with a visible centre, and all pixels, of each sub-patch.
    centres = np.bincount(cell, minlength=cells * cells).reshape(cells, cells)
    areas = np.outer(np.diff(rows), np.diff(columns))
    rng = seeded_rng(seed, name)
    drawn = []
    for j, i in np.ndindex(grid, grid):
        patch = np.s_[j * SUBPATCHES : (j + 1) * SUBPATCHES, i * SUBPATCHES : (i + 1) * SUBPATCHES]
        weights = centres[patch] if centres[patch].any() else areas[patch]
        if not weights.any():  # an image of fewer pixels than patches
            continue
        repeat = replacement or bool(counts[j, i] > np.count_nonzero(weights))
        picked = rng.choice(weights.size, counts[j, i], replace=repeat, p=weights.ravel() / weights.sum())
        # Rows and columns of the drawn sub-patches in the whole image, then a pixel inside each.
        row, column = np.divmod(picked, SUBPATCHES) + np.array([[j], [i]]) * SUBPATCHES
        drawn_x = rng.integers(columns[column], columns[column + 1])
        drawn_y = rng.integers(rows[row], rows[row + 1])
        drawn.append(np.stack([drawn_x, drawn_y], 1))
    return np.concatenate(drawn).astype(np.float32) + np.float32(0.5)


def seeded_rng(seed: int, name: str) -> np.random.Generator:
    """A random generator that depends on seed and name only; the same on every machine and Python."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def _centre_pixels(camera: Camera, means: np.ndarray, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels onto which a visible Gaussian centre projects, each pixel once.

    Args:
        camera: The view.
        means: Centres of the Gaussians, world units. [N, 3]
        depth: Depth of the view, of any size. [h, w]

    Returns:
        Columns and rows of the pixels. int64 [P], int64 [P]
    """
    _, x, y, _ = _visible_centres(camera, means, depth)
    row, column = np.divmod(np.unique(y * camera.width + x), camera.width)
    return column, row


def _visible_centres(
    camera: Camera, means: np.ndarray, depth: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Gaussian centres in a view that lie near the surface there, see `VISIBLE_WITHIN`.

    Args:
        camera: The view.
        means: Centres of the Gaussians, world units. [N, 3]
        depth: Depth of the view, of any size. [h, w]

    Returns:
        Which they are, column and row of the pixel of each, int64 [P], and its depth. [P]
    """
    xy, z = camera.project(means)
    x, y = xy.T
    inside = np.flatnonzero((z > 0) & (x >= 0) & (y >= 0) & (x < camera.width) & (y < camera.height))
    x, y, z = x[inside].astype(np.int64), y[inside].astype(np.int64), z[inside]
    h, w = depth.shape
    surface = depth[y * h // camera.height, x * w // camera.width]
    visible = np.abs(surface - z) <= VISIBLE_WITHIN * surface
    return inside[visible], x[visible], y[visible], z[visible]


def _edges(size: int, cells: int) -> np.ndarray:
    """First pixel of each of `cells` runs that divide `size` pixels, and the end. [cells + 1]"""
    return np.arange(cells + 1) * size // cells


def _sum_cells(values: np.ndarray, cells: int) -> np.ndarray:
    """Sums over the cells of a square grid laid over an image. [h, w] → float64 [cells, cells]"""
    sums = np.zeros((values.shape[0] + 1, values.shape[1] + 1))
    np.cumsum(np.cumsum(values, axis=0, dtype=np.float64), axis=1, out=sums[1:, 1:])
    rows, columns = _edges(values.shape[0], cells), _edges(values.shape[1], cells)
    return np.diff(np.diff(sums[np.ix_(rows, columns)], axis=0), axis=1)
