"""Measure what a library of labelled scenes answers: texts, and crops of photos.

    python -m benchmarks.library_scenes LIB SCENE=LABELS [SCENE=LABELS ...] [--locate] [--texts] [--json]

SCENE is the name of a scene in the library, LABELS a folder in the LERF-OVS format. What is found *lies on* a
label if the middle of its box, seen in a labelled photo of its scene, is within an outline of the label.

*Texts*: every label is asked of the whole library. Is the best result in a scene that has the label, and does
it lie on it? At which rank does the first result do so, scenes that have it and those that have not together?

*Texts, one scene*: every label is asked of each scene that has it, alone. With --locate, `Scene.locate` is
asked the same; what it answers is its first instance, and nothing if nothing matches.

*Crops*: for every label, the box of its largest outline in one photo is cut out and asked. Is the best result
in the scene of the photo, and does it lie on the label? For labels that another scene has as well, the others
alone are asked: at which rank does the first result lie on it there?
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gags.capture import Capture, read_saved_capture
from gags.evaluate.labels import FrameLabels, load_labels, match_view
from gags.library.library import Library
from gags.library.records import Found
from gags.scene import Scene
from gags.workspace import Workspace

RANKS = 20  # results that are looked through


@dataclass(frozen=True, eq=False)
class Labelled:
    """A scene with its labels."""

    capture: Capture
    frames: list[FrameLabels]

    @property
    def texts(self) -> set[str]:
        """What is labelled in it."""
        return {label.category for frame in self.frames for label in frame.labels}

    def lies_on(self, found: Found, text: str) -> bool:
        """Whether the middle of a result's box is within an outline of a label."""
        return self.lies_at(found.oriented.center, text)

    def lies_at(self, center: np.ndarray, text: str) -> bool:
        """Whether a point is within an outline of a label. [3]"""
        for frame in self.frames:
            camera = match_view(frame, self.capture).camera
            xy, depth = camera.project(center)
            column, row = (int(value) for value in np.floor(xy))
            if depth <= 0 or not (0 <= column < camera.width and 0 <= row < camera.height):
                continue
            for label in frame.labels:
                if label.category == text and frame.mask(label, camera.width, camera.height)[row, column]:
                    return True
        return False

    def crop(self, text: str) -> np.ndarray:
        """The box of the label in the photo that shows most of it. uint8 RGB [h, w, 3]"""
        best: tuple[int, np.ndarray] = (0, np.zeros((1, 1, 3), np.uint8))
        for frame in self.frames:
            view = match_view(frame, self.capture)
            for label in frame.labels:
                mask = frame.mask(label, view.camera.width, view.camera.height)
                if label.category == text and mask.sum() > best[0]:
                    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
                    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
                    best = int(mask.sum()), view.image()[box]
        return best[1]


def rank_of(found: list[Found], scenes: dict[str, Labelled], text: str) -> int | None:
    """Rank, from 1 on, of the first result that lies on a label; None if none does."""
    for rank, result in enumerate(found, 1):
        if result.scene in scenes and scenes[result.scene].lies_on(result, text):
            return rank
    return None


def located(scene: Scene, labelled: Labelled, text: str, first: Found) -> Iterator[dict[str, Any]]:
    """What `Scene.locate` answers, and whether a library gives the same thing first."""
    instances = scene.locate(text)[0]
    lies = bool(instances) and labelled.lies_at(instances[0].box.center, text)
    row = {"asked": "locate, one scene", "label": text, "of": scene.workspace.root.name, "right": True}
    yield row | {"rank": 1 if lies else None}
    if instances:
        same = instances[0].thing == first.thing
        yield row | {"asked": "the library gives what locate answers", "rank": 1 if same else None}


def measure(
    library: Library, scenes: dict[str, Labelled], ask: dict[str, Scene], *, crops: bool
) -> Iterator[dict[str, Any]]:
    """A row a label and way to ask; scenes of `ask` are asked themselves, too."""
    for text in sorted(set().union(*(scene.texts for scene in scenes.values()))):
        having = {name: scene for name, scene in scenes.items() if text in scene.texts}
        found = library.search(text, top=RANKS)
        yield {
            "asked": "text",
            "label": text,
            "scenes": len(having),
            "best scene": found[0].scene,
            "right": found[0].scene in having,
            "matches": found[0].matches,
            "rank": rank_of(found, having, text),
        }
        for name, scene in having.items():
            found = library.search(text, top=RANKS, scenes=[name])
            row = {"asked": "text, one scene", "label": text, "of": name, "right": True}
            yield row | {"matches": found[0].matches, "rank": rank_of(found, {name: scene}, text)}
            if name in ask:
                yield from located(ask[name], scene, text, found[0])
            if not crops:
                continue
            crop = scene.crop(text)
            found = library.search(image=crop, top=RANKS)
            row = {"asked": "crop", "label": text, "of": name, "right": found[0].scene == name}
            yield row | {"rank": rank_of(found, {name: scene}, text)}
            others = {other: scenes[other] for other in having if other != name}
            if others:
                rest = [other for other in scenes if other != name]
                found = library.search(image=crop, top=RANKS, scenes=rest)
                row = {"asked": "crop elsewhere", "label": text, "of": name, "scenes": len(others)}
                right = found[0].scene in others
                yield row | {"right": right, "rank": rank_of(found, others, text)}


def summary(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Shares by way to ask."""
    figures = {}
    for way in dict.fromkeys(row["asked"] for row in rows):
        own = [row for row in rows if row["asked"] == way]
        ranks = np.array([row["rank"] or np.inf for row in own])
        figures[way] = {
            "asked": len(own),
            "right scene first": float(np.mean([row["right"] for row in own])),
            "lies on it first": float(np.mean(ranks == 1)),
            "within 3": float(np.mean(ranks <= 3)),
            f"within {RANKS}": float(np.mean(ranks <= RANKS)),
        }
    return figures


def main() -> None:
    """Print a row a question, then shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("library")
    parser.add_argument("labels", nargs="+", metavar="SCENE=LABELS")
    parser.add_argument("--locate", action="store_true", help="ask the scenes themselves, too")
    parser.add_argument("--texts", action="store_true", help="no crops")
    parser.add_argument("--json", action="store_true", help="every row as JSON")
    options = parser.parse_args()
    library = Library(options.library)
    paths = {record.name: record.path for record in library.scenes()}
    scenes = {}
    for name, _, folder in (pair.partition("=") for pair in options.labels):
        capture = read_saved_capture(Workspace(paths[name]).capture)
        scenes[name] = Labelled(capture, load_labels(Path(folder)))
    asked = {name: Scene.load(paths[name]) for name in scenes} if options.locate else {}
    rows = list(measure(library, scenes, asked, crops=not options.texts))
    if options.json:
        print(json.dumps(rows, indent=1, default=bool))
    for way, figures in summary(rows).items():
        print(way, json.dumps(figures))


if __name__ == "__main__":
    main()
