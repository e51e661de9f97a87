"""What the pixels of photos should say to a method that learns from dense features: photo by photo."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from gags.capture.camera import Camera
from gags.compare.codebook import Hybrid
from gags.compare.dense import DenseFeatures, dense_features
from gags.compare.methods.learner import Inputs
from gags.embed.dino.encoder import Dino
from gags.segment.masks import Masks


@dataclass(frozen=True, eq=False)
class TargetPhoto:
    """What the pixels of one photo should say.

    Attributes:
        camera: Camera at the size that pixels are counted at.
        pixels: Pixels drawn from the photo, x and y, in random order. int64 [P, 2]
        dense: Its dense features; None if none are wanted.
        masks: Its masks, if the targets are theirs.
        embeddings: Embeddings of these masks. float32 [M, D]
    """

    camera: Camera
    pixels: np.ndarray
    dense: DenseFeatures | None
    masks: Masks | None
    embeddings: Tensor

    def features(self, pixels: np.ndarray) -> Hybrid:
        """What some pixels should say. int64 [P, 2] → P features"""
        shares = (pixels + 0.5) / np.array([self.camera.width, self.camera.height])
        points = torch.from_numpy(shares).to(self.embeddings)
        keys = points.new_zeros(len(points), 0) if self.dense is None else self.dense.keys_at(points)
        if self.masks is not None:
            labels = torch.from_numpy(self.masks.labels[:, pixels[:, 1], pixels[:, 0]].T.astype(np.int64))
            return Hybrid(mean_of_masks(labels.to(points.device), self.embeddings), keys)
        assert self.dense is not None
        return Hybrid(self.dense.embeddings(points), keys)


@dataclass(frozen=True, eq=False)
class TargetPhotos:
    """The photos to learn from, read when they are asked for.

    Attributes:
        inputs: What the method was given.
        targets: Whether pixels should say what tiles or what masks say.
        dino: Gives keys; None for none.
        folder: Where dense features are kept.
        numbers: Which photos.
        most: Pixels drawn from each.
        seed: Seed of drawing.
    """

    inputs: Inputs
    targets: Literal["tiles", "masks"]
    dino: Dino | None
    folder: Path
    numbers: Sequence[int]
    most: int
    seed: int

    def __iter__(self) -> Iterator[TargetPhoto]:
        for number in self.numbers:
            photo = self._read(number)
            if len(photo.pixels):
                yield photo

    def _read(self, number: int) -> TargetPhoto:
        device = self.inputs.gaussians.means.device
        if self.targets == "tiles":
            camera = self.inputs.views[number].camera
            covered = np.ones((camera.height, camera.width), bool)
            nothing = torch.zeros(0, self.inputs.encoder.dim, device=device)
            return TargetPhoto(camera, self._draw(covered, number), self._dense(number), None, nothing)
        camera, described = self.inputs.items[number]
        covered = np.asarray(np.any(described.masks.labels >= 0, axis=0))
        height, width = (int(side) for side in covered.shape)
        embeddings = torch.from_numpy(described.embeddings).float().to(device)
        pixels = self._draw(covered, number)
        dense = None if self.dino is None else self._dense(number)
        return TargetPhoto(camera.resized(width, height), pixels, dense, described.masks, embeddings)

    def _dense(self, number: int) -> DenseFeatures:
        """Dense features of a photo, tiles only if they are the targets."""
        view = self.inputs.views[number]
        encoder = self.inputs.encoder if self.targets == "tiles" else None
        return dense_features(view, encoder, self.dino, self.folder / f"{view.name}.safetensors")

    def _draw(self, covered: np.ndarray, number: int) -> np.ndarray:
        """Some of the pixels of a photo that say something, bool [H, W]. Returns x and y, int64 [P, 2]"""
        rng = np.random.default_rng([self.seed, number])
        flat = rng.permutation(np.flatnonzero(covered))[: self.most]
        return np.stack([flat % covered.shape[1], flat // covered.shape[1]], axis=-1)


def mean_of_masks(labels: Tensor, embeddings: Tensor) -> Tensor:
    """Mean embedding of the masks that cover a pixel, over the levels that have one there.

    Args:
        labels: Mask that covers each pixel on each level, -1 where there is none. int64 [P, 3]
        embeddings: Of the photo's masks, L2-normalised. [M, D]

    Returns:
        L2-normalised. [P, D]
    """
    there = (labels >= 0).to(embeddings)
    return normalize((embeddings[labels.clamp(min=0)] * there[..., None]).sum(dim=1), dim=-1)
