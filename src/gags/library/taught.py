"""Names that were taught: in a scene, before it was added, or in the library, of what a search found.

A text that is such a name means that thing, and what looks like it in all scenes of the same encoder; see
`gags.query.taught` for when a text is a name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from gags.library.rank import Asked
from gags.query.taught import plain_name
from gags.scene import Scene


@dataclass(frozen=True)
class TaughtName:
    """One thing that a library knows by a name that somebody gave it.

    Attributes:
        name: The name.
        by: Where it was taught: in its scene, or in the library.
        scene: Name of the scene.
        thing: The thing in it; None if the scene was added again since, or the library does not have it.
        encoder: In whose space it can be recognised.
    """

    name: str
    by: Literal["scene", "library"]
    scene: str
    thing: int | None
    encoder: str

    def to_json(self) -> dict[str, Any]:
        """What `gags library teach --list --json` prints of it."""
        return {
            "name": self.name,
            "by": self.by,
            "scene": self.scene,
            "thing": self.thing,
            "encoder": self.encoder,
        }


def names_of_scene(scene: Scene, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What a scene was taught, as rows of the table of names, but for scene and run.

    Args:
        scene: The scene.
        rows: Its rows in the table of things.
    """
    encoder, kept = scene.field.encoder_name, {row["thing"]: row["vector"][:-1] for row in rows}
    names = []
    for example in scene.taught.examples():
        pointed = [match.thing if match.thing in kept else None for match in example.pointed]
        known = [(thing, kept[thing]) for thing in pointed if thing is not None]
        looks = [(-1, vector) for vector in example.vectors.cpu().numpy()] if None in pointed else []
        for thing, vector in known + looks:
            names.append(name_row(example.name, "scene", encoder, thing, vector))
    return names


def name_row(
    name: str, by: Literal["scene", "library"], encoder: str, thing: int, vector: np.ndarray
) -> dict[str, Any]:
    """A row of the table of names, but for scene and run."""
    vector = np.asarray(vector, np.float32)
    length = max(float(np.linalg.norm(vector)), 1e-12)
    return {
        "key": plain_name(name),
        "name": name,
        "by": by,
        "encoder": encoder,
        "thing": thing,
        "vector": (vector / length).astype(np.float16),
    }


def asked_by_name(rows: Sequence[Mapping[str, Any]]) -> Asked:
    """The question that rows of one name and encoder stand for."""
    first, *further = (np.array(row["vector"], np.float32) for row in rows)
    return Asked(first, further=tuple(further))
