"""Measure if `locate` lists what a text names and says "nothing matches" for the rest, encoder by encoder.

    python -m benchmarks.thresholds CAPTURE SCENE [--clip-text DIR --out DIR] [--seed 0] [--json]

CAPTURE is a synthetic capture as for `locate.py`, SCENE a finished scene of it. With --clip-text, the folder
of CLIP's text vectors, a second scene of the same Gaussians is made in --out (masks, embeddings and texts of
the controlled experiment, whose cosines lie as CLIP's do) and asked the same; --seed draws another world.
Masks that are in --out already are kept, the field is distilled anew. Run it from the root of the repository.

Texts are the names of the capture's objects, all their texts, and `ABSENT`, names of things that are not in
it. Of these one counts how often nothing is listed. Words are those of `locate.py`.
"""

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.controlled.describe import describe
from benchmarks.controlled.encoder import ControlledEncoder
from benchmarks.controlled.names import TextVectors
from benchmarks.controlled.truth import Truth as ControlledTruth
from benchmarks.locate import Truth, judge, summary
from gags.capture import read_saved_capture
from gags.cli.console import ConsoleReporter
from gags.distill.settings import DistillSettings
from gags.distill.train import train_field
from gags.gaussians.ply import load_ply
from gags.scene import Scene
from gags.segment.settings import DescribeSettings
from gags.store import file_stamp
from gags.workspace import Workspace

ABSENT = (
    "airplane",
    "armchair",
    "backpack",
    "bicycle",
    "cake",
    "carrot",
    "cat",
    "cow",
    "curtain",
    "dog",
    "guitar",
    "hammer",
    "hat",
    "helmet",
    "horse",
    "ladder",
    "laptop computer",
    "microscope",
    "motorcycle",
    "piano",
    "pillow",
    "scissors",
    "shoe",
    "skateboard",
    "sofa",
    "sunglasses",
    "teddy bear",
    "television set",
    "umbrella",
    "wineglass",
)
"""Categories of LVIS that are not in pantry; a few are near to what is, as things in a kitchen are."""
STEPS = 300  # of distillation: few, for masks whose embeddings agree


def controlled_scene(capture: Path, scene: Path, clip_text: Path, out: Path, seed: int = 0) -> Scene:
    """A scene of the same Gaussians, described by the controlled segmenter and encoder.

    Args:
        capture: A synthetic capture.
        scene: A scene of it; only read.
        clip_text: Folder of text vectors.
        out: Folder of the new scene; masks that are there already are kept.
        seed: Of prompts, masks, embeddings and distillation.
    """
    progress = ConsoleReporter()
    source, made = Workspace.open(scene), Workspace.create(out)
    shutil.copyfile(source.capture, made.capture)
    shutil.copyfile(source.splats, made.splats)
    photos, gaussians = read_saved_capture(made.capture), load_ply(made.splats)
    truth = ControlledTruth.load(capture)
    encoder = ControlledEncoder(TextVectors(clip_text, truth.aliases), truth, seed)
    items = describe(
        photos.train,
        gaussians,
        file_stamp(made.splats),
        truth,
        encoder,
        DescribeSettings(seed=seed),
        made.descriptions,
        progress=progress,
    )
    train_field(gaussians, items, DistillSettings(steps=STEPS, seed=seed), progress=progress).save(made.field)
    found = Scene.load(made.root)
    found.encoder = encoder
    return found


def measure(scene: Scene, truth: Truth) -> dict[str, dict[str, float]]:
    """Figures of one scene, by kind of texts."""
    records = [record for record in truth.objects.values() if record["kind"] == "object"]
    named = {record["queries"][0]: record for record in records}
    every = {text: record for record in records for text in record["queries"]}
    figures: dict[str, dict[str, float]] = {}
    for kind, texts in {"names": named, "all texts": every}.items():
        found = scene.locate(list(texts))
        rows = [judge(t, r, f, truth) for (t, r), f in zip(texts.items(), found, strict=True)]
        none = sum(row.rows == 0 for row in rows)
        figures[kind] = summary(rows) | {"phantoms": sum(row.phantoms for row in rows), "nothing": none}
    figures["absent"] = absent(scene, ABSENT)
    return figures


def absent(scene: Scene, texts: Sequence[str]) -> dict[str, float]:
    """How often nothing is listed for things that are not there, and how much is listed otherwise."""
    counts = [len(found) for found in scene.locate(list(texts))]
    return {"texts": len(counts), "nothing": counts.count(0), "rows": int(np.sum(counts))}


def table(figures: dict[str, dict[str, Any]]) -> str:
    """The figures of all scenes as a table."""
    lines = [
        "| encoder, texts | texts | found | placed | rows | phantoms | nothing matches |",
        "|---|---|---|---|---|---|---|",
    ]
    for encoder, kinds in figures.items():
        for kind, row in kinds.items():
            cells = [row.get(key, "–") for key in ("texts", "found", "placed", "rows", "phantoms", "nothing")]
            lines.append("| " + " | ".join(map(str, [f"{encoder}, {kind}", *cells])) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("capture", type=Path)
    parser.add_argument("scene", type=Path)
    parser.add_argument("--clip-text", type=Path, help="folder of lvis_v1.npy and .json")
    parser.add_argument("--out", type=Path, help="folder of the scene with the controlled encoder")
    parser.add_argument("--seed", type=int, default=0, help="of the world of the controlled encoder")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if (arguments.clip_text is None) != (arguments.out is None):
        parser.error("--clip-text and --out go together")
    scenes = [Scene.load(arguments.scene)]
    if arguments.clip_text:
        made = controlled_scene(
            arguments.capture, arguments.scene, arguments.clip_text, arguments.out, arguments.seed
        )
        scenes.append(made)
    figures = {scene.field.encoder_name: measure(scene, Truth(arguments.capture, scene)) for scene in scenes}
    print(json.dumps(figures, indent=2) if arguments.json else table(figures))


if __name__ == "__main__":
    main()
