"""Pieces: the Gaussians that masks of photo after photo cut out along the same border.

Masks bleed into what lies beside a thing, or miss some of it. So many pieces are about the same, or share a
part that belongs to one of them alone. Of such pieces that one stays which photos repeat best.
"""

from pathlib import Path

import numpy as np

from gags.distill.evidence import Evidence
from gags.things.clusters import clusters_of_masks, members_of_clusters
from gags.things.tree import ALIKE_IOU, INSIDE, OWN_IOU, Overlap, shared_sizes

APART = 0.25  # of the smaller of two pieces, up to which they may share something and still lie side by side
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
    rows, owners = members_of_clusters(evidence, clusters)
    order = np.argsort(owners, kind="stable")
    counts = np.bincount(owners, minlength=len(clusters))
    pieces = [piece for piece in np.split(rows[order], np.cumsum(counts)[:-1]) if len(piece)]
    sizes = evidence.sizes()
    repeated = np.array([repeatability(Overlap.of(evidence, piece), evidence, sizes) for piece in pieces])
    return [pieces[piece] for piece in _consistent(shared_sizes(pieces, evidence.seen()), repeated)]


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


def _consistent(shared: np.ndarray, repeated: np.ndarray) -> list[int]:
    """Pieces, the best first, without those that are about a better one, or neither nested nor beside it.

    Args:
        shared: Weight of what each two have in common. [n, n]
        repeated: Repeatability of each. [n]
    """
    size = shared.diagonal()
    iou = shared / np.maximum(size[:, None] + size - shared, 1e-12)
    of_smaller = shared / np.maximum(np.minimum(size[:, None], size), 1e-12)
    excluded = (iou >= ALIKE_IOU) | ((of_smaller > APART) & (of_smaller < INSIDE))
    kept: list[int] = []
    for piece in np.argsort(-repeated, kind="stable").tolist():
        if not excluded[piece, kept].any():
            kept.append(piece)
    return kept
