"""Find the single things of a scene, whatever they are called: masks of many photos that agree.

A mask of one photo may be a fragment, a thing, or several things at once. What photo after photo cuts out
along the same border of the same surface is a thing, or a part of one that stands out.
"""

from collections.abc import Sequence

import numpy as np
from numba import njit

from gags.capture import Camera, Capture
from gags.distill.consensus import LANDMARKS, agreement
from gags.distill.evidence import Evidence, gather_evidence
from gags.embed.description import Description, Descriptions
from gags.gaussians import Gaussians
from gags.progress import SILENT, Reporter
from gags.store import stamp
from gags.things.things import Things
from gags.workspace import Workspace

# Masks of two photos with at least this IoU show one thing; at 0.5 an orange takes in its lemon.
SAME_THING_IOU = 0.6
PHOTOS_OF_A_THING = 3  # that must agree on a thing: what two photos share may be a coincidence
# A Gaussian belongs to a thing only if the thing's masks hold this share of its weight in the thing's photos.
MIN_MASK_SHARE = 0.5
# And only if the thing's photos hold this share of its weight in all photos.
MIN_VIEW_SHARE = 0.1
INSIDE = 0.5  # of a thing that must lie in a larger one to be a part of it
VISIBLE = 0.15  # of what the photo that sees most of a thing sees of it: with less, a photo does not see it
COVERED = 0.7  # of two things that a mask must hold to be a mask of both
FILLED = 0.6  # of a mask that the two things must make up, or it is one of something larger
JOINT_SHARE = 0.5  # of the photos that see two things must join them, or they stay two


def find_things(
    gaussians: Gaussians, items: Sequence[tuple[Camera, Description]], *, progress: Reporter = SILENT
) -> Things:
    """Find the things of a scene.

    Args:
        gaussians: The scene.
        items: Camera and masks of every photo, each read once.
        progress: Told about progress.

    Returns:
        The things, those that most photos agree on first; none without masks.
    """
    evidence, levels = gather_evidence(gaussians, items, stage="Finding things", progress=progress)
    return things_of_evidence(evidence, levels)


def things_of_evidence(evidence: Evidence, levels: np.ndarray) -> Things:
    """Group the masks of all photos, and the Gaussians with them.

    Args:
        evidence: Which masks of which photos cover every Gaussian.
        levels: Level (0, 1, 2) of every mask. [M]

    Returns:
        The things, those that most photos agree on first.
    """
    clusters = _clusters(evidence)
    if not clusters:
        return Things.none()
    count = len(evidence.starts) - 1
    gaussians, owners = _members(evidence, clusters)
    things = Things.build(gaussians, owners, [_photos(evidence, masks) for masks in clusters])
    joined = _joined(evidence, things, clusters, levels, nested(things, count))
    if (joined != np.arange(len(things))).any():
        things = _unite(evidence, things, clusters, joined)
    things.parents = nested(things, count)
    return things


def similar_masks(evidence: Evidence, least: float = SAME_THING_IOU) -> list[tuple[np.ndarray, np.ndarray]]:
    """Masks of other photos that show the same as each mask, and their IoU. int64 [n], float32 [n] each"""
    rows: list[tuple[np.ndarray, np.ndarray]] = []
    for view in range(evidence.view_count):
        for iou in agreement(evidence, view).iou:
            same = np.flatnonzero(iou >= least)
            same = same[same != len(rows)]
            rows.append((same, iou[same]))
    return rows


def _clusters(evidence: Evidence) -> list[np.ndarray]:
    """Masks of each thing, those of most photos first. int64 [n] each

    Greedy clustering: take the mask with most support and all masks that agree with it, remove them, repeat.
    """
    similar = similar_masks(evidence)
    support = np.array([iou.sum() for _, iou in similar])
    free = np.ones(len(similar), bool)
    clusters = []
    while len(support):
        center = int(support.argmax())
        # Fewer than two others agree with it; half a mask for rounding.
        if support[center] < SAME_THING_IOU * (PHOTOS_OF_A_THING - 1.5):
            break
        others = similar[center][0]
        masks = np.append(others[free[others]], center)
        free[masks] = False
        for mask in masks:
            others, iou = similar[mask]
            support[others] -= iou
        support[~free] = 0
        if len(_photos(evidence, masks)) >= PHOTOS_OF_A_THING:
            clusters.append(masks)
    clusters.sort(key=lambda masks: -len(_photos(evidence, masks)))
    return clusters


def _photos(evidence: Evidence, masks: np.ndarray) -> np.ndarray:
    """Photos that some masks [n] are of, each once. [p]"""
    return np.unique(evidence.view_of[masks])


def _members(evidence: Evidence, clusters: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of a Gaussian and a cluster it belongs to. int64 [E], int64 [E]"""
    cluster_of = np.full(evidence.mask_count, -1, np.int64)
    part = np.zeros(evidence.mask_count, np.float32)  # masks of one photo share its weight
    sees = np.zeros((len(clusters), evidence.view_count), bool)
    for number, masks in enumerate(clusters):
        views = evidence.view_of[masks]
        cluster_of[masks] = number
        part[masks] = 1 / np.bincount(views)[views]
        sees[number, views] = True
    return _pairs_of_most_weight(
        evidence.starts, evidence.columns, evidence.weights, evidence.view_of, cluster_of, part, sees
    )


def nested(things: Things, count: int) -> np.ndarray:
    """The smallest thing, of those that more photos agree on, that holds most of each thing; -1 if none does.

    Args:
        things: The things.
        count: Number N of Gaussians.

    Returns:
        int32 [C]
    """
    stride = max(1, count // LANDMARKS)
    inside = np.zeros((len(things), -(-count // stride)), np.float32)
    for thing in range(len(things)):
        rows = things[thing]
        inside[thing, rows[rows % stride == 0] // stride] = 1
    shared = inside @ inside.T
    size = shared.diagonal().copy()
    parents = np.full(len(things), -1, np.int32)
    for thing in range(1, len(things)):
        holders = np.flatnonzero(shared[thing, :thing] > INSIDE * max(size[thing], 1))
        if len(holders):
            parents[thing] = holders[size[holders].argmin()]
    return parents


def _joined(
    evidence: Evidence, things: Things, clusters: list[np.ndarray], levels: np.ndarray, parents: np.ndarray
) -> np.ndarray:
    """Which things are pieces of one: more photos have a mask of both than separate them.

    A photo separates two things if it has a mask of each on one level. So a bottle whose label is a mask
    of its own stays one, and two cups that touch stay two.

    Returns:
        The first of the things that each belongs with. int64 [C]
    """
    tops = np.flatnonzero(parents < 0)
    overlaps = shared_weights(evidence, things, tops)
    views = evidence.view_of[: evidence.mask_count]
    in_photos = overlaps[:, evidence.mask_count :]  # how much of each thing every photo sees
    sizes = np.bincount(evidence.columns, evidence.weights, minlength=len(evidence.view_of))
    masks = overlaps[:, : evidence.mask_count]
    covered = masks > COVERED * np.maximum(in_photos[:, views], 1e-6)
    visible = in_photos > VISIBLE * np.maximum(in_photos.max(axis=1, keepdims=True), 1e-6)
    own = np.zeros((len(tops), 3, evidence.view_count), bool)
    for row, thing in enumerate(tops):
        own[row, levels[clusters[thing]], views[clusters[thing]]] = True
    joint, apart = np.zeros((2, len(tops), len(tops)))
    for row in range(len(tops)):
        for other in range(row):
            both = visible[row] & visible[other]
            shared = np.flatnonzero(covered[row] & covered[other] & both[views])
            filled = masks[row, shared] + masks[other, shared] > FILLED * sizes[shared]
            joint[row, other] = len(np.unique(views[shared[filled]]))
            joint[row, other] *= joint[row, other] >= max(PHOTOS_OF_A_THING, JOINT_SHARE * both.sum())
            apart[row, other] = ((own[row] & own[other]).any(axis=0) & both).sum()
    first = np.arange(len(things))
    first[tops] = tops[groups_of_pairs(joint, apart)]
    return first


def groups_of_pairs(joint: np.ndarray, apart: np.ndarray) -> np.ndarray:
    """Unite pairs, best first, unless that would put together two with more evidence against than for.

    Args:
        joint: What speaks for each pair. [n, n], the lower triangle counts
        apart: What speaks against it. [n, n], the lower triangle counts

    Returns:
        The first member of the group of each. int64 [n]
    """
    first = np.arange(len(joint))
    gain = np.tril(joint - apart, -1)
    gain += gain.T
    rows, others = np.nonzero(np.tril(gain, -1) > 0)
    for k in np.argsort(-gain[rows, others], kind="stable"):
        one, two = first == first[rows[k]], first == first[others[k]]
        if first[rows[k]] != first[others[k]] and (gain[np.ix_(one, two)] >= 0).all():
            first[one | two] = min(first[rows[k]], first[others[k]])
    return first


def shared_weights(evidence: Evidence, things: Things, chosen: np.ndarray) -> np.ndarray:
    """Weight that each chosen thing shares with every mask and every photo. float64 [n, M + V]"""
    overlaps = np.zeros((len(chosen), len(evidence.view_of)))
    for row, thing in enumerate(chosen):
        rows = things[thing].astype(np.int64)
        lengths = evidence.starts[rows + 1] - evidence.starts[rows]
        first = np.repeat(evidence.starts[rows] - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths)
        entries = first + np.arange(lengths.sum())
        overlaps[row] = np.bincount(
            evidence.columns[entries], evidence.weights[entries], minlength=overlaps.shape[1]
        )
    return overlaps


def _unite(evidence: Evidence, things: Things, clusters: list[np.ndarray], joined: np.ndarray) -> Things:
    """Things made of all that belong together, again by the number of photos."""
    groups = [np.flatnonzero(joined == first) for first in np.unique(joined)]
    photos = [_photos(evidence, np.concatenate([clusters[c] for c in group])) for group in groups]
    order = sorted(range(len(groups)), key=lambda k: -len(photos[k]))
    parts = [np.unique(np.concatenate([things[int(c)] for c in groups[k]])) for k in order]
    owners = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return Things.build(np.concatenate(parts), owners, [photos[k] for k in order])


@njit(cache=True)
def _pairs_of_most_weight(
    starts: np.ndarray,
    columns: np.ndarray,
    weights: np.ndarray,
    view_of: np.ndarray,
    cluster_of: np.ndarray,
    part: np.ndarray,
    sees: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:  # pragma: no cover - compiled
    """Pairs of a Gaussian and a cluster whose masks hold most of its weight in the cluster's photos.

    Args:
        starts: First entry of each Gaussian, and the end. int64 [N + 1]
        columns: Mask of each entry, or M + photo for the photo as a whole. int32 [E]
        weights: Weight of each entry. float32 [E]
        view_of: Photo of each column. [M + V]
        cluster_of: Cluster of each mask, -1 for none. int64 [M]
        part: How much each mask counts: masks of one photo and cluster share its weight. float32 [M]
        sees: Whether each photo has a mask of each cluster. bool [C, V]

    Returns:
        Gaussian and cluster of each pair. int64 [P], int64 [P]
    """
    mask_count = len(cluster_of)
    held = np.zeros(len(sees), np.float32)
    touched = np.empty(len(sees), np.int64)
    gaussians, clusters = [0 for _ in range(0)], [0 for _ in range(0)]
    for gaussian in range(len(starts) - 1):
        begin, end = starts[gaussian], starts[gaussian + 1]
        # Its weight in all photos, and what the masks of each cluster that it touches hold of it.
        found, total = 0, np.float32(0)
        for e in range(begin, end):
            column = columns[e]
            if column >= mask_count:
                total += weights[e]
                continue
            cluster = cluster_of[column]
            if cluster < 0:
                continue
            if held[cluster] == 0:
                touched[found] = cluster
                found += 1
            held[cluster] += weights[e] * part[column]
        # Compare that with its weight in the photos of the cluster.
        for k in range(found):
            cluster, in_photos = touched[k], np.float32(0)
            for e in range(begin, end):
                if columns[e] >= mask_count and sees[cluster, view_of[columns[e]]]:
                    in_photos += weights[e]
            if held[cluster] >= MIN_MASK_SHARE * in_photos and in_photos >= MIN_VIEW_SHARE * total:
                gaussians.append(gaussian)
                clusters.append(cluster)
            held[cluster] = 0  # ready for the next Gaussian
    return np.array(gaussians), np.array(clusters)


def things_of_scene(
    workspace: Workspace,
    capture: Capture,
    gaussians: Gaussians,
    splats_hash: str,
    *,
    progress: Reporter = SILENT,
) -> tuple[Things, str]:
    """The things of a scene, as its folder has them; found anew when masks or Gaussians have changed.

    What is found is kept in `things.safetensors`, if that can be written.

    Args:
        workspace: Folder of the scene.
        capture: Its photos.
        gaussians: Its Gaussians.
        splats_hash: Their hash, see `gags.distill.field.splats_hash`.
        progress: Told about progress.

    Returns:
        The things, none if no photo has masks; and the stamp of all that they are found from: the Gaussians,
        and the masks of the photos.
    """
    views = [view for view in capture.train if workspace.description(view.name).exists()]
    items = Descriptions(workspace, views)
    key = stamp(splats_hash, items.stamps())
    known = Things.load(workspace.things, key)
    if known is not None or not views:
        return known or Things.none(), key
    things = find_things(gaussians, items, progress=progress)
    try:
        things.save(workspace.things, key)
    except OSError:
        progress.say(
            f"{workspace.things} cannot be written; the things of the scene are found anew every time"
        )
    return things, key
