"""What every promptable segmenter offers: a photo is encoded once, then prompts get masks on three levels."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np


@dataclass(eq=False)
class PromptedMasks:
    """Masks that a segmenter gives for prompts, on its own coarse grid, cut to the photo's part of it.

    Attributes:
        logits: Mask logits, positive inside. float32 [K, h, w]
        ious: IoU that the model predicts for each mask. float32 [K]
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
            encoded: The result of `encode` for the photo.
            points: Prompts (x, y) in px of the photo; the centre of its top-left pixel is (0.5, 0.5).
                float32 [B, 2]
            min_iou: Masks whose predicted IoU is not above this are left out, and not computed.
        """
        ...


@runtime_checkable
class SeesPlaces(Protocol):
    """A segmenter that also says how places of a photo look to it.

    With it, prompts that repeat others are known before they are answered (`gags.segment.novelty`). A
    segmenter without it answers all.
    """

    def features_at(self, encoded: Any, points: np.ndarray) -> np.ndarray:
        """What the image encoder says of places, to compare these by cosine.

        Args:
            encoded: The result of `encode` for the photo.
            points: Places (x, y) in px of the photo, as in `predict`. float32 [P, 2]

        Returns:
            float32 [P, C]
        """
        ...
