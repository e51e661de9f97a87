"""Names that somebody taught a scene, each by pointing at a thing: "Oma's cup" is what is at that pixel.

What is kept of a click outlives the stages that follow it: the Gaussians of the thing, and should other ones
be trained, where they were and where the click was; and what the thing looks like. The number that the stage
`things` gave it is not kept, because the stage numbers anew.

A text is a taught name if all of it is one, but for case, Unicode forms, apostrophes, hyphens, blanks, a mark
at its end, and articles or "my" before it. A text that merely holds a name is not: somebody who taught "cup"
and asks for a "cup holder" means something else. A part of what was taught can be asked for, as "handle of
Oma's cup".
"""

import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from gags.errors import QueryError, WorkspaceError
from gags.query.examples import SHARED, Example
from gags.query.language import check_texts
from gags.query.pointed import Level
from gags.query.space import Space
from gags.store import damaged, load_tensors, save_tensors
from gags.things.things import Things
from gags.things.voxels import Voxels

FORMAT_NAME, FORMAT_NUMBER = "gags-taught-", 1
LONGEST_NAME = 100  # letters
_REMEDY = "remove it and teach its names again, or put a copy of it back"
_SAME = str.maketrans(
    dict.fromkeys("’‘‛`´ʼ", "'") | dict.fromkeys("“”„«»", '"') | dict.fromkeys("-‐‑‒–—_", " ")
)
_BEFORE = re.compile(r"^(?:(?:the|a|an|my|our|your|this|that) )+(?=.)")
_AT_THE_END = ' .?!,;:"'


@dataclass(frozen=True, eq=False)
class Taught:
    """One click that a name was taught with.

    Attributes:
        name: The name, as it was first written.
        view: Name of the photo.
        at: Column and row of the click, px of the photo as the capture loads it.
        level: How much of what is there was meant; None if that was not said.
        splats: Hash of the Gaussians, see `gags.distill.field.splats_hash`.
        members: Gaussians of the thing. int32 [n]
        means: Their centres, world units. float32 [n, 3]
        encoder: Encoder of `embedding`.
        embedding: What the thing's masks say it is, L2-normalised; [0] if no mask touched it. float16 [D]
    """

    name: str
    view: str
    at: tuple[int, int]
    level: Level | None
    splats: str
    members: np.ndarray
    means: np.ndarray
    encoder: str
    embedding: np.ndarray

    def to_json(self) -> dict[str, Any]:
        """What `gags teach --list --json` prints of it."""
        return {
            "name": self.name,
            "view": self.view,
            "at": list(self.at),
            "level": self.level,
            "gaussians": len(self.members),
            "center": np.median(self.means.astype(np.float64), axis=0).tolist(),
        }


def plain_name(text: str) -> str:
    """A text in the form in which names are compared; "" if nothing is left of it."""
    text = unicodedata.normalize("NFKC", text).translate(_SAME).casefold()
    return _BEFORE.sub("", " ".join(text.split()).strip(_AT_THE_END))


def checked_name(name: str) -> str:
    """A name that can be taught, on one line.

    Raises:
        QueryError: If it is empty, too long, nothing but marks, or no UTF-8.
    """
    check_texts([name])
    name = " ".join(name.split())
    if not plain_name(name):
        raise QueryError('a name that is not empty is wanted, as in: gags teach WS "Oma\'s cup" …')
    if len(name) > LONGEST_NAME:
        raise QueryError(
            f"the name {name[:20]!r}… has {len(name)} letters; choose one of at most {LONGEST_NAME}"
        )
    return name


def save_taught(path: Path, entries: Sequence[Taught]) -> None:
    """Write what a scene was taught to a safetensors file, atomically; without entries, remove the file.

    Raises:
        WorkspaceError: If it cannot be written; what was there stays.
    """
    tensors = {}
    for number, entry in enumerate(entries):
        tensors[f"{number}.members"] = entry.members.astype(np.int32)
        tensors[f"{number}.means"] = entry.means.astype(np.float32)
        tensors[f"{number}.embedding"] = entry.embedding.astype(np.float16)
    told = [
        {
            "name": entry.name,
            "view": entry.view,
            "at": list(entry.at),
            "level": entry.level,
            "splats": entry.splats,
            "encoder": entry.encoder,
        }
        for entry in entries
    ]
    metadata = {"format": f"{FORMAT_NAME}{FORMAT_NUMBER}", "entries": json.dumps(told, ensure_ascii=False)}
    try:
        if entries:
            save_tensors(path, tensors, metadata)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise WorkspaceError(
            f"cannot write {path} ({error.strerror}); make the scene's folder writable, or copy the scene"
        ) from error


def load_taught(path: Path) -> list[Taught]:
    """Read what `save_taught` wrote; nothing if there is no such file.

    Raises:
        WorkspaceError: If the file is damaged, or was written by a newer version.
    """
    if not path.exists():
        return []
    stored = load_tensors(path, remedy=_REMEDY, kind="numpy")
    tensors, format = stored.tensors, stored.metadata.get("format", "")
    if format != f"{FORMAT_NAME}{FORMAT_NUMBER}":
        if format.startswith(FORMAT_NAME):
            raise WorkspaceError(
                f"{path} was written by a newer version of gags (format {format}); update gags, or move the "
                "file away to ask without taught names"
            )
        raise damaged(path, f"format {format!r}", _REMEDY)
    try:
        told = json.loads(stored.metadata["entries"])
        return [_entry(one, {k: tensors[f"{row}.{k}"] for k in _TENSORS}) for row, one in enumerate(told)]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(path, f"{type(error).__name__}: {error}", _REMEDY) from error


_TENSORS = ("members", "means", "embedding")


def _entry(told: dict[str, Any], tensors: dict[str, np.ndarray]) -> Taught:
    x, y = told["at"]
    entry = Taught(
        name=checked_name(told["name"]),
        view=str(told["view"]),
        at=(int(x), int(y)),
        level=_level(told["level"]),
        splats=str(told["splats"]),
        encoder=str(told["encoder"]),
        **tensors,
    )
    count = len(entry.members)
    if not count or entry.means.shape != (count, 3) or entry.embedding.ndim != 1 or entry.members.min() < 0:
        raise ValueError(f"tensors of {entry.name!r} do not fit each other")
    return entry


def _level(word: Any) -> Level | None:
    if word is not None and word not in get_args(Level):
        raise ValueError(f"level {word!r}")
    return word


class TaughtNames:
    """The taught names of a scene, as its file has them now: another process may teach meanwhile.

    Args:
        path: The file, there or not.
        resolve: Finds what the clicks of one name mean in the scene; asked once a name, when it is first
            needed.
    """

    def __init__(self, path: Path, resolve: Callable[[Sequence[Taught]], Example | None]) -> None:
        self._path, self._resolve = path, resolve
        self._read_at: tuple[int, int] | None = None
        self._entries: list[Taught] = []
        self._examples: dict[str, Example | None] = {}

    def entries(self) -> list[Taught]:
        """All clicks, in the order in which they were taught.

        Raises:
            WorkspaceError: If the file is damaged, or was written by a newer version.
        """
        try:
            stat = self._path.stat()
            now = stat.st_mtime_ns, stat.st_size
        except OSError:
            now = None
        if now != self._read_at:
            self._entries, self._examples = load_taught(self._path), {}
            self._read_at = now
        return self._entries

    def __call__(self, text: str) -> Example | None:
        """What a text means, if it is a taught name; see `gags.query.relevancy.Queries.encode`."""
        key = plain_name(text)
        clicks = [entry for entry in self.entries() if plain_name(entry.name) == key]
        if not clicks:
            return None
        if key not in self._examples:
            self._examples[key] = self._resolve(clicks)
        return self._examples[key]

    def names(self) -> list[str]:
        """Every name once, as it was first written."""
        return list({plain_name(entry.name): entry.name for entry in reversed(self.entries())}.values())[::-1]

    def examples(self) -> list[Example]:
        """What every name means."""
        return [example for name in self.names() if (example := self(name)) is not None]

    def add(self, entry: Taught) -> Taught:
        """Add a click to its name; one at the same pixel of the same photo takes the place of the former.

        Returns:
            The click, under the name as it was first written.
        """
        before = self.entries()
        same = [other for other in before if plain_name(other.name) == plain_name(entry.name)]
        entry = replace(entry, name=same[0].name) if same else entry
        again = [other for other in same if (other.view, other.at) == (entry.view, entry.at)]
        save_taught(self._path, [*(other for other in before if other not in again), entry])
        return entry

    def names_of(self, rows: np.ndarray, weights: np.ndarray) -> list[str]:
        """Names that were taught of just these Gaussians [n], by the weights of all [N]."""
        return [
            name
            for name in self.names()
            if (example := self(name)) is not None and example.is_of(rows, weights)
        ]

    def forget(self, name: str, rows: np.ndarray | None = None) -> int:
        """Forget a name with all of its clicks.

        Args:
            name: The name.
            rows: Forget only the clicks on most of these Gaussians. int64 [n]

        Returns:
            How many there were.

        Raises:
            QueryError: If nothing of that name was taught.
        """
        before = self.entries()
        kept = [
            entry
            for entry in before
            if plain_name(entry.name) != plain_name(name) or not (rows is None or _shares(entry, rows))
        ]
        if len(kept) == len(before):
            known = ", ".join(map(repr, self.names())) or "none"
            raise QueryError(f"no {name!r} was taught here; taught names: {known}")
        save_taught(self._path, kept)
        return len(before) - len(kept)


def _shares(entry: Taught, rows: np.ndarray) -> bool:
    """Whether a click was on most of some Gaussians. [n]"""
    shared = len(np.intersect1d(entry.members, rows))
    return shared >= SHARED * max(1, min(len(entry.members), len(rows)))


def merged(sets: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Sets of Gaussians, those that share half of the smaller one united, in the order of the first of each.

    Args:
        sets: int64 [n] each
    """
    apart: list[np.ndarray] = []
    for rows in sets:
        rows = np.unique(rows)
        place = len(apart)
        for number in range(len(apart) - 1, -1, -1):
            shared = len(np.intersect1d(apart[number], rows, assume_unique=True))
            if shared >= SHARED * min(len(apart[number]), len(rows)):
                rows, place = np.union1d(rows, apart.pop(number)), number
        apart.insert(place, rows)
    return apart


def found_again(means: np.ndarray, space: Space, things: Things) -> np.ndarray | None:
    """Gaussians of a thing in a scene whose Gaussians are others than those it was taught with.

    It is the thing that fills the same place best: by the share of it that lies there, times the share of the
    place that it fills.

    Args:
        means: Centres of its former Gaussians, in the frame of the scene. float32 [n, 3]
        space: Where the Gaussians of the scene are.
        things: What it consists of.

    Returns:
        int64 [m]; None if no thing fills half of the place with half of itself.
    """
    count = len(space.means)
    voxels = Voxels.build(np.concatenate([space.means, means.astype(np.float64)]), space.voxels.size)
    place = np.zeros(len(voxels))
    place[voxels.owner[count:]] = 1
    near, owner = voxels.spread(place) > 0, voxels.owner[:count]
    inside = things.means(near[owner][:, None].astype(float), space.opacities)[:, 0]
    best, most = None, SHARED**2
    for node in np.flatnonzero(inside >= SHARED).tolist():
        held = np.zeros(len(voxels))
        held[owner[things[node]]] = 1
        fills = float((voxels.spread(held)[place > 0] > 0).mean())
        if fills >= SHARED and fills * inside[node] > most:
            best, most = things[node].astype(np.int64), fills * inside[node]
    return best
