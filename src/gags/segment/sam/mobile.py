"""MobileSAM from its ONNX exports: one pass of the image encoder, then any number of prompts."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from gags.errors import ModelError
from gags.segment.sam.decoder import MOST_PROMPTS, MaskDecoder, SharedImage
from gags.segment.sam.embedding import sampled
from gags.segment.sam.export import load_session, read_weights
from gags.segment.segmenter import PromptedMasks

FRAME_SIDE = 1024  # of the square image that SAM takes, px
POSITION_SIDE = 16  # px of the frame per position of the image embedding
CELL_SIDE = 4  # px of the frame per cell of the mask logits
_MEAN = np.array([123.675, 116.28, 103.53], np.float32)
_STD = np.array([58.395, 57.12, 57.375], np.float32)


@dataclass(eq=False)
class EncodedPhoto:
    """The image embedding of one photo, prepared for prompts.

    Attributes:
        image: What all prompts share.
        embedding: Image embedding, as the image encoder gives it. float32 [256, 64, 64]
        width: Width of the photo, px.
        height: Height of the photo, px.
        frame_width: Width of the photo in SAM's frame, px; the longer side is 1024.
        frame_height: Height of the photo in SAM's frame, px.
    """

    image: SharedImage
    embedding: torch.Tensor
    width: int
    height: int
    frame_width: int
    frame_height: int


class MobileSam:
    """MobileSAM (Zhang et al. 2023) through onnxruntime.

    Args:
        folder: Holds `encoder.onnx` and `sam.onnx`.

    Raises:
        ModelError: If a file is missing or is not such an export.
    """

    name = "mobile-sam"
    calls_at_once = 2  # one call's masks are put together and measured while the other's are decoded

    def __init__(self, folder: Path) -> None:
        for file in ("encoder.onnx", "sam.onnx"):
            if not (folder / file).is_file():
                raise ModelError(f"{folder} has no {file}; run `gags models pull mobile-sam`")
        self._encoder = load_session(folder / "encoder.onnx")
        self._decoder = MaskDecoder(read_weights(folder / "sam.onnx"))
        self.prompts_a_call = MOST_PROMPTS * self._decoder.threads

    def encode(self, image: np.ndarray) -> EncodedPhoto:
        """Run the image encoder on a photo, uint8 RGB [H, W, 3]."""
        height, width = image.shape[:2]
        frame_width, frame_height = frame_size(width, height)
        (embedding,) = self._encoder.run(None, {"input": to_frame(image)})
        embedding = torch.from_numpy(np.asarray(embedding))[0]
        return EncodedPhoto(
            image=self._decoder.prepare(embedding),
            embedding=embedding,
            width=width,
            height=height,
            frame_width=frame_width,
            frame_height=frame_height,
        )

    def features_at(self, encoded: EncodedPhoto, points: np.ndarray) -> np.ndarray:
        """The image embedding at places, see `SeesPlaces.features_at`. float32 [P, 256]"""
        frame = np.array([encoded.frame_width, encoded.frame_height])
        return sampled(encoded.embedding, points * (frame / (encoded.width, encoded.height) / FRAME_SIDE))

    def predict(self, encoded: EncodedPhoto, points: np.ndarray, *, min_iou: float = 0.0) -> PromptedMasks:
        """Masks on three levels for each prompt, see `Segmenter.predict`."""
        frame = np.array([encoded.frame_width, encoded.frame_height])
        shares = points * (frame / (encoded.width, encoded.height) / FRAME_SIDE)
        columns, rows = (int(n) for n in np.ceil(frame / POSITION_SIDE))
        logits, ious = self._decoder.decode(
            encoded.image, torch.from_numpy(shares.astype(np.float32)), (rows, columns), min_iou
        )
        prompts, levels = np.nonzero(ious > min_iou)
        width, height = frame / CELL_SIDE
        return PromptedMasks(
            logits=logits[:, : int(np.ceil(height)), : int(np.ceil(width))],
            ious=ious[prompts, levels],
            levels=levels.astype(np.int8),
            prompts=prompts.astype(np.int32),
            extent=(float(width), float(height)),
        )


def frame_size(width: int, height: int) -> tuple[int, int]:
    """Size of a photo in SAM's frame: longer side 1024, the other rounded to whole px."""
    scale = FRAME_SIDE / max(width, height)
    return max(1, int(width * scale + 0.5)), max(1, int(height * scale + 0.5))


def to_frame(image: np.ndarray) -> np.ndarray:
    """Resize (bilinear, antialiased), normalise and pad a photo as in SAM's training.

    Args:
        image: Photo, uint8 RGB. [H, W, 3]

    Returns:
        float32 [1, 3, 1024, 1024]; zeros right of and below the photo.
    """
    size = frame_size(image.shape[1], image.shape[0])
    resized = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    frame = np.zeros((1, 3, FRAME_SIDE, FRAME_SIDE), np.float32)
    frame[0, :, : size[1], : size[0]] = ((resized - _MEAN) / _STD).transpose(2, 0, 1)
    return frame
