"""SAM, SAM-HQ and SAM 2 through `transformers`, from a folder in the hub's format."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gags.errors import ModelError
from gags.models.device import (
    free_bytes,
    in_batches,
    in_turn,
    net_lock,
    neural_device,
    neural_dtype,
    to_device,
    to_host,
)
from gags.models.hub import read_json
from gags.models.pretrained import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    PixelRule,
    load_pretrained,
    read_pixel_rule,
)
from gags.progress import SILENT, Reporter
from gags.segment.sam.embedding import sampled
from gags.segment.sam.on_device import DeviceMasks
from gags.segment.segmenter import PromptedMasks

SamFamily = Literal["sam", "sam_hq", "sam2"]

SAM_FAMILIES: dict[str, SamFamily] = {"sam": "sam", "sam_hq": "sam_hq", "sam2": "sam2", "sam2_video": "sam2"}
"""Family of each `model_type` in a `config.json`; the published SAM 2 are typed as video models."""

CELLS_A_POSITION = 4  # cells of the mask logits per position of the image embedding, along a side
MAX_PROMPTS = 64  # a call; with more, a GPU is not used any better
MAX_BOXES = 16  # a call of boxes, which are few
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

    Where half precision is too narrow for encoder or decoder, the model goes on in single precision. Threads
    may share it: one of them uses it at a time.

    Args:
        folder: Holds `config.json`, `model.safetensors` and `preprocessor_config.json`.
        name: Identifies model and weights.
        device: Where to run; by default the fastest device.
        dtype: Of image encoder and mask decoder; by default half precision on an NVIDIA GPU. The positions of
            prompts always take single precision: half would shift them by a quarter of a pixel.
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
        dtype: torch.dtype | None = None,
        progress: Reporter = SILENT,
    ) -> None:
        self.name = name or str(folder)
        self._progress = progress
        self._device = device or neural_device()
        self._lock = net_lock(self._device)
        self._family, model = _load(folder)
        with self._lock:
            self._model = model.to(self._device)
        prompts = model.config.prompt_encoder_config
        self._frame: int = prompts.image_size
        self._grid: int = prompts.image_size // prompts.patch_size
        self._pixels = read_pixel_rule(folder, PixelRule(IMAGENET_MEAN, IMAGENET_STD))
        self._prompt_numbers = MAPS_PER_PROMPT[self._family] * self._grid**2 * prompts.hidden_size
        self._use(dtype or neural_dtype(self._device))

    @torch.inference_mode()
    @in_turn
    def encode(self, image: np.ndarray) -> EncodedPhoto:
        """Run the image encoder on a photo, uint8 RGB [H, W, 3]."""
        height, width = image.shape[:2]
        columns, rows = frame_size(width, height, self._frame, stretch=self._family == "sam2")
        pixels = to_frame(image, (columns, rows), self._frame, self._pixels, self._device)
        (inputs,) = self._in_batches(1, 1, lambda start, end: self._encode(pixels))
        cells = CELLS_A_POSITION * self._grid / self._frame
        return EncodedPhoto(
            inputs=inputs,
            scale=np.array([columns / width, rows / height]),
            extent=(columns * cells, rows * cells),
        )

    @torch.inference_mode()
    @in_turn
    def predict(self, encoded: EncodedPhoto, points: np.ndarray, *, min_iou: float = 0.0) -> PromptedMasks:
        """Masks on three levels for each prompt, see `Segmenter.predict`."""
        columns, rows = (int(np.ceil(cells)) for cells in encoded.extent)

        def decode(start: int, end: int) -> tuple[Tensor, np.ndarray]:
            """Logits of the masks that stay, on the device; predicted IoUs of all."""
            logits, ious = self._decode(encoded, points[start:end])
            good = to_device(np.flatnonzero(ious > min_iou), self._device)
            return logits.flatten(0, 1)[good, :rows, :columns], ious

        parts = self._in_batches(len(points), self._batch(), decode)
        ious = np.concatenate([np.empty((0, 3), np.float32), *(part[1] for part in parts)])
        prompts, levels = np.nonzero(ious > min_iou)
        nothing = torch.empty(0, rows, columns, device=self._device)
        logits = torch.cat([part[0] for part in parts]) if parts else nothing
        good, told = ious[prompts, levels], (levels.astype(np.int8), prompts.astype(np.int32))
        if self._device.type == "cpu":
            return PromptedMasks(to_host(logits.float()), good, *told, encoded.extent)
        return DeviceMasks(logits, good, *told, encoded.extent)

    @torch.inference_mode()
    @in_turn
    def features_at(self, encoded: EncodedPhoto, points: np.ndarray) -> np.ndarray:
        """The image embedding at places, see `SeesPlaces.features_at`. float32 [P, C]"""
        return sampled(encoded.inputs["image_embeddings"][0], points * encoded.scale / self._frame)

    @torch.inference_mode()
    @in_turn
    def predict_boxes(self, encoded: EncodedPhoto, boxes: np.ndarray) -> np.ndarray:
        """Logits of the mask for prompts without ambiguity, one a box.

        Args:
            encoded: The result of `encode`.
            boxes: Left, top, right, bottom of each, px of the photo. float32 [B, 4]

        Returns:
            On the grid, cut to the photo's part of it. float32 [B, h, w]
        """
        columns, rows = (int(np.ceil(cells)) for cells in encoded.extent)
        corners = (boxes * np.tile(encoded.scale, 2)).astype(np.float32)

        def decode(start: int, end: int) -> np.ndarray:
            logits, _ = self._checked(lambda: self._decode_boxes(encoded, corners[start:end]))
            return to_host(logits[:, 0, :rows, :columns].float())

        parts = self._in_batches(len(boxes), min(MAX_BOXES, self._batch()), decode)
        return np.concatenate([np.empty((0, rows, columns), np.float32), *parts])

    def _in_batches(self, count: int, most: int, run: Callable[[int, int], Any]) -> list[Any]:
        return in_batches(count, most, run, name=self.name, device=self._device)

    def _batch(self) -> int:
        """How many prompts fit into the free memory at a time."""
        fit = PROMPTS_MEMORY_SHARE * free_bytes(self._device) / self._prompt_bytes
        return max(1, min(MAX_PROMPTS, int(fit)))

    def _use(self, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._prompt_bytes = self._prompt_numbers * dtype.itemsize
        self._model.vision_encoder.to(dtype)
        self._model.mask_decoder.to(dtype)

    def _use_single(self) -> None:
        self._use(torch.float32)
        self._progress.warn(f"half precision is too narrow for {self.name}; it goes on in single")

    def _encode(self, pixels: Tensor) -> dict[str, Any]:
        """Arguments of the mask decoder that do not depend on prompts."""
        embeddings = self._model.get_image_embeddings(pixels.to(self._dtype))
        if self._dtype != torch.float32 and not _finite(embeddings):
            self._use_single()
            embeddings = self._model.get_image_embeddings(pixels)
        inputs = {
            "image_positional_embeddings": self._model.get_image_wide_positional_embeddings(),
            "multimask_output": True,
        }
        if self._family == "sam_hq":
            embeddings, inputs["intermediate_embeddings"] = embeddings
            inputs["hq_token_only"] = False
        elif self._family == "sam2":
            *inputs["high_resolution_features"], embeddings = embeddings
        return self._in_precision(inputs | {"image_embeddings": embeddings})

    def _in_precision(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Arguments in the precision of the decoder, which may have changed since a photo was encoded."""

        def cast(value: Any) -> Any:
            if isinstance(value, list | tuple):
                return [cast(part) for part in value]
            return value.to(self._dtype) if isinstance(value, Tensor) else value

        return {name: cast(value) for name, value in inputs.items()}

    def _checked(self, decode: Callable[[], tuple[Tensor, Tensor]]) -> tuple[Tensor, np.ndarray]:
        """Run the mask decoder; once more in single precision if numbers overflow in half.

        Returns:
            Logits [B, M, h, w] on the device, predicted IoUs [B, M].
        """
        logits, ious = decode()
        if self._dtype == torch.float32:
            return logits, to_host(ious)
        # One number a mask tells both: each transfer waits for the GPU.
        finite = torch.isfinite(logits).all(-1).all(-1)
        rated = to_host(torch.where(finite, ious.float(), torch.nan))
        if np.isfinite(rated).all():
            return logits, rated
        self._use_single()
        logits, ious = decode()
        return logits, to_host(ious)

    def _decode(self, encoded: EncodedPhoto, points: np.ndarray) -> tuple[Tensor, np.ndarray]:
        """Logits [B, 3, h, w] and predicted IoUs [B, 3] of prompts in px of the photo, float32 [B, 2]."""
        # The model's prompt encoder adds the half pixel between corner and centre itself.
        shifted = to_device((points * encoded.scale - 0.5).astype(np.float32), self._device)
        labels = torch.ones(1, len(points), 1, dtype=torch.int32, device=self._device)
        asked = {"input_points": shifted[None, :, None], "input_labels": labels}

        def decode() -> tuple[Tensor, Tensor]:
            inputs = self._prompted(encoded, asked)
            if self._family == "sam_hq":
                return _decode_hq(self._model.mask_decoder, inputs)
            logits, ious = self._model.mask_decoder(**inputs)[:2]
            return logits[0], ious[0]

        return self._checked(decode)

    def _decode_boxes(self, encoded: EncodedPhoto, corners: np.ndarray) -> tuple[Tensor, Tensor]:
        """Logits [B, 1, h, w] and predicted IoUs [B, 1] of boxes in px of the model's frame, [B, 4]."""
        inputs = self._prompted(encoded, {"input_boxes": to_device(corners, self._device)[None]})
        logits, ious = self._model.mask_decoder(**(inputs | {"multimask_output": False}))[:2]
        return logits[0], ious[0]

    def _prompted(self, encoded: EncodedPhoto, prompts: dict[str, Tensor]) -> dict[str, Any]:
        """Arguments of the mask decoder, in its precision."""
        sparse, dense = self._model.get_prompt_embeddings(**prompts)
        embedded = {"sparse_prompt_embeddings": sparse, "dense_prompt_embeddings": dense}
        return self._in_precision(encoded.inputs | embedded)


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
    return max(1, int(width * scale + 0.5)), max(1, int(height * scale + 0.5))


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
