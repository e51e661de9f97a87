"""What a library says of its scenes, and of what it found in them."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from gags.query.boxes import OrientedBox
from gags.things.things import Kind

State = Literal["unchanged", "changed", "gone"]
"""Whether a scene's folder still holds what was added; "gone": there is no scene there, as this machine sees
it."""

ScoredBy = Literal["relevancy", "cosine"]
"""Relevancy (Eq. 8) for texts; the cosine of two embeddings where no text is involved."""

STATE_WORDS = {
    "unchanged": "",
    "changed": "changed since it was added",
    "gone": "its folder is not there",
}


@dataclass(frozen=True)
class SceneRecord:
    """One scene of a library.

    Attributes:
        name: Its name in the library.
        path: Its folder when it was added, absolute.
        encoder: What described it: only scenes of one encoder can be compared.
        things: Number of things, parts and groups.
        added: When, ISO 8601, UTC.
        state: Whether its folder still holds what was added.
    """

    name: str
    path: str
    encoder: str
    things: int
    added: str
    state: State

    def to_json(self) -> dict[str, Any]:
        """What `gags library list --json` prints of it."""
        return {
            "scene": self.name,
            "path": self.path,
            "encoder": self.encoder,
            "things": self.things,
            "added": self.added,
            "state": self.state,
        }


@dataclass(frozen=True, eq=False)
class Found:
    """Something in one scene of a library that answers a question.

    Attributes:
        scene: Name of the scene.
        thing: Its row among the things of the scene.
        kind: What it is: a group of things, a thing, or a part of one.
        names: The everyday words that name it best, best first.
        score: Relevancy (Eq. 8) of what fits a text best there, the thing or a part of it; or cosine, see
            `by`. Scores of different encoders cannot be compared.
        by: What the score is.
        matches: Whether it is what the text names, and not only the nearest there is; None where that cannot
            be told: without a text, or with an encoder whose least match was never measured.
        box: Least and largest coordinates of its box, in the frame and units of its scene. float64 [2, 3]
        oriented: The same box along its own sides, which is smaller.
        photos: Number of photos whose masks cut it out.
        seen_by: Number of photos that see it.
        view: Photo that the thumbnail is cut out of; "" if no photo shows it.
        thumbnail: JPEG; b"" if no photo shows it.
        encoder: Name of the encoder in whose space it was compared.
        path: Folder of the scene when it was added.
        state: Whether that folder still holds what was added.
    """

    scene: str
    thing: int
    kind: Kind
    names: tuple[str, ...]
    score: float
    by: ScoredBy
    matches: bool | None
    box: np.ndarray
    oriented: OrientedBox
    photos: int
    seen_by: int
    view: str
    thumbnail: bytes
    encoder: str
    path: str
    state: State

    @property
    def like(self) -> str:
        """What `Library.search` takes to find more of its kind: "SCENE:THING"."""
        return f"{self.scene}:{self.thing}"

    def to_json(self) -> dict[str, Any]:
        """What `gags library search --json` prints of it; lengths and coordinates in units of the scene."""
        return {
            "scene": self.scene,
            "thing": self.thing,
            "kind": self.kind,
            "names": list(self.names),
            "score": round(self.score, 4),
            "by": self.by,
            "matches": self.matches,
            "center": self.oriented.center.tolist(),
            "box": {
                "min": self.box[0].tolist(),
                "max": self.box[1].tolist(),
                "size": self.oriented.size.tolist(),
                "axes": self.oriented.axes.tolist(),
            },
            "photos": self.photos,
            "seen_by": self.seen_by,
            "view": self.view,
            "encoder": self.encoder,
            "path": self.path,
            "state": self.state,
        }
