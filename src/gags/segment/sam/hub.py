"""SAM, SAM-HQ and SAM 2 through `transformers`, from a folder in the hub's format."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gags.errors import ModelError
from gags.models.device import free_bytes, neural_device, neural_dtype
from gags.models.hub import read_json
from gags.models.pretrained import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    PixelRule,
    load_pretrained,
    read_pixel_rule,
)
from gags.segment.segmenter import PromptedMasks

SamFamily = Literal["sam", "sam_hq", "sam2"]

SAM_FAMILIES: dict[str, SamFamily] = {"sam": "sam", "sam_hq": "sam_hq", "sam2": "sam2", "sam2_video": "sam2"}
"""Family of each `model_type` in a `config.json`; the published SAM 2 are typed as video models."""

CELLS_A_POSITION = 4  # cells of the mask logits per position of the image embedding, along a side
MAX_PROMPTS = 64  # a call; with more, a GPU is not used any better
PROMPTS_MEMORY_SHARE = 0.25  # of the free memory, for the prompts of one call
MAPS_PER_PROMPT = {"sam": 12, "sam_hq": 26, "sam2": 14}
"""Memory that a prompt takes in the decoder, in image embeddings; measured on a CPU, rounded up."""


@dataclass(eq=False)
class EncodedPhoto:
    """The image embedding of one photo, ready for prompts.

    Attributes:
        inputs: Arguments of the mask decoder that do not depend on prompts.
        scale: Px of the model's frame per px of the photo, along x and y. [2]
        extent: Width and height of the photo in cells of the mask logits.
    """

    inputs: dict[str, Any]
    scale: np.ndarray
    extent: tuple[float, float]


class HubSam:
    """SAM (Kirillov et al. 2023), SAM-HQ (Ke et al. 2023) or SAM 2 (Ravi et al. 2024).

    Outputs 1 to 3 of the decoder are the levels sub-part, part and whole. Of SAM-HQ, the best-rated of the
    three is the refined mask; the other two are those of plain SAM. Its high-quality token gives one mask a
    prompt: adding it to each level would make the three levels identical.

    Args:
        folder: Holds `config.json`, `model.safetensors` and `preprocessor_config.json`.
        name: Identifies model and weights.
        device: Where to run; by default the fastest device.
        dtype: Of image encoder and mask decoder; by default half precision on an NVIDIA GPU. The positions of
            prompts always take single precision: half would shift them by a quarter of a pixel.

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
        self._family, model = _load(folder)
        self._model = model.to(self._device)
        self._use(dtype or neural_dtype(self._device))
        prompts = model.config.prompt_encoder_config
        self._frame: int = prompts.image_size
        self._grid: int = prompts.image_size // prompts.patch_size
        self._pixels = read_pixel_rule(folder, PixelRule(IMAGENET_MEAN, IMAGENET_STD))
        size = torch.finfo(self._dtype).bits // 8
        self._prompt_bytes = MAPS_PER_PROMPT[self._family] * self._grid**2 * prompts.hidden_size * size

    @torch.inference_mode()
    def encode(self, image: np.ndarray) -> EncodedPhoto:
        """Run the image encoder on a photo, uint8 RGB [H, W, 3]."""
        height, width = image.shape[:2]
        columns, rows = frame_size(width, height, self._frame, stretch=self._family == "sam2")
        pixels = to_frame(image, (columns, rows), self._frame, self._pixels, self._device)
        embeddings = self._model.get_image_embeddings(pixels.to(self._dtype))
        if self._dtype != torch.float32 and not _finite(embeddings):  # too large for half precision
            self._use(torch.float32)
            embeddings = self._model.get_image_embeddings(pixels)
        positions = self._model.get_image_wide_positional_embeddings()
        cells = CELLS_A_POSITION * self._grid / self._frame
        return EncodedPhoto(
            inputs=self._decoder_inputs(embeddings, positions),
            scale=np.array([columns / width, rows / height]),
            extent=(columns * cells, rows * cells),
        )

    def predict(self, encoded: EncodedPhoto, points: np.ndarray, *, min_iou: float = 0.0) -> PromptedMasks:
        """Masks on three levels for each prompt, see `Segmenter.predict`."""
        columns, rows = (int(np.ceil(cells)) for cells in encoded.extent)
        parts = [(np.empty((0, rows, columns), np.float32), np.empty((0, 3), np.float32))]
        start, most = 0, self._batch()
        while start < len(points):
            batch = points[start : start + most]
            try:
                logits, ious = self._decode(encoded, batch)
                kept = logits[ious > min_iou][:, :rows, :columns]
                parts.append((kept.float().cpu().numpy(), ious.float().cpu().numpy()))
            except torch.cuda.OutOfMemoryError as error:
                if most == 1:
                    raise ModelError(f"{self.name} needs more memory than {self._device} has free") from error
                most = max(1, len(batch) // 2)
                continue
            start += len(batch)
        ious = np.concatenate([part[1] for part in parts])
        prompts, levels = np.nonzero(ious > min_iou)
        return PromptedMasks(
            logits=np.concatenate([part[0] for part in parts]),
            ious=ious[prompts, levels],
            levels=levels.astype(np.int8),
            prompts=prompts.astype(np.int32),
            extent=encoded.extent,
        )

    def _batch(self) -> int:
        """How many prompts fit into the free memory at a time."""
        fit = PROMPTS_MEMORY_SHARE * free_bytes(self._device) / self._prompt_bytes
        return max(1, min(MAX_PROMPTS, int(fit)))

    def _use(self, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._model.vision_encoder.to(dtype)
        self._model.mask_decoder.to(dtype)

    def _decoder_inputs(self, embeddings: Any, positions: Tensor) -> dict[str, Any]:
        """Arguments of the mask decoder of this family, in its precision."""
        more: dict[str, Any] = {}
        if self._family == "sam_hq":
            embeddings, intermediate = embeddings
            more = {
                "hq_token_only": False,
                "intermediate_embeddings": [m.to(self._dtype) for m in intermediate],
            }
        elif self._family == "sam2":
            *fine, embeddings = embeddings
            more = {"high_resolution_features": [m.to(self._dtype) for m in fine]}
        positions = positions.to(self._dtype)
        return {
            "image_embeddings": embeddings.to(self._dtype),
            "image_positional_embeddings": positions,
            "multimask_output": True,
        } | more

    @torch.inference_mode()
    def _decode(self, encoded: EncodedPhoto, points: np.ndarray) -> tuple[Tensor, Tensor]:
        """Logits [B, 3, h, w] and predicted IoUs [B, 3] of prompts in px of the photo, float32 [B, 2]."""
        # The model's prompt encoder adds the half pixel between corner and centre itself.
        shifted = (points * encoded.scale - 0.5).astype(np.float32)
        sparse, dense = self._model.get_prompt_embeddings(
            input_points=torch.from_numpy(shifted).to(self._device)[None, :, None],
            input_labels=torch.ones(1, len(points), 1, dtype=torch.int32, device=self._device),
        )
        prompts = {
            "sparse_prompt_embeddings": sparse.to(self._dtype),
            "dense_prompt_embeddings": dense.to(self._dtype),
        }
        decoder = self._model.mask_decoder
        if self._family == "sam_hq":
            return _decode_hq(decoder, encoded.inputs | prompts)
        logits, ious = decoder(**encoded.inputs, **prompts)[:2]
        return logits[0], ious[0]


def frame_size(width: int, height: int, side: int, *, stretch: bool) -> tuple[int, int]:
    """Size of a photo in the model's frame, px.

    Args:
        width, height: Of the photo, px.
        side: Of the square frame, px.
        stretch: Fill the frame (SAM 2); else the longer side fills it and the other is rounded (SAM).
    """
    if stretch:
        return side, side
    scale = side / max(width, height)
    return int(width * scale + 0.5), int(height * scale + 0.5)


def to_frame(
    image: np.ndarray, size: tuple[int, int], side: int, rule: PixelRule, device: torch.device
) -> Tensor:
    """Resize, normalise and pad a photo as in a model's training.

    Args:
        image: Photo, uint8 RGB. [H, W, 3]
        size: Columns and rows of the photo in the frame.
        side: Of the square frame, px.
        rule: How the model normalises pixels.
        device: Where the result goes.

    Returns:
        float32 [1, 3, side, side]; zeros right of and below the photo.
    """
    resized = np.asarray(Image.fromarray(image).resize(size, rule.resample))
    frame = torch.zeros(1, 3, side, side, device=device)
    frame[:, :, : size[1], : size[0]] = rule.apply(resized[None], device)
    return frame


def _load(folder: Path) -> tuple[SamFamily, Any]:
    """The model of a folder and its family."""
    import transformers

    content = read_json(folder / "config.json")
    kind = str(content.get("model_type"))
    if kind not in SAM_FAMILIES:
        raise ModelError(
            f"{folder} holds a model of type {kind!r}; a segmenter is one of: {', '.join(SAM_FAMILIES)}"
        )
    family = SAM_FAMILIES[kind]
    if family == "sam2":
        # The published type is the video model's; `transformers` would warn about it.
        config = transformers.Sam2Config.from_dict(content | {"model_type": "sam2"})
        return family, load_pretrained(transformers.Sam2Model, folder, config=config)
    model_class = transformers.SamModel if family == "sam" else transformers.SamHQModel
    return family, load_pretrained(model_class, folder)


def _decode_hq(decoder: Any, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """SAM-HQ's masks in the order of their levels; its decoder sorts them by rating and refines all.

    Returns:
        Logits [B, 3, h, w], of the best-rated level refined, of the others plain; predicted IoUs [B, 3].
    """
    with _recorded(decoder) as inner:
        refined = decoder(**inputs)[0]
    ious = inner["ious"][0, :, 1:4]
    hyper = torch.stack([inner[f"hyper{level}"][0] for level in (1, 2, 3)], 1)
    logits = torch.einsum("bmc,bchw->bmhw", hyper, inner["upscaled"])
    prompts = torch.arange(len(logits), device=logits.device)
    logits[prompts, ious.argmax(1)] = refined[0, :, 0]
    return logits, ious


@contextmanager
def _recorded(decoder: Any) -> Iterator[dict[str, Tensor]]:
    """Record tensors inside SAM-HQ's decoder while it runs.

    Yields:
        "ious": IoUs of all masks [1, B, 4]; "hyper1" to "hyper3": output of the hypernetwork MLPs of masks 1
        to 3 [1, B, C]; "upscaled": the upscaled image embedding, which they are multiplied by [B, C, h, w].
    """
    inner: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        return lambda module, inputs, output: inner.__setitem__(name, output)

    hooks = [decoder.iou_prediction_head.register_forward_hook(keep("ious"))]
    hooks += [
        decoder.output_hypernetworks_mlps[level].register_forward_hook(keep(f"hyper{level}"))
        for level in (1, 2, 3)
    ]
    hooks.append(
        decoder.mask_conv1.register_forward_pre_hook(
            lambda module, inputs: inner.__setitem__("upscaled", inputs[0])
        )
    )
    try:
        yield inner
    finally:
        for hook in hooks:
            hook.remove()


def _finite(embeddings: Any) -> bool:
    if isinstance(embeddings, Tensor):
        return bool(torch.isfinite(embeddings).all())
    return all(_finite(part) for part in embeddings)
