"""Score a scene against labelled photos: python 12_evaluate.py WS LABELS."""

import sys
from pathlib import Path

import gags


def main(folder: Path, labels: Path) -> None:
    scene = gags.Scene.load(folder)
    for protocol, evaluation in gags.evaluate(scene, labels, "all").items():
        means = evaluation.overall
        print(f"{protocol}: {means.pairs} pairs, mAcc {means.mean_accuracy:.1%}, mIoU {means.mean_iou:.1%}")
        worst = min(evaluation.categories.items(), key=lambda item: item[1].mean_iou)
        print(f"  worst: {worst[0]}; see {scene.workspace.evaluation_page(protocol)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
