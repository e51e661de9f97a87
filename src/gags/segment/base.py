"""What every promptable segmenter offers."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


@dataclass(eq=False)
class PromptedMasks:
    """Three masks a prompt, on SAM's low-resolution grid cut to the photo's part.

    Attributes:
        logits: Mask logits; index 1 is the level (sub-part, part, whole). float32 [B, 3, h, w]
        ious: IoU the model predicts for each mask. float32 [B, 3]
    """

    logits: np.ndarray
    ious: np.ndarray


class Segmenter(Protocol):
    """A model of the SAM family.

    Attributes:
        name: Identifies model and weights; stored in every file made with it.
    """

    name: str

    def encode(self, image: np.ndarray) -> Any:
        """Run the image encoder once on a photo, uint8 RGB [H, W, 3]; the result goes into `predict`."""
        ...

    def predict(self, encoded: Any, points: np.ndarray) -> PromptedMasks:
        """Three masks for each prompt, a point (x, y) in px of the photo. points: float32 [B, 2]"""
        ...
