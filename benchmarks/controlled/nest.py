"""All that a segmenter might take for a thing: patches in parts in objects in groups in the whole scene."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np

from controlled.truth import Truth

GRID = 256  # cells along the longer side of a photo, as SAM's masks have
KINDS = ("patch", "part", "object", "stuff", "group", "scene")
PATCH, PART, OBJECT, STUFF, GROUP, SCENE = range(len(KINDS))
STEPS = 10  # longest chain: two patches, part, object, groups, scene
LEAST_PATCH = 60  # px
PATCHES_OF_OBJECT = 2, 3  # large patches of an object or part, and small patches of a large one
STUFF_PATCH = 60_000, 20_000  # px, of the large and small patches of a table or a wall
GROWTH = 1.25  # a group counts if its area is this many times that of what is in it
SPREAD_OF_GAPS = 0.5  # of the logarithm of the gap between two things, and
GAP_NOISE = 2.0  # cells, at most added to it: which things look like one group differs between views
SIZE_COST = 0.3  # cells of gap that a cell of the size of a group is worth: small things join first
COLOR_BLUR = 1.5  # cells, before a surface is cut into patches by colour
COLOR_WEIGHT = 1.5  # of colours beside places when a surface is cut into patches


@dataclass(eq=False)
class Nest:
    """Candidate regions of one view, nested in chains from small to large.

    Attributes:
        masks: The regions, on the grid. List of bool [h, w]
        kinds: What each is, a row of `KINDS`.
        areas: Area of each, px of the photo.
        chains: Regions that lie in each other, small to large, -1 behind the last. List of int [STEPS]
        chain_of: Row of the chain of every cell, -1 for none. int32 [h, w]
        extent: Width and height of the photo in cells.
    """

    chain_of: np.ndarray
    extent: tuple[float, float]
    cell_area: float
    masks: list[np.ndarray] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    areas: list[float] = field(default_factory=list)
    chains: list[list[int]] = field(default_factory=list)

    def add(self, mask: np.ndarray, kind: int) -> int:
        """Add a region; returns its row."""
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


def build_nest(ids: np.ndarray, image: np.ndarray, truth: Truth, random: np.random.Generator) -> Nest:
    """The regions of one view.

    Args:
        ids: Leaf id of every pixel. uint8 [H, W]
        image: The photo, which tells where surfaces change colour. uint8 RGB [H, W, 3]
        truth: What the ids are.
        random: Draws which things form groups and where patches begin.
    """
    height, width = ids.shape
    scale = GRID / max(height, width)
    extent = (width * scale, height * scale)
    size = int(np.ceil(extent[0])), int(np.ceil(extent[1]))
    small = cv2.resize(ids, size, interpolation=cv2.INTER_NEAREST).astype(np.int64)
    blurred = cv2.GaussianBlur(cv2.resize(image, size, interpolation=cv2.INTER_AREA), (0, 0), COLOR_BLUR)
    colors = cv2.cvtColor(blurred, cv2.COLOR_RGB2LAB)
    nest = Nest(np.full(small.shape, -1, np.int32), extent, 1 / scale**2)
    wholes = truth.whole_of[small]
    present = [int(row) for row in np.unique(wholes[wholes >= 0])]
    regions = {row: nest.add(wholes == row, OBJECT if truth.is_object[row] else STUFF) for row in present}
    objects = [row for row in present if truth.is_object[row]]
    groups = _groups(nest, {row: nest.masks[regions[row]] for row in objects}, random)
    scenes = _scenes(nest, wholes, objects, present)
    for row in present:
        around = [regions[row], *groups.get(row, []), *scenes]
        for cells, leaf in _leaves(nest, small, wholes == row, truth):
            count = _patch_counts(truth.is_object[row], np.count_nonzero(cells) * nest.cell_area)
            for patch, patches in _patches(nest, cells, colors, count, random):
                nest.add_chain(patch, [*patches, *leaf, *around])
    return nest


def _leaves(
    nest: Nest, ids: np.ndarray, whole: np.ndarray, truth: Truth
) -> Iterator[tuple[np.ndarray, list[int]]]:
    """Cells of the parts of an object and of what is left of it, each with its region if there are parts."""
    parts = truth.part_of[ids]
    found = [int(row) for row in np.unique(parts[whole])]
    for row in found:
        cells = whole & (parts == row)
        yield cells, ([nest.add(cells, PART)] if len(found) > 1 else [])


def _patch_counts(is_object: bool, area: float) -> tuple[int, int]:
    """How many large patches a surface of an area (px) has, and how many small ones each of them."""
    if is_object:
        large, small = PATCHES_OF_OBJECT
    else:
        large, small = max(1, round(area / STUFF_PATCH[0])), round(STUFF_PATCH[0] / STUFF_PATCH[1])
    return min(large, int(area // LEAST_PATCH)), small


def _patches(
    nest: Nest, cells: np.ndarray, colors: np.ndarray, count: tuple[int, int], random: np.random.Generator
) -> Iterator[tuple[np.ndarray, list[int]]]:
    """Cells of the small patches of a surface, each with the patches it lies in, small to large."""
    for large in _split(cells, colors, count[0], random):
        most = int(np.count_nonzero(large) * nest.cell_area // LEAST_PATCH)
        outer = [nest.add(large, PATCH)] if count[0] > 1 else []
        for small in _split(large, colors, min(count[1], most), random):
            inner = [nest.add(small, PATCH)] if min(count[1], most) > 1 else []
            yield small, inner + outer


def _split(
    cells: np.ndarray, colors: np.ndarray, count: int, random: np.random.Generator, rounds: int = 8
) -> list[np.ndarray]:
    """Cut a surface into about `count` patches of like colour and place (k-means). List of bool [h, w]"""
    rows, columns = np.nonzero(cells)
    if count < 2 or len(rows) <= count:
        return [cells]
    places = np.stack([rows, columns], axis=1) / np.sqrt(len(rows) / count)
    seen = colors[rows, columns].astype(np.float64)
    features = np.hstack([places, COLOR_WEIGHT * (seen - seen.mean(axis=0)) / (seen.std() + 5)])
    centres = features[random.choice(len(rows), count, replace=False)]
    nearest = np.zeros(len(rows), np.int64)
    for _ in range(rounds):
        distances = np.square(centres).sum(axis=1) - 2 * features @ centres.T
        nearest = distances.argmin(axis=1)
        sizes = np.bincount(nearest, minlength=count)
        sums = np.stack([np.bincount(nearest, column, minlength=count) for column in features.T], axis=1)
        centres = np.where(sizes[:, None] > 0, sums / np.maximum(sizes, 1)[:, None], centres)
    patches = []
    for number in np.unique(nearest):
        patch = np.zeros_like(cells)
        patch[rows[nearest == number], columns[nearest == number]] = True
        patches.append(patch)
    return patches


def _groups(nest: Nest, things: dict[int, np.ndarray], random: np.random.Generator) -> dict[int, list[int]]:
    """Regions of ever more neighbours of each thing: two that are near and small are joined, again and again.

    What lies between the members of a group belongs to it.
    """
    clusters = [[row] for row in things]
    gaps = _gaps(list(things.values()), random)
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
        region = nest.add(unions[a], GROUP)
        for row in clusters[a]:
            chains[row].append(region)
    return chains


def _gaps(masks: list[np.ndarray], random: np.random.Generator) -> np.ndarray:
    """Cells between each two things, as they look in this view; infinite on the diagonal. float64 [n, n]"""
    gaps = np.full((len(masks), len(masks)), np.inf)
    for row, mask in enumerate(masks):
        distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 3)
        for column in range(row):
            gap = float(distance[masks[column]].min())
            gap = gap * random.lognormal(0, SPREAD_OF_GAPS) + random.uniform(0, GAP_NOISE)
            gaps[row, column] = gaps[column, row] = gap
    return gaps


def _scenes(nest: Nest, wholes: np.ndarray, objects: list[int], present: list[int]) -> list[int]:
    """All things with the surface they border on most, and all that is seen."""
    things = np.isin(wholes, objects)
    around = cv2.dilate(things.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool) & ~things
    border = wholes[around]
    borders = np.bincount(border[border >= 0], minlength=1)
    regions = [nest.add(things | (wholes == borders.argmax()), SCENE)] if borders.any() else []
    return [*regions, nest.add(wholes >= 0, SCENE)] if len(present) > 1 else regions
