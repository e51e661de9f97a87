"""Which photos are compared with which: pure functions of their order and of what they look like."""

from collections.abc import Sequence

import numpy as np

from gags.poses.settings import Matching, PoseSettings

Pair = tuple[int, int]
WORDS = 32  # kinds of feature that a signature tells apart
SAMPLES = 20_000  # features the kinds are learnt from


def chosen_matching(settings: PoseSettings, count: int, *, video: bool) -> Matching:
    """What `auto` means for `count` photos."""
    if settings.matching != "auto":
        return settings.matching
    if video:
        return "sequential"
    return "exhaustive" if count <= settings.exhaustive_up_to else "nearest"


def exhaustive_pairs(count: int) -> set[Pair]:
    """Every pair (i, j) of `count` photos, i < j."""
    return {(i, j) for i in range(count) for j in range(i + 1, count)}


def sequential_pairs(count: int, overlap: int) -> set[Pair]:
    """Each photo with the `overlap` that follow it, and with those 2, 4, 8 … 2^overlap further on."""
    steps = {*range(1, overlap + 1), *(2**power for power in range(overlap + 1))} if overlap else set()
    return {(i, i + step) for i in range(count) for step in steps if i + step < count}


def nearest_pairs(signatures: np.ndarray, neighbours: int) -> set[Pair]:
    """Each photo with those whose signatures are nearest.

    Args:
        signatures: One a photo, L2-normalised. [N, D]
        neighbours: How many each is paired with.
    """
    count = len(signatures)
    likeness = signatures @ signatures.T
    np.fill_diagonal(likeness, -np.inf)
    order = np.argsort(-likeness, axis=1, kind="stable")[:, : min(neighbours, max(count - 1, 0))]
    return {(min(i, int(j)), max(i, int(j))) for i in range(count) for j in order[i]}


def signatures(descriptors: Sequence[np.ndarray], *, seed: int = 0) -> np.ndarray:
    """What photos look like, in one vector each, without a vocabulary made elsewhere (VLAD).

    The kinds of feature are learnt from the photos themselves. A signature sums, kind by kind, how a photo's
    features differ from the middle of their kind (Jégou et al. 2010), each kind normalised (Arandjelović and
    Zisserman 2013).

    Args:
        descriptors: Features of every photo, any type. [n_i, D] each
        seed: Of the sample and of the first centres.

    Returns:
        L2-normalised, 0 for photos without features. float32 [N, WORDS · D]
    """
    centres = _centres(descriptors, np.random.default_rng(seed))
    rows = []
    for features in descriptors:
        features = features.astype(np.float32)
        vector = np.zeros_like(centres)
        if len(features):
            nearest = _nearest(features, centres)
            np.add.at(vector, nearest, features - centres[nearest])
            vector /= np.maximum(np.linalg.norm(vector, axis=1, keepdims=True), 1e-6)
            vector /= max(float(np.linalg.norm(vector)), 1e-6)
        rows.append(vector.reshape(-1))
    return np.stack(rows)


def _centres(descriptors: Sequence[np.ndarray], rng: np.random.Generator, rounds: int = 12) -> np.ndarray:
    """k-means of a sample. float32 [≤ WORDS, D]"""
    each = max(1, SAMPLES // max(1, len(descriptors)))
    sample = np.concatenate([d[rng.permutation(len(d))[:each]] for d in descriptors]).astype(np.float32)
    if not len(sample):
        return np.zeros((1, sample.shape[1]), np.float32)
    centres = sample[rng.permutation(len(sample))[:WORDS]]
    for _ in range(rounds):
        nearest = _nearest(sample, centres)
        counts = np.bincount(nearest, minlength=len(centres))
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest, sample)
        centres = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centres)
    return centres


def _nearest(features: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Row of the nearest centre. [n]"""
    return ((centres**2).sum(axis=1) - 2 * features @ centres.T).argmin(axis=1)


def photo_pairs(
    matching: Matching, descriptors: Sequence[np.ndarray], settings: PoseSettings, *, known: int | None = None
) -> list[Pair]:
    """The pairs of photos to compare, sorted.

    Args:
        matching: Not "auto".
        descriptors: Features of every photo, in the order of names; looked at unless all pairs are taken.
        settings: How many neighbours.
        known: Number of photos, if `descriptors` is left empty.
    """
    count = len(descriptors) if known is None else known
    if matching == "exhaustive":
        return sorted(exhaustive_pairs(count))
    alike = settings.neighbours if matching == "nearest" else settings.neighbours // 5
    pairs = sequential_pairs(count, settings.overlap)
    if alike:
        pairs |= nearest_pairs(signatures(descriptors, seed=settings.seed), alike)
    return sorted(pairs)
