"""Draw what a scene answers: a sheet with each text's answer in a photo, and what is cut out.

    python tools/answers_sheet.py SCENE OUT.jpg --labels LABELS [--texts TEXT …] [--columns 4]

Texts are the labelled categories; each is shown in the labelled photo that has most of it, if possible in one
whose edges do not cut it.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from gags.draw import lettering
from gags.draw.pictures import cutout, heat_overlay
from gags.evaluate.labels import load_labels, match_frames
from gags.scene import Scene

PHOTO, CUT = 420, 200  # px, widths of the two halves of a cell


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scene", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--texts", nargs="*")
    parser.add_argument("--columns", type=int, default=3)
    arguments = parser.parse_args()
    scene = Scene.load(arguments.scene)
    best: dict[str, tuple[bool, int, str]] = {}
    for frame, view in match_frames(load_labels(arguments.labels), scene.capture):
        for label in frame.labels:
            mask = frame.mask(label, view.camera.width, view.camera.height)
            whole = not (mask[[0, -1]].any() or mask[:, [0, -1]].any())
            here = (whole, int(mask.sum()), view.name)
            best[label.category] = max(best.get(label.category, here), here)
    texts = arguments.texts or sorted(best)
    shown = [
        best[text][2] if text in best else scene.best_views(scene.queries(text), 1)[0][0].name
        for text in texts
    ]
    cells = [cell(scene, text, view) for text, view in zip(texts, shown, strict=True)]
    Image.fromarray(lettering.grid(cells, texts, columns=arguments.columns)).save(arguments.out, quality=88)


def cell(scene: Scene, text: str, view: str) -> np.ndarray:
    """Answer and cut-out of a text beside each other. uint8 RGB [h, w, 3]"""
    (answer,) = scene.query(text, view)
    photo = scene.capture[view].image()
    left = lettering.fit_width(heat_overlay(photo, answer.relevancy, answer.mask, answer.peak), PHOTO)
    right = np.full((left.shape[0], CUT, 3), 250, np.uint8)
    if answer.mask.any():
        cut = cutout(photo, answer.mask)
        scale = min(right.shape[0] / cut.shape[0], CUT / cut.shape[1])
        cut = lettering.resize(cut, max(1, int(cut.shape[0] * scale)), max(1, int(cut.shape[1] * scale)))
        top, start = (right.shape[0] - cut.shape[0]) // 2, (CUT - cut.shape[1]) // 2
        right[top : top + cut.shape[0], start : start + cut.shape[1]] = cut
    return np.hstack([left, right])


if __name__ == "__main__":
    main()
