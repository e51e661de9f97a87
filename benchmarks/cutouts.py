"""Check cut-outs against labels: is the whole thing in the file, and nothing else?

    python -m benchmarks.cutouts SCENE LABELS [--texts TEXT …]

Every labelled category is cut out into a PLY file as `gags extract` does, and the file is read back. Centres
of its Gaussians are projected into the labelled photos: of those that nothing hides, weighted by opacity, the
share inside the mask is the precision. The share of the mask's pixels where the file, rendered alone, is at
least half opaque is the recall. Both are means over the photos. The IoU is that of the best instance rendered
among all others, over the pixels of all labelled photos.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.labelled import Pairs, truths
from gags.evaluate.labels import load_labels, match_frames
from gags.gaussians import Gaussians, render
from gags.gaussians.ply import load_ply
from gags.query.maps import render_values, visible
from gags.scene import Scene

RIGHT, FIRST = 0.6, 0.5  # precision and recall of a cut-out that is right; IoU of its first instance
OPAQUE = 0.5  # alpha of a pixel that shows the cut-out
SHARE = 0.5  # of a pixel that must show an instance


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("scene", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--texts", nargs="*", help="default: the labelled categories")
    arguments = parser.parse_args()
    scene = Scene.load(arguments.scene)
    pairs = match_frames(load_labels(arguments.labels), scene.capture)
    labelled = sorted({label.category for frame, _ in pairs for label in frame.labels})
    texts = arguments.texts or labelled
    print("| text | rows | precision | recall | IoU of the first row | |")
    print("|---|---|---|---|---|---|")
    good = 0
    for text in texts:
        precision, recall, iou, rows = check(scene, pairs, text)
        right = min(precision, recall) >= RIGHT and iou >= FIRST
        good += right
        verdict = "right" if right else "**wrong**"
        print(f"| {text} | {rows} | {precision:.2f} | {recall:.2f} | {iou:.2f} | {verdict} |")
    print(f"\n{good} of {len(texts)} right.")


def check(scene: Scene, pairs: Pairs, text: str) -> tuple[float, float, float, int]:
    """Precision and recall of what is cut out for a text, IoU of its first instance, number of instances."""
    instances = scene.locate(text)[0]
    if not instances:
        return 0.0, 0.0, 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "thing.ply"
        scene.extract(text, path)
        alone = load_ply(path)
    chosen = same_places(scene.gaussians, alone)
    first = instances[0].mask[:, None].float()
    opacities = alone.opacities.cpu().double().numpy()
    means = scene.gaussians.means.cpu().double().numpy()
    precisions, recalls, common, union = [], [], 0, 0
    for view, truth in truths(pairs, text):
        camera = view.camera
        seen = visible(scene.gaussians, means, camera)[chosen]
        columns, lines = camera.project(means[chosen])[0][seen].astype(int).T
        weights = opacities[seen]
        precisions.append(float(weights @ truth[lines, columns] / max(weights.sum(), 1e-9)))
        drawn = render(alone, camera, alone.sh[:, 0])
        there = drawn.alphas.cpu().numpy() >= OPAQUE
        recalls.append((there & truth).sum() / truth.sum())
        shown = render_values(scene.gaussians, first, camera).maps[0] >= SHARE
        common, union = common + (shown & truth).sum(), union + (shown | truth).sum()
    return float(np.mean(precisions)), float(np.mean(recalls)), common / max(union, 1), len(instances)


def same_places(scene: Gaussians, part: Gaussians) -> np.ndarray:
    """Rows of the scene that a part of it was cut from, found by where they are. [n]"""
    rows = {tuple(place): row for row, place in enumerate(scene.means.cpu().numpy().tolist())}
    return np.array([rows[tuple(place)] for place in part.means.cpu().numpy().tolist()])


if __name__ == "__main__":
    main()
