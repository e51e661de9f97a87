"""How firmly texts are answered: the choice of things by draw of the masks and by constants.

    python -m benchmarks.choice SCENE=LABELS … [--draws 3] [--kept 0.9] [--best]
        [--set "LEVEL=1.5" "ADDED=1.5 OWN=2"]

SCENE is a finished scene, LABELS its folder of ground truth. Things are found of all its masks, and of a
share of them drawn at random, `--draws` times; the field stays. Every label is answered as in the protocol
`things`: what answers is rendered among all other Gaussians, and its mask compared with the truth. Printed
are mIoU of all labels by scene for every set of constants of `gags.query.choose`: of all masks, and of the
draws mean, least and most. "Best node" is what the one node gives that fits each text's labels best; only
a union of nodes can be better. Answers are remembered, so that another set of constants costs little.
"""

import argparse
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from benchmarks.labelled import truths
from gags.capture import Camera
from gags.embed.description import Description
from gags.evaluate.labels import load_labels, match_frames
from gags.evaluate.metrics import iou
from gags.evaluate.protocols import CHOSEN_SHARE
from gags.query import choose
from gags.query.choose import Chooser
from gags.query.instances import locate_instances
from gags.query.maps import render_values
from gags.query.space import Space
from gags.scene import Scene
from gags.segment.masks import Masks
from gags.things.find import find_things
from gags.things.things import Things

NODES_A_CALL = 32  # rendered together


def thinned(description: Description, kept: float, draw: np.random.Generator) -> Description:
    """A photo's masks without some, drawn at random."""
    masks = description.masks
    stays = draw.random(len(masks)) < kept
    rows = np.append(np.where(stays, np.cumsum(stays) - 1, -1), -1)  # the last for pixels without a mask
    fewer = Masks(
        rows[masks.labels].astype(masks.labels.dtype),
        masks.levels[stays],
        masks.boxes[stays],
        masks.scores[stays],
    )
    fewer.kept = masks.kept
    return Description(fewer, description.embeddings[stays], description.encoder)


@dataclass(eq=False)
class Case:
    """A scene with things found of some of its masks.

    Attributes:
        scene: The scene.
        labels: Truth of every text: camera and mask of each of its photos.
        things: What was found.
    """

    scene: Scene
    labels: dict[str, list[tuple[Camera, np.ndarray]]]
    things: Things
    _ious: dict[tuple[str, frozenset[int]], list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.texts = list(self.labels)
        self.space = Space.build(self.scene.gaussians, self.things)
        self.queries = self.scene.queries(self.texts)

    def answers(self) -> dict[str, frozenset[int]]:
        """Nodes that answer each text, with the constants of the moment."""
        chooser = Chooser(self.things, self.space.opacities, self.space.means)
        found = locate_instances(
            self.scene.gaussians,
            self.scene.field,
            self.queries,
            self.things,
            space=self.space,
            chooser=chooser,
            there=True,
        )
        return {
            text: frozenset(node for one in each for node in (one.thing, *one.also) if node is not None)
            for text, each in zip(self.texts, found, strict=True)
        }

    def ious(self, answers: dict[str, frozenset[int]]) -> dict[str, list[float]]:
        """IoU of every label of every text with what answers it."""
        wanted = [(text, nodes) for text, nodes in answers.items() if (text, nodes) not in self._ious]
        for start in range(0, len(wanted), NODES_A_CALL):
            self._render(wanted[start : start + NODES_A_CALL])
        return {text: self._ious[text, nodes] for text, nodes in answers.items()}

    @torch.no_grad()
    def _render(self, wanted: Sequence[tuple[str, frozenset[int]]]) -> None:
        count = len(self.scene.gaussians)
        chosen = torch.zeros(count, len(wanted))
        for column, (_, nodes) in enumerate(wanted):
            for node in nodes:
                chosen[torch.from_numpy(self.things[node].astype(np.int64)), column] = 1
        for key in wanted:
            self._ious[key] = []
        cameras = {id(camera): camera for text, _ in wanted for camera, _ in self.labels[text]}
        for camera in cameras.values():
            maps = render_values(self.scene.gaussians, chosen, camera)
            for column, (text, nodes) in enumerate(wanted):
                for other, truth in self.labels[text]:
                    if other is camera:
                        mask = ((maps.values[column] >= CHOSEN_SHARE) & maps.known).cpu().numpy()
                        self._ious[text, nodes].append(iou(mask, truth))

    def miou(self) -> float:
        """Mean over all labels, in [0, 1]."""
        return float(np.mean([value for values in self.ious(self.answers()).values() for value in values]))

    def best_node(self) -> float:
        """mIoU if every text is answered by the one node that fits its labels best."""
        best = []
        for text in self.texts:
            nodes = [{text: frozenset([node])} for node in self._near(text)]
            found = [self.ious(answer)[text] for answer in nodes]
            best += max(found, key=np.mean) if found else [0.0] * len(self.labels[text])
        return float(np.mean(best))

    def _near(self, text: str) -> list[int]:
        """Nodes whose middle lies in the truth of one photo at least, as it is projected."""
        middles = np.array(
            [
                np.average(self.space.means[rows], axis=0, weights=self.space.opacities[rows])
                for rows in self.things
            ]
        )
        near = np.zeros(len(middles), bool)
        for camera, truth in self.labels[text]:
            at = middles @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
            pixels = (at / np.maximum(at[:, 2:], 1e-6)) @ camera.K.T
            x, y = np.floor(pixels[:, 0]).astype(int), np.floor(pixels[:, 1]).astype(int)
            inside = (at[:, 2] > 0) & (x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height)
            around = np.zeros(len(middles), bool)
            around[inside] = truth[y[inside], x[inside]]
            near |= around
        return [int(node) for node in np.flatnonzero(near)]


@contextmanager
def constants(changes: str) -> Iterator[None]:
    """Set constants of `gags.query.choose`, written NAME=VALUE with blanks between them, for a while."""
    pairs = [change.split("=") for change in changes.split()]
    before = {name: getattr(choose, name) for name, _ in pairs}
    for name, value in pairs:
        setattr(choose, name, float(value))
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(choose, name, value)


def cases_of(root: Path, labels: Path, draws: int, kept: float) -> list[Case]:
    """A scene with things of all masks, and of each draw."""
    scene = Scene.load(root)
    frames = match_frames(load_labels(labels), scene.capture)
    texts = list(dict.fromkeys(label.category for frame, _ in frames for label in frame.labels))
    truth = {text: [(view.camera, mask) for view, mask in truths(frames, text)] for text in texts}
    views = scene.capture.train
    items = [(view.camera, Description.load(scene.workspace.description(view.name))) for view in views]
    cases = [Case(scene, truth, scene.things())]
    for seed in range(draws):
        draw = np.random.default_rng(seed)
        fewer = [(camera, thinned(description, kept, draw)) for camera, description in items]
        cases.append(Case(scene, truth, find_things(scene.gaussians, fewer)))
    return cases


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenes", nargs="+", metavar="SCENE=LABELS")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--kept", type=float, default=0.9, help="share of the masks")
    parser.add_argument("--best", action="store_true", help="print what the best node gives, too: minutes")
    parser.add_argument("--set", nargs="*", default=[], help="constants of gags.query.choose to compare with")
    arguments = parser.parse_args()
    scenes = {}
    for given in arguments.scenes:
        root, _, labels = given.rpartition("=")
        scenes[Path(root).name] = cases_of(Path(root), Path(labels), arguments.draws, arguments.kept)
    for name, cases in scenes.items() if arguments.best else ():
        best = [100 * case.best_node() for case in cases]
        print(
            f"{name}: best node {best[0]:.1f}, of the draws {statistics.fmean(best[1:] or best):.1f}",
            flush=True,
        )
    for changes in ("", *arguments.set):
        print(f"| {changes or 'today'} |", end="")
        for cases in scenes.values():
            with constants(changes):
                whole, *drawn = [100 * case.miou() for case in cases]
            print(f" {whole:.1f}", end="")
            if drawn:
                print(f"; {statistics.fmean(drawn):.1f} ({min(drawn):.1f}–{max(drawn):.1f})", end="")
            print(" |", end="", flush=True)
        print()


if __name__ == "__main__":
    main()
