"""Every single thing in the scene that a text names, as Gaussians with a box; two mugs are two."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gags.distill.field import LanguageField
from gags.gaussians import Gaussians
from gags.query.boxes import OrientedBox
from gags.query.reach import Reach, needed_margin
from gags.query.relevancy import Queries
from gags.query.select import choose
from gags.query.space import Space
from gags.things.things import Things

# In shares of the range of the text's margins, from what is typical of the scene to the best (`Reach`).
NEARLY_BEST = 0.15  # below the best, up to which it is no false match: two things of one kind differ less
PART_GAIN = 0.1  # that a part must be ahead of the whole for the part to be the answer

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
    outside all things. They are compared by the mean margin of their Gaussians, in shares of the range that
    the text has in the scene (`Reach`): the same rule for every encoder and temperature. A part is the answer
    instead of the whole thing only if it is clearly better. Candidates far below the best are dropped.

    Args:
        gaussians: The scene.
        field: Its language field.
        queries: The texts.
        things: What the scene is made of; `Things.none()` leaves the connected pieces alone.

    Returns:
        Instances of each text, best first; none where no opaque Gaussian has the margin that a match needs
        (`needed_margin`).
    """
    margins = queries.margins_of_gaussians(field).cpu()
    relevancies = queries.relevancy_of_margins(margins).numpy()
    space = Space.build(gaussians, things)
    needed = needed_margin(field, queries, space.opacities)
    means = things.means(margins.numpy(), space.opacities)
    found = []
    for row, text in enumerate(queries.texts):
        reach = Reach.of(margins[:, row].numpy(), space.opacities, needed)
        if not reach.matches:
            found.append([])
            continue
        shares = reach.shares(margins[:, row].numpy())
        candidates = [things[thing] for thing in answering(reach.shares(means[:, row]), things)]
        candidates += _pieces_outside_things(shares, space)
        found.append(_nearly_best(_instances(text, shares, relevancies[:, row], candidates, space)))
    return found


def _instances(
    text: str, shares: np.ndarray, relevancy: np.ndarray, candidates: list[np.ndarray], space: Space
) -> list[tuple[float, Instance]]:
    """Candidates as instances, each with its mean share of the range.

    Those that are only fragments of one that comes before them are left out.
    """
    instances: list[tuple[float, Instance]] = []
    for candidate in candidates:
        rows = space.without_floaters(candidate)
        mask = space.filled(rows)
        if any(space.is_fragment(mask, other.mask.numpy(), other.box) for _, other in instances):
            continue
        weights = space.opacities[rows]
        score = float(np.average(relevancy[rows], weights=weights))
        instance = Instance(text, torch.from_numpy(mask), score, space.box(rows))
        instances.append((float(np.average(shares[rows], weights=weights)), instance))
    return instances


def answering(scores: np.ndarray, things: Things) -> list[int]:
    """Things that may answer a text: of a whole and its parts, only those that no other of them beats.

    Args:
        scores: Of every thing, in shares of the text's range in the scene (`Reach.shares`). [C]
        things: The things.

    Returns:
        Things that do not lie within each other, if at least nearly as good as the best.
    """
    eligible = np.array([things.stands_out(thing) for thing in range(len(things))], bool)
    least = scores[eligible].max(initial=0.0) - NEARLY_BEST
    best, beaten = np.where(eligible, scores, -np.inf), ~eligible  # best of a thing and its parts
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


def _nearly_best(instances: list[tuple[float, Instance]]) -> list[Instance]:
    """Instances that are not far below the best, best first."""
    least = max((share for share, _ in instances), default=0.0) - NEARLY_BEST
    kept = [(share, instance) for share, instance in instances if share >= least]
    return [instance for _, instance in sorted(kept, key=lambda pair: -pair[0])]
