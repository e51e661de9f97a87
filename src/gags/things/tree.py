"""The hierarchy of a scene: pieces that masks cut out alike become parts, things and groups of things.

Pieces are nested by what holds what. Then pieces side by side are united, the best pair first, where masks
of the photos that see both tend to hold both: the sides of a box that no photo shows at once, the screen and
the base of a laptop. A union is a new node above the two; a small scrap is taken in by its neighbour instead.
What no mask was sure of goes to the node around it.
"""

import heapq
from dataclasses import dataclass

import numpy as np
from numba import njit

from gags.distill.evidence import Evidence
from gags.things.voxels import Voxels

ALIKE_IOU = 0.75  # two nodes that share this much are one
INSIDE = 0.6  # of a node that must lie in a larger one to be below it
LARGER = 1.15  # times the size of what is below it, at least: else the two are about the same
VISIBLE = 0.15  # of what the photo that sees most of a node sees of it: with less, a photo does not see it
SEEN_TOGETHER = 3  # photos that must see two nodes to tell whether they belong together
TOGETHER = 0.2  # mean share of two nodes that the best mask of a photo holds, to unite them
ISLAND = 0.2  # of the largest island of a piece, below which another may be a stray
SCRAP = 0.15  # of its neighbour's size, up to which what is united with it makes no node of its own
LEAST_OPACITY = 0.05  # of Gaussians that are given to the node around them
OUTWARDS = 0.02  # of the scene: what belongs to no node may lie so far away from the one that it is given to
LEFTOVER = 16  # Gaussians that hang together, from which on they make a node that no mask cuts out
LEAST_SEEN = 0.5  # px that photos see of Gaussians that are given to a node beside them
OWN_IOU = 0.5  # of a node and a mask, for the mask to be one of the node


@dataclass(eq=False)
class Tree:
    """Nodes of the hierarchy while it is made. One entry a node, in no particular order.

    Attributes:
        members: Gaussians of each. int64 [n] each
        parents: Node that each lies in, -1 for none.
        leftovers: How many of them, the last ones, are what was left.
    """

    members: list[np.ndarray]
    parents: list[int]
    leftovers: int = 0


def grow(evidence: Evidence, pieces: list[np.ndarray], means: np.ndarray, opacities: np.ndarray) -> Tree:
    """Make the hierarchy of a scene.

    Args:
        evidence: Which masks of which photos cover every Gaussian.
        pieces: Gaussians that masks cut out alike, those that photos repeat best first. int64 [n] each
        means: Centres of all Gaussians, world units. float64 [N, 3]
        opacities: float64 [N]

    Returns:
        The tree; parents hold all that their children hold, but for a few Gaussians that masks disagree on.
    """
    weights = evidence.seen()
    voxels = Voxels.of_scene(means, opacities)
    pieces = _without_strays([piece.astype(np.int64) for piece in pieces], weights, voxels)
    shared = shared_sizes(pieces, weights)
    kept = _without_doubles(shared)
    tree = Tree([pieces[piece] for piece in kept], _holders(shared[np.ix_(kept, kept)]))
    _Union(tree, evidence, weights, voxels).unite()
    _fill(tree, weights, opacities, voxels)
    tree = _without_repeats(tree, weights)
    if tree.members:
        _keep_leftovers(tree, weights, opacities, voxels)
    return tree


def shared_sizes(nodes: list[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Weight of what each two nodes have in common. float64 [n, n]"""
    owners = np.repeat(np.arange(len(nodes)), [len(rows) for rows in nodes])
    rows = np.concatenate([np.zeros(0, np.int64), *nodes])
    order = np.argsort(rows, kind="stable")
    return _sum_pairs(rows[order], owners[order], weights.astype(np.float64), len(nodes))


@njit(cache=True)
def _sum_pairs(
    rows: np.ndarray, owners: np.ndarray, weights: np.ndarray, count: int
) -> np.ndarray:  # pragma: no cover - compiled
    """Sum of the Gaussians' weights over all pairs of nodes that hold them; entries by Gaussian. [n, n]"""
    shared = np.zeros((count, count))
    first = 0
    while first < len(rows):
        last = first
        while last < len(rows) and rows[last] == rows[first]:
            last += 1
        for one in range(first, last):
            for two in range(first, last):
                shared[owners[one], owners[two]] += weights[rows[first]]
        first = last
    return shared


def _without_strays(pieces: list[np.ndarray], weights: np.ndarray, voxels: Voxels) -> list[np.ndarray]:
    """Pieces without small islands that lie in another piece: there, masks bled into something else.

    Of several pieces that an island may lie in, the first counts.
    """
    first = np.full(len(weights), -1)  # the first piece that holds each Gaussian
    for number in range(len(pieces) - 1, -1, -1):
        first[pieces[number]] = number
    kept = []
    for number, piece in enumerate(pieces):
        islands = voxels.pieces(voxels.holding(piece))[voxels.owner[piece]]
        size = np.bincount(islands, weights[piece])
        stays = np.ones(len(size), bool)
        for island in np.flatnonzero(size < ISLAND * size.max()):
            inside = islands == island
            owners, shares = _weighted_counts(first[piece[inside]], weights[piece[inside]])
            owner = owners[shares.argmax()]
            held = weights[np.intersect1d(pieces[owner], piece)].sum()
            stays[island] = owner == number or held >= INSIDE * weights[piece].sum()
        kept.append(piece[stays[islands]])
    return kept


def _weighted_counts(labels: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Different labels of some points, and the weight of each."""
    different, where = np.unique(labels, return_inverse=True)
    return different, np.bincount(where.reshape(-1), weights)


def _without_doubles(shared: np.ndarray) -> list[int]:
    """Pieces without those that an earlier one nearly equals, from what each two have in common [n, n]."""
    size = shared.diagonal()
    iou = shared / np.maximum(size[:, None] + size[None] - shared, 1e-12)
    kept: list[int] = []
    for piece in range(len(shared)):
        if not (iou[piece, kept] >= ALIKE_IOU).any():
            kept.append(piece)
    return kept


def _holders(shared: np.ndarray) -> list[int]:
    """The smallest larger piece that holds most of each, -1 if there is none; `shared` as above [n, n]."""
    size = shared.diagonal()
    parents = []
    for piece in range(len(shared)):
        holds = np.flatnonzero((shared[piece] >= INSIDE * size[piece]) & (size >= LARGER * size[piece]))
        parents.append(int(holds[size[holds].argmin()]) if len(holds) and size[piece] > 0 else -1)
    return parents


@dataclass(frozen=True, eq=False)
class Overlap:
    """What some Gaussians share with masks and photos.

    Attributes:
        masks: Masks that they share anything with, in order. int64 [m]
        shared: How much with each. float64 [m]
        photos: How much with each photo as a whole. float64 [V]
    """

    masks: np.ndarray
    shared: np.ndarray
    photos: np.ndarray

    @classmethod
    def of(cls, evidence: Evidence, rows: np.ndarray) -> "Overlap":
        """What the Gaussians `rows` [n] share."""
        sums = evidence.shared(rows)
        masks = np.flatnonzero(sums[: evidence.mask_count])
        return cls(masks, sums[masks], sums[evidence.mask_count :].copy())  # a view would keep all sums

    def visible(self) -> np.ndarray:
        """Photos that see enough of them. bool [V]"""
        return self.photos > VISIBLE * self.photos.max(initial=0.0)

    def ious(self, evidence: Evidence, sizes: np.ndarray) -> np.ndarray:
        """IoU with each of `masks`, as their photos see it; `sizes` of all masks [M], or more. [m]"""
        in_photo = self.photos[evidence.view_of[self.masks]]
        return self.shared / np.maximum(sizes[self.masks] + in_photo - self.shared, 1e-9)


@dataclass(frozen=True, eq=False)
class _Measured:
    """A node as it is compared with others: voxels that it holds [n], those around [m], its weight."""

    overlap: Overlap
    holds: np.ndarray
    touches: np.ndarray
    size: float


class _Union:
    """Unites nodes side by side, the best pair first."""

    def __init__(self, tree: Tree, evidence: Evidence, weights: np.ndarray, voxels: Voxels) -> None:
        self.tree, self.evidence, self.weights, self.voxels = tree, evidence, weights, voxels
        self.sizes = evidence.sizes()
        self.in_voxel: dict[int, list[int]] = {}  # nodes that hold each voxel
        self.measured: list[_Measured] = []
        for rows in tree.members:
            self._add(self._measure(rows))
        self.pairs: list[tuple[float, int, int, int]] = []  # minus how far they are one, two nodes, parent

    def unite(self) -> None:
        for node in range(len(self.tree.members)):
            self._consider(node, [other for other in self._beside(node) if other < node])
        while self.pairs:
            _, one, two, parent = heapq.heappop(self.pairs)
            if self.tree.parents[one] != parent or self.tree.parents[two] != parent:
                continue  # one of them lies in another union by now
            self._join(*sorted((one, two), key=lambda node: -self.measured[node].size))

    def _measure(self, rows: np.ndarray) -> _Measured:
        holds = np.unique(self.voxels.owner[rows])
        size = float(self.weights[rows].sum())
        return _Measured(Overlap.of(self.evidence, rows), holds, self.voxels.around(holds), size)

    def _add(self, measured: _Measured, node: int | None = None) -> None:
        """Keep what was measured of a node, by default of the next one."""
        if node is None:
            node = len(self.measured)
            self.measured.append(measured)
        else:
            self.measured[node] = measured
        for voxel in measured.holds.tolist():
            self.in_voxel.setdefault(voxel, []).append(node)

    def _beside(self, node: int) -> list[int]:
        """Other nodes below the same one that touch a node, in order."""
        touched = {
            other for voxel in self.measured[node].touches.tolist() for other in self.in_voxel.get(voxel, ())
        }
        parents = self.tree.parents
        return sorted(other for other in touched - {node} if parents[other] == parents[node])

    def _consider(self, node: int, others: list[int]) -> None:
        mine = self.measured[node]
        for other in others:
            share = together(mine.overlap, self.measured[other].overlap, self.evidence, self.sizes)
            if share >= TOGETHER:
                heapq.heappush(self.pairs, (-share, node, other, self.tree.parents[node]))

    def _join(self, large: int, small: int) -> None:
        tree, parent = self.tree, self.tree.parents[large]
        rows = np.union1d(tree.members[large], tree.members[small])
        measured, size = self._measure(rows), self.measured[large].size
        if measured.size - size < SCRAP * size:
            union = large
            tree.members[large] = rows
            self._add(measured, large)
        else:
            union = len(tree.members)
            tree.members.append(rows)
            tree.parents.append(parent)
            tree.parents[large] = union
            self._add(measured)
        tree.parents[small] = union
        self._consider(union, self._beside(union))


def together(one: Overlap, two: Overlap, evidence: Evidence, sizes: np.ndarray) -> float:
    """How far masks hold two nodes as one: the mean over photos that see both of their best mask for it.

    A mask counts by the share of the node it holds less of, times the share of it that the two make up.

    Returns:
        In [0, 1]; 0 if too few photos see both.
    """
    both = one.visible() & two.visible()
    if both.sum() < SEEN_TOGETHER:
        return 0.0
    masks, first, second = np.intersect1d(one.masks, two.masks, assume_unique=True, return_indices=True)
    views = evidence.view_of[masks]
    held = np.minimum(
        one.shared[first] / np.maximum(one.photos[views], 1e-9),
        two.shared[second] / np.maximum(two.photos[views], 1e-9),
    )
    made_up = (one.shared[first] + two.shared[second]) / np.maximum(sizes[masks], 1e-9)
    best = np.zeros(len(both))
    np.maximum.at(best, views, np.minimum(held, 1) * np.minimum(made_up, 1))
    return float(best[both].mean())


def _without_repeats(tree: Tree, weights: np.ndarray) -> Tree:
    """The tree without nodes that are about what they lie in; what lies in them goes up."""
    size = [float(weights[rows].sum()) for rows in tree.members]
    repeats = [parent >= 0 and size[parent] < LARGER * size[node] for node, parent in enumerate(tree.parents)]
    kept = [node for node in range(len(size)) if not repeats[node]]
    place = {node: row for row, node in enumerate(kept)} | {-1: -1}
    parents = []
    for node in kept:
        above = tree.parents[node]
        while above >= 0 and repeats[above]:
            above = tree.parents[above]
        parents.append(place[above])
    return Tree([tree.members[node] for node in kept], parents)


def _fill(tree: Tree, weights: np.ndarray, opacities: np.ndarray, voxels: Voxels) -> None:
    """Give Gaussians of no node to the node that prevails around them, and to those above it.

    First those in voxels that a node holds a part of. Then what photos see beside them, voxel after voxel:
    what connects two pieces, such as the pole of a lamp, which no mask cuts out, goes to the nearer one.
    """
    if not tree.members:
        return
    leaf = np.full(len(weights), -1)
    size = [weights[rows].sum() for rows in tree.members]
    for node in np.argsort(size, kind="stable")[::-1]:
        leaf[tree.members[node]] = node
    solid = opacities > LEAST_OPACITY
    given: dict[int, list[np.ndarray]] = {}
    border = np.flatnonzero(leaf >= 0)
    beside = voxels.holding(border)
    for _ in range(1 + int(OUTWARDS * voxels.scene / voxels.size + 0.5)):
        if not len(border):
            break
        prevailing = _prevailing(voxels, border, leaf[border], opacities[border])
        free = np.flatnonzero((leaf < 0) & solid)
        nodes = np.where(beside, prevailing, -1)[voxels.owner[free]]
        border, nodes = free[nodes >= 0], nodes[nodes >= 0]
        leaf[border] = nodes
        for node in np.unique(nodes).tolist():
            given.setdefault(node, []).append(border[nodes == node])
        if beside.all():
            continue
        # From here on, what was just given is all that anything free lies beside.
        beside, solid = np.ones(len(voxels), bool), solid & (weights >= LEAST_SEEN)
        border = np.flatnonzero(leaf >= 0)
    for node, rows in given.items():
        added, above = np.concatenate(rows), node
        while above >= 0:
            tree.members[above] = np.union1d(tree.members[above], added)
            above = tree.parents[above]


def _keep_leftovers(tree: Tree, weights: np.ndarray, opacities: np.ndarray, voxels: Voxels) -> None:
    """Make nodes of what photos see and no node is near to, such as walls that no photo cuts out."""
    free = np.ones(len(weights), bool)
    for members in tree.members:
        free[members] = False
    rows = np.flatnonzero(free & (opacities > LEAST_OPACITY) & (weights >= LEAST_SEEN))
    pieces = voxels.pieces(voxels.holding(rows))[voxels.owner[rows]]
    order = np.argsort(pieces, kind="stable")
    for piece in np.split(rows[order], np.flatnonzero(np.diff(pieces[order])) + 1):
        if len(piece) >= LEFTOVER:
            tree.members.append(piece)
            tree.parents.append(-1)
            tree.leftovers += 1


def _prevailing(voxels: Voxels, rows: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The label of most weight in the voxels around each voxel, -1 where there is none.

    Args:
        voxels: The grid.
        rows: Points that have a label. int64 [n]
        labels: Label of each, 0 or more. int64 [n]
        weights: [n]

    Returns:
        int64 [V]
    """
    count = int(labels.max()) + 1
    keys, sums = _weighted_counts(voxels.owner[rows] * count + labels, weights)
    # Each voxel's labels count for the 27 voxels around it.
    around = voxels.neighbours[keys // count]
    there = around >= 0
    spread, total = _weighted_counts(
        (around * count + (keys % count)[:, None])[there], np.broadcast_to(sums[:, None], around.shape)[there]
    )
    voxel, label = spread // count, spread % count
    best = np.full(len(voxels), -1)
    order = np.argsort(total, kind="stable")  # the largest is written last
    best[voxel[order]] = label[order]
    return best
