"""Compare the controlled segmenter with a real one, prompt for prompt, on a capture whose truth is known.

    python -m benchmarks.controlled.likeness CAPTURE --scene WS [--every 4]

WS is a scene of the capture that a real segmenter has described. Its prompts are put to the controlled one,
and both sets of label maps are told apart by what their masks show: a piece of an object, an object, several,
or stuff; by distance (thirds of the training photos, by the median size of the objects in them).
"""

import argparse
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.controlled.describe import all_patches
from benchmarks.controlled.segmenter import ControlledSegmenter
from benchmarks.controlled.truth import Truth
from gags.capture import read_saved_capture
from gags.embed.description import Description
from gags.gaussians.ply import load_ply
from gags.segment.masks import LEVELS, Masks
from gags.segment.photo import segment_photo
from gags.segment.settings import DescribeSettings
from gags.workspace import Workspace

SHOWS = ("piece", "object", "several", "stuff")
LEAST = 100  # px; smaller objects do not count


@dataclass(eq=False)
class Tally:
    """What the masks of some photos show.

    Attributes:
        counts: Masks by level and by what they show. [3, 4]
        best: For each object of each photo the best IoU of a mask of each level. List of [3]
        photos: How many photos.
    """

    counts: np.ndarray = field(default_factory=lambda: np.zeros((len(LEVELS), len(SHOWS)), int))
    best: list[np.ndarray] = field(default_factory=list)
    photos: int = 0

    def add(self, masks: Masks, objects: np.ndarray) -> None:
        """Count the masks of one photo; `objects` holds the row of the object at each pixel, -1 for none."""
        self.photos += 1
        count = int(objects.max(initial=-1)) + 1
        areas = np.bincount(objects[objects >= 0], minlength=count)
        shared = np.zeros((len(masks), count + 1), int)  # the last column is no object
        for labels in masks.labels:
            inside = labels >= 0
            pairs = labels[inside].astype(int) * (count + 1) + np.where(objects < 0, count, objects)[inside]
            shared += np.bincount(pairs, minlength=shared.size).reshape(shared.shape)
        for row, level in enumerate(masks.levels):
            self.counts[level, _shows(shared[row], areas)] += 1
        iou = shared[:, :-1] / np.maximum(shared.sum(1, keepdims=True) + areas - shared[:, :-1], 1)
        for thing in np.flatnonzero(areas >= LEAST):
            levels = [iou[masks.levels == level, thing].max(initial=0) for level in range(len(LEVELS))]
            self.best.append(np.array(levels))

    def rows(self, title: str) -> list[str]:
        """Rows of a Markdown table."""
        best = np.mean(self.best, axis=0)
        lines = []
        for level, name in enumerate(LEVELS):
            total = self.counts[level].sum()
            shares = " | ".join(f"{100 * n / max(total, 1):.0f}" for n in self.counts[level])
            lines.append(f"| {title} | {name} | {total / self.photos:.1f} | {shares} | {best[level]:.2f} |")
        return lines


def _shows(shared: np.ndarray, areas: np.ndarray) -> int:
    """What a mask shows, a row of `SHOWS`, from the pixels it shares with each object and with none."""
    total = shared.sum()
    if shared[-1] > 0.5 * total:
        return 3
    largest = shared[:-1].argmax()
    if shared[largest] < 0.7 * total:
        return 2
    return int(shared[largest] >= 0.6 * areas[largest])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("capture", type=Path, help="synthetic capture with instance maps")
    parser.add_argument("--scene", type=Path, required=True, help="scene with masks of a real segmenter")
    parser.add_argument("--every", type=int, default=4, help="every how many-th photo")
    arguments = parser.parse_args()
    truth, workspace = Truth.load(arguments.capture), Workspace.open(arguments.scene)
    found = []
    views = read_saved_capture(workspace.capture).train[:: arguments.every]
    patches = all_patches(views, load_ply(workspace.splats), truth, 0)
    for view in views:
        real = Description.load(workspace.description(view.name))
        ids = truth.ids(view.stem, view.camera.width, view.camera.height)
        segmenter = ControlledSegmenter(truth, ids, patches[view.name], view.name)
        masks = segment_photo(view.image(), real.prompts, segmenter, DescribeSettings())
        wholes = truth.whole_of[ids]
        objects = np.where((wholes >= 0) & truth.is_object[wholes], wholes, -1)
        sizes = np.bincount(objects[objects >= 0])
        found.append((float(np.median(sizes[sizes >= LEAST])), real.masks, masks, objects))
    print("| photos | level | masks a photo | piece % | object % | several % | stuff % | best IoU |")
    print("|---|---|---|---|---|---|---|---|")
    found.sort(key=lambda entry: -entry[0])
    for name, third in zip(("near", "middle", "far"), range(3), strict=True):
        tallies = Tally(), Tally()
        for _, real, made, objects in found[third * len(found) // 3 : (third + 1) * len(found) // 3]:
            tallies[0].add(real, objects)
            tallies[1].add(made, objects)
        for title, tally in zip(("real", "controlled"), tallies, strict=True):
            print("\n".join(tally.rows(f"{name}, {title}")))


if __name__ == "__main__":
    main()
