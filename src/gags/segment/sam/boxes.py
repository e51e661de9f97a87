"""Masks from boxes: MobileSAM, SAM, SAM-HQ and SAM 2, prompted with a box instead of a point."""

from functools import partial
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch

from gags import models
from gags.progress import SILENT, Reporter
from gags.segment.sam.export import load_session
from gags.segment.sam.hub import HubSam
from gags.segment.sam.mobile import CELL_SIDE, FRAME_SIDE, frame_size, to_frame

CORNER_LABELS = (2.0, 3.0)  # SAM's labels of points that are the first and the second corner of a box


class BoxSegmenter(Protocol):
    """A model of the SAM family that is prompted with boxes."""

    def masks(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """One mask a box.

        Args:
            image: Photo, uint8 RGB. [H, W, 3]
            boxes: Left, top, right, bottom of each, px of the photo. float32 [B, 4]

        Returns:
            bool [B, H, W]
        """
        ...


def load_box_segmenter(name: str, progress: Reporter = SILENT) -> BoxSegmenter:
    """The segmenter of a name, to be prompted with boxes; fetched first if it is not on this machine.

    Args:
        name: See `gags.segment.load_segmenter`.
        progress: Told when something is fetched.

    Raises:
        ModelError: If there is no such segmenter, or its weights cannot be fetched.
    """
    return models.load(
        name,
        "segmenter",
        own={"mobile-sam": MobileSamBoxes},
        hub=partial(HubSamBoxes, progress=progress),
        progress=progress,
    )


class MobileSamBoxes:
    """MobileSAM as exported. Of a box, the export gives the best-rated of the masks on three levels.

    Args:
        folder: Holds `encoder.onnx` and `sam.onnx`.

    Raises:
        ModelError: If a file is missing or is no ONNX model.
    """

    def __init__(self, folder: Path) -> None:
        self._encoder = load_session(folder / "encoder.onnx")
        self._decoder = load_session(folder / "sam.onnx")

    def masks(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """One mask a box, see `BoxSegmenter.masks`."""
        height, width = image.shape[:2]
        (embedding,) = self._encoder.run(None, {"input": to_frame(image)})
        frame = frame_size(width, height)
        found = np.zeros((len(boxes), height, width), bool)
        for mask, box in zip(found, boxes, strict=True):
            inputs = {
                "image_embeddings": embedding,
                # With a box, SAM takes no padding point.
                "point_coords": (box.reshape(1, 2, 2) * frame / (width, height)).astype(np.float32),
                "point_labels": np.array([CORNER_LABELS], np.float32),
                "mask_input": np.zeros((1, 1, FRAME_SIDE // CELL_SIDE, FRAME_SIDE // CELL_SIDE), np.float32),
                "has_mask_input": np.zeros(1, np.float32),
                "orig_im_size": np.array([height, width], np.float32),
            }
            (logits,) = self._decoder.run(["masks"], inputs)
            mask[:] = np.asarray(logits)[0, 0] > 0
        return found


class HubSamBoxes:
    """SAM, SAM-HQ or SAM 2 through `transformers`: the mask of the token for prompts without ambiguity.

    Args:
        folder: Holds `config.json`, `model.safetensors` and `preprocessor_config.json`.
        name: Identifies model and weights.
        device: Where to run; by default the fastest device.
        progress: Told if the model goes on in single precision.

    Raises:
        ModelError: If the folder holds no such model.
    """

    def __init__(
        self,
        folder: Path,
        name: str = "",
        *,
        device: torch.device | None = None,
        progress: Reporter = SILENT,
    ) -> None:
        self._sam = HubSam(folder, name, device=device, progress=progress)

    def masks(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """One mask a box, see `BoxSegmenter.masks`."""
        height, width = image.shape[:2]
        encoded = self._sam.encode(image)
        logits = self._sam.predict_boxes(encoded, boxes)
        if not len(logits):
            return np.zeros((0, height, width), bool)
        return _to_photo(logits, encoded.extent, width, height)


def _to_photo(logits: np.ndarray, extent: tuple[float, float], width: int, height: int) -> np.ndarray:
    """Resize logits to the photo (bilinear), then cut at 0.

    Args:
        logits: On the segmenter's grid, cut to the photo. float32 [B, h, w]
        extent: Width and height of the photo in cells of the grid.
        width: Of the photo, px.
        height: Of the photo, px.

    Returns:
        bool [B, H, W]
    """
    # The centre of px X of the photo lies at cell coordinate (X + ½)·cells, whose index is that − ½.
    cells_x, cells_y = extent[0] / width, extent[1] / height
    to_cells = np.array([[cells_x, 0, 0.5 * cells_x - 0.5], [0, cells_y, 0.5 * cells_y - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    resized = [
        cv2.warpAffine(part, to_cells, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        for part in logits
    ]
    return np.stack(resized) > 0
