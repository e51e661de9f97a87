"""The result of `describe` for one photo: masks on three levels and one embedding a mask."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from gags.errors import WorkspaceError
from gags.files import atomic_write
from gags.segment.masks import Masks


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
        metadata = {"encoder": self.encoder} | {self._STAMP + k: v for k, v in self.stamps.items()}
        with atomic_write(path) as temporary:
            save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, temporary, metadata)

    @classmethod
    def load(cls, path: Path) -> "Description":
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
