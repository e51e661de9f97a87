"""The things of a scene and their parts: Gaussians that masks of many photos cut out alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Literal

import numba
import numpy as np
from numba import prange

from gags.errors import WorkspaceError
from gags.files.contents import THINGS, checksum
from gags.simd.cache import kernel
from gags.store import load_tensors, save_tensors

PART_PHOTOS = 0.5  # of the photos that agree on the whole, for a part to be more than a fragment of it
AS_WHOLE = 0.7  # of the level of what holds it, for a thing to be no part of it but one of several in it
APART = 0.3  # of the Gaussians of the smaller of two, up to which they may share some and are two things
WHOLE_LEVEL = 1.0  # and at least this mean level: what masks take for a sub-part is no thing of its own
FILE_FORMAT = "gags-things-2"
Kind = Literal["group", "thing", "part"]
_TENSORS = ("starts", "members", "parents", "photos", "seen_by", "levels", "embeddings")


@dataclass(eq=False)
class Things:
    """What a scene consists of: groups of things, things, and their parts, each after what it is a part of.

    Attributes:
        starts: First entry of each thing in `members`, and the end. int64 [C + 1]
        members: Gaussians of each thing, in order. int32 [E]
        parents: Thing that each is a part of, -1 for none. int32 [C]
        photos: Number of photos that cut each out, by a mask of its own. int32 [C]
        seen_by: Number of photos that see each. int32 [C]
        levels: Mean level of its own masks, from 0 (sub-part) to 2 (whole). float32 [C]
        embeddings: What its own masks say it is, in the encoder's space, L2-normalised. float16 [C, D]
    """

    starts: np.ndarray
    members: np.ndarray
    parents: np.ndarray
    photos: np.ndarray
    seen_by: np.ndarray
    levels: np.ndarray
    embeddings: np.ndarray

    @classmethod
    def build(cls, gaussians: np.ndarray, owners: np.ndarray, photos: Sequence[np.ndarray]) -> "Things":
        """Sort pairs of a Gaussian [E] and a thing [E]; things without Gaussians are left out.

        Args:
            gaussians: Of each pair. [E]
            owners: Thing of each pair, a row of `photos`. [E]
            photos: Photos that agree on each thing; they are taken for all that see it.
        """
        order = np.lexsort((gaussians, owners))
        counts = np.bincount(owners, minlength=len(photos))
        kept = np.flatnonzero(counts)
        agreeing = np.array([len(photos[thing]) for thing in kept.tolist()], np.int32)
        return cls(
            np.concatenate([[0], np.cumsum(counts[kept])]).astype(np.int64),
            gaussians[order].astype(np.int32),
            np.full(len(kept), -1, np.int32),
            agreeing,
            agreeing.copy(),
            np.full(len(kept), 2, np.float32),
            np.zeros((len(kept), 0), np.float16),
        )

    @classmethod
    def none(cls) -> "Things":
        """No thing at all: what is known of a scene without masks."""
        empty = np.zeros(0, np.int32)
        return cls(
            np.zeros(1, np.int64),
            empty,
            empty,
            empty,
            empty,
            empty.astype(np.float32),
            np.zeros((0, 0), np.float16),
        )

    def __len__(self) -> int:
        return len(self.parents)

    def __getitem__(self, thing: int) -> np.ndarray:
        """Gaussians of one thing. int32 [n]"""
        return self.members[self.starts[thing] : self.starts[thing + 1]]

    def stands_out(self, thing: int) -> bool:
        """Whether a thing is no part, or seen as separate in at least half as many photos as its whole."""
        return self.apart_from(thing, self.whole_of(thing))

    def apart_from(self, thing: int, whole: int | None) -> bool:
        """Whether a thing is seen as separate in at least half as many photos as a whole, if there is one."""
        return whole is None or bool(self.photos[thing] >= PART_PHOTOS * self.photos[whole])

    def whole_of(self, thing: int) -> int | None:
        """What a thing is a part of; None if it stands for itself, alone or in a group."""
        parent = int(self.parents[thing])
        return None if parent < 0 or self.is_group[parent] else parent

    @cached_property
    def is_group(self) -> np.ndarray:
        """Which are several things, each cut out by itself nearly as often, and as a whole. bool [C]"""
        inside = self.parents >= 0
        parents = self.parents.clip(min=0)
        alone = inside & (self.levels >= np.maximum(AS_WHOLE * self.levels[parents], WHOLE_LEVEL))
        alone &= self.photos >= PART_PHOTOS * self.photos[parents]
        groups = np.zeros(len(self), bool)
        for whole in np.unique(self.parents[alone]).tolist():
            groups[whole] = self._are_several(np.flatnonzero(alone & (self.parents == whole)))
        for thing in range(len(self) - 1, -1, -1):  # what holds a group is one
            if groups[thing] and inside[thing]:
                groups[self.parents[thing]] = True
        return groups

    def _are_several(self, things: np.ndarray) -> bool:
        """Whether two of some things [n] at least are apart from each other."""
        for one, two in combinations((self[thing] for thing in things.tolist()), 2):
            common = np.intersect1d(one, two, assume_unique=True)
            if len(common) <= APART * min(len(one), len(two)):
                return True
        return False

    @cached_property
    def is_leftover(self) -> np.ndarray:
        """Which are what is left: no photo cuts out them, or anything in them. bool [C]"""
        holds = np.zeros(len(self), bool)
        holds[self.parents[self.parents >= 0]] = True
        return (self.parents < 0) & ~holds & (self.photos == 0)

    def chain(self, thing: int) -> list[int]:
        """A thing and all that it lies in, from itself upwards."""
        above = [thing]
        while self.parents[above[-1]] >= 0:
            above.append(int(self.parents[above[-1]]))
        return above

    def within(self, thing: int) -> np.ndarray:
        """Which things lie in a thing, itself included. bool [C]"""
        inside = np.zeros(len(self), bool)
        inside[thing] = True
        nearest = self.parents  # what each lies in, so far up as was looked
        while (nearest > thing).any():
            inside |= nearest == thing
            nearest = np.where(nearest > thing, self.parents[nearest], nearest)
        return inside | (nearest == thing)

    def means(self, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Weighted mean of the Gaussians' values over every thing.

        Args:
            values: [N, T]
            weights: How much every Gaussian counts. [N]

        Returns:
            float64 [C, T]
        """
        means = np.zeros((len(self), values.shape[1]))
        threads = numba.get_num_threads()
        _means_of_things(threads, self.starts, self.members, np.ascontiguousarray(values), weights, means)
        return means

    def save(self, path: Path, stamp: str, splats: str = "") -> None:
        """Write to a safetensors file, atomically.

        Args:
            path: The file.
            stamp: Says what they were found from.
            splats: Hash of the Gaussians alone.
        """
        tensors = {name: getattr(self, name) for name in _TENSORS}
        save_tensors(path, tensors, {"format": FILE_FORMAT, "stamp": stamp, "splats": splats})

    @classmethod
    def load(cls, path: Path, *, stamp: str | None = None, splats: str | None = None) -> "Things | None":
        """Read what `save` wrote; None if it is not there, damaged, or was found from something else.

        Args:
            path: The file.
            stamp: What they must have been found from; None if that is not known any more.
            splats: Hash of the Gaussians that they must be of; None for any.

        Raises:
            NewerError: If a newer version of gags wrote it: it must not be replaced.
            FileError: If the system does not let us read it.
        """
        try:
            stored = load_tensors(path, remedy="", kind="numpy", format=FILE_FORMAT, contents=THINGS)
            told = stored.metadata
            if stamp not in (None, told.get("stamp")) or splats not in (None, told.get("splats")):
                return None
            things = cls(**{name: stored.tensors[name] for name in _TENSORS})
        except (WorkspaceError, KeyError):
            return None
        return things if things.is_sound() else None

    def checksum(self) -> str:
        """Checksum of all numbers, which the file of them has, too."""
        return checksum({name: getattr(self, name) for name in _TENSORS})

    def is_sound(self) -> bool:
        """Whether entries and sizes fit each other; what a damaged file holds does not."""
        count = len(self.parents)
        of_things = (self.photos, self.seen_by, self.levels, self.embeddings)
        return bool(
            self.starts.shape == (count + 1,)
            and all(len(values) == count for values in of_things)
            and self.starts[0] == 0
            and self.starts[-1] == len(self.members)
            and (np.diff(self.starts) > 0).all()
            and (self.members >= 0).all()
            and (self.parents >= -1).all()
            and (self.parents < np.arange(count)).all()
        )

    def kinds(self) -> list[Kind]:
        """What each is: several things, a thing, or a part of one."""
        return [
            "group" if self.is_group[thing] else "thing" if self.whole_of(thing) is None else "part"
            for thing in range(len(self))
        ]


@kernel(parallel=True)
def _means_of_things(threads, starts, members, values, weights, means) -> None:  # pragma: no cover - compiled
    """Weighted mean of values [N, T] over the members of every thing, written. float64 [C, T]"""
    for thread in prange(threads):
        for thing in range(thread, len(means), threads):  # in turn: wholes, which are large, come first
            total = 0.0
            for k in range(starts[thing], starts[thing + 1]):
                row = members[k]
                total += weights[row]
                for t in range(values.shape[1]):
                    means[thing, t] += weights[row] * values[row, t]
            for t in range(values.shape[1]):
                means[thing, t] /= max(total, 1e-12)
