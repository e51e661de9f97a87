"""Are views that were not learnt from answered as well as those that were?

    python -m benchmarks.held_out CAPTURE SCENE [--seeds 3] [--every 2]

CAPTURE is a synthetic capture with exact instance maps of all views, SCENE a finished scene of it, which is
only read. Labels of held-out and of training photos are made alike from the instance maps: objects and parts
with at least 150 visible px, as in the capture's own labels. Every seed distils anew, with the defaults.
Figures are medians over the seeds, in %, by the protocol `lerf-ovs`.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from benchmarks.controlled.truth import Truth
from gags.capture import View
from gags.cli.console import ConsoleReporter
from gags.distill.settings import DistillSettings
from gags.distill.train import train_field
from gags.embed import load_encoder
from gags.embed.description import Descriptions
from gags.evaluate.answerer import FieldAnswerer
from gags.evaluate.labels import load_labels
from gags.evaluate.score import evaluate
from gags.scene import Scene

LEAST_PIXELS = 150
FIGURES = ("mean_accuracy", "mean_iou", "mean_average_precision", "mean_best_iou")


def write_labels(truth: Truth, views: Sequence[View], folder: Path) -> int:
    """Write exact labels of some views in the LERF-OVS format; returns the number of pairs."""
    count = 0
    for view in views:
        ids = truth.ids(view.stem, view.camera.width, view.camera.height)
        things = []
        for thing in truth.things:
            mask = np.isin(ids, thing.leaves)
            if thing.kind == "stuff" or np.count_nonzero(mask) < LEAST_PIXELS:
                continue
            x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
            corners = [[x, y], [x + width, y], [x + width, y + height], [x, y + height]]
            box = [x, y, x + width, y + height]
            things.append({"category": thing.name, "segmentation": corners, "bbox": box})
            picture = folder / view.stem / f"{thing.name}.png"
            picture.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(picture), mask.astype(np.uint8) * 255)
        info = {"name": view.name, "width": view.camera.width, "height": view.camera.height}
        (folder / f"{view.stem}.json").write_text(json.dumps({"info": info, "objects": things}))
        count += len(things)
    return count


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("capture", type=Path, help="synthetic capture with instance maps")
    parser.add_argument("scene", type=Path, help="finished scene of it")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--every", type=int, default=2, help="label every Nth training photo")
    arguments = parser.parse_args()
    truth, scene = Truth.load(arguments.capture), Scene.load(arguments.scene)
    items = Descriptions(scene.workspace, scene.capture.train)
    encoder, progress = load_encoder(scene.field.encoder_name), ConsoleReporter()
    settings = [replace(DistillSettings(), seed=seed) for seed in range(arguments.seeds)]
    fields = [train_field(scene.gaussians, items, setting, progress=progress) for setting in settings]
    groups = {"held out": scene.capture.test, "learnt from": scene.capture.train[:: arguments.every]}
    print("| photos | pairs | mAcc | mIoU | mAP | best IoU |\n|---|---|---|---|---|---|", flush=True)
    for name, views in groups.items():
        with tempfile.TemporaryDirectory() as folder:
            pairs = write_labels(truth, views, Path(folder))
            labels = load_labels(Path(folder))
            rows = []
            for field in fields:
                answerer = FieldAnswerer(scene.gaussians, field)
                means = evaluate(answerer, scene.capture, labels, encoder, progress=progress).overall
                rows.append([getattr(means, figure) for figure in FIGURES])
        figures = " | ".join(f"{100 * figure:.1f}" for figure in np.median(rows, axis=0))
        print(f"| {name} ({len(views)}) | {pairs} | {figures} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
