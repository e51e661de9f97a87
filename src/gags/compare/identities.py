"""Masks of all photos as things without a hierarchy: the identities that Gaussian Grouping learns."""

import numpy as np

from gags.distill.consensus import LANDMARKS
from gags.distill.evidence import Evidence
from gags.things.clusters import PHOTOS_OF_A_THING, clusters_of_masks, members_of_clusters, photos_of
from gags.things.things import Things

INSIDE = 0.5  # of a thing that must lie in a larger one to be a part of it
VISIBLE = 0.15  # of what the photo that sees most of a thing sees of it: with less, a photo does not see it
COVERED = 0.7  # of two things that a mask must hold to be a mask of both
FILLED = 0.6  # of a mask that the two things must make up, or it is one of something larger
JOINT_SHARE = 0.5  # of the photos that see two things must join them, or they stay two


def identities(evidence: Evidence, levels: np.ndarray) -> Things:
    """Group the masks of all photos, and the Gaussians with them.

    Args:
        evidence: Which masks of which photos cover every Gaussian.
        levels: Level (0, 1, 2) of every mask. [M]

    Returns:
        The things, those that most photos agree on first.
    """
    clusters = clusters_of_masks(evidence)
    if not clusters:
        return Things.none()
    count = len(evidence.starts) - 1
    gaussians, owners = members_of_clusters(evidence, clusters)
    things = Things.build(gaussians, owners, [photos_of(evidence, masks) for masks in clusters])
    joined = _joined(evidence, things, clusters, levels, nested(things, count))
    if (joined != np.arange(len(things))).any():
        things = _unite(evidence, things, clusters, joined)
    things.parents = nested(things, count)
    return things


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
    sizes = evidence.sizes()
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
        overlaps[row] = evidence.shared(things[thing].astype(np.int64))
    return overlaps


def _unite(evidence: Evidence, things: Things, clusters: list[np.ndarray], joined: np.ndarray) -> Things:
    """Things made of all that belong together, again by the number of photos."""
    groups = [np.flatnonzero(joined == first) for first in np.unique(joined)]
    photos = [photos_of(evidence, np.concatenate([clusters[c] for c in group])) for group in groups]
    order = sorted(range(len(groups)), key=lambda k: -len(photos[k]))
    parts = [np.unique(np.concatenate([things[int(c)] for c in groups[k]])) for k in order]
    owners = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return Things.build(np.concatenate(parts), owners, [photos[k] for k in order])
