"""Models of `transformers` from a folder in the hub's format: their weights, and how they want their pixels.

Weights are safetensors only, loaded quietly, and only if nothing is missing. The numbers of a model's own
image processor are applied here: the processors of `transformers` need torchvision for some models, and the
few steps are the same for all.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor

from gags.errors import ModelError
from gags.models.device import to_device
from gags.models.hub import read_json

SHOWN_KEYS = 3  # names of missing weights that an error lists

Channels = tuple[float, float, float]
"""A number for each of red, green and blue."""

IMAGENET_MEAN: Channels = (0.485, 0.456, 0.406)
IMAGENET_STD: Channels = (0.229, 0.224, 0.225)


def load_pretrained(
    model_class: Any, folder: Path, *, config: Any = None, weights: dict[str, torch.Tensor] | None = None
) -> Any:
    """Load a model in single precision, ready for inference on the CPU; nothing is fetched, nothing pickled.

    Args:
        model_class: A model class of `transformers`.
        folder: Holds `config.json` and the weights as safetensors.
        config: Stands in for the configuration of the folder; must be given with `weights`.
        weights: Stand in for those of the folder.

    Raises:
        ModelError: If a file is missing or damaged, or weights of the model are not in the files; they would
            stay random.
    """
    options = {"config": config, "state_dict": weights}
    try:
        with quiet():
            model, info = model_class.from_pretrained(
                folder if weights is None else None,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                dtype=torch.float32,
                **{key: value for key, value in options.items() if value is not None},
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{folder} cannot be loaded as {model_class.__name__}: {reason}") from error
    _check_weights(info, folder, model_class.__name__)
    return model.eval().requires_grad_(False)


def _check_weights(info: dict[str, Any], folder: Path, name: str) -> None:
    """Refuse a model of which weights were missing or of other shapes.

    Args:
        info: What `from_pretrained` tells about loading.
        folder: Where the files are.
        name: The model class.
    """
    lacking = sorted([*info["missing_keys"], *(str(entry[0]) for entry in info["mismatched_keys"])])
    if lacking:
        shown = ", ".join(lacking[:SHOWN_KEYS]) + (" …" if len(lacking) > SHOWN_KEYS else "")
        raise ModelError(
            f"the weights in {folder} are not those of a whole {name}: {len(lacking)} are missing or of "
            f"another shape ({shown}); fetch them again, or take another model"
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Keep `transformers` from writing bars and warnings between gags's own lines."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


@dataclass(frozen=True)
class PixelRule:
    """How the pixels of a resized picture become numbers.

    Attributes:
        mean: Subtracted from each channel after `scale`.
        std: Divides each channel after that.
        scale: Multiplies values of 0 to 255 first.
        resample: Pillow's filter for resizing.
    """

    mean: Channels
    std: Channels
    scale: float = 1 / 255
    resample: Image.Resampling = Image.Resampling.BILINEAR

    def apply(self, pictures: np.ndarray, device: torch.device) -> Tensor:
        """Normalise pictures, uint8 RGB [B, H, W, 3]. Returns float32 [B, 3, H, W]"""
        pixels = to_device(pictures, device).permute(0, 3, 1, 2).float()
        mean, std = to_device(np.array([self.mean, self.std], np.float32), device)[..., None, None]
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


def _color(values: Any) -> Channels:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
