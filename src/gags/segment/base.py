"""What every promptable segmenter offers."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

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
class PromptedMasks:
    """Masks that prompts led to, on the segmenter's own low-resolution grid cut to the photo's part.

    Attributes:
        logits: Mask logits, positive inside. float32 [K, h, w]
        ious: IoU the model predicts for each mask. float32 [K]
        levels: Level (0 sub-part, 1 part, 2 whole) of each mask. int8 [K]
        prompts: Row of the prompt that each mask belongs to. int32 [K]
        extent: Width and height of the photo in cells of the grid; w and h are these rounded up. Cell (0, 0)
            covers the photo's top-left corner, its centre lies at (0.5, 0.5).
    """

    logits: np.ndarray
    ious: np.ndarray
    levels: np.ndarray
    prompts: np.ndarray
    extent: tuple[float, float]


class Segmenter(Protocol):
    """A model of the SAM family.

    Attributes:
        name: Identifies model and weights; stored in every file made with it.
    """

    name: str

    def encode(self, image: np.ndarray) -> Any:
        """Run the image encoder once on a photo, uint8 RGB [H, W, 3]; the result goes into `predict`."""
        ...

    def predict(self, encoded: Any, points: np.ndarray, *, min_iou: float = 0.0) -> PromptedMasks:
        """Masks on three levels for each prompt.

        Args:
            encoded: What `encode` gave for the photo.
            points: Prompts (x, y) in px of the photo; the centre of its top-left pixel is (0.5, 0.5).
                float32 [B, 2]
            min_iou: Leave out masks whose predicted IoU is not above this, and the work they cost.
        """
        ...
