"""Measure settings of distillation on finished scenes with labels, side by side.

    python benchmarks/distill.py SCENE LABELS [SCENE LABELS …] [--seeds 3] [--only default average …]

Every row distils the scenes' masks and embeddings anew, with the defaults but for what the row names, and
answers the labelled categories by the protocol `lerf-ovs`. Nothing is written. Figures are medians over the
seeds, in %.
"""

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gags.distill.settings import DistillSettings
from gags.distill.train import train_field
from gags.embed import load_encoder
from gags.embed.description import Descriptions
from gags.evaluate.answerer import FieldAnswerer
from gags.evaluate.labels import FrameLabels, load_labels
from gags.evaluate.score import evaluate
from gags.scene import Scene

DEFAULT = DistillSettings()
BY_DISTANCE = replace(DEFAULT, granularity="distance")
ROWS = {
    "default": DEFAULT,
    "levels averaged": replace(DEFAULT, levels="averaged"),
    "sub-part alone": replace(DEFAULT, levels="sub-part"),
    "part alone": replace(DEFAULT, levels="part"),
    "whole alone": replace(DEFAULT, levels="whole"),
    "no consensus": replace(DEFAULT, consensus=False),
    "no consensus, averaged": replace(DEFAULT, consensus=False, levels="averaged"),
    "sharpness 1": replace(DEFAULT, sharpness=1.0),
    "sharpness 1.5": replace(DEFAULT, sharpness=1.5),
    "sharpness 3": replace(DEFAULT, sharpness=3.0),
    "by distance": BY_DISTANCE,
    "by distance, entropy -0.5": replace(BY_DISTANCE, entropy_weight=-0.5),
    "by distance, paper's entropy 0.002": replace(BY_DISTANCE, entropy_weight=0.002),
    "released loss": replace(BY_DISTANCE, loss="mixture", entropy_weight=0.002),
    "blended pixels alone": replace(DEFAULT, single_share=0.0),
    "single Gaussians alone": replace(DEFAULT, single_share=1.0),
    "region-aware": replace(DEFAULT, region_aware=True),
    "consistency 0.1": replace(DEFAULT, consistency_weight=0.1),
    "half the pixels": replace(DEFAULT, pixels_per_photo=DEFAULT.pixels_per_photo // 2),
    "half the steps": replace(DEFAULT, steps=DEFAULT.steps // 2),
    "no learning": replace(DEFAULT, steps=0),
    "32 features": replace(DEFAULT, feature_dim=32),
}


@dataclass(eq=False)
class Labelled:
    """A finished scene and its ground truth."""

    scene: Scene
    labels: list[FrameLabels]

    def figures(self, settings: DistillSettings) -> list[float]:
        """mAcc, mIoU, mean average precision, mean best IoU (shares), and seconds of distillation."""
        scene, started = self.scene, time.monotonic()
        field = train_field(scene.gaussians, Descriptions(scene.workspace, scene.capture.train), settings)
        seconds = time.monotonic() - started
        result = evaluate(FieldAnswerer(scene.gaussians, field), scene.capture, self.labels, self.encoder)
        means = result.overall
        return [
            means.mean_accuracy, means.mean_iou, means.mean_average_precision, means.mean_best_iou, seconds,
        ]  # fmt: skip

    @property
    def encoder(self):
        return load_encoder(self.scene.field.encoder_name)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenes", nargs="+", type=Path, help="folders: scene, labels, scene, labels, …")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=list(ROWS), choices=list(ROWS), metavar="ROW")
    arguments = parser.parse_args()
    folders = arguments.scenes
    if len(folders) % 2:
        parser.error("each scene needs the folder of its labels")
    pairs = [
        Labelled(Scene.load(scene), load_labels(labels))
        for scene, labels in zip(folders[::2], folders[1::2], strict=True)
    ]
    names = [pair.scene.workspace.root.name for pair in pairs]
    print("| setting |" + "".join(f" {name}: mAcc | mIoU | mAP | best IoU | s |" for name in names))
    print("|---|" + "---|" * 5 * len(names), flush=True)
    for row in arguments.only:
        cells = []
        for pair in pairs:
            runs = [pair.figures(replace(ROWS[row], seed=seed)) for seed in range(arguments.seeds)]
            *shares, seconds = np.median(runs, axis=0)
            cells += [f"{100 * share:.1f}" for share in shares] + [f"{seconds:.0f}"]
        print(f"| {row} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
