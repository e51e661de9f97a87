"""How many prompts each part of a photo gets, and where: denser where a surface is seen from farther away."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numba import njit, prange

from gags.capture.camera import Camera

PATCHES = 8  # patches a side of the image (METHOD §1.3)
SUBPATCHES = 10  # sub-patches a side of a patch (METHOD §1.4)
MAX_PER_PATCH = 400
WORK_WIDTH = 160  # px; of the grids of depth that are compared between views
DEPTH_TOLERANCE = 0.25  # a point farther than this share from the rendered depth counts as hidden


def nearest_depths(
    depths: Sequence[np.ndarray], cameras: Sequence[Camera], *, work_width: int = WORK_WIDTH
) -> list[np.ndarray]:
    """The least depth at which any view sees the surface point behind each pixel (METHOD §1.2).

    Args:
        depths: Depth of each view, any size of its camera's aspect; 0 where nothing was hit. [h, w] each
        cameras: Cameras of the views.
        work_width: Width of the grid that is compared between views, px; wider depths are sampled.

    Returns:
        d_min of each view, 0 where depth is 0, never above the view's own depth. float32 [h, w] each

    Raises:
        ValueError: If there are not as many depths as cameras.
    """
    small = [sampled(depth, work_width) for depth in depths]
    found = nearest_of_sampled(small, cameras)
    return [upscaled(*parts) for parts in zip(found, small, depths, strict=True)]


def nearest_of_sampled(small: Sequence[np.ndarray], cameras: Sequence[Camera]) -> list[np.ndarray]:
    """`nearest_depths` of depths that are compared as they are, see there. float32 [h, w] each"""
    if len(small) != len(cameras):
        raise ValueError(f"{len(small)} depths for {len(cameras)} cameras; give one each")
    if not small:
        return []
    offsets = np.cumsum([0] + [depth.size for depth in small])
    shapes = np.array([depth.shape for depth in small])
    flat = np.concatenate([depth.ravel() for depth in small])
    resized = [
        camera.resized(depth.shape[1], depth.shape[0]) for camera, depth in zip(cameras, small, strict=True)
    ]
    intrinsics = np.array([[c.K[0, 0], c.K[1, 1], c.K[0, 2], c.K[1, 2]] for c in resized])
    viewmats = np.array([c.viewmat for c in resized])
    nearest = _nearest(flat, offsets, shapes, viewmats, intrinsics)
    return [
        nearest[a:b].reshape(low.shape) for a, b, low in zip(offsets[:-1], offsets[1:], small, strict=True)
    ]


def granularity_map(
    depth: np.ndarray, nearest: np.ndarray, *, base: float, exponent: float = 2.0
) -> np.ndarray:
    """Prompts a patch that each pixel asks for: N0 · (d / d_min)^exponent (GAGS Eq. 1 before averaging).

    Args:
        depth: Depth of the view, 0 where nothing was hit. [h, w]
        nearest: d_min of the view, from `nearest_depths`. [h, w]
        base: N0, prompts of a patch seen from nearest.
        exponent: 2 is the paper's law, 0 gives every patch `base` prompts.

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

    With exponent 0 an N0 that is no whole number is spread over the patches, so that their total is right.

    Args:
        depth: Depth of the view, 0 where nothing was hit. [h, w]
        nearest: d_min of the view, from `nearest_depths`. [h, w]
        base: N0, prompts of a patch seen from nearest; also of a patch without any depth.
        exponent: 2 is the paper's law, 0 gives every patch `base` prompts.
        grid: Patches a side.

    Returns:
        int64 [grid, grid]
    """
    if exponent == 0:
        ends = np.floor(base * np.arange(grid * grid + 1) + 0.5)
        return np.clip(np.diff(ends), 1, MAX_PER_PATCH).astype(np.int64).reshape(grid, grid)
    wanted = granularity_map(depth, nearest, base=base, exponent=exponent)
    seen = np.isfinite(wanted)
    totals = _sum_cells(np.where(seen, wanted, 0.0), grid)
    counts = _sum_cells(seen, grid)
    mean = np.divide(totals, counts, out=np.full((grid, grid), float(base)), where=counts > 0)
    return np.clip(np.floor(mean + 0.5), 1, MAX_PER_PATCH).astype(np.int64)


def sample_prompts(
    counts: np.ndarray, camera: Camera, means: np.ndarray, depth: np.ndarray, *, seed: int, name: str
) -> np.ndarray:
    """Draw prompts, denser where many Gaussians lie (GAGS 6.1, METHOD §1.4).

    Each patch is cut into 10×10 sub-patches. One is drawn with a chance that grows with the number of its
    pixels onto which a visible Gaussian centre projects, and only once as long as there are others: few
    prompts find more things that way. Its pixel is drawn evenly.

    Args:
        counts: Prompts of each patch. [G, G]
        camera: The view; prompts are in px of its image.
        means: Centres of the Gaussians, world units. [N, 3]
        depth: Depth of the view, of any size, to tell which centres are visible. [h, w]
        seed: Seed of the run.
        name: Name of the photo; seed and name alone decide the draw, not the order of photos.

    Returns:
        Prompts (x, y) at pixel centres, patch by patch. float32 [sum(counts), 2]
    """
    grid = counts.shape[0]
    cells = grid * SUBPATCHES
    columns, rows = _edges(camera.width, cells), _edges(camera.height, cells)
    x, y = _centre_pixels(camera, means, depth)
    cell = (np.searchsorted(rows, y, "right") - 1) * cells + np.searchsorted(columns, x, "right") - 1
    weights = np.bincount(cell, minlength=cells * cells).reshape(cells, cells)
    areas = np.outer(np.diff(rows), np.diff(columns))
    rng = _generator(seed, name)
    drawn = []
    for j, i in np.ndindex(grid, grid):
        patch = np.s_[j * SUBPATCHES : (j + 1) * SUBPATCHES, i * SUBPATCHES : (i + 1) * SUBPATCHES]
        chance = weights[patch] if weights[patch].any() else areas[patch]
        if not chance.any():  # an image of fewer pixels than patches
            continue
        repeat = bool(counts[j, i] > np.count_nonzero(chance))
        picked = rng.choice(chance.size, counts[j, i], replace=repeat, p=chance.ravel() / chance.sum())
        row, column = np.divmod(picked, SUBPATCHES) + np.array([[j], [i]]) * SUBPATCHES
        drawn.append(
            np.stack(
                [rng.integers(columns[column], columns[column + 1]), rng.integers(rows[row], rows[row + 1])],
                1,
            )
        )
    return np.concatenate(drawn).astype(np.float32) + np.float32(0.5)


def _generator(seed: int, name: str) -> np.random.Generator:
    """A generator that depends on seed and name only, the same on every machine and Python."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def _centre_pixels(camera: Camera, means: np.ndarray, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows of the pixels onto which a visible Gaussian centre projects, each pixel once."""
    xy, z = camera.project(means)
    x, y = xy.T
    inside = (z > 0) & (x >= 0) & (y >= 0) & (x < camera.width) & (y < camera.height)
    x, y, z = x[inside].astype(np.int64), y[inside].astype(np.int64), z[inside]
    h, w = depth.shape
    surface = depth[y * h // camera.height, x * w // camera.width]
    visible = np.abs(surface - z) <= DEPTH_TOLERANCE * surface
    row, column = np.divmod(np.unique(y[visible] * camera.width + x[visible]), camera.width)
    return column, row


def _edges(size: int, cells: int) -> np.ndarray:
    """First pixel of each of `cells` runs that divide `size` pixels, and the end. [cells + 1]"""
    return np.arange(cells + 1) * size // cells


def _sum_cells(values: np.ndarray, cells: int) -> np.ndarray:
    """Sums over the cells of a square grid laid over an image. float64 [cells, cells]"""
    sums = np.zeros((values.shape[0] + 1, values.shape[1] + 1))
    np.cumsum(np.cumsum(values, axis=0, dtype=np.float64), axis=1, out=sums[1:, 1:])
    rows, columns = _edges(values.shape[0], cells), _edges(values.shape[1], cells)
    return np.diff(np.diff(sums[np.ix_(rows, columns)], axis=0), axis=1)


def sampled(depth: np.ndarray, width: int = WORK_WIDTH) -> np.ndarray:
    """Nearest-neighbour sample of a depth map, at most `width` wide; depths of an edge are never mixed."""
    depth = np.asarray(depth, np.float32)
    h, w = depth.shape
    if w <= width:
        return depth
    height = max(1, round(h * width / w))
    rows = ((np.arange(height) + 0.5) * h / height).astype(np.int64)
    columns = ((np.arange(width) + 0.5) * w / width).astype(np.int64)
    return depth[np.ix_(rows, columns)]


def upscaled(nearest: np.ndarray, low: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """d_min at the resolution of `depth`, from the ratio d_min / d of the sampled grid `low`."""
    depth = np.asarray(depth, np.float32)
    if nearest.shape == depth.shape:
        return nearest
    ratio = np.divide(nearest, low, out=np.ones_like(low), where=low > 0)
    (h, w), (H, W) = nearest.shape, depth.shape
    return depth * ratio[np.ix_(np.arange(H) * h // H, np.arange(W) * w // W)]


@njit(parallel=True, cache=True)
def _nearest(
    depths: np.ndarray, offsets: np.ndarray, shapes: np.ndarray, viewmats: np.ndarray, intrinsics: np.ndarray
) -> np.ndarray:
    """d_min over all pairs of views; maps are flat, one behind the other. float32 [sum of pixels]"""
    nearest = depths.copy()
    for v in prange(len(shapes)):
        fx, fy, cx, cy = intrinsics[v]
        rotation, shift = viewmats[v, :3, :3], viewmats[v, :3, 3]
        for u in range(len(shapes)):
            if u == v:
                continue
            # Camera v to camera u: R = R_u R_vᵀ, t = t_u − R t_v.
            R = np.zeros((3, 3))
            t = np.zeros(3)
            for a in range(3):
                for b in range(3):
                    for c in range(3):
                        R[a, b] += viewmats[u, a, c] * rotation[b, c]
            for a in range(3):
                t[a] = viewmats[u, a, 3] - R[a, 0] * shift[0] - R[a, 1] * shift[1] - R[a, 2] * shift[2]
            fx_u, fy_u, cx_u, cy_u = intrinsics[u]
            height, width = shapes[u]
            for row in range(shapes[v, 0]):
                y = (row + 0.5 - cy) / fy
                for column in range(shapes[v, 1]):
                    pixel = offsets[v] + row * shapes[v, 1] + column
                    d = depths[pixel]
                    if d <= 0:
                        continue
                    x = (column + 0.5 - cx) / fx
                    z_u = (R[2, 0] * x + R[2, 1] * y + R[2, 2]) * d + t[2]
                    if z_u <= 0 or z_u >= nearest[pixel]:
                        continue
                    x_u = ((R[0, 0] * x + R[0, 1] * y + R[0, 2]) * d + t[0]) / z_u * fx_u + cx_u
                    y_u = ((R[1, 0] * x + R[1, 1] * y + R[1, 2]) * d + t[1]) / z_u * fy_u + cy_u
                    if x_u < 0 or y_u < 0 or x_u >= width or y_u >= height:
                        continue
                    seen = depths[offsets[u] + int(y_u) * width + int(x_u)]
                    if seen > 0 and abs(seen - z_u) <= DEPTH_TOLERANCE * seen:
                        nearest[pixel] = z_u
    return nearest
