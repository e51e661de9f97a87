"""Pieces: the Gaussians that masks of photo after photo cut out along the same border.

Masks bleed into what lies beside a thing, or miss some of it. So many pieces are about the same, or share a
part that belongs to one of them alone. Of such pieces that one stays which photos repeat best.
"""

from pathlib import Path

import numpy as np

from gags.distill.evidence import Evidence
from gags.simd.cache import kernel
from gags.things.clusters import clusters_of_masks, members_of_clusters
from gags.things.tree import INSIDE, LARGER, OWN_IOU, Overlap

ABOUT_THE_SAME = 0.7  # IoU of two pieces, from which on they are about the same
APART = 0.35  # of the smaller of two pieces, by weight, up to which they may share some and lie side by side
UNSURE = 3.0  # photos more, in which a piece is not repeated: of many, one fits a few masks by chance


def pieces_of_masks(evidence: Evidence, folder: Path | None = None) -> list[np.ndarray]:
    """The pieces of a scene, those that photos repeat best first: each two are nested or lie side by side.

    Args:
        evidence: Which masks of which photos cover every Gaussian.
        folder: Where pairs of many masks lie meanwhile, see `gags.files.rows.Rows`.

    Returns:
        Gaussians of each, in order. int64 [n] each
    """
    clusters = clusters_of_masks(evidence, folder, shared=True)
    if not clusters:
        return []
    rows, owners = members_of_clusters(evidence, clusters, from_afar=True)
    counts = np.bincount(owners, minlength=len(clusters))
    rows = rows[np.argsort(owners, kind="stable")]
    del clusters, owners  # there may be many
    pieces = [piece for piece in np.split(rows, np.cumsum(counts)[:-1]) if len(piece)]
    sizes = evidence.sizes()
    repeated = [repeatability(Overlap.of(evidence, piece), evidence, sizes) for piece in pieces]
    best_first = [pieces[piece] for piece in np.argsort(-np.array(repeated), kind="stable")]
    return consistent(best_first, evidence.seen())


def repeatability(overlap: Overlap, evidence: Evidence, sizes: np.ndarray) -> float:
    """How well photos repeat a piece: the mean over those that see it of the IoU of their best mask with it.

    It counts n / (n + 3) for n photos that cut the piece out.

    Args:
        overlap: What the piece shares with masks and photos.
        evidence: Of all photos.
        sizes: Of all masks [M], or more.

    Returns:
        In [0, 1]; 0 if no photo sees it.
    """
    best = np.zeros(len(overlap.photos))
    np.maximum.at(best, evidence.view_of[overlap.masks], overlap.ious(evidence, sizes))
    best = best[overlap.visible()]
    cut_out = int((best >= OWN_IOU).sum())
    return float(best.mean()) * cut_out / (cut_out + UNSURE) if len(best) else 0.0


def consistent(pieces: list[np.ndarray], weights: np.ndarray) -> list[np.ndarray]:
    """Pieces without those that are about a better one that stays, or neither nested with it nor beside it.

    Args:
        pieces: Gaussians of each, the best piece first. int64 [n] each
        weights: Weight of every Gaussian. float64 [N]

    Returns:
        Those that stay, in their order.
    """
    starts = np.cumsum([0] + [len(piece) for piece in pieces])
    members = np.concatenate([np.zeros(0, np.int64), *pieces])
    return [pieces[piece] for piece in np.flatnonzero(_stay(starts, members, weights))]


@kernel()
def _stay(starts: np.ndarray, members: np.ndarray, weights: np.ndarray) -> np.ndarray:  # pragma: no cover
    """Which pieces stay, see `consistent`; memory does not grow with the square of their number.

    Args:
        starts: First entry of each in `members`, and the end. int64 [P + 1]
        members: Gaussians of the pieces, one piece after the other. int64 [E]
        weights: float64 [N]

    Returns:
        bool [P]
    """
    count = len(starts) - 1
    stays, size = np.zeros(count, np.bool_), np.zeros(count)
    # Pieces that stay, by Gaussian: entries of one Gaussian are a list, each entry names the one before it.
    last, before = np.full(len(weights), -1), np.full(len(members), -1)
    piece_of = np.empty(len(members), np.int64)
    shared, touched_by, touched = np.zeros(count), np.full(count, -1), np.empty(count, np.int64)
    for piece in range(count):
        found = 0
        for e in range(starts[piece], starts[piece + 1]):
            size[piece] += weights[members[e]]
            entry = last[members[e]]
            while entry >= 0:
                other = piece_of[entry]
                if touched_by[other] != piece:
                    touched_by[other] = piece
                    shared[other] = 0
                    touched[found] = other
                    found += 1
                shared[other] += weights[members[e]]
                entry = before[entry]
        fits = size[piece] > 0
        for other in touched[:found]:
            common = shared[other]
            small, large = min(size[piece], size[other]), max(size[piece], size[other])
            nested = common >= INSIDE * small and large >= LARGER * small
            alike = common >= ABOUT_THE_SAME * (small + large - common)
            if alike or (common > APART * small and not nested):
                fits = False
                break
        if fits:
            stays[piece] = True
            for e in range(starts[piece], starts[piece + 1]):
                piece_of[e] = piece
                before[e] = last[members[e]]
                last[members[e]] = e
    return stays
