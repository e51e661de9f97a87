"""Keys of a DINO (Caron et al., ICCV 2021): what each patch of a photo looks like, without words.

Keys of the last layer tell things and their parts apart better than what the net puts out (Amir et al. 2021,
"Deep ViT features as dense visual descriptors"). The net is a plain ViT of `transformers`.
"""

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gags import models
from gags.errors import ModelError
from gags.models.choose import AUTO
from gags.models.device import in_turn, net_lock, neural_device, neural_dtype
from gags.models.hub import HubError, read_json, without_revision
from gags.models.pretrained import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    PixelRule,
    load_pretrained,
    read_pixel_rule,
)
from gags.progress import SILENT, Reporter

DINO = "facebook/dino-vits8@483f2fc47097ae6f0afc8bcfb43004224bddeae2"
"""DINO ViT-S/8, 87 MB, Apache-2.0; at the commit that brought its safetensors."""

NONE = "none"
"""Name that stands for no DINO."""

SHORTER_SIDE = 500
"""Px that the shorter side of a photo is shrunk to, as in LERF; smaller photos stay as they are."""

KEY_PROJECTIONS = ("k_proj", "key")
"""What `transformers` calls the layer that makes the keys of an attention, in this version or before it."""

DINO_PIXELS = PixelRule(IMAGENET_MEAN, IMAGENET_STD, resample=Image.Resampling.BICUBIC)
"""For what `preprocessor_config.json` does not say."""


class Dino:
    """Computes the keys of the last layer for every patch of a photo.

    Args:
        folder: Holds `config.json`, the weights as safetensors and `preprocessor_config.json`.
        name: Identifies model and weights.
        device: Where to run; by default the fastest device.
        dtype: By default half precision on an NVIDIA GPU, single elsewhere.

    Attributes:
        name: As given.
        dim: Length E of a key, all heads together; 384 for ViT-S.

    Raises:
        ModelError: If the folder holds no such model.
    """

    def __init__(
        self,
        folder: Path,
        name: str = "",
        *,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.name = name or str(folder)
        self._device = device or neural_device()
        self._lock = net_lock(self._device)
        self._dtype = dtype or neural_dtype(self._device)
        model = _load(folder)
        self._pixels = read_pixel_rule(folder, DINO_PIXELS)
        self._patch: int = model.config.patch_size
        self.dim: int = model.config.hidden_size
        with self._lock:
            self._model = model.to(self._device, self._dtype)
        self._projection = _last_key_projection(model)

    @torch.inference_mode()
    @in_turn
    def keys(self, image: np.ndarray) -> np.ndarray:
        """Keys of all patches of a photo, which lie over it edge to edge.

        Args:
            image: The photo. uint8 RGB [H, W, 3]

        Returns:
            Key of every patch, not normalised. float32 [rows, columns, E]
        """
        rows, columns = patch_grid(image.shape[0], image.shape[1], self._patch)
        size = (columns * self._patch, rows * self._patch)
        resized = np.asarray(Image.fromarray(image).resize(size, self._pixels.resample))
        found: list[Tensor] = []

        def keep(layer: Any, inputs: Any, output: Any) -> None:
            found.append(output)

        hook = self._projection.register_forward_hook(keep)
        try:
            pixels = self._pixels.apply(resized[None], self._device).to(self._dtype)
            self._model(pixel_values=pixels, interpolate_pos_encoding=True)
        finally:
            hook.remove()
        patches = found[0][0, 1:]  # the first token is the whole photo's
        return patches.reshape(rows, columns, self.dim).float().cpu().numpy()


def patch_grid(height: int, width: int, patch: int) -> tuple[int, int]:
    """Rows and columns of patches of a photo whose shorter side is shrunk to `SHORTER_SIDE`.

    Args:
        height, width: Of the photo, px.
        patch: Side of a patch, px of the shrunk photo.
    """
    scale = min(1.0, SHORTER_SIDE / min(height, width)) / patch
    return max(1, round(height * scale)), max(1, round(width * scale))


def load_dino(name: str, progress: Reporter = SILENT) -> Dino | None:
    """Load a DINO, fetched first if it is not on this machine.

    Args:
        name: What `choose_dino` returned, or a hub id, or a folder.
        progress: Told when something is fetched.

    Returns:
        The DINO; None if the name is "none".

    Raises:
        ModelError: If there is no such model, or its weights cannot be found or fetched.
    """
    if name == NONE:
        return None
    return Dino(models.ensure(name, progress), models.canonical(name))


def choose_dino(name: str = AUTO, progress: Reporter = SILENT) -> str:
    """A DINO whose weights are on this machine, fetched if they have to be.

    Args:
        name: A hub id, a folder, "none", or "auto": DINO ViT-S/8 if it is available, else none.
        progress: Told what "auto" chose, and why.

    Returns:
        The name that identifies it, see `gags.models.canonical`; "none" for none.

    Raises:
        ModelError: If there is no such model, it is none of type "vit", or it cannot be fetched.
    """
    if name == NONE:
        return NONE
    if name != AUTO:
        return _have(name, progress)
    try:
        found = _have(DINO, progress)
    except ModelError as error:
        reason = error.reason if isinstance(error, HubError) else str(error)
        repo = without_revision(DINO)
        progress.say(f"DINO: none; {repo} is not on this machine, and {reason} (a folder can be named)")
        return NONE
    progress.say(f"DINO: {found}")
    return found


def _have(name: str, progress: Reporter) -> str:
    if models.find(name).origin == "own":
        raise ModelError(
            f"{name} has no keys of patches; name a DINO by hub id or folder, {AUTO!r} or {NONE!r}"
        )
    _check_type(models.ensure(name, progress))
    return models.canonical(name)


def _check_type(folder: Path) -> None:
    kind = str(read_json(folder / "config.json").get("model_type"))
    if kind != "vit":
        raise ModelError(
            f"{folder} holds a model of type {kind!r}; keys of patches come from one of type 'vit', "
            f"such as {DINO.partition('@')[0]}"
        )


def _load(folder: Path) -> Any:
    """The net without a pooling layer, which the published weights of DINO do not have."""
    import transformers

    _check_type(folder)
    without_pooling = partial(transformers.ViTModel.from_pretrained, add_pooling_layer=False)
    return load_pretrained(SimpleNamespace(__name__="ViTModel", from_pretrained=without_pooling), folder)


def _last_key_projection(model: torch.nn.Module) -> torch.nn.Module:
    """The layer that makes the keys of the last attention."""
    found = [layer for name, layer in model.named_modules() if name.split(".")[-1] in KEY_PROJECTIONS]
    if not found:
        raise ModelError(
            f"this version of transformers calls the keys of a ViT none of {', '.join(KEY_PROJECTIONS)}; "
            "install an earlier one"
        )
    return found[-1]
