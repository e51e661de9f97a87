"""Texts as real CLIP text vectors: names of the capture's things, mapped by hand to categories of LVIS.

The vectors are those of CLIP ViT-B/32 for "a NAME" (from facebookresearch/Detic, Apache-2.0). A name that
LVIS lacks takes the sum of two that it has: "mug handle" lies between "handle" and "mug", as CLIP's own
vector of such a phrase does. It keeps their distance from the mean of all names: a sum alone would be nearer
to it, as if the phrase said less.

No vector of LVIS means nothing in particular, which the canonical phrases of Eq. 8 do ("object", "things",
"stuff", "texture"). They are made up: the mean direction of all LVIS vectors and a little of something
random. So they lie at cosines of 0.7 to 0.85 to all names, and of 0.15 to 0.24 to images, as CLIP's do.
Paraphrases ("red enamel cup") are their name moved by something random, to a cosine of about 0.96.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from gags.errors import ModelError, QueryError

LVIS_OF_NAMES: dict[str, tuple[str, ...]] = {
    "banana": ("banana",),
    "apple": ("apple",),
    "orange": ("orange (fruit)",),
    "lemon": ("lemon",),
    "red mug": ("mug",),
    "mug handle": ("handle", "mug"),
    "bowl": ("bowl",),
    "plate": ("plate",),
    "fork": ("fork",),
    "fork handle": ("handle", "fork"),
    "spoon": ("spoon",),
    "spoon handle": ("handle", "spoon"),
    "mustard bottle": ("bottle", "condiment"),
    "mustard bottle cap": ("bottle cap", "condiment"),
    "cracker box": ("box", "cracker"),
    "sugar box": ("box", "sugar bowl"),
    "tomato soup can": ("can", "soup"),
    "blue pitcher": ("pitcher (vessel for liquid)",),
    "pitcher handle": ("handle", "pitcher (vessel for liquid)"),
    "bleach bottle": ("bottle", "cleansing agent"),
    "bleach bottle cap": ("bottle cap", "cleansing agent"),
    "sponge": ("sponge",),
    "wooden table": ("table", "dining table"),
    "wall": ("wall socket", "wall clock"),
    "floor": ("runner (carpet)", "doormat"),
    "background furniture": ("cabinet", "painting"),
}
"""Things of the capture `pantry` → the categories of LVIS whose vectors are summed."""

LVIS_OF_GROUPS: dict[str, tuple[str, ...]] = {
    "bottle": ("bottle",),
    "box": ("box",),
    "can": ("can",),
    "cleaning supplies": ("cleansing agent", "scrubbing brush"),
    "condiment": ("condiment",),
    "container": ("canister", "jar"),
    "cutlery": ("fork", "spoon", "knife"),
    "food": ("apple", "bread", "sandwich", "soup", "salad"),
    "fruit": ("apple", "banana", "orange (fruit)", "pear", "peach"),
    "packaged food": ("carton", "packet", "cracker"),
    "tableware": ("dish", "chinaware", "cup", "fork"),
}
"""Words for groups of things → the same."""

LVIS_OF_PARTS: dict[str, tuple[str, ...]] = {
    "cap": ("bottle cap",),
    "pitcher": ("pitcher (vessel for liquid)",),
}
"""Words for a part, or for what it is a part of, that are asked beside a text that names both → the same."""

PHRASES = ("object", "things", "stuff", "texture", "thing", "part")
"""What stands for nothing in particular; the first four are the canonical phrases of Eq. 8."""

PARAPHRASE = 0.7  # length of what is added to the part of a name's vector that is its own, as a share of it
VAGUE = 0.5  # length of what is added to the mean direction for a canonical phrase, as a share of it


class TextVectors:
    """Vectors of texts.

    Args:
        folder: Holds `lvis_v1.npy`, float [1203, 512], and `lvis_v1.json`, their names.
        aliases: Names that other phrases mean, by phrase.

    Attributes:
        mean: Mean direction of all LVIS vectors, L2-normalised. float64 [D]
        spread: What the LVIS vectors are made of beside it: rows span it, scaled so that a standard normal
            vector times them has length 1 in the mean of squares. float64 [D, D]

    Raises:
        ModelError: If a file is missing or damaged.
    """

    def __init__(self, folder: Path, aliases: Mapping[str, str] | None = None) -> None:
        try:
            vectors = np.load(folder / "lvis_v1.npy", allow_pickle=False).astype(np.float64)
            table = json.loads((folder / "lvis_v1.json").read_text(encoding="utf-8"))
            names = [[entry["name"], *entry["synonyms"]] for entry in table]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{folder} has no readable lvis_v1.npy and lvis_v1.json ({error!r})") from error
        if vectors.ndim != 2 or len(vectors) != len(names):
            raise ModelError(f"{folder}: {vectors.shape} vectors for {len(names)} names")
        self._vectors = unit(vectors)
        self._rows = {name: row for row, group in reversed(list(enumerate(names))) for name in group}
        self._rows |= {group[0]: row for row, group in enumerate(names)}
        self._aliases = dict(aliases or {})
        self.mean = unit(self._vectors.mean(axis=0))
        own = self.own(self._vectors)
        _, scales, directions = np.linalg.svd(own - own.mean(axis=0), full_matrices=False)
        self.spread = scales[:, None] * directions / np.linalg.norm(scales)

    def own(self, vectors: np.ndarray) -> np.ndarray:
        """What vectors have beside the mean direction. [..., D] → [..., D]"""
        return vectors - (vectors @ self.mean)[..., None] * self.mean

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """L2-normalised vectors of texts. float64 [T, D]

        Raises:
            QueryError: If a text is neither mapped by hand nor a name of LVIS.
        """
        return np.stack([self._encode(text) for text in texts])

    def _encode(self, text: str) -> np.ndarray:
        if text in PHRASES:
            return unit(self.mean + VAGUE * self.something(text))
        parts = LVIS_OF_NAMES.get(text) or LVIS_OF_GROUPS.get(text) or LVIS_OF_PARTS.get(text)
        if parts is None and text in self._aliases:
            vector = self._encode(self._aliases[text])
            own = self.own(vector)
            moved = unit(unit(own) + PARAPHRASE * self.something(text)) * np.linalg.norm(own)
            return unit(vector - own + moved)
        parts = parts or (text,)
        missing = [part for part in parts if part not in self._rows]
        if missing:
            raise QueryError(
                f"{text!r} is not mapped to LVIS ({missing[0]!r} is none of its names); "
                "add it to LVIS_OF_NAMES"
            )
        return self._sum(self._vectors[[self._rows[part] for part in parts]])

    def _sum(self, vectors: np.ndarray) -> np.ndarray:
        """Unit sum of some LVIS vectors, as far from the mean direction as they are. [n, D] → [D]"""
        shared = (vectors @ self.mean).mean()
        return shared * self.mean + np.sqrt(1 - shared**2) * unit(self.own(vectors).sum(axis=0))

    def something(self, key: str) -> np.ndarray:
        """A unit vector of random meaning, beside the mean direction; a function of the key. float64 [D]"""
        return unit(generator(key).standard_normal(len(self.spread)) @ self.spread)


def generator(*key: object) -> np.random.Generator:
    """A generator that depends on the key alone, the same on every machine and Python."""
    digest = hashlib.sha256("\n".join(map(str, key)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors scaled to a length of 1. [..., D] → [..., D]"""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
