"""What one click is worth: answers to texts before and after each was taught, protocol lerf-ovs.

    python -m benchmarks.teach SCENE LABELS [--texts "wifi router" "power bank" …] [--pictures FOLDER]

Without `--texts`, the five that are answered worst are taught. Each is taught by one click, at the middle of
its outline in the first labelled photo that has it (the nearest pixel of the label, if the middle is not on
it), and asked in all labelled photos; once more without the photo of the click. In the second table, the
`--level` of each click was chosen by looking at what it gives in the clicked photo. The scene's folder stays
as it is.
"""

import argparse
import tempfile
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import torch

from benchmarks.labelled import Pairs, truths
from gags.draw.pictures import heat_overlay
from gags.evaluate.answerer import FieldAnswerer
from gags.evaluate.labels import load_labels, match_frames
from gags.evaluate.metrics import Row, iou
from gags.evaluate.protocols import CHOSEN_SHARE, named_protocol
from gags.evaluate.score import evaluate, make_asker, score_frame
from gags.query.maps import render_values
from gags.query.pointed import Level, thing_at
from gags.query.showing import ExampleMaker
from gags.query.taught import TaughtNames
from gags.scene import Scene

WORST = 5  # texts that are taught if none are named
PROTOCOL = "lerf-ovs"


def middle(truth: np.ndarray) -> tuple[int, int]:
    """Column and row of the pixel of a label [H, W] that is nearest to its middle."""
    rows, columns = np.nonzero(truth)
    nearest = np.hypot(rows - rows.mean(), columns - columns.mean()).argmin()
    return int(columns[nearest]), int(rows[nearest])


def taught_by_one_click(
    scene: Scene, pairs: Pairs, texts: list[str], file: Path, *, look: bool
) -> dict[str, tuple[str, Level | None]]:
    """Teach every text in the first photo that has it; the scene keeps the names in another file.

    Args:
        scene: The scene.
        pairs: Labelled photos.
        texts: What to teach.
        file: Where names are kept.
        look: Whether the level is chosen by what it gives in the clicked photo, as somebody does who looks.

    Returns:
        The photo that was clicked into and the level, by text.
    """
    scene.taught = TaughtNames(file, ExampleMaker(scene).meaning)
    clicked = {}
    for text in texts:
        view, truth = next((view, truth) for view, truth in truths(pairs, text) if truth.any())
        at, things = middle(truth), scene.things()
        levels = (None, *get_args(Level)) if look else (None,)
        nodes = [thing_at(scene.gaussians, things, view, at, level) for level in levels]
        members = torch.zeros(len(scene.gaussians), len(nodes))
        for column, node in enumerate(nodes):
            members[torch.from_numpy(things[node].astype(np.int64)), column] = 1
        shown = render_values(scene.gaussians, members, view.camera).maps >= CHOSEN_SHARE
        level = levels[int(np.argmax([iou(mask, truth) for mask in shown]))]
        scene.teach(text, view, at, level=level)
        clicked[text] = view.name, level
    return clicked


def means(rows: list[Row], text: str, without: str = "") -> tuple[float, float]:
    """Mean IoU and mean accuracy of a text in percent, without those of one photo; NaN if none is left."""
    own = [row for row in rows if row.category == text and row.frame != without]
    return 100 * float(np.mean([row.iou for row in own])), 100 * float(np.mean([row.hit for row in own]))


def draw(scene: Scene, pairs: Pairs, texts: list[str], folder: Path) -> None:
    """Write every answer in every labelled photo as a picture."""
    rules = named_protocol(PROTOCOL)
    ask = make_asker(FieldAnswerer.of(scene), texts, scene.encoder, rules)
    folder.mkdir(parents=True, exist_ok=True)
    for frame, view in pairs:
        wanted = [label for label in frame.labels if label.category in texts]
        for scored in score_frame(ask, frame, wanted, view, rules):
            picture = heat_overlay(
                view.image(), scored.values, scored.mask, scored.row.peak, truth=scored.truth
            )
            name = f"{scored.row.category.replace(' ', '_')}_{Path(view.name).stem}.jpg"
            cv2.imwrite(str(folder / name), picture[..., ::-1])


def print_table(before: list[Row], after: list[Row], clicked: dict, alike: dict[str, int]) -> None:
    """One row a text: before, after, and after without the photo that was clicked into."""
    titles = ("text", "clicked in", "level", "alike", "mIoU before", "after", "without it")
    print("|", " | ".join((*titles, "mAcc before", "after", "without it")), "|")
    print("|" + "---|" * 10)
    lines = []
    for text, (view, level) in clicked.items():
        columns = means(before, text), means(after, text), means(after, text, without=view)
        lines.append([value for figures in zip(*columns, strict=True) for value in figures])
        cells = " | ".join(f"{value:.1f}" for value in lines[-1])
        print(f"| {text} | {view} | {level or 'not given'} | {alike[text]} | {cells} |")
    cells = " | ".join(f"{value:.1f}" for value in np.nanmean(lines, axis=0))
    print(f"| mean | | | | {cells} |")
    untaught = [row for row in before if row.category not in clicked]
    same = {(row.frame, row.category): row.iou for row in after}
    changed = sum(same[row.frame, row.category] != row.iou for row in untaught)
    print(f"\n{len(untaught)} answers to texts that were not taught, of them changed: {changed}\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scene", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--texts", nargs="+", default=[])
    parser.add_argument("--pictures", type=Path)
    arguments = parser.parse_args()
    scene, labels = Scene.load(arguments.scene), load_labels(arguments.labels)
    pairs = match_frames(labels, scene.capture)
    plain = FieldAnswerer(scene.gaussians, scene.field, scene.things)
    before = evaluate(plain, scene.capture, labels, scene.encoder, PROTOCOL)
    worst = sorted(before.categories, key=lambda text: before.categories[text].mean_iou)
    texts = arguments.texts or worst[:WORST]
    with tempfile.TemporaryDirectory() as folder:
        for look in (False, True):
            clicked = taught_by_one_click(
                scene, pairs, texts, Path(folder) / f"{look}.safetensors", look=look
            )
            after = evaluate(FieldAnswerer.of(scene), scene.capture, labels, scene.encoder, PROTOCOL)
            found = zip(texts, scene.locate(texts), strict=True)
            alike = {text: sum(not one.certain for one in instances) for text, instances in found}
            print_table(before.rows, after.rows, clicked, alike)
            if arguments.pictures:
                draw(scene, pairs, texts, arguments.pictures / ("looked_at" if look else "plain"))


if __name__ == "__main__":
    main()
