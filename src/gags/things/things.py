"""The things of a scene and their parts: Gaussians that masks of many photos cut out alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gags.capture import Capture, View
from gags.embed.description import Descriptions
from gags.errors import WorkspaceError
from gags.gaussians import Gaussians
from gags.progress import SILENT, Reporter
from gags.store import load_tensors, save_tensors, stamp
from gags.workspace import Workspace

PART_PHOTOS = 0.5  # of the photos that agree on the whole, for a part to be more than a scrap of it
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
        """Whether a thing is no part, or one that nearly as many photos tell apart as the whole."""
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
            return cls(*(stored.tensors[name] for name in _TENSORS))
        except (WorkspaceError, KeyError):
            return None


def things_of_scene(
    workspace: Workspace,
    capture: Capture,
    gaussians: Gaussians,
    splats_hash: str,
    *,
    progress: Reporter = SILENT,
) -> Things:
    """The things of a scene, as its folder has them; found anew when masks or Gaussians have changed.

    What is found is kept in `things.safetensors`, if that can be written.

    Args:
        workspace: Folder of the scene.
        capture: Its photos.
        gaussians: Its Gaussians.
        splats_hash: Their hash, see `gags.distill.field.splats_hash`.
        progress: Told about progress.

    Returns:
        The things; none if no photo has masks.
    """
    views = _described(workspace, capture)
    key = things_stamp(workspace, capture, splats_hash)
    known = Things.load(workspace.things, key)
    if known is not None or not views:
        return known or Things.none()
    from gags.things.find import find_things  # compiles kernels

    things = find_things(gaussians, Descriptions(workspace, views), progress=progress)
    try:
        things.save(workspace.things, key)
    except OSError:
        progress.say(
            f"{workspace.things} cannot be written; the things of the scene are found anew every time"
        )
    return things


def things_stamp(workspace: Workspace, capture: Capture, splats_hash: str) -> str:
    """Hash of all that the things of a scene are found from: its Gaussians, and the masks of its photos."""
    return stamp(splats_hash, Descriptions(workspace, _described(workspace, capture)).stamps())


def _described(workspace: Workspace, capture: Capture) -> list[View]:
    """The training photos that have masks."""
    return [view for view in capture.train if workspace.description(view.name).exists()]
