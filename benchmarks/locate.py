"""Measure how well things are located in 3D, on a capture whose depth and instances are known exactly.

    python benchmarks/locate.py CAPTURE SCENE [--json]

CAPTURE holds `objects.json`, and `depth/` (16 bit, 0.1 mm) and `instance/` (8 bit ids) of some views. Truth
of an object: its pixels of all those views as world points; their axis-aligned bounding box, whose middle is
the true centre. A Gaussian belongs to the id that most of these views show at its pixel, of those whose
depth there is within 1 cm of its own. An instance *lies on* the object (or wall, table …) that most opacity
of its Gaussians belongs to.

An object is *found* by a text if the best instance lies on it, and *placed* if, besides, the middle of that
instance's box is within 5 cm of the true centre. A *phantom* lies on something else; a text has it *above* if
a phantom's score exceeds that of a true instance of the same text.

Names are judged, too: of the things of `gags catalog` that are no parts and lie on an object, is one of
its names of the built-in list (`NAMES`, by hand) the first, or among the first five?
"""

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from gags.query.instances import Instance
from gags.scene import Scene

NAMES = {
    "red mug": ("mug", "cup"),
    "mustard bottle": ("mustard bottle", "sauce bottle", "bottle"),
    "cracker box": ("cracker box", "cereal box", "box"),
    "sugar box": ("sugar box", "box"),
    "tomato soup can": ("soup can", "tin can", "can"),
    "blue pitcher": ("pitcher", "jug"),
    "bleach bottle": ("bleach bottle", "detergent bottle", "bottle"),
}
"""Names of objects that the built-in list has under other words."""
NEAR = 0.05  # m, of a centre that counts as right
SURFACE = 0.01  # m, between a Gaussian and the surface it belongs to


@dataclass(frozen=True)
class Row:
    """What one text led to."""

    text: str
    object: str
    rows: int
    found: bool
    error_m: float | None
    phantoms: int
    phantom_above: bool
    best_lies_on: str


class Truth:
    """Exact geometry of a capture's objects."""

    def __init__(self, capture: Path, scene: Scene) -> None:
        self.objects = json.loads((capture / "objects.json").read_text())
        self.names = {
            i: o["name"] for o in self.objects.values() if o["kind"] in ("object", "stuff") for i in o["ids"]
        }
        means = scene.gaussians.means.double().numpy()
        points, ids = [], []
        votes = np.zeros((len(means), 256), np.int32)
        for view in scene.capture.views:
            depth_file = capture / "depth" / f"{view.stem}.png"
            if not depth_file.is_file():
                continue
            depth = cv2.imread(str(depth_file), cv2.IMREAD_UNCHANGED) / 1e4
            instance = cv2.imread(str(capture / "instance" / f"{view.stem}.png"), cv2.IMREAD_UNCHANGED)
            rows, columns = np.nonzero(depth)
            xy = np.stack([columns, rows], axis=-1) + 0.5
            points.append(view.camera.unproject(xy, depth[rows, columns]))
            ids.append(instance[rows, columns])
            xy, z = view.camera.project(means)
            inside = (z > 0) & (xy >= 0).all(axis=1) & (xy < depth.shape[::-1]).all(axis=1)
            x, y = np.where(inside[:, None], xy, 0).astype(int).T
            near = np.flatnonzero(inside & (np.abs(depth[y, x] - z) <= SURFACE))
            votes[near, instance[y, x][near]] += 1
        self.points, self.ids = np.concatenate(points), np.concatenate(ids)
        votes[:, 0] = 0
        self.owners = np.where(votes.any(axis=1), votes.argmax(axis=1), 0)
        self.opacities = scene.gaussians.opacities.double().numpy()

    def center(self, ids: list[int]) -> np.ndarray:
        """Middle of the bounding box of some ids. [3]"""
        points = self.points[np.isin(self.ids, ids)]
        return (points.min(axis=0) + points.max(axis=0)) / 2

    def lies_on(self, mask: np.ndarray) -> str:
        """Name of the object that some Gaussians lie on. bool [N]"""
        rows = np.flatnonzero(mask)
        rows = rows[self.owners[rows] > 0]
        weight = np.bincount(self.owners[rows], self.opacities[rows], minlength=256)
        totals: dict[str, float] = {}
        for i, name in self.names.items():
            totals[name] = totals.get(name, 0.0) + weight[i]
        return max(totals, key=lambda name: totals[name])


def judge(text: str, record: dict, instances: list[Instance], truth: Truth) -> Row:
    """Compare the instances of a text with the object it means."""
    on = [truth.lies_on(instance.mask.numpy()) for instance in instances]
    true = [instance for instance, name in zip(instances, on, strict=True) if name == record["name"]]
    false = [instance for instance, name in zip(instances, on, strict=True) if name != record["name"]]
    found = bool(on) and on[0] == record["name"]
    error = float(np.linalg.norm(true[0].box.center - truth.center(record["ids"]))) if true else None
    above = bool(true) and any(phantom.score > true[0].score for phantom in false)
    return Row(text, record["name"], len(on), found, error, len(false), above, on[0] if on else "nothing")


def summary(rows: list[Row]) -> dict[str, float]:
    """Figures of some texts."""
    found = [row for row in rows if row.found]
    placed = [row for row in found if row.error_m is not None and row.error_m <= NEAR]
    return {
        "texts": len(rows),
        "found": len(found),
        "placed": len(placed),
        "placed_share": len(placed) / max(len(found), 1),
        "median_error_m": float(np.median([row.error_m for row in found])) if found else float("nan"),
        "rows": sum(row.rows for row in rows),
        "rows_of_found": sum(row.rows for row in found),
        "phantoms_of_found": sum(row.phantoms for row in found),
        "phantom_above": sum(row.phantom_above for row in rows),
    }


def named(scene: Scene, truth: Truth) -> dict[str, float]:
    """How the things of the catalogue that lie on objects are named."""
    objects = {o["name"] for o in truth.objects.values() if o["kind"] == "object"}
    ranks = []
    for entry in scene.catalog():
        name = truth.lies_on(entry.mask.numpy())
        if entry.part_of is None and name in objects:
            right = [k for k, (word, _) in enumerate(entry.names) if word in NAMES.get(name, (name,))]
            ranks.append(min(right, default=len(entry.names)))
    count = max(len(ranks), 1)
    first, five = sum(rank == 0 for rank in ranks), sum(rank < 5 for rank in ranks)
    return {"things": len(ranks), "first": first / count, "among_five": five / count}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("capture", type=Path)
    parser.add_argument("scene", type=Path)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    scene = Scene.load(arguments.scene)
    truth = Truth(arguments.capture, scene)
    records = [o for o in truth.objects.values() if o["kind"] == "object"]
    texts = [(text, record) for record in records for text in record["queries"]]
    located = scene.locate([text for text, _ in texts])
    rows = [judge(text, record, found, truth) for (text, record), found in zip(texts, located, strict=True)]
    firsts = {record["queries"][0] for record in records}
    figures = {
        "names": summary([row for row in rows if row.text in firsts]),
        "all texts": summary(rows),
        "naming": named(scene, truth),
    }
    if arguments.json:
        print(json.dumps({"figures": figures, "rows": [asdict(row) for row in rows]}, indent=2))
        return
    for row in rows:
        error = "  –  " if row.error_m is None else f"{100 * row.error_m:5.1f}"
        print(
            f"{row.text:28} {'found' if row.found else row.best_lies_on:16} {error} cm  {row.rows} rows, "
            f"{row.phantoms} phantoms{', one above' if row.phantom_above else ''}"
        )
    for name, values in figures.items():
        print(name, " ".join(f"{key} {value:.3g}" for key, value in values.items()))


if __name__ == "__main__":
    main()
