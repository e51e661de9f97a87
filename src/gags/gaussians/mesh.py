"""A surface from Gaussians: depth seen by cameras, fused in a grid of signed distances (Curless & Levoy
1996).

The grid, the cameras and the rasteriser are ours; the surface is cut out of the grid by scikit-image's
marching cubes. Open3D fuses depth as well, but takes 400 MB, and knows nothing of what lies inside a closed
thing.
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample, normalize

from gags.capture.camera import Camera
from gags.errors import SplatsError
from gags.files.memory import available_bytes
from gags.gaussians.gaussians import Gaussians, render
from gags.progress import SILENT, Reporter

MOST_VIEWS = 120  # more tell nothing new; they are taken evenly from all
LONGEST_SIDE = 800  # px of the depth maps
SOLID_ALPHA = 0.5  # a pixel with less shows no surface
SMOOTHING = 1.0  # cells; steps between views would be ridges
NEAR = 2.0  # cells between a vertex and the depth of a pixel that shows it
TRUNCATION = 4.0  # cells either way within which a depth says how far the surface is
BEHIND = (
    0.05  # what a view that sees only the surface in front counts for "inside"; one that sees it counts 1
)
LEAST_PIECE = 0.02  # of the faces of the largest piece; smaller ones are floaters
FAINT = 0.1  # Gaussians of less opacity bound nothing
_BYTES_A_CELL = 48  # distances, weights, and their smoothing
MOST_MEMORY = 0.8  # of what is available
_AT_ONCE = 1 << 18  # cells, to bound memory
_DIRECTIONS = 200  # in which a solid is bounded by its farthest Gaussian


@dataclass(eq=False)
class Mesh:
    """A surface of triangles, in the frame and units of the capture.

    Attributes:
        vertices: float32 [V, 3]
        faces: Vertices of each triangle, anticlockwise from outside. int32 [F, 3]
        colors: Of the vertices, RGB. uint8 [V, 3]
        things: Thing of each vertex, −1 for none; None if not asked for. int32 [V]
    """

    vertices: np.ndarray
    faces: np.ndarray
    colors: np.ndarray
    things: np.ndarray | None = None

    @property
    def normals(self) -> np.ndarray:
        """Of the vertices, outwards: those of the triangles around, larger ones count more. float32 [V, 3]"""
        a, b, c = (self.vertices[self.faces[:, corner]].astype(np.float64) for corner in range(3))
        across = np.cross(b - a, c - a)
        corners = self.faces.ravel()
        sums = np.stack([np.bincount(corners, np.repeat(n, 3), len(self.vertices)) for n in across.T], axis=1)
        return (sums / np.linalg.norm(sums, axis=1, keepdims=True).clip(1e-12)).astype(np.float32)

    @property
    def is_watertight(self) -> bool:
        """Whether every edge belongs to two triangles that run along it in opposite directions."""
        edges = np.concatenate([self.faces[:, [0, 1]], self.faces[:, [1, 2]], self.faces[:, [2, 0]]])
        forth, back = (set(map(tuple, each.tolist())) for each in (edges, edges[:, ::-1]))
        return len(forth) == len(edges) and forth == back


def joined(meshes: Sequence[Mesh]) -> Mesh:
    """Several meshes as one, each as it is."""
    first = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    things = [mesh.things for mesh in meshes if mesh.things is not None]
    return Mesh(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate([mesh.faces + start for mesh, start in zip(meshes, first, strict=False)]).astype(
            np.int32
        ),
        np.concatenate([mesh.colors for mesh in meshes]),
        np.concatenate(things) if len(things) == len(meshes) else None,
    )


@dataclass(frozen=True, eq=False)
class Grid:
    """Cells of equal size in a box; their centres carry signed distances.

    Attributes:
        origin: Centre of the first cell, world units. [3]
        axes: Directions of the sides as rows, a rotation. [3, 3]
        size: Side of a cell, world units.
        counts: Cells along each side.
    """

    origin: np.ndarray
    axes: np.ndarray
    size: float
    counts: tuple[int, int, int]

    @classmethod
    def around(
        cls, low: np.ndarray, high: np.ndarray, axes: np.ndarray, cells: int, margin: int = 3
    ) -> "Grid":
        """A grid that holds a box, with `cells` along its longest side and `margin` cells around.

        Args:
            low: Least coordinates of the box along the axes. [3]
            high: Largest. [3]
            axes: Directions of its sides as rows. [3, 3]
            cells: Along the longest side, without the margin.
            margin: Further cells on every side.
        """
        size = float((high - low).max()) / cells
        inner = np.ceil((high - low) / size - 1e-6).astype(int)
        middle = (low + high) / 2
        counts = np.maximum(inner, 1) + 2 * margin
        origin = (middle - (counts - 1) / 2 * size) @ axes
        return cls(origin, axes, size, (int(counts[0]), int(counts[1]), int(counts[2])))

    def points(self, start: int, end: int, device: torch.device) -> Tensor:
        """Centres of cells `start` to `end`, the last axis running fastest. float32 [n, 3]"""
        number = torch.arange(start, end, device=device)
        _, ny, nz = self.counts
        index = torch.stack([number // (ny * nz), number // nz % ny, number % nz], 1).double()
        axes, origin = (
            torch.as_tensor(a, dtype=torch.float64, device=device) for a in (self.axes, self.origin)
        )
        return (origin + index * self.size @ axes).float()

    def world(self, index: np.ndarray) -> np.ndarray:
        """World coordinates of places between cells, in cells from the first. [n, 3] → [n, 3]"""
        return self.origin + index * self.size @ self.axes


@dataclass(frozen=True, eq=False)
class _Shot:
    """What one camera sees.

    Attributes:
        camera: The camera.
        maps: Depth along the optical axis times whether there is a surface, that, and whether nothing is
            there. float32 [1, 3, H, W]
        color: RGB in [0, 255]. uint8 [1, 3, H, W]
    """

    camera: Camera
    maps: Tensor
    color: Tensor

    def look(self, xyz: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Where points lie in the picture, −1 to 1 as `grid_sample` has it, and their depths. [n, 3]

        Returns:
            Places [1, 1, n, 2], depths [n], and which points the camera has in view [n].
        """
        viewmat = torch.as_tensor(self.camera.viewmat, dtype=xyz.dtype, device=xyz.device)
        K = torch.as_tensor(self.camera.K, dtype=xyz.dtype, device=xyz.device)
        local = xyz @ viewmat[:3, :3].T + viewmat[:3, 3]
        z = local[:, 2]
        xy = local[:, :2] / z.clamp(min=1e-6)[:, None] * K[[0, 1], [0, 1]] + K[:2, 2]
        size = torch.tensor([self.camera.width, self.camera.height], dtype=xyz.dtype, device=xyz.device)
        place = 2 * xy / size - 1
        return place[None, None], z, (z > 1e-6) & (place.abs() <= 1).all(1)

    def at(self, place: Tensor) -> tuple[Tensor, Tensor]:
        """Depth at places, 0 where most pixels around show no surface, and which places are empty. [n]"""
        depth, there, free = grid_sample(self.maps, place, padding_mode="border", align_corners=False)[
            0, :, 0
        ]
        return torch.where(there > 0.5, depth / there.clamp(min=1e-6), torch.zeros_like(depth)), free > 0.5


@torch.no_grad()
def surface_of(
    gaussians: Gaussians,
    cameras: Sequence[Camera],
    grid: Grid,
    *,
    solid: bool,
    progress: Reporter = SILENT,
) -> Mesh:
    """The surface of Gaussians as cameras see it.

    Args:
        gaussians: All of a scene, or those of one thing.
        cameras: Views to take depth from.
        grid: Where to look.
        solid: Of one thing, cut out: pixels without it are empty all along, and what no camera sees is filled
            up to the hull of its Gaussians, so that the surface is closed. Else the surface ends where it is
            not seen.
        progress: Told about progress.

    Returns:
        The surface, without specks.

    Raises:
        SplatsError: If the extra `mesh` is missing, or no surface is found.
    """
    check_mesh()
    _check_memory(grid)
    chosen = np.unique(np.linspace(0, len(cameras) - 1, min(len(cameras), MOST_VIEWS)).round().astype(int))
    distances = _Distances(grid, gaussians.means.device)
    shots = []
    with progress.stage("Fusing depth", len(chosen), "views") as bar:
        for number in chosen.tolist():
            shots.append(_shot(gaussians, cameras[number].within(LONGEST_SIDE), grid.size * TRUNCATION))
            distances.add(shots[-1], solid=solid)
            bar.advance()
    mesh = Mesh(
        *_triangles(*distances.finished(gaussians if solid else None), grid), np.zeros((0, 3), np.uint8)
    )
    mesh.colors = _colors(mesh, shots, grid.size, gaussians.means.device)
    return mesh


def check_mesh() -> None:
    """Make sure that surfaces can be made here.

    Raises:
        SplatsError: If the extra `mesh` is missing.
    """
    try:
        for needed in ("skimage.measure", "trimesh"):
            importlib.import_module(needed)
    except ImportError as error:
        raise SplatsError("meshes need the extra `mesh`; pip install 'gags[mesh]'") from error


def _check_memory(grid: Grid) -> None:
    """Refuse a grid that memory does not hold, before it is asked for."""
    needed, there = float(np.prod(grid.counts, dtype=float)) * _BYTES_A_CELL, available_bytes()
    if needed > MOST_MEMORY * there:
        raise SplatsError(
            f"a grid of {' x '.join(map(str, grid.counts))} cells takes {needed / 1e9:.1f} GB, and "
            f"{there / 1e9:.1f} GB are free; ask for fewer --cells"
        )


def _shot(gaussians: Gaussians, camera: Camera, most_spread: float) -> _Shot:
    """Render one view. Where near and far Gaussians mix, at edges, the mean depth is nobody's: left out."""
    seen = render(gaussians, camera)
    viewmat = torch.as_tensor(camera.viewmat, dtype=gaussians.means.dtype, device=gaussians.means.device)
    z = gaussians.means @ viewmat[2, :3] + viewmat[2, 3]
    squares = render(gaussians, camera, (z * z)[:, None]).colors[..., 0] / seen.alphas.clamp(min=1e-6)
    spread = (squares - seen.depths**2).clamp(min=0).sqrt()
    solid = (seen.alphas >= SOLID_ALPHA) & (spread <= most_spread)
    depth = torch.where(solid, seen.depths, torch.zeros_like(seen.depths))
    colors = seen.colors / seen.alphas.clamp(min=1e-6)[..., None] * 255
    return _Shot(
        camera,
        torch.stack([depth, solid.float(), (seen.alphas < SOLID_ALPHA).float()])[None],
        colors.round().clamp(0, 255).byte().permute(2, 0, 1)[None],
    )


class _Distances:
    """Mean of what views say of each cell: 1 in front of the surface, −1 behind it, between them near it."""

    def __init__(self, grid: Grid, device: torch.device) -> None:
        self.grid, self.device = grid, device
        self.total = torch.zeros(int(np.prod(grid.counts)), device=device)
        self.weight = torch.zeros_like(self.total)

    def add(self, shot: _Shot, *, solid: bool) -> None:
        """Count one view."""
        reach = self.grid.size * TRUNCATION
        for start in range(0, len(self.total), _AT_ONCE):
            end = min(start + _AT_ONCE, len(self.total))
            place, z, inside = shot.look(self.grid.points(start, end, self.device))
            depth, empty = shot.at(place)
            ahead = (depth - z) / reach
            hit = inside & (depth > 0)
            weight = (hit & (ahead >= -1)).float()
            if solid:
                free = inside & empty
                weight = weight + free.float() + BEHIND * (hit & (ahead < -1)).float()
                ahead = torch.where(free, torch.ones_like(ahead), ahead)
            self.total[start:end] += weight * ahead.clamp(-1, 1)
            self.weight[start:end] += weight

    def finished(self, bounded_by: Gaussians | None) -> tuple[np.ndarray, np.ndarray]:
        """The distances, smoothed, and which cells know theirs; of a solid, all. float32, bool [X, Y, Z]"""
        from scipy.ndimage import gaussian_filter

        known = self.weight > 0
        values = torch.where(known, self.total / self.weight.clamp(min=1e-9), -torch.ones_like(self.total))
        if bounded_by is not None:
            known = torch.ones_like(known)
            values = torch.maximum(values, self._outside(bounded_by))
        shape = self.grid.counts
        volume, known = (each.reshape(shape).cpu().numpy() for each in (values, known))
        weight = gaussian_filter(known.astype(np.float32), SMOOTHING)
        smooth = gaussian_filter(np.where(known, volume, 0), SMOOTHING) / np.maximum(weight, 1e-6)
        return np.where(known, smooth, volume), known

    def _outside(self, gaussians: Gaussians) -> Tensor:
        """Distance of each cell from the hull of Gaussians, negative inside, as `total` has it. [cells]"""
        row = torch.arange(_DIRECTIONS, device=self.device) + 0.5
        height, angle = 1 - 2 * row / _DIRECTIONS, torch.pi * (1 + 5**0.5) * row  # a spiral over the sphere
        flat = (1 - height**2).sqrt()
        sides = torch.as_tensor(self.grid.axes, dtype=torch.float32, device=self.device)
        directions = torch.cat(
            [torch.stack([flat * angle.cos(), flat * angle.sin(), height], 1), sides, -sides]
        )
        seen = gaussians.means[gaussians.opacities >= min(FAINT, float(gaussians.opacities.max()))]
        reach = (seen @ directions.T).amax(0)
        parts = []
        for start in range(0, len(self.total), _AT_ONCE):
            points = self.grid.points(start, min(start + _AT_ONCE, len(self.total)), self.device)
            parts.append((points @ directions.T - reach).amax(1))
        return (torch.cat(parts) / (self.grid.size * TRUNCATION)).clamp(-1, 1)


def _triangles(volume: np.ndarray, known: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and triangles between cells of different sign, without specks."""
    from scipy.ndimage import binary_erosion

    marching_cubes = importlib.import_module("skimage.measure").marching_cubes

    volume = np.pad(volume, 1, constant_values=1.0)  # closed at the border of the grid
    if known.all():
        known = np.pad(known, 1, constant_values=True)
    else:  # between cells of which one is unknown there is no surface
        known = binary_erosion(np.pad(known, 1), np.ones((3, 3, 3)))
    inside = volume < 0
    if not (inside & known).any() or not (~inside & known).any():
        raise SplatsError("no surface is found: no camera sees these Gaussians as something solid")
    try:
        vertices, faces, _, _ = marching_cubes(volume, 0.0, gradient_direction="descent", mask=known)
    except (RuntimeError, ValueError) as error:
        raise SplatsError(f"no surface is found ({error}); try more --cells") from error
    faces = _without_specks(faces, len(vertices))
    used, faces = np.unique(faces, return_inverse=True)
    xyz = grid.world(vertices[used].astype(np.float64) - 1)
    return xyz.astype(np.float32), faces.reshape(-1, 3).astype(np.int32)


def _without_specks(faces: np.ndarray, count: int) -> np.ndarray:
    """Triangles of connected pieces that are no specks."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    joined = coo_array((np.ones(len(ends), bool), (ends[:, 0], ends[:, 1])), shape=(count, count))
    piece = connected_components(joined, directed=False)[1][faces[:, 0]]
    sizes = np.bincount(piece)
    return faces[(sizes >= LEAST_PIECE * sizes.max())[piece]]


def _colors(mesh: Mesh, shots: Sequence[_Shot], size: float, device: torch.device) -> np.ndarray:
    """Mean colour of each vertex in the views that see it from its front, those that face it most.

    A vertex that none sees takes the colour of the nearest that one does.
    """
    xyz, normals = (torch.from_numpy(a).to(device) for a in (mesh.vertices, mesh.normals))
    total, weight = torch.zeros_like(xyz), torch.zeros(len(xyz), device=device)
    for shot in shots:
        place, z, inside = shot.look(xyz)
        depth, _ = shot.at(place)
        position = torch.as_tensor(shot.camera.position, dtype=xyz.dtype, device=device)
        facing = (normalize(position - xyz, dim=1) * normals).sum(1).clamp(min=0)
        seen = facing**2 * (inside & ((depth - z).abs() <= NEAR * size))
        color = grid_sample(shot.color.float(), place, padding_mode="border", align_corners=False)[0, :, 0]
        total += seen[:, None] * color.T
        weight += seen
    colors = (total / weight.clamp(min=1e-9)[:, None]).round().byte().cpu().numpy()
    known = (weight > 0).cpu().numpy()
    if known.any() and not known.all():
        colors[~known] = colors[known][nearest(mesh.vertices[known], mesh.vertices[~known])]
    return colors


def nearest(points: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Which of some points [n, 3] is nearest to each that is wanted [m, 3]. int64 [m]"""
    from scipy.spatial import KDTree

    return np.asarray(KDTree(points).query(wanted)[1])
