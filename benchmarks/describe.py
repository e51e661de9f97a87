"""Describe photos with every prompt answered, and with those left out that repeat others: time and agreement.

    python -m benchmarks.describe SCENE … [--photos 6] [--novelty 0.2 0.3]

SCENE is a finished scene. Photos are spread evenly over its training photos. For each, prompts are placed as
the preset `lite` does; then all of them are answered ("all"), and those of enough novelty. The ways alternate
photo by photo, so that they meet the same load of the machine. Agreement is with the masks of the first way.
"IoU of masks": the mean, over all masks, of the IoU with the mask of the same level that fits it best, in
both directions. "IoU of pixels": the same, each mask weighed by its area. Names: the share of masks whose
best-fitting counterpart is given the same name of a list of everyday words by `lite`. Processor time is that
of all threads; the last columns are medians of photo-by-photo ratios to the first way.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from gags import models
from gags.capture.saved import read_saved_capture
from gags.embed.crops import embed_masks
from gags.embed.lite.encoder import LiteEncoder
from gags.gaussians.ply import load_ply
from gags.segment.masks import LEVELS, Masks
from gags.segment.photo import segment_photo
from gags.segment.prompts import PromptPlacer
from gags.segment.sam.mobile import MobileSam
from gags.segment.settings import DescribeSettings
from gags.workspace import Workspace


class Counted:
    """A segmenter that counts the prompts it answers, and times its parts."""

    name = "counted"

    def __init__(self, sam: MobileSam) -> None:
        self.sam, self.prompts = sam, 0
        self.encode = sam.encode
        self.features_at = sam.features_at

    def predict(self, encoded, points, *, min_iou=0.0):  # type: ignore[no-untyped-def]
        self.prompts += len(points)
        return self.sam.predict(encoded, points, min_iou=min_iou)


def best_overlaps(first: Masks, second: Masks) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each mask of `first`: the best IoU with one of its level in `second`, its row there, its area."""
    overlaps, partners, areas = [], [], []
    for level in range(len(LEVELS)):
        mine, theirs = first.labels[level].astype(np.int64), second.labels[level].astype(np.int64)
        rows = np.flatnonzero(first.levels == level)
        both = (mine >= 0) & (theirs >= 0)
        shared = np.zeros((len(first), len(second) + 1))
        np.add.at(shared, (mine[both], theirs[both]), 1)
        area = np.bincount(mine[mine >= 0], minlength=len(first))
        other = np.bincount(theirs[theirs >= 0], minlength=len(second) + 1)
        iou = shared / np.maximum(area[:, None] + other[None] - shared, 1)
        overlaps.append(iou[rows].max(1))
        partners.append(iou[rows].argmax(1))
        areas.append(area[rows])
    return np.concatenate(overlaps), np.concatenate(partners), np.concatenate(areas)


def agreement(first: Masks, second: Masks) -> tuple[float, float]:
    """Mean best IoU in both directions: of masks, and of masks weighed by area."""
    (a, _, area_a), (b, _, area_b) = best_overlaps(first, second), best_overlaps(second, first)
    overlaps, areas = np.concatenate([a, b]), np.concatenate([area_a, area_b])
    return float(overlaps.mean()), float((overlaps * areas).sum() / areas.sum())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenes", type=Path, nargs="+")
    parser.add_argument("--photos", type=int, default=6)
    parser.add_argument("--novelty", type=float, nargs="+", default=[0.2])
    given = parser.parse_args()
    sam = MobileSam(models.ensure("mobile-sam"))
    encoder = LiteEncoder()
    words = encoder.encode_texts(encoder.negatives)
    ways = {"all": 0.0} | {f"novelty {novelty:g}": novelty for novelty in given.novelty}
    columns = ("scene", "prompts", "way", "answered", "masks", "IoU of masks", "IoU of pixels", "names")
    columns += ("masks, CPU s", "all, CPU s", "times faster, CPU", "times faster, wall")
    print("| " + " | ".join(columns) + " |")
    print("|" + "---|" * len(columns))
    for scene in given.scenes:
        workspace = Workspace(scene)
        capture = read_saved_capture(workspace.capture)
        cameras = [view.camera for view in capture.train]
        placer = PromptPlacer(load_ply(workspace.splats), cameras, DescribeSettings())
        rows = np.linspace(0, len(cameras) - 1, given.photos + 1).round().astype(int)
        kept: dict[str, list[list[float]]] = {way: [] for way in ways}
        for n, row in enumerate(rows):  # the first photo compiles and warms up
            view = capture.train[row]
            image, points = view.image(), placer.place(int(row), view.name)
            for way, novelty in ways.items():
                counted = Counted(sam)
                before = time.process_time(), time.perf_counter()
                masks = segment_photo(image, points, counted, DescribeSettings(least_novelty=novelty))
                segmented = time.process_time()
                embeddings = embed_masks(image, masks, encoder)
                after = time.process_time(), time.perf_counter()
                if way == "all":
                    reference, names = masks, (embeddings @ words.T).argmax(1)
                overlap, partner, _ = best_overlaps(reference, masks)
                there = overlap > 0.5
                same = (embeddings @ words.T).argmax(1)[partner[there]] == names[there]
                if n:
                    spent = (segmented - before[0], after[0] - before[0], after[1] - before[1])
                    agreed = (*agreement(reference, masks), same.mean())
                    kept[way].append([len(points), counted.prompts, len(masks), *agreed, *spent])
        base = np.array(kept["all"])
        for way, figures in kept.items():
            values = np.array(figures)
            placed, asked, count, masks, pixels, names, cpu, total, _ = values.mean(0)
            share = 100 * asked / placed
            ratio, wall = np.median(base[:, 7] / values[:, 7]), np.median(base[:, 8] / values[:, 8])
            print(
                f"| {scene.name} | {placed:.0f} | {way} | {share:.0f} % | {count:.0f} | "
                f"{masks:.3f} | {pixels:.3f} | {100 * names:.1f} % | {cpu:.1f} | {total:.1f} | "
                f"{ratio:.2f} | {wall:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
