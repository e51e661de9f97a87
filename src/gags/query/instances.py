"""Every single thing in the scene that a text names, as Gaussians with a box; two mugs are two."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gags.capture.camera import Camera
from gags.distill.field import LanguageField
from gags.query.boxes import OrientedBox, oriented_box
from gags.query.relevancy import Queries
from gags.query.select import VOXELS_ACROSS, choose, logit, neighbourhoods, scene_size
from gags.query.things import Things
from gags.query.voxels import Voxels
from gags.render import rasterize
from gags.splats.gaussians import Gaussians

MATCHES = 0.5  # relevancy below which a canonical phrase ("object", "wall") says better what is there
NEARLY_BEST = 0.75  # of the best instance's score; with less, an instance is a phantom
PART_GAIN = 0.1  # of score that a part must be ahead of the whole for the part to be the answer
KNOWN = 0.5  # of a selected piece that things must hold for it to be left to them
SPECK = 0.1  # of the weight of an instance's largest connected piece; smaller ones are floaters
SEEN_SHARE = 0.2  # of an instance that a photo must show to see it: from any side, half of a thing is hidden
DEPTH_TOLERANCE = 0.05  # of the distance, up to which what lies behind the rendered surface is seen
LONGEST_SIDE = 200  # px, of the depth maps that tell what is hidden


@dataclass(eq=False)
class Instance:
    """One thing that answers a text.

    Attributes:
        text: The query.
        mask: Its Gaussians. bool [N]
        score: Their mean relevancy, weighted by opacity, in [0, 1].
        box: Around them, in the frame and units of the capture: gags keeps both as they are when it loads.
        views: Number of photos that see it, those held out included; 0 until `count_views` was asked.
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
    where no thing is known. A candidate's score is the mean relevancy of its Gaussians. A part is the answer
    instead of the whole thing only if its score is clearly higher. Candidates far below the best are dropped.

    Args:
        gaussians: The scene.
        field: Its language field.
        queries: The texts.
        things: What the scene is made of; `Things.none()` leaves the connected pieces alone.

    Returns:
        Instances of each text, best first; none where no Gaussian has a relevancy of `MATCHES` or more.
    """
    relevancies = queries.relevancy(field.features, field).cpu().numpy()
    means = gaussians.means.cpu().double().numpy()
    opacities = gaussians.opacities.cpu().double().numpy()
    voxels = neighbourhoods(means, scene_size(means, opacities) / VOXELS_ACROSS)
    scores = things.means(relevancies, opacities)
    known = np.zeros(len(gaussians), bool)
    known[things.members] = True
    found = []
    for text, relevancy, score in zip(queries.texts, relevancies.T, scores.T, strict=True):
        if not (relevancy[opacities > MATCHES] >= MATCHES).any():
            found.append([])
            continue
        masks = [things[thing] for thing in answering(score, things)]
        masks += _unknown_pieces(logit(relevancy), opacities, voxels, known)
        instances = []
        for rows in masks:
            mask = completed(rows, known, opacities, voxels)
            value = float(np.average(relevancy[mask], weights=opacities[mask]))
            box = oriented_box(means[mask], opacities[mask])
            instances.append(Instance(text, torch.from_numpy(mask).to(gaussians.means.device), value, box))
        found.append(_nearly_best(instances))
    return found


def answering(scores: np.ndarray, things: Things) -> list[int]:
    """Things that may answer a text: of a whole and its parts, only those that no other of them beats.

    Args:
        scores: Of every thing. [C]
        things: The things.

    Returns:
        Things that do not lie within each other, if at least nearly as good as the best.
    """
    if not len(things):
        return []
    least = NEARLY_BEST * scores.max()
    best, beaten = scores.copy(), np.zeros(len(things), bool)  # best of a thing and its parts
    for thing in range(len(things) - 1, -1, -1):  # parts first
        beaten[thing] = best[thing] > scores[thing] + PART_GAIN
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


def completed(rows: np.ndarray, known: np.ndarray, opacities: np.ndarray, voxels: Voxels) -> np.ndarray:
    """A thing without floaters, with the Gaussians inside it that no photo shows.

    Args:
        rows: Gaussians that photos show of it. [n]
        known: Gaussians that belong to any thing. bool [N]
        opacities: [N]
        voxels: Grid over the Gaussians.

    Returns:
        bool [N]
    """
    mask = np.zeros(len(opacities), bool)
    mask[rows] = True
    mass = voxels.sums(opacities * mask)
    pieces = voxels.pieces(mass > 0)
    piece_mass = np.bincount(pieces[mass > 0], mass[mass > 0])
    solid = np.append(piece_mass >= SPECK * piece_mass.max(), False)[pieces]
    mask &= solid[voxels.owner]
    around = voxels.spread(voxels.sums(opacities * mask))
    rest = voxels.spread(voxels.sums(opacities * (known & ~mask)))
    return mask | (~known & (around > rest)[voxels.owner] & solid[voxels.owner])


def _unknown_pieces(
    values: np.ndarray, opacities: np.ndarray, voxels: Voxels, known: np.ndarray
) -> list[np.ndarray]:
    """Connected pieces of what is selected that lie mostly outside all things. int64 [n] each"""
    chosen = choose(values, opacities, voxels)
    pieces = np.where(chosen, voxels.pieces(voxels.sums(chosen.astype(float)) > 0)[voxels.owner], -1)
    unknown = []
    for piece in range(pieces.max() + 1):
        rows = np.flatnonzero(pieces == piece)
        if len(rows) and opacities[rows] @ known[rows] < KNOWN * opacities[rows].sum():
            unknown.append(rows)
    return unknown


def _nearly_best(instances: list[Instance]) -> list[Instance]:
    """Instances that are not far below the best, best first."""
    least = NEARLY_BEST * max((instance.score for instance in instances), default=0.0)
    kept = [instance for instance in instances if instance.score >= least]
    return sorted(kept, key=lambda instance: -instance.score)


@torch.no_grad()
def count_views(gaussians: Gaussians, cameras: Sequence[Camera], instances: Sequence[Instance]) -> None:
    """Count the photos that see each instance: at least a fifth of it lies in the picture and is not hidden.

    Args:
        gaussians: The scene.
        cameras: Cameras of the photos.
        instances: `views` of each is set.
    """
    means = gaussians.means.cpu().double().numpy()
    opacities = gaussians.opacities.cpu().double().numpy()
    rows = [np.flatnonzero(instance.mask.cpu().numpy()) for instance in instances]
    for instance in instances:
        instance.views = 0
    for camera in cameras if rows else ():
        seen = visible(gaussians, means, camera)
        for instance, members in zip(instances, rows, strict=True):
            weights = opacities[members]
            instance.views += int(weights @ seen[members] >= SEEN_SHARE * weights.sum())


def visible(gaussians: Gaussians, means: np.ndarray, camera: Camera) -> np.ndarray:
    """Which Gaussians a camera sees the centre of: inside the picture, not behind the rendered surface.

    Args:
        gaussians: The scene.
        means: Their centres. float64 [N, 3]
        camera: The camera.

    Returns:
        bool [N]
    """
    scale = min(1.0, LONGEST_SIDE / max(camera.width, camera.height))
    camera = camera.resized(max(1, round(camera.width * scale)), max(1, round(camera.height * scale)))
    g = gaussians
    depths = rasterize(g.means, g.quats, g.scales, g.opacities, g.sh[:, 0], camera).depths.cpu().numpy()
    xy, z = camera.project(means)
    inside = (z > 0) & (xy >= 0).all(axis=1) & (xy < [camera.width, camera.height]).all(axis=1)
    columns, lines = np.where(inside[:, None], xy, 0).astype(np.int64).T
    surface = depths[lines, columns]
    return inside & (surface > 0) & (z <= surface * (1 + DEPTH_TOLERANCE))
