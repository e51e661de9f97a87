"""Grounding DINO (Liu et al., ECCV 2024) through `transformers`: boxes of what a text names in a photo.

Its weights are those of a hub id or of a local folder in the hub's format. The steps of its image processor
and of its post-processing are written here: the processor of `transformers` needs torchvision.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gags import models
from gags.embed.clip.encoder import Tokens
from gags.errors import ModelError
from gags.models.device import in_turn, net_lock, neural_device
from gags.models.hub import HubError, read_json
from gags.models.pretrained import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    PixelRule,
    load_pretrained,
    read_pixel_rule,
    read_processor,
)
from gags.progress import SILENT, Reporter

SWIN_B, SWIN_T = "IDEA-Research/grounding-dino-base", "IDEA-Research/grounding-dino-tiny"
AUTO, NONE = "auto", "none"
MODEL_TYPE = "grounding-dino"
SHORTEST_SIDE, LONGEST_SIDE = 800, 1333  # px of the photos that it was trained on


@dataclass(frozen=True, eq=False)
class Detections:
    """What was found in a photo.

    Attributes:
        boxes: Left, top, right, bottom of each, px of the photo. float32 [n, 4]
        scores: How well each fits the text, in (0, 1), the best first. float32 [n]
    """

    boxes: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)


def choose_detector(name: str, published: str, progress: Reporter = SILENT) -> str:
    """Name of a Grounding DINO that is on this machine, fetched if it has to be; "none" for none.

    Args:
        name: A hub id, a folder, "none", or "auto": `published` if it is available, else none.
        published: Hub id of the one that the method was published with.
        progress: Told what "auto" chose, and why.

    Returns:
        The name that identifies it, see `gags.models.canonical`, or "none".

    Raises:
        ModelError: If `name` is a model that is not there or no Grounding DINO.
    """
    if name == NONE:
        return NONE
    try:
        folder = models.ensure(published if name == AUTO else name, progress)
    except ModelError as error:
        if name != AUTO:
            raise
        reason = error.reason if isinstance(error, HubError) else str(error)
        progress.say(f"Detector: none; {published} is not on this machine, and {reason} (--detector chooses)")
        return NONE
    _check_type(folder)
    return models.canonical(published if name == AUTO else name)


def load_detector(name: str, progress: Reporter = SILENT) -> "GroundingDino":
    """Load a Grounding DINO by hub id or folder, fetched first if it is not on this machine.

    Raises:
        ModelError: If there is no such model, or it cannot be fetched.
    """
    return GroundingDino(models.ensure(name, progress))


class GroundingDino:
    """Finds what a text names, in single precision.

    Args:
        folder: Holds `config.json`, `model.safetensors`, `preprocessor_config.json` and the files of the
            tokenizer.
        device: Where to run; by default the fastest device.

    Raises:
        ModelError: If the folder holds no such model, or it is incomplete.
    """

    def __init__(self, folder: Path, *, device: torch.device | None = None) -> None:
        import transformers

        _check_type(folder)
        self._device = device or neural_device()
        self._lock = net_lock(self._device)
        model = load_pretrained(transformers.GroundingDinoForObjectDetection, folder)
        with self._lock:
            self._model = model.to(self._device)
        self._tokens = Tokens(folder, self._model.config.max_text_len, siglip=False)
        self._pixels = read_pixel_rule(folder, PixelRule(IMAGENET_MEAN, IMAGENET_STD))
        size = read_processor(folder).get("size") or {}
        self._shortest = int(size.get("shortest_edge") or SHORTEST_SIDE)
        self._longest = int(size.get("longest_edge") or LONGEST_SIDE)

    @torch.inference_mode()
    @in_turn
    def detect(self, image: np.ndarray, text: str, threshold: float) -> Detections:
        """Boxes of what one text names.

        The published program has a second threshold, on the words of a text, which decides which of them name
        a box. A text here is one phrase, and its boxes need no name: that threshold has no use.

        Args:
            image: Photo, uint8 RGB. [H, W, 3]
            text: The text.
            threshold: Boxes whose score is not above this are left out.
        """
        height, width = image.shape[:2]
        size = resized(width, height, self._shortest, self._longest)
        picture = np.asarray(Image.fromarray(image).resize(size, self._pixels.resample))
        tokens = {name: tensor.to(self._device) for name, tensor in self._tokens([caption(text)]).items()}
        output: Any = self._model(pixel_values=self._pixels.apply(picture[None], self._device), **tokens)
        return detections(output.logits[0], output.pred_boxes[0], threshold, width, height)


def caption(text: str) -> str:
    """A text as Grounding DINO was trained on it: lower case, with a full stop."""
    return text.strip().lower().rstrip(".").rstrip() + "."


def resized(width: int, height: int, shortest: int, longest: int) -> tuple[int, int]:
    """Columns and rows of a photo for the model: shorter side `shortest`, but no side over `longest`, px.

    As in DETR (Carion et al. 2020): the longer side is cut off to whole px, not rounded.
    """
    small, large = min(width, height), max(width, height)
    exact = min(float(shortest), longest * small / large)
    side, other = max(1, round(exact)), int(exact * large / small)
    return (side, other) if width < height else (other, side)


def detections(logits: Tensor, boxes: Tensor, threshold: float, width: int, height: int) -> Detections:
    """Boxes whose score is above a threshold, in px.

    The score of a box is the largest probability over the tokens of the text.

    Args:
        logits: Of every box and token; −∞ for tokens that there are not. [Q, L]
        boxes: Centre x, centre y, width, height, as shares of the photo. [Q, 4]
        threshold: In (0, 1).
        width: Of the photo, px.
        height: Of the photo, px.
    """
    scores = logits.float().sigmoid().amax(dim=-1)
    order = scores.argsort(descending=True)
    order = order[scores[order] > threshold]
    centre, half = boxes[order, :2].float(), boxes[order, 2:].float() / 2
    corners = torch.cat([centre - half, centre + half], dim=1)
    px = torch.tensor([width, height, width, height], device=corners.device)
    return Detections((corners * px).cpu().numpy(), scores[order].cpu().numpy())


def _check_type(folder: Path) -> None:
    kind = read_json(folder / "config.json").get("model_type")
    if kind != MODEL_TYPE:
        raise ModelError(f"{folder} holds a model of type {kind!r}; a detector is of type {MODEL_TYPE!r}")
