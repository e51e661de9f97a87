"""Does the hierarchy of a scene hold its things? Every true object and part against the best node.

    python -m benchmarks.hierarchy CAPTURE SCENE [CAPTURE SCENE …]

CAPTURE has `objects.json` and `instance/` (exact maps of every photo; `tools/make_demo.py --truth` makes
those of the demo), SCENE is a finished scene of it. A Gaussian counts for what it shows in all training
photos, by its blending weights; so does each object. Printed are, for every object and part, the IoU of the
node that fits it best, and the means of that and of its recall: what a perfect choice of one node would give.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from benchmarks.controlled.truth import LEAVES, Truth
from gags.gaussians import blend_weights
from gags.scene import Scene

EVERY = 2  # pixels that are looked at in each direction


def shown(scene: Scene, truth: Truth) -> np.ndarray:
    """Blending weight of every Gaussian on every leaf of the truth, over all training photos. [N, 256]"""
    weights = np.zeros((len(scene.gaussians), LEAVES))
    for view in scene.capture.train:
        camera = view.camera
        ys, xs = np.mgrid[0 : camera.height : EVERY, 0 : camera.width : EVERY].reshape(2, -1)
        pixels = torch.from_numpy(np.stack([xs, ys], axis=-1)).to(scene.gaussians.means.device)
        blend = blend_weights(scene.gaussians, camera, pixels)
        indices = blend.indices.cpu().numpy()
        there = indices >= 0
        leaves = np.broadcast_to(truth.ids(view.stem, camera.width, camera.height)[ys, xs, None], there.shape)
        np.add.at(weights, (indices[there], leaves[there]), blend.weights.cpu().numpy()[there])
    return weights


def best_nodes(scene: Scene, truth: Truth) -> dict[str, tuple[float, float]]:
    """IoU and recall of the node that fits each object and part best, by its name."""
    weights, things = shown(scene, truth), scene.things()
    total = weights.sum(axis=1)
    sizes = np.array([total[rows].sum() for rows in things])
    found = {}
    for thing in truth.things:
        if thing.kind not in ("object", "part"):
            continue
        own = weights[:, list(thing.leaves)].sum(axis=1)
        if not own.any():  # no training photo shows it
            continue
        shared = np.array([own[rows].sum() for rows in things])
        ious = shared / (own.sum() + sizes - shared)
        best = int(ious.argmax())
        found[thing.name] = (float(ious[best]), float(shared[best] / own.sum()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("inputs", type=Path, nargs="+", metavar="CAPTURE SCENE")
    inputs = parser.parse_args().inputs
    if len(inputs) % 2:
        parser.error("a scene is wanted for each capture")
    for folder, root in zip(inputs[::2], inputs[1::2], strict=True):
        scene = Scene.load(root)
        if not len(scene.things()):
            parser.error(f"{root} has no things; describe it first")
        found = best_nodes(scene, Truth.load(folder))
        ious, recalls = 100 * np.array(list(found.values())).T
        listed = ", ".join(f"{name} {100 * iou:.0f}" for name, (iou, _) in found.items())
        nodes = len(scene.things())
        print(
            f"{root.name}, {nodes} nodes: mean IoU {ious.mean():.1f}, recall {recalls.mean():.1f}: {listed}"
        )


if __name__ == "__main__":
    main()
