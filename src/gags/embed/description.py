"""What `describe` leaves behind for one photo: masks on three levels and one embedding a mask."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from gags.errors import WorkspaceError
from gags.files import atomic_write

LEVELS = ("sub-part", "part", "whole")


@dataclass(eq=False)
class Masks:
    """The masks of one photo, painted into one label map a level.

    Attributes:
        labels: Row of the mask that covers each pixel, -1 where there is none; one map for each of
            sub-part, part and whole. int16 [3, H, W]
        levels: Level (0, 1, 2) of each mask. int8 [M]
        boxes: x1, y1, x2, y2 of each mask in px, the far edges exclusive. int32 [M, 4]
        scores: Predicted IoU × stability of each mask, in [0, 1]. float32 [M]
    """

    labels: np.ndarray
    levels: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.levels)

    def mask(self, row: int) -> np.ndarray:
        """The visible part of one mask. bool [H, W]"""
        return self.labels[self.levels[row]] == row


@dataclass(eq=False)
class ViewFeatures:
    """Masks of one photo with their embeddings, as kept in `features/<photo>.safetensors`.

    Attributes:
        masks: The masks.
        embeddings: One L2-normalised embedding a mask. float16 [M, D]
        encoder: Name of the encoder that made the embeddings.
        stamps: Hashes of settings and inputs that the masks and embeddings were made with, by stage name.
        prompts: Points x, y in px that the segmenter was asked about. float32 [P, 2]
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
        metadata = {"encoder": self.encoder} | {self._STAMP + k: v for k, v in self.stamps.items()}
        with atomic_write(path) as temporary:
            save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, temporary, metadata)

    @classmethod
    def load(cls, path: Path) -> "ViewFeatures":
        """Read what `save` wrote.

        Raises:
            WorkspaceError: If the file is missing or damaged.
        """
        try:
            with safe_open(path, "numpy") as file:
                metadata = file.metadata() or {}
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            masks = Masks(*(tensors[key] for key in ("labels", "levels", "boxes", "scores")))
            embeddings, prompts = tensors["embeddings"], tensors["prompts"]
        except (OSError, SafetensorError, KeyError) as error:
            raise WorkspaceError(
                f"{path} is missing or damaged ({error}); run `gags describe` again"
            ) from error
        return cls(masks, embeddings, metadata.get("encoder", ""), cls._stamps(metadata), prompts)

    @classmethod
    def stamps_of(cls, path: Path) -> dict[str, str]:
        """The stamps alone, without reading masks and embeddings; empty if there is no such file.

        Raises:
            WorkspaceError: If the file is damaged.
        """
        if not path.exists():
            return {}
        try:
            with safe_open(path, "numpy") as file:
                metadata = file.metadata() or {}
        except (OSError, SafetensorError) as error:
            raise WorkspaceError(f"{path} is damaged ({error}); run `gags describe` again") from error
        return cls._stamps(metadata)

    @classmethod
    def _stamps(cls, metadata: dict[str, str]) -> dict[str, str]:
        return {k.removeprefix(cls._STAMP): v for k, v in metadata.items() if k.startswith(cls._STAMP)}
