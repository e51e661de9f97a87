"""What a method of the comparison is: something that learns language for a scene, and can then be asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from gags.capture.camera import Camera
from gags.embed.description import Description
from gags.embed.encoder import Encoder
from gags.errors import WorkspaceError
from gags.evaluate.answerer import Answerer
from gags.gaussians import Gaussians
from gags.progress import Reporter


@dataclass(frozen=True, eq=False)
class Inputs:
    """What every method learns from.

    Attributes:
        gaussians: The scene.
        items: Camera and masks of every photo to learn from.
        encoder: The encoder that embedded the masks.
    """

    gaussians: Gaussians
    items: Sequence[tuple[Camera, Description]]
    encoder: Encoder

    def embeddings(self) -> Tensor:
        """L2-normalised embeddings of all masks of all photos, in their order. float32 [M, D]

        Raises:
            WorkspaceError: If no photo has a mask.
        """
        parts = [features.embeddings for _, features in self.items if len(features.masks)]
        if not parts:
            raise WorkspaceError("no photo has a single mask, there is nothing to learn; check the photos")
        return torch.from_numpy(np.concatenate(parts)).float().to(self.gaussians.means.device)

    def levels(self) -> Tensor:
        """Level (0, 1, 2) of every mask of all photos, in their order. int64 [M]"""
        parts = [features.masks.levels for _, features in self.items]
        return torch.from_numpy(np.concatenate(parts)).long().to(self.gaussians.means.device)


class Learner(Protocol):
    """Learns language for a scene. A frozen dataclass: its fields are all settings it depends on."""

    def learn(self, inputs: Inputs, seed: int, path: Path, progress: Reporter) -> None:
        """Learn from the masks and write what was learnt to a safetensors file, atomically.

        The file's tensor "features" holds what is kept for every Gaussian.
        """
        ...

    def load(self, path: Path, gaussians: Gaussians) -> Answerer:
        """What `learn` wrote, ready to be asked."""
        ...


def bytes_per_gaussian(path: Path, gaussians: int) -> float:
    """Size of what a learner's file keeps for one Gaussian: features alone, without decoders, bytes.

    Raises:
        WorkspaceError: If the file is missing or damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            features = file.get_tensor("features")
    except (OSError, SafetensorError) as error:
        raise WorkspaceError(f"{path} is missing or damaged ({error}); delete it and run again") from error
    return features.numel() * features.element_size() / gaussians
