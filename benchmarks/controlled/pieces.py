"""How much of a thing is left in the embedding of a piece of it: a real encoder beside the controlled one.

    python -m benchmarks.controlled.pieces CAPTURE --clip-text DIR --scene WS

WS is a scene of the capture that a real segmenter and encoder have described. Of its masks those count of
which nine tenths lie on one object. Embeddings, less their mean over the objects, are compared with the mean
of the masks that show the object whole: the cosine is 1 if all that a mask shows is what they have in common.
The controlled encoder embeds the same masks.
"""

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.controlled.encoder import ControlledEncoder, areas_covered
from benchmarks.controlled.names import TextVectors, unit
from benchmarks.controlled.truth import Truth
from gags.capture import read_saved_capture
from gags.embed.description import Description
from gags.workspace import Workspace

SHARES = (0, 0.1, 0.2, 0.4, 0.6, 0.85, 1.0)
AREAS = (0, 800, 3000, np.inf)  # px
PURE = 0.9
WHOLE, LEAST_AREA = 0.85, 1500  # least share of the object, and px, of masks that show it whole
ENOUGH = 15  # masks for a figure


def objects_of(
    features: Description, ids: np.ndarray, truth: Truth
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Object of each mask, -1 if it is not pure; the share of the object it covers; its area, px. [M] each"""
    covered, areas = areas_covered(features.masks, ids)
    objects = [thing for thing in truth.things if thing.kind == "object"]
    pixels = np.stack([covered[:, list(thing.leaves)].sum(axis=1) for thing in objects], axis=1)
    seen = np.bincount(ids.ravel(), minlength=256)
    visible = np.array([seen[list(thing.leaves)].sum() for thing in objects])
    most = pixels.argmax(axis=1)
    largest = pixels.max(axis=1)
    return np.where(largest > PURE * areas, most, -1), largest / np.maximum(visible[most], 1), areas


def left(embeddings: np.ndarray, objects: np.ndarray, shares: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """Cosine of every mask with its object, as the docstring above has it; NaN where that is unknown. [M]"""
    embeddings = unit(embeddings.astype(np.float64))
    whole = (shares > WHOLE) & (areas > LEAST_AREA)
    known = [row for row in np.unique(objects[objects >= 0]) if (whole & (objects == row)).sum() > 5]
    means = np.stack([embeddings[whole & (objects == row)].mean(axis=0) for row in known])
    centre = means.mean(axis=0)
    cosines = unit(embeddings - centre) @ unit(means - centre).T
    result = np.full(len(embeddings), np.nan)
    for column, row in enumerate(known):
        result[objects == row] = cosines[objects == row, column]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("capture", type=Path, help="synthetic capture with instance maps")
    parser.add_argument("--clip-text", type=Path, required=True, help="folder of lvis_v1.npy and .json")
    parser.add_argument("--scene", type=Path, required=True, help="scene with masks and embeddings")
    arguments = parser.parse_args()
    truth, workspace = Truth.load(arguments.capture), Workspace.open(arguments.scene)
    encoder = ControlledEncoder(TextVectors(arguments.clip_text, truth.aliases), truth)
    parts, real, made = [], [], []
    for view in read_saved_capture(workspace.capture).train:
        features = Description.load(workspace.description(view.name))
        ids = truth.ids(view.stem, view.camera.width, view.camera.height)
        parts.append(objects_of(features, ids, truth))
        real.append(features.embeddings)
        made.append(encoder.embed_masks(features.masks, ids, view.name))
    objects, shares, areas = (np.concatenate(column) for column in zip(*parts, strict=True))
    figures = [left(np.concatenate(each), objects, shares, areas) for each in (real, made)]
    print("| share of the object | px | masks | real | controlled |\n|---|---|---|---|---|")
    for low, high in pairwise(SHARES):
        for least, most in pairwise(AREAS):
            chosen = (shares > low) & (shares <= high) & (areas >= least) & (areas < most)
            chosen &= np.isfinite(figures[0])
            if chosen.sum() >= ENOUGH:
                ours, theirs = (f"{figure[chosen].mean():.2f}" for figure in figures)
                title = f"{low} to {high} | {least} to {most}".replace("to inf", "and more")
                print(f"| {title} | {chosen.sum()} | {ours} | {theirs} |")


if __name__ == "__main__":
    main()
