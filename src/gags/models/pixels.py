"""From photos to what an image encoder takes: the numbers of a model's own image processor, applied here.

The processors of `transformers` need torchvision for some models; the few steps are the same for all.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gags.errors import ModelError
from gags.models.hub import read_json

Color = tuple[float, float, float]

IMAGENET_MEAN: Color = (0.485, 0.456, 0.406)
IMAGENET_STD: Color = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class PixelRule:
    """How the pixels of a resized picture become numbers.

    Attributes:
        mean: Subtracted from each channel after `scale`.
        std: Divides each channel after that.
        scale: Multiplies values of 0 to 255 first.
        resample: Pillow's filter for resizing.
    """

    mean: Color
    std: Color
    scale: float = 1 / 255
    resample: Image.Resampling = Image.Resampling.BILINEAR

    def apply(self, pictures: np.ndarray, device: torch.device) -> Tensor:
        """Normalise pictures, uint8 RGB [B, H, W, 3]. Returns float32 [B, 3, H, W]"""
        pixels = torch.tensor(pictures, device=device).permute(0, 3, 1, 2).float()
        mean = torch.tensor(self.mean, device=device)[:, None, None]
        std = torch.tensor(self.std, device=device)[:, None, None]
        return (pixels * self.scale - mean) / std


def read_processor(folder: Path) -> dict[str, Any]:
    """Settings of a model's image processor; empty if its folder has none."""
    if (folder / "preprocessor_config.json").is_file():
        return read_json(folder / "preprocessor_config.json")
    if (folder / "processor_config.json").is_file():
        return read_json(folder / "processor_config.json").get("image_processor", {})
    return {}


def read_pixel_rule(folder: Path, default: PixelRule) -> PixelRule:
    """The rule that a model's folder asks for.

    Args:
        folder: Holds `preprocessor_config.json` or `processor_config.json`.
        default: Stands in for what these leave out.
    """
    settings = read_processor(folder)
    mean, std = settings.get("image_mean", default.mean), settings.get("image_std", default.std)
    scale, resample = (
        settings.get("rescale_factor", default.scale),
        settings.get("resample", default.resample),
    )
    if not settings.get("do_normalize", True):
        mean, std = (0, 0, 0), (1, 1, 1)
    if not settings.get("do_rescale", True):
        scale = 1.0
    try:
        return PixelRule(_color(mean), _color(std), float(scale), Image.Resampling(int(resample)))
    except (TypeError, ValueError) as error:
        raise ModelError(f"the image processor's settings in {folder} make no sense: {error}") from error


def _color(values: Any) -> Color:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
