"""How much of the best there is do answers reach, for the texts that the encoder can name at all?

    python -m benchmarks.nameable SCENE LABELS [SCENE LABELS …]

A label can be named if, of all masks of all photos, the one whose embedding fits the text best lies on it:
more than half of what the mask's Gaussians show in the labelled photos is the label. For these, the mean IoU
of the rendered answer (protocol `things`) stands beside that of the best single node of the hierarchy, chosen
for each text by looking at the truth.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from benchmarks.labelled import Pairs, truths
from gags.distill.evidence import gather_evidence
from gags.embed.description import Descriptions
from gags.evaluate.answerer import FieldAnswerer
from gags.evaluate.labels import load_labels, match_frames
from gags.evaluate.metrics import iou
from gags.evaluate.protocols import CHOSEN_SHARE
from gags.evaluate.score import evaluate
from gags.gaussians import blend_weights
from gags.query.maps import render_values
from gags.query.relevancy import margins_from_cosines
from gags.scene import Scene

ON_IT = 0.5  # of a mask, that must show the label
EVERY = 4  # pixels, of a labelled photo, that are looked at in each direction


def main() -> None:
    parser = argparse.ArgumentParser(description="How much of the best there is do answers reach?")
    parser.add_argument("inputs", type=Path, nargs="+", metavar="SCENE LABELS")
    inputs = parser.parse_args().inputs
    if len(inputs) % 2:
        parser.error("a folder of labels is wanted for each scene")
    print("| scene | labels | can be named | IoU of answers | of the best node | share | below 80 % |")
    print("|---|---|---|---|---|---|---|")
    for root, folder in zip(inputs[::2], inputs[1::2], strict=True):
        scene, labels = Scene.load(root), load_labels(folder)
        pairs = match_frames(labels, scene.capture)
        texts = sorted({label.category for frame, _ in pairs for label in frame.labels})
        named = [text for text in texts if can_be_named(scene, pairs, text)]
        answerer = FieldAnswerer(scene.gaussians, scene.field, scene.things)
        means = evaluate(answerer, scene.capture, labels, scene.encoder, "things").categories
        ours = np.array([means[text].mean_iou for text in named])
        best = best_nodes(scene, pairs, named)
        rows = zip(named, ours, best, strict=True)
        poor = [f"{text} {100 * own:.0f} of {100 * most:.0f}" for text, own, most in rows if own < 0.8 * most]
        share = ours.mean() / best.mean()
        print(
            f"| {root.name} | {len(texts)} | {len(named)} | {100 * ours.mean():.1f} "
            f"| {100 * best.mean():.1f} | {100 * share:.0f} % | {', '.join(poor) or '–'} |"
        )


def can_be_named(scene: Scene, pairs: Pairs, text: str) -> bool:
    """Whether the mask that fits the text best, of all photos, lies on what carries the label."""
    views = [view for view in scene.capture.train if scene.workspace.description(view.name).exists()]
    items = Descriptions(scene.workspace, views)
    queries = scene.queries(text)
    best, where = -np.inf, (views[0], 0)
    for view, (_, description) in zip(views, items, strict=True):
        vectors = torch.from_numpy(description.embeddings.astype(np.float32))
        cosines = (vectors @ texts.cpu().T for texts in (queries.vectors, queries.negatives))
        fits = margins_from_cosines(*cosines, counted=queries.counted)[:, 0]
        if len(fits) and float(fits.max()) > best:
            best, where = float(fits.max()), (view, int(fits.argmax()))
    view, mask = where
    evidence, _ = gather_evidence(scene.gaussians, [items[views.index(view)]], stage="Best mask")
    owners = np.repeat(np.arange(len(scene.gaussians)), np.diff(evidence.starts))
    held = evidence.columns == mask
    weights = np.bincount(owners[held], evidence.weights[held], minlength=len(scene.gaussians))
    inside, total = label_weights(scene, pairs, text)
    seen = total > 0
    shares = inside[seen] / total[seen]
    return bool(weights[seen] @ shares > ON_IT * weights[seen].sum())


def label_weights(scene: Scene, pairs: Pairs, text: str) -> tuple[np.ndarray, np.ndarray]:
    """Blending weight of every Gaussian on the label, and in the photos that have it. [N], [N]"""
    count = len(scene.gaussians)
    inside, total = np.zeros(count), np.zeros(count)
    for view, truth in truths(pairs, text):
        camera = view.camera
        xs, ys = np.meshgrid(np.arange(0, camera.width, EVERY), np.arange(0, camera.height, EVERY))
        pixels = torch.from_numpy(np.stack([xs, ys], axis=-1).reshape(-1, 2))
        blend = blend_weights(scene.gaussians, camera, pixels)
        indices = blend.indices.cpu().numpy()
        there = indices >= 0
        rows, weights = indices[there], blend.weights.cpu().numpy()[there]
        on_it = np.broadcast_to(truth[ys, xs].reshape(-1, 1), there.shape)[there]
        inside += np.bincount(rows[on_it], weights[on_it], minlength=count)
        total += np.bincount(rows, weights, minlength=count)
    return inside, total


def best_nodes(scene: Scene, pairs: Pairs, texts: list[str]) -> np.ndarray:
    """Mean IoU over the labelled photos of the node that is best for each text. [T]"""
    things = scene.things()
    members = torch.zeros(len(scene.gaussians), len(things))
    for node in range(len(things)):
        members[torch.from_numpy(things[node].astype(np.int64)), node] = 1
    found: dict[str, list[np.ndarray]] = {text: [] for text in texts}
    for frame, view in pairs:
        shown = render_values(scene.gaussians, members, view.camera).maps >= CHOSEN_SHARE
        for label in frame.labels:
            if label.category in found:
                truth = frame.mask(label, view.camera.width, view.camera.height)
                found[label.category].append(np.array([iou(node, truth) for node in shown]))
    return np.array([np.mean(found[text], axis=0).max() for text in texts])


if __name__ == "__main__":
    main()
