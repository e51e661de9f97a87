"""Photos of a capture in rings around the scene, each with the true masks of its objects."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from benchmarks.controlled.truth import Truth
from gags.capture import Capture, View
from gags.errors import CaptureError
from gags.evaluate.labels import FrameLabels, load_labels
from gags.gaussians import Gaussians
from gags.segment.prompts import render_depth

RINGS = ("near", "middle", "far")


@dataclass(frozen=True, eq=False)
class StudiedPhoto:
    """One photo whose masks are studied.

    Attributes:
        view: The photo.
        ring: Row of `RINGS`.
    """

    view: View
    ring: int


class ExactObjects:
    """Objects of a synthetic capture, from its instance maps; every training photo has one.

    Args:
        folder: The capture.
    """

    def __init__(self, folder: Path) -> None:
        self._truth = Truth.load(folder)
        self._rows = np.flatnonzero(self._truth.is_object)
        self.names = [self._truth.things[row].name for row in self._rows]

    def views(self, capture: Capture) -> list[View]:
        """Photos whose objects are known: those that are trained on."""
        return list(capture.train)

    def masks(self, view: View) -> np.ndarray:
        """What every object covers, in the order of `names`. bool [K, H, W]"""
        ids = self._truth.ids(view.stem, view.camera.width, view.camera.height)
        return self._truth.whole_of[ids] == self._rows[:, None, None]


class LabelledObjects:
    """Objects of a capture that has labels only: categories, in the labelled photos alone.

    Args:
        folder: The capture.
    """

    def __init__(self, folder: Path) -> None:
        self._frames: dict[str, FrameLabels] = {f.frame: f for f in load_labels(folder / "labels")}
        self.names = sorted({label.category for frame in self._frames.values() for label in frame.labels})

    def views(self, capture: Capture) -> list[View]:
        """Photos whose objects are known: the labelled ones."""
        return [view for view in (*capture.train, *capture.test) if view.stem in self._frames]

    def masks(self, view: View) -> np.ndarray:
        """What every category covers, in the order of `names`; nothing where it is not labelled.

        Returns:
            bool [K, H, W]
        """
        frame, camera = self._frames[view.stem], view.camera
        found = np.zeros((len(self.names), camera.height, camera.width), bool)
        for label in frame.labels:
            found[self.names.index(label.category)] = frame.mask(label, camera.width, camera.height)
        return found


Objects = ExactObjects | LabelledObjects


def known_objects(folder: Path) -> Objects:
    """The truth of a capture: its instance maps if it has them, else its labels."""
    exact = (folder / "objects.json").is_file() and (folder / "instance").is_dir()
    return ExactObjects(folder) if exact else LabelledObjects(folder)


def studied_photos(
    capture: Capture, gaussians: Gaussians, objects: Objects, a_ring: int
) -> list[StudiedPhoto]:
    """About as many photos of every ring, spread evenly; the nearest and the farthest ring come first.

    Args:
        capture: Its photos and cameras; all training photos decide where the rings are.
        gaussians: For the distance of what a photo shows.
        objects: Which photos have a truth.
        a_ring: At most how many photos of each ring.

    Raises:
        CaptureError: If the nearest or the farthest ring has no photo with a truth.
    """
    known = objects.views(capture)
    names = {view.name for view in known}
    views = known + [view for view in capture.train if view.name not in names]
    rings = natural_rings([shown_distance(gaussians, view) for view in views])[: len(known)]
    photos = []
    for ring in (0, 2, 1):
        rows = np.flatnonzero(rings == ring)
        if not len(rows) and ring != 1:
            raise CaptureError(f"no photo of the {RINGS[ring]} ring has a truth; check the capture")
        picked = rows[np.arange(min(a_ring, len(rows))) * len(rows) // min(a_ring, max(len(rows), 1))]
        photos += [StudiedPhoto(known[row], ring) for row in picked]
    return photos


def shown_distance(gaussians: Gaussians, view: View) -> float:
    """Median depth of the middle ninth of a photo: how far away is what it was taken of; 0 for nothing."""
    depth = render_depth(gaussians, view.camera)
    h, w = depth.shape
    middle = depth[h // 3 : h - h // 3, w // 3 : w - w // 3]
    return float(np.median(middle[middle > 0])) if (middle > 0).any() else 0.0


def natural_rings(distances: Sequence[float]) -> np.ndarray:
    """Three classes of distances, those whose squared deviations from their means are least in sum.

    Args:
        distances: At least three.

    Returns:
        0 for the nearest class to 2 for the farthest. int64 [N]
    """
    values = np.asarray(distances, float)
    order = np.argsort(values, kind="stable")
    ordered = values[order]

    def deviation(cuts: tuple[int, int]) -> float:
        return sum(float(np.square(part - part.mean()).sum()) for part in np.split(ordered, cuts))

    first, second = min(combinations(range(1, len(values)), 2), key=deviation)
    rings = np.empty(len(values), np.int64)
    rings[order] = np.repeat([0, 1, 2], [first, second - first, len(values) - second])
    return rings
