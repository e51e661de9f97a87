"""Every single thing in the scene that a text names, as Gaussians with a box; two mugs are two."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gags.distill.field import LanguageField
from gags.gaussians import Gaussians
from gags.query.boxes import OrientedBox
from gags.query.relevancy import Queries
from gags.query.select import choose, logit
from gags.query.space import Space
from gags.things.things import Things

OPAQUE = 0.5  # opacity of Gaussians whose relevancy says whether a text matches anything
MATCHES = 0.5  # relevancy below which a canonical phrase ("object", "wall") says better what is there
NEARLY_BEST = 0.9  # of the best score; with less it is a false match: two things of one kind differ less
PART_GAIN = 0.1  # of score that a part must be ahead of the whole for the part to be the answer
THINGS_SHARE = 0.5  # of a selected piece that must lie in things for the piece to be dropped


@dataclass(eq=False)
class Instance:
    """One thing that answers a text.

    Attributes:
        text: The query.
        mask: Its Gaussians, on the CPU. bool [N]
        score: Their mean relevancy, weighted by opacity, in [0, 1].
        box: Around them, in the frame and units of the capture: gags keeps both as they are when it loads.
        views: Number of photos that see it (`gags.query.maps`), those held out included; 0 if not counted.
    """

    text: str
    mask: Tensor
    score: float
    box: OrientedBox
    views: int = 0

    def to_json(self) -> dict[str, Any]:
        """What `gags locate --json` prints of it; lengths and coordinates in the units of the capture."""
        return {
            "text": self.text,
            "score": round(self.score, 4),
            "views": self.views,
            "gaussians": int(self.mask.sum()),
            "center": self.box.center.tolist(),
            "box": {
                "size": self.box.size.tolist(),
                "axes": self.box.axes.tolist(),
                "corners": self.box.corners.tolist(),
            },
        }


@torch.no_grad()
def locate_instances(
    gaussians: Gaussians, field: LanguageField, queries: Queries, things: Things
) -> list[list[Instance]]:
    """Find every instance of what each text names.

    Candidates are the things that the photos' masks agree on, and connected pieces of what `select` chooses
    outside all things. A candidate's score is the mean relevancy of its Gaussians. A part is the answer
    instead of the whole thing only if its score is clearly higher. Candidates far below the best are dropped.

    Args:
        gaussians: The scene.
        field: Its language field.
        queries: The texts.
        things: What the scene is made of; `Things.none()` leaves the connected pieces alone.

    Returns:
        Instances of each text, best first; none where no Gaussian has a relevancy of `MATCHES` or more.
    """
    relevancies = queries.of_gaussians(field).cpu().numpy()
    space = Space.build(gaussians, things)
    scores = things.means(relevancies, space.opacities)
    found = []
    for text, relevancy, score in zip(queries.texts, relevancies.T, scores.T, strict=True):
        if not (relevancy[space.opacities > OPAQUE] >= MATCHES).any():
            found.append([])
            continue
        candidates = [things[thing] for thing in answering(score, things)]
        candidates += _pieces_outside_things(logit(relevancy), space)
        found.append(_nearly_best(_instances(text, relevancy, candidates, space)))
    return found


def _instances(
    text: str, relevancy: np.ndarray, candidates: list[np.ndarray], space: Space
) -> list[Instance]:
    """Candidates as instances, without those that are only fragments of one that comes before them."""
    instances: list[Instance] = []
    for candidate in candidates:
        rows = space.without_floaters(candidate)
        mask = space.filled(rows)
        if any(space.is_fragment(mask, other.mask.numpy(), other.box) for other in instances):
            continue
        score = float(np.average(relevancy[rows], weights=space.opacities[rows]))
        instances.append(Instance(text, torch.from_numpy(mask), score, space.box(rows)))
    return instances


def answering(scores: np.ndarray, things: Things) -> list[int]:
    """Things that may answer a text: of a whole and its parts, only those that no other of them beats.

    Args:
        scores: Of every thing. [C]
        things: The things.

    Returns:
        Things that do not lie within each other, if at least nearly as good as the best.
    """
    eligible = np.array([things.stands_out(thing) for thing in range(len(things))], bool)
    least = NEARLY_BEST * scores[eligible].max(initial=0.0)
    best, beaten = np.where(eligible, scores, 0.0), ~eligible  # best of a thing and its parts
    for thing in range(len(things) - 1, -1, -1):  # parts first
        beaten[thing] |= best[thing] > scores[thing] + PART_GAIN
        parent = things.parents[thing]
        if parent >= 0:
            best[parent] = max(best[parent], best[thing])
    taken = np.zeros(len(things), bool)
    within = np.zeros(len(things), bool)
    for thing in range(len(things)):  # wholes first
        parent = things.parents[thing]
        within[thing] = parent >= 0 and (taken[parent] or within[parent])
        taken[thing] = not beaten[thing] and not within[thing] and scores[thing] >= least
    return np.flatnonzero(taken).tolist()


def _pieces_outside_things(values: np.ndarray, space: Space) -> list[np.ndarray]:
    """Connected pieces of what is selected that lie mostly outside all things. int64 [n] each"""
    voxels, weights = space.voxels, space.opacities
    chosen = choose(values, weights, voxels)
    pieces = np.where(chosen, voxels.pieces(voxels.sums(chosen.astype(float)) > 0)[voxels.owner], -1)
    rows_of = [np.flatnonzero(pieces == piece) for piece in range(pieces.max() + 1)]
    return [
        rows
        for rows in rows_of
        if weights[rows] @ space.in_a_thing[rows] < THINGS_SHARE * weights[rows].sum()
    ]


def _nearly_best(instances: list[Instance]) -> list[Instance]:
    """Instances that are not far below the best, best first."""
    least = NEARLY_BEST * max((instance.score for instance in instances), default=0.0)
    kept = [instance for instance in instances if instance.score >= least]
    return sorted(kept, key=lambda instance: -instance.score)
