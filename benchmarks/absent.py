"""Measure how well a scene tells what it does not hold: texts of things that are there against others.

    python -m benchmarks.absent SCENE LABELS ABSENT.txt [--count 200] [SCENE LABELS ABSENT.txt …]

Present are the categories of LABELS that the best thing answers with a mean IoU of at least a half: what the
encoder can name at all. Absent are names from ABSENT.txt, one a line (`#` begins a comment; LVIS names, say),
in random order, without those that mean about the same as a label. For thresholds of `least_match` (see
`gags.embed.Encoder`) the table has the share of absent texts that are answered, and of present ones kept.
"""

import argparse
from pathlib import Path

import numpy as np

from gags.evaluate.answerer import FieldAnswerer
from gags.evaluate.labels import load_labels
from gags.evaluate.score import evaluate
from gags.query.choose import Chooser
from gags.query.instances import Compared
from gags.query.names import read_words
from gags.query.space import Space
from gags.scene import Scene

NAMED = 0.5  # mean IoU from which on the encoder can name a thing
SAME = 0.55  # cosine of two texts that mean about the same
QUANTILES = (0.75, 0.8, 0.85, 0.9, 0.95, 0.98)  # of the absent texts' scores that the table has thresholds at


def scores(scene: Scene, texts: list[str]) -> np.ndarray:
    """What decides whether each text is in the scene: its best score from the start to the answer. [T]"""
    things = scene.things()
    space = Space.build(scene.gaussians, things)
    compared = Compared.of(scene.field, scene.queries(texts), things, space)
    chooser = Chooser(things, space.opacities, space.means)
    return np.array([compared.score(chooser, row) for row in range(len(texts))])


def present(scene: Scene, labels: Path) -> list[str]:
    """Categories that the best thing answers right."""
    answerer = FieldAnswerer(scene.gaussians, scene.field, scene.things)
    rows = evaluate(answerer, scene.capture, load_labels(labels), scene.encoder, "things").rows
    named = dict.fromkeys(row.category for row in rows)
    return [text for text in named if np.mean([row.iou for row in rows if row.category == text]) >= NAMED]


def absent(scene: Scene, labels: Path, names: list[str], count: int) -> list[str]:
    """Names that mean something else than every label, in random order."""
    known = list(dict.fromkeys(label.category for frame in load_labels(labels) for label in frame.labels))
    alike = scene.encoder.encode_texts(names) @ scene.encoder.encode_texts(known).T
    others = [name for name, cosine in zip(names, alike.max(axis=1), strict=True) if cosine < SAME]
    return [others[row] for row in np.random.default_rng(0).permutation(len(others))[:count]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("inputs", type=Path, nargs="+", metavar="SCENE LABELS ABSENT.txt")
    parser.add_argument("--count", type=int, default=200, help="absent texts of a scene")
    arguments = parser.parse_args()
    inputs = arguments.inputs
    there: list[np.ndarray] = []
    not_there: list[np.ndarray] = []
    for root, labels, names in zip(inputs[::3], inputs[1::3], inputs[2::3], strict=True):
        scene = Scene.load(root)
        there.append(scores(scene, present(scene, labels)))
        not_there.append(scores(scene, absent(scene, labels, read_words(names), arguments.count)))
    every = np.concatenate(not_there)
    counts = f"absent answered, % of {len(every)} | present kept, % of {sum(map(len, there))}"
    print(f"| threshold | {counts} | by scene |")
    print("|---|---|---|---|")
    for quantile in QUANTILES:
        least = np.quantile(every, quantile)
        by_scene = ", ".join(
            f"{100 * (out >= least).mean():.0f} / {100 * (kept >= least).mean():.0f}"
            for out, kept in zip(not_there, there, strict=True)
        )
        kept = np.concatenate(there) >= least
        print(f"| {least:.3f} | {100 * (1 - quantile):.0f} | {100 * kept.mean():.0f} | {by_scene} |")


if __name__ == "__main__":
    main()
