"""Which prompts need an answer? All are answered once; then every way to leave some out costs seconds.

    python -m benchmarks.prompt_policies SCENE … [--photos 6] [--novelty 0.1 0.2 0.3] [--random 0.9 0.7 0.5]

SCENE is a finished scene. Photos are spread evenly over its training photos, prompts placed as the preset
`lite` does. MobileSAM answers all of them, and the answers are remembered. Then label maps are made from the
answers that each way asks for: prompts of enough novelty, or a share of the prompts drawn at random, which
says how much the draw of the prompts decides. Columns are those of `benchmarks.describe`, the IoU of masks by
level, too. "Lost": large masks, of 1 % of the photo or more, without one of an IoU of 0.8 in the other label
map. Below the table: how many of the masks that box suppression leaves come from one of all prompts alone.
"""

import argparse
from pathlib import Path

import numpy as np

from benchmarks.describe import agreement, best_overlaps
from gags import models
from gags.capture.saved import read_saved_capture
from gags.gaussians.ply import load_ply
from gags.segment.masks import LEVELS, Masks
from gags.segment.photo import find_candidates, segment_photo
from gags.segment.prompts import PromptPlacer
from gags.segment.sam.mobile import MobileSam
from gags.segment.segmenter import PromptedMasks
from gags.segment.settings import DescribeSettings
from gags.workspace import Workspace

PROMPTS_A_CALL = 64
LARGE, FITS = 0.01, 0.8  # share of a photo; IoU
ALIKE = 0.7  # IoU of boxes of masks that are one to box suppression
COLUMNS = ("answered", "masks", "IoU of masks", "IoU of pixels", *LEVELS, "lost")


class Remembered:
    """A segmenter that answers all prompts of a photo at once, and from then on by heart.

    Args:
        sam: Answers them.
        points: All prompts of the photo. float32 [P, 2]
    """

    name = "remembered"

    def __init__(self, sam: MobileSam, points: np.ndarray) -> None:
        self.sam, self.points, self.asked = sam, points, 0
        self.features_at = sam.features_at
        self._encoded = None

    def encode(self, image):  # type: ignore[no-untyped-def]
        if self._encoded is None:
            self._encoded, least = self.sam.encode(image), DescribeSettings().min_iou
            starts = range(0, len(self.points), PROMPTS_A_CALL)
            calls = [self.points[start : start + PROMPTS_A_CALL] for start in starts]
            found = [self.sam.predict(self._encoded, call, min_iou=least) for call in calls]
            self._answers = PromptedMasks(
                logits=np.concatenate([answers.logits for answers in found]),
                ious=np.concatenate([answers.ious for answers in found]),
                levels=np.concatenate([answers.levels for answers in found]),
                prompts=np.concatenate(
                    [start + own.prompts for start, own in zip(starts, found, strict=True)]
                ),
                extent=found[0].extent,
            )
        return self._encoded

    def predict(self, encoded, points, *, min_iou=0.0):  # type: ignore[no-untyped-def]
        self.asked += len(points)
        known = self._answers
        rows = [np.flatnonzero((self.points == point).all(1))[0] for point in points]
        places = [np.flatnonzero(known.prompts == row) for row in rows]
        numbers = np.repeat(np.arange(len(rows)), [len(own) for own in places])
        chosen = np.concatenate([np.zeros(0, np.int64), *places])
        return PromptedMasks(
            logits=known.logits[chosen],
            ious=known.ious[chosen],
            levels=known.levels[chosen],
            prompts=numbers.astype(np.int32),
            extent=known.extent,
        )


def row_of(reference: Masks, masks: Masks, answered: float) -> list[float]:
    """The figures of one way in one photo, see `COLUMNS`."""
    ious, _, areas = best_overlaps(reference, masks)
    levels = np.sort(reference.levels)  # `best_overlaps` goes level by level
    by_level = [
        float(ious[levels == level].mean()) for level in range(len(LEVELS)) if (levels == level).any()
    ]
    by_level += [1.0] * (len(LEVELS) - len(by_level))
    large = areas >= LARGE * reference.labels[0].size
    lost = float((ious[large] < FITS).mean()) if large.any() else 0.0
    return [answered, len(masks), *agreement(reference, masks), *by_level, lost]


def single_share(image: np.ndarray, points: np.ndarray, memory: Remembered) -> float:
    """Share of the masks that box suppression leaves which only one prompt gives."""
    every = find_candidates(image, points, memory, DescribeSettings(box_nms_iou=1.0))
    kept = find_candidates(image, points, memory, DescribeSettings())
    alike = []
    for mask in kept:
        boxes = np.stack([other.box for other in every if other.level == mask.level]).astype(float)
        low, high = np.maximum(boxes[:, :2], mask.box[:2]), np.minimum(boxes[:, 2:], mask.box[2:])
        shared = (high - low).clip(0).prod(1)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
        own = float((mask.box[2:] - mask.box[:2]).prod())
        alike.append(int((shared > ALIKE * (areas + own - shared)).sum()))
    return float(np.mean([count <= 1 for count in alike]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenes", type=Path, nargs="+")
    parser.add_argument("--photos", type=int, default=6)
    parser.add_argument("--novelty", type=float, nargs="*", default=[0.1, 0.2, 0.3])
    parser.add_argument("--random", type=float, nargs="*", default=[0.9, 0.7, 0.5])
    given = parser.parse_args()
    sam = MobileSam(models.ensure("mobile-sam"))
    print("| scene | way | " + " | ".join(COLUMNS) + " |")
    print("|" + "---|" * (2 + len(COLUMNS)))
    for scene in given.scenes:
        workspace = Workspace(scene)
        capture = read_saved_capture(workspace.capture)
        placer = PromptPlacer(
            load_ply(workspace.splats), [v.camera for v in capture.train], DescribeSettings()
        )
        rows: dict[str, list[list[float]]] = {}
        single = []
        for row in np.linspace(0, len(capture.train) - 1, given.photos).round().astype(int):
            view = capture.train[row]
            image, points = view.image(), placer.place(int(row), view.name)
            memory, rng = Remembered(sam, points), np.random.default_rng(0)
            reference = segment_photo(image, points, memory, DescribeSettings())
            single.append(single_share(image, points, memory))
            ways = {f"novelty {bar:g}": (points, bar) for bar in given.novelty}
            for share in given.random:
                drawn = np.sort(rng.permutation(len(points))[: round(share * len(points))])
                ways[f"{100 * share:.0f} % at random"] = points[drawn], 0.0
            for way, (asked, bar) in ways.items():
                memory.asked = 0
                masks = segment_photo(image, asked, memory, DescribeSettings(least_novelty=bar))
                figures = row_of(reference, masks, memory.asked / len(points))
                rows.setdefault(way, []).append(figures)
        for way, figures in rows.items():
            answered, masks, *shares = np.mean(figures, axis=0)
            told = " | ".join(f"{share:.3f}" for share in shares)
            print(f"| {scene.name} | {way} | {100 * answered:.0f} % | {masks:.0f} | {told} |", flush=True)
        print(f"\n{scene.name}: {100 * np.mean(single):.0f} % of the masks come from one prompt alone.\n")


if __name__ == "__main__":
    main()
