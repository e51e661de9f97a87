"""The things of a scene and their parts: Gaussians that masks of many photos cut out alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gags.errors import WorkspaceError
from gags.store import load_tensors, save_tensors

PART_PHOTOS = 0.5  # of the photos that agree on the whole, for a part to be more than a fragment of it
FILE_FORMAT = "gags-things-1"
_TENSORS = ("starts", "members", "parents", "photos")


@dataclass(eq=False)
class Things:
    """Things of a scene, those that most photos agree on first; parts come after what they are parts of.

    Attributes:
        starts: First entry of each thing in `members`, and the end. int64 [C + 1]
        members: Gaussians of each thing, in order. int32 [E]
        parents: Thing that each is a part of, -1 for none. int32 [C]
        photos: Number of photos that agree on each thing. int32 [C]
    """

    starts: np.ndarray
    members: np.ndarray
    parents: np.ndarray
    photos: np.ndarray

    @classmethod
    def build(cls, gaussians: np.ndarray, owners: np.ndarray, photos: Sequence[np.ndarray]) -> "Things":
        """Sort pairs of a Gaussian [E] and a thing [E]; things without Gaussians are left out.

        Args:
            gaussians: Of each pair. [E]
            owners: Thing of each pair, a row of `photos`. [E]
            photos: Photos that agree on each thing.
        """
        order = np.lexsort((gaussians, owners))
        counts = np.bincount(owners, minlength=len(photos))
        kept = np.flatnonzero(counts)
        return cls(
            np.concatenate([[0], np.cumsum(counts[kept])]).astype(np.int64),
            gaussians[order].astype(np.int32),
            np.full(len(kept), -1, np.int32),
            np.array([len(photos[thing]) for thing in kept.tolist()], np.int32),
        )

    @classmethod
    def none(cls) -> "Things":
        """No thing at all: what is known of a scene without masks."""
        empty = np.zeros(0, np.int32)
        return cls(np.zeros(1, np.int64), empty, empty, empty)

    def __len__(self) -> int:
        return len(self.parents)

    def __getitem__(self, thing: int) -> np.ndarray:
        """Gaussians of one thing. int32 [n]"""
        return self.members[self.starts[thing] : self.starts[thing + 1]]

    def stands_out(self, thing: int) -> bool:
        """Whether a thing is no part, or seen as separate in at least half as many photos as its whole."""
        parent = self.parents[thing]
        return bool(parent < 0 or self.photos[thing] >= PART_PHOTOS * self.photos[parent])

    def means(self, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Weighted mean of the Gaussians' values over every thing.

        Args:
            values: [N, T]
            weights: How much every Gaussian counts. [N]

        Returns:
            float64 [C, T]
        """
        means = np.zeros((len(self), values.shape[1]))
        for thing in range(len(self)):
            rows = self[thing]
            means[thing] = weights[rows] @ values[rows] / max(float(weights[rows].sum()), 1e-12)
        return means

    def save(self, path: Path, stamp: str) -> None:
        """Write to a safetensors file, atomically; `stamp` says what they were found from."""
        tensors = {name: getattr(self, name) for name in _TENSORS}
        save_tensors(path, tensors, {"format": FILE_FORMAT, "stamp": stamp})

    @classmethod
    def load(cls, path: Path, stamp: str) -> "Things | None":
        """Read what `save` wrote; None if it is not there, damaged, or was found from something else."""
        try:
            stored = load_tensors(path, remedy="", kind="numpy", format=FILE_FORMAT)
            if stored.metadata.get("stamp") != stamp:
                return None
            return cls(**{name: stored.tensors[name] for name in _TENSORS})
        except (WorkspaceError, KeyError):
            return None
