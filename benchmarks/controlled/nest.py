"""All that a segmenter might take for a thing: patches in parts in objects in groups in the whole scene."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np

from benchmarks.controlled.truth import Truth

GRID = 256  # cells along the longer side of a photo, as SAM's masks have
KINDS = ("patch", "part", "object", "stuff", "group", "scene")
PATCH, PART, OBJECT, STUFF, GROUP, SCENE = range(len(KINDS))
STEPS = 10  # longest chain: two patches, part, object, groups, scene
LEAST_PATCH = 60  # px
GROWTH = 1.25  # a group counts if its area is this many times that of what is in it
SPREAD_OF_GAPS = 0.3  # of the logarithm of the gap between two things, and
GAP_NOISE = 1.0  # cells, at most added to it: which things look like one group differs between views
SIZE_COST = 0.3  # cells of gap that a cell of the size of a group is worth: small things join first


@dataclass(eq=False)
class Nest:
    """Candidate regions of one view, nested in chains from small to large.

    Attributes:
        masks: The regions, on the grid. List of bool [h, w]
        kinds: What each is, a row of `KINDS`.
        areas: Area of each, px of the photo.
        keys: What each is called in all views.
        chains: Regions that lie in each other, small to large, -1 behind the last. List of int [STEPS]
        chain_of: Row of the chain of every cell, -1 for none. int32 [h, w]
        extent: Width and height of the photo in cells.
        cell_area: px.
        finer: Row of the half, quarter and eighth of its small patch that every cell lies in, -1 for none;
            no chain has these. int32 [F, h, w]
    """

    chain_of: np.ndarray
    extent: tuple[float, float]
    cell_area: float
    finer: np.ndarray
    masks: list[np.ndarray] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    areas: list[float] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    chains: list[list[int]] = field(default_factory=list)

    def add(self, mask: np.ndarray, kind: int, key: str) -> int:
        """Add a region; returns its row."""
        self.keys.append(key)
        self.masks.append(mask)
        self.kinds.append(kind)
        self.areas.append(float(np.count_nonzero(mask)) * self.cell_area)
        return len(self.masks) - 1

    def add_chain(self, cells: np.ndarray, regions: list[int]) -> None:
        """Let cells have a chain; of regions that are nearly as large as the one before the later goes."""
        chain: list[int] = []
        for region in regions:
            if not chain or self.areas[region] > GROWTH * self.areas[chain[-1]] or self._is_firm(region):
                chain.append(region)
        firm = [region for region in chain if self.kinds[region] != GROUP]
        groups = [region for region in chain if self.kinds[region] == GROUP][: STEPS - len(firm)]
        chain = sorted(firm + groups, key=chain.index)
        self.chain_of[cells] = len(self.chains)
        self.chains.append(chain + [-1] * (STEPS - len(chain)))

    def _is_firm(self, region: int) -> bool:
        return self.kinds[region] in (PART, OBJECT, STUFF)


def grid_of(width: int, height: int) -> tuple[tuple[int, int], tuple[float, float]]:
    """Columns and rows of the grid laid over a photo, and width and height of the photo in its cells."""
    scale = GRID / max(height, width)
    return (int(np.ceil(width * scale)), int(np.ceil(height * scale))), (width * scale, height * scale)


def on_grid(ids: np.ndarray) -> np.ndarray:
    """Leaf id at every cell of the grid. uint8 [H, W] → int64 [h, w]"""
    size, _ = grid_of(ids.shape[1], ids.shape[0])
    return cv2.resize(ids, size, interpolation=cv2.INTER_NEAREST).astype(np.int64)


def build_nest(ids: np.ndarray, patches: np.ndarray, truth: Truth, rng: np.random.Generator) -> Nest:
    """The regions of one view.

    Args:
        ids: Leaf id of every pixel. uint8 [H, W]
        patches: Large and small patch of every cell, and F finer ones, possibly none, from
            `textures.patch_maps`. int64 [2 + F, h, w]
        truth: What the ids are.
        rng: Draws which things form groups.
    """
    _, extent = grid_of(ids.shape[1], ids.shape[0])
    small = on_grid(ids)
    nest = Nest(
        chain_of=np.full(small.shape, -1, np.int32),
        extent=extent,
        cell_area=ids.shape[1] * ids.shape[0] / np.prod(extent),
        finer=np.full((len(patches) - 2, *small.shape), -1, np.int32),
    )
    wholes = truth.whole_of[small]
    present = [int(row) for row in np.unique(wholes[wholes >= 0])]
    kinds = {row: OBJECT if truth.is_object[row] else STUFF for row in present}
    regions = {row: nest.add(wholes == row, kind, f"thing {row}") for row, kind in kinds.items()}
    objects = [row for row in present if truth.is_object[row]]
    groups = _groups(nest, {row: nest.masks[regions[row]] for row in objects}, rng)
    scenes = _scenes(nest, wholes, objects, present)
    for row in present:
        around = [regions[row], *groups.get(row, []), *scenes]
        for cells, leaf, key in _leaves(nest, small, wholes == row, truth):
            for patch, inside in _patches(nest, cells, patches, key):
                nest.add_chain(patch, [*inside, *leaf, *around])
    return nest


def _leaves(
    nest: Nest, ids: np.ndarray, whole: np.ndarray, truth: Truth
) -> Iterator[tuple[np.ndarray, list[int], str]]:
    """Cells of an object's parts and of what is left of it, with its region if there are parts; and a key."""
    parts = truth.part_of[ids]
    found = [int(row) for row in np.unique(parts[whole])]
    for row in found:
        cells = whole & (parts == row)
        key = f"leaf {ids[cells][0]}"
        yield cells, ([nest.add(cells, PART, key)] if len(found) > 1 else []), key


def _patches(
    nest: Nest, cells: np.ndarray, patches: np.ndarray, key: str
) -> Iterator[tuple[np.ndarray, list[int]]]:
    """Cells of the small patches of a surface, each with the patches it lies in, small to large."""
    for large in np.unique(patches[0][cells]):
        outer = cells & (patches[0] == large)
        outside = _patch(nest, outer, f"{key} {large}")
        for small in np.unique(patches[1][outer]):
            inner = outer & (patches[1] == small)
            _add_finer(nest, inner, patches[2:], f"{key} {large} {small}")
            yield inner, _patch(nest, inner, f"{key} {large} {small}") + outside


def _patch(nest: Nest, cells: np.ndarray, key: str) -> list[int]:
    """The region of a patch, none if it is too small."""
    return [nest.add(cells, PATCH, key)] if np.count_nonzero(cells) * nest.cell_area >= LEAST_PATCH else []


def _add_finer(nest: Nest, inner: np.ndarray, pieces: np.ndarray, key: str) -> None:
    """Add halves, quarters and eighths of a small patch, those that are large enough. int64 [F, h, w]"""
    for depth, numbers in enumerate(pieces):
        for number in np.unique(numbers[inner]):
            piece = inner & (numbers == number)
            for region in _patch(nest, piece, f"{key} {depth} {number}"):
                nest.finer[depth][piece] = region


def _groups(nest: Nest, things: dict[int, np.ndarray], rng: np.random.Generator) -> dict[int, list[int]]:
    """Regions of ever more neighbours of each thing: two that are near and small are joined, again and again.

    What lies between the members of a group belongs to it.
    """
    clusters = [[row] for row in things]
    gaps = _gaps(list(things.values()), rng)
    unions = list(things.values())
    chains: dict[int, list[int]] = {row: [] for row in things}
    while len(clusters) > 1:
        lengths = np.sqrt([np.count_nonzero(union) for union in unions])
        costs = gaps + SIZE_COST * np.hypot(lengths, lengths[:, None])
        a, b = sorted(int(row) for row in np.unravel_index(costs.argmin(), costs.shape))
        radius = int(np.ceil(min(gaps[a, b], GRID / 4) / 2))
        union = unions[a] | unions[b]
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        closed = cv2.morphologyEx(union.astype(np.uint8), cv2.MORPH_CLOSE, kernel).astype(bool)
        clusters[a] += clusters.pop(b)
        unions[a] = union | closed
        unions.pop(b)
        gaps[a] = gaps[:, a] = np.minimum(gaps[a], gaps[b])
        gaps = np.delete(np.delete(gaps, b, axis=0), b, axis=1)
        gaps[a, a] = np.inf
        region = nest.add(unions[a], GROUP, f"group {sorted(clusters[a])}")
        for row in clusters[a]:
            chains[row].append(region)
    return chains


def _gaps(masks: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Cells between each two things, as they look in this view; infinite on the diagonal. float64 [n, n]"""
    gaps = np.full((len(masks), len(masks)), np.inf)
    for row, mask in enumerate(masks):
        distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 3)
        for column in range(row):
            gap = float(distance[masks[column]].min())
            gap = gap * rng.lognormal(0, SPREAD_OF_GAPS) + rng.uniform(0, GAP_NOISE)
            gaps[row, column] = gaps[column, row] = gap
    return gaps


def _scenes(nest: Nest, wholes: np.ndarray, objects: list[int], present: list[int]) -> list[int]:
    """All things with the surface they border on most, and all that is seen."""
    things = np.isin(wholes, objects)
    around = cv2.dilate(things.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool) & ~things
    border = wholes[around]
    borders = np.bincount(border[border >= 0], minlength=1)
    regions = [nest.add(things | (wholes == borders.argmax()), SCENE, "scene")] if borders.any() else []
    return [*regions, nest.add(wholes >= 0, SCENE, "all")] if len(present) > 1 else regions
