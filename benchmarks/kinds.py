"""Several of a kind, things in things, parts: how many of each the scene hands over, against exact truth.

    python tools/make_demo.py FURNITURE --work /tmp/demo --capture kinds --out CAPTURE
    gags run CAPTURE --out SCENE
    python -m benchmarks.kinds SCENE CAPTURE

Every instance of `gags locate` is rendered into all photos and compared with every true instance there,
pixels of all photos together. An instance is right if its IoU with one that no better instance took is 0.5 or
more.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from gags.query.maps import render_values
from gags.scene import Scene

RIGHT = 0.5  # IoU
SEEN = 0.5  # of a pixel that must show an instance


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("scene", type=Path)
    parser.add_argument("capture", type=Path, help="made by tools/make_demo.py")
    arguments = parser.parse_args()
    told = json.loads((arguments.capture / "truth.json").read_text())
    scene = Scene.load(arguments.scene)
    right: dict[str, list[list[int]]] = told["answers"]
    found = dict(zip(right, scene.locate(list(right)), strict=True))
    masks = [one.mask.numpy() for instances in found.values() for one in instances]
    things = scene.things()
    nodes = [mask_of(things[node], len(scene.gaussians)) for node in range(len(things))]
    truths = [own for each in right.values() for own in each]
    ious = compare(scene, arguments.capture, [*masks, *nodes], truths)
    rows, first, column = [], 0, 0
    for text, instances in right.items():
        block = ious[first : first + len(found[text]), column : column + len(instances)]
        best = ious[len(masks) :, column : column + len(instances)].max(axis=0)
        rows.append((text, len(instances), len(block), matched(block), best_of(block), best.mean()))
        first, column = first + len(block), column + len(instances)
    print("| text | there | answered | right | IoU of the best answer | best node of the hierarchy |")
    print("|---|---|---|---|---|---|")
    for text, there, answered, hits, iou, best in rows:
        print(f"| {text} | {there} | {answered} | {hits} | {100 * iou:.0f} | {100 * best:.0f} |")
    there, answered, hits = (sum(row[k] for row in rows) for k in (1, 2, 3))
    print(
        f"| **all** | {there} | {answered} | {hits} | {100 * np.mean([row[4] for row in rows]):.0f} "
        f"| {100 * np.mean([row[5] for row in rows]):.0f} |\n"
    )
    counted = sum(row[1] == row[2] == row[3] for row in rows)
    print(f"Texts with as many right answers as there are things, and no other: {counted} of {len(rows)}.")
    answers = dict(zip(told["absent"], scene.locate(told["absent"]), strict=True))
    wrong = [text for text, instances in answers.items() if instances]
    print(f"Absent things answered: {len(wrong)} of {len(answers)}{': ' if wrong else ''}{', '.join(wrong)}.")


def mask_of(rows: np.ndarray, count: int) -> np.ndarray:
    """Rows as a mask. bool [count]"""
    mask = np.zeros(count, bool)
    mask[rows] = True
    return mask


def compare(
    scene: Scene, capture: Path, masks: Sequence[np.ndarray], truths: Sequence[Sequence[int]]
) -> np.ndarray:
    """IoU of what Gaussians look like with true instances, over the pixels of all photos.

    Args:
        scene: The scene.
        capture: Its capture, with `truth/<photo>.png`.
        masks: Gaussians of each of n answers. bool [N]
        truths: Numbers of each of m true instances.

    Returns:
        float64 [n, m]
    """
    values = torch.from_numpy(np.stack(masks, axis=1).astype(np.float32))
    common, drawn = np.zeros((len(masks), len(truths))), np.zeros(len(masks))
    true = np.zeros(len(truths))
    for view in [*scene.capture.train, *scene.capture.test]:
        picture = cv2.imread(str(capture / "truth" / f"{Path(view.name).stem}.png"), cv2.IMREAD_GRAYSCALE)
        if picture is None:
            raise SystemExit(f"{capture} has no truth of {view.name}: is it the capture of the scene?")
        numbers = picture[1::2, 1::2]
        camera = view.camera.resized(numbers.shape[1], numbers.shape[0])
        shown = (render_values(scene.gaussians, values, camera).maps >= SEEN).reshape(len(masks), -1)
        there = np.stack([np.isin(numbers, own).reshape(-1) for own in truths])
        common += shown.astype(np.float32) @ there.T.astype(np.float32)
        drawn += shown.sum(axis=1)
        true += there.sum(axis=1)
    return common / np.maximum(drawn[:, None] + true[None] - common, 1)


def matched(ious: np.ndarray) -> int:
    """How many true instances an answer is, each answer for one. IoU [n, m]"""
    left, count = ious.copy(), 0
    while left.size and left.max() >= RIGHT:
        answer, thing = np.unravel_index(left.argmax(), left.shape)
        left[answer], left[:, thing] = 0, 0
        count += 1
    return count


def best_of(ious: np.ndarray) -> float:
    """The largest IoU, 0 without an answer."""
    return float(ious.max(initial=0))


if __name__ == "__main__":
    main()
