"""What every encoder of images and texts offers, and how it wants masks to be cut out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class CropRule:
    """How one mask is cut out of a photo for an encoder.

    Attributes:
        padding: Margin around the mask's box, as a share of its longer side.
        keep_background: Whether pixels off the mask stay; otherwise they take `fill`.
        fill: Grey value (0 to 255) off the mask and outside the photo.
        square: "box" takes a square window of the photo around the box's centre; "pad" crops to the box and
            pads to a square with `fill`, as LangSplat and GAGS do.
        resample: Pillow's filter for resizing; when it shrinks, it averages over all pixels, as in the
            training of CLIP and SigLIP. None takes OpenCV's bicubic filter, which is faster and does not.
    """

    padding: float = 0.0
    keep_background: bool = False
    fill: int = 0
    square: str = "pad"
    resample: Image.Resampling | None = None


class Encoder(Protocol):
    """Maps crops of photos and texts into one space, where related ones have a high dot product.

    An attribute `masks_a_batch` may say how many masks `embed_masks` hands over at a time, `english_only`
    that texts in other languages are not understood.

    Attributes:
        name: Identifies encoder and weights; stored in every file made with it.
        dim: Length D of its vectors.
        image_size: Side of the square crops it takes, px.
        crops: The crops C that it takes of every mask, in order.
        temperature: Logit scale of relevancy (Eq. 8) that belongs to this encoder.
        negatives: Canonical phrases of Eq. 8 for this encoder.
        same_meaning: From this cosine on, a canonical phrase means the same as a text and does not count
            against it; above 1 if all phrases count against all texts.
        least_match: Cosine of a text with what a thing's own masks say, plus its margin (`gags.query`), from
            which on the text is in the scene; measured with texts of things that are not. None if it was not:
            then the canonical phrases decide.
    """

    name: str
    dim: int
    image_size: int
    crops: tuple[CropRule, ...]
    temperature: float
    same_meaning: float

    @property
    def least_match(self) -> float | None:
        """See above; a plain attribute will do."""
        ...

    @property
    def negatives(self) -> tuple[str, ...]:
        """Canonical phrases of Eq. 8; a plain attribute will do."""
        ...

    def encode_images(self, crops: np.ndarray) -> np.ndarray:
        """Embed masks from their crops, uint8 RGB [B, C, S, S, 3]. Returns L2-normalised float32 [B, D]."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts. Returns L2-normalised float32 [T, D]."""
        ...
