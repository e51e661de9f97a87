"""The result of `describe` for one photo: masks on three levels and one embedding a mask."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from gags.capture import Camera, View
from gags.errors import WorkspaceError
from gags.segment.masks import Masks
from gags.segment.packed import PackedMasks
from gags.store import damaged, load_metadata, load_tensors, save_tensors
from gags.workspace import Workspace

_REMEDY = "run `gags describe` again"


@dataclass(eq=False)
class Description:
    """Masks of one photo with their embeddings, as kept in `features/<photo>.safetensors`.

    Attributes:
        masks: The masks.
        embeddings: One L2-normalised embedding a mask. float16 [M, D]
        encoder: Name of the encoder that made the embeddings.
        stamps: Hashes of settings and inputs that the masks and embeddings were made with, by stage name.
        prompts: Points x, y in px that the segmenter was given. float32 [P, 2]
    """

    masks: Masks
    embeddings: np.ndarray
    encoder: str
    stamps: dict[str, str] = field(default_factory=dict)
    prompts: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.float32))

    _STAMP: ClassVar[str] = "stamp."

    def save(self, path: Path) -> None:
        """Write to a safetensors file, atomically."""
        tensors = {
            "labels": self.masks.labels.astype(np.int16),
            "levels": self.masks.levels.astype(np.int8),
            "boxes": self.masks.boxes.astype(np.int32),
            "scores": self.masks.scores.astype(np.float32),
            "embeddings": self.embeddings.astype(np.float16),
            "prompts": self.prompts.astype(np.float32),
        }
        if self.masks.whole is not None:
            tensors["whole_words"] = self.masks.whole.words
            tensors["whole_boxes"] = self.masks.whole.boxes
        metadata = {"encoder": self.encoder} | {self._STAMP + k: v for k, v in self.stamps.items()}
        save_tensors(path, tensors, metadata)

    @classmethod
    def load(cls, path: Path) -> "Description":
        """Read what `save` wrote.

        Raises:
            WorkspaceError: If the file is missing or damaged.
        """
        stored = load_tensors(path, remedy=_REMEDY, kind="numpy")
        tensors = stored.tensors
        try:
            masks = Masks(**{name: tensors[name] for name in ("labels", "levels", "boxes", "scores")})
            if "whole_words" in tensors:
                masks.whole = PackedMasks(tensors["whole_words"], tensors["whole_boxes"])
                if len(masks.whole) != len(masks):
                    raise ValueError(f"{len(masks.whole)} whole masks for {len(masks)} masks")
            embeddings, prompts = tensors["embeddings"], tensors["prompts"]
        except (KeyError, ValueError) as error:
            raise damaged(path, error, _REMEDY) from error
        metadata = stored.metadata
        return cls(masks, embeddings, metadata.get("encoder", ""), cls._stamps(metadata), prompts)

    @classmethod
    def stamps_of(cls, path: Path) -> dict[str, str]:
        """The stamps alone, without reading masks and embeddings; empty if there is no such file.

        Raises:
            WorkspaceError: If the file is damaged.
        """
        return cls._stamps(load_metadata(path, remedy=_REMEDY))

    @classmethod
    def _stamps(cls, metadata: dict[str, str]) -> dict[str, str]:
        return {k.removeprefix(cls._STAMP): v for k, v in metadata.items() if k.startswith(cls._STAMP)}


class Descriptions(Sequence[tuple[Camera, Description]]):
    """Cameras and descriptions of photos, read from disk when asked for: memory does not grow with them.

    Args:
        where: The scene, or what names the file of a photo's description.
        views: The photos.
    """

    def __init__(self, where: Workspace | Callable[[str], Path], views: Sequence[View]) -> None:
        self._find = where.description if isinstance(where, Workspace) else where
        self._views = views

    def __len__(self) -> int:
        return len(self._views)

    def __getitem__(self, index: int) -> tuple[Camera, Description]:  # type: ignore[override]
        view = self._views[index]
        return view.camera, Description.load(self.path(view))

    def path(self, view: View) -> Path:
        """File of a photo's description, there or not."""
        return self._find(view.name)

    def stamps(self) -> dict[str, dict[str, str]]:
        """Stamps of every photo's description by its name; empty if there are none or they are damaged."""
        return {view.name: self._stamps(view) for view in self._views}

    def _stamps(self, view: View) -> dict[str, str]:
        try:
            return Description.stamps_of(self.path(view))
        except WorkspaceError:
            return {}
