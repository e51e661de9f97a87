"""CLIP, SigLIP and SigLIP 2 through `transformers`, from a folder in the hub's format, with its tokenizer."""

import re
import string
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import normalize

from gags.embed.clip.open_clip import renamed
from gags.embed.encoder import CropRule
from gags.errors import ModelError
from gags.models.device import in_batches, in_turn, net_lock, neural_device, neural_dtype, to_host
from gags.models.hub import OPEN_CLIP_WEIGHTS, WEIGHTS, read_json
from gags.models.pretrained import PixelRule, load_pretrained, quiet, read_pixel_rule, read_processor
from gags.progress import SILENT, Reporter

ClipFamily = Literal["clip", "siglip", "siglip2"]

CANONICAL_PHRASES: tuple[str, ...] = ("object", "things", "stuff", "texture")
"""Canonical phrases of Eq. 8 (LERF's)."""

CLIP_TEMPERATURE = 10.0
"""Logit scale of relevancy for every CLIP, as in LERF, LangSplat and GAGS: a tenth of CLIP's own, 100."""

SHARE_OF_LOGIT_SCALE = 0.1
"""The same tenth for SigLIP, whose logits are scale · cosine + bias. Relevancy compares two logits of one
region, so the bias cancels; the scale is about 110, which gives about 11."""

ALL_PHRASES_COUNT = 2.0
"""`same_meaning`, above every cosine: all canonical phrases count against all texts."""

TEXTS_A_BATCH = 256

CROPS_ON_GPU, CROPS_ON_CPU = 128, 32
"""Masks that are embedded at a time. A GPU needs many to be busy (fewer where memory runs out); a CPU
is no faster with more."""

CLIP_PIXELS = PixelRule(
    (0.48145466, 0.4578275, 0.40821073),
    (0.26862954, 0.26130258, 0.27577711),
    resample=Image.Resampling.BICUBIC,
)
SIGLIP_PIXELS = PixelRule((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
"""Both are the defaults for what `preprocessor_config.json` does not say."""


MULTILINGUAL = ("multilingual", "siglip2", "xlm", "i18n", "nllb", "mclip", "m-clip", "chinese", "japanese")
"""In names of models that know more than English; others were trained on English captions."""


class Tokens:
    """The tokenizer of a CLIP or SigLIP.

    Args:
        folder: Holds the tokenizer's files.
        length: Most tokens that the model takes.
        siglip: Lower case, and always `length` tokens, as in SigLIP's training. CLIP's tokenizer handles case
            itself, and its model ignores what follows the end of a text.

    Raises:
        ModelError: If the files are missing or a package that they need is.
    """

    def __init__(self, folder: Path, length: int, *, siglip: bool) -> None:
        self._length = length
        self._siglip = siglip
        self._without_punctuation = siglip and _tokenizer_class(folder).startswith("SiglipTokenizer")
        self._tokenizer = _load(folder)

    def __call__(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Tokens of texts, cut to what the model takes: arguments of the model, int64 [T, L] each."""
        if self._siglip:
            texts = [self._canonical(text) for text in texts]
        made = self._tokenizer(
            list(texts),
            padding="max_length" if self._siglip else "longest",
            truncation=True,
            max_length=self._length,
            return_tensors="pt",
        )
        wanted = ("input_ids",) if self._siglip else ("input_ids", "attention_mask")
        return {name: made[name] for name in wanted}

    def _canonical(self, text: str) -> str:
        """The form of the texts that SigLIP (without punctuation) and SigLIP 2 were trained on."""
        text = text.lower()
        if self._without_punctuation:
            text = text.translate(str.maketrans("", "", string.punctuation))
        return re.sub(r"\s+", " ", text).strip()


def _tokenizer_class(folder: Path) -> str:
    path = folder / "tokenizer_config.json"
    return str(read_json(path).get("tokenizer_class", "")) if path.is_file() else ""


def _load(folder: Path) -> Any:
    """The tokenizer that the folder describes; of two descriptions, the one that needs no other code."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    whole = (folder / "tokenizer.json").is_file()
    kind = PreTrainedTokenizerFast if whole else AutoTokenizer
    try:
        with quiet():
            return kind.from_pretrained(folder, local_files_only=True, padding_side="right")
    except Exception as error:  # a missing package or file: every class raises its own
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"the tokenizer in {folder} cannot be loaded: {reason}") from error


class ClipEncoder:
    """Implements `gags.embed.Encoder`.

    Masks are cut out as in LangSplat and GAGS: background black, cropped to the box, padded to a square.

    Where half precision is too narrow for the model, it goes on in single precision. Threads may share it:
    one of them uses it at a time.

    Args:
        model: The model, in single precision on the CPU.
        family: CLIP, SigLIP or SigLIP 2.
        tokens: Its tokenizer.
        pixels: Its normalisation and filter.
        image_size: Side of the pictures it takes, px.
        name: Identifies model and weights.
        device: Where to run; by default the fastest device.
        dtype: By default half precision on an NVIDIA GPU, single elsewhere.
        progress: Told if the model goes on in single precision.

    Attributes:
        masks_a_batch: How many masks `embed_masks` hands over at a time.
    """

    negatives: tuple[str, ...] = CANONICAL_PHRASES
    same_meaning = ALL_PHRASES_COUNT
    least_match = None

    def __init__(
        self,
        model: Any,
        family: ClipFamily,
        tokens: Tokens,
        pixels: PixelRule,
        image_size: int,
        name: str,
        *,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        progress: Reporter = SILENT,
    ) -> None:
        self._progress = progress
        self._device = device or neural_device()
        self._lock = net_lock(self._device)
        self._dtype = dtype or neural_dtype(self._device)
        self._family = family
        self._tokens = tokens
        self._pixels = pixels
        config = model.config
        self.name = name
        self.english_only = not any(word in name.lower() for word in MULTILINGUAL)
        self.image_size = image_size
        self.masks_a_batch = CROPS_ON_CPU if self._device.type == "cpu" else CROPS_ON_GPU
        self.crops = (CropRule(resample=pixels.resample),)
        self.dim: int = config.projection_dim if family == "clip" else config.vision_config.hidden_size
        scale = float(model.logit_scale.exp())
        self.temperature = CLIP_TEMPERATURE if family == "clip" else SHARE_OF_LOGIT_SCALE * scale
        self._patch: int = config.vision_config.patch_size
        with self._lock:
            self._model = model.to(self._device, self._dtype)

    @torch.inference_mode()
    def encode_images(self, crops: np.ndarray) -> np.ndarray:
        """Embed masks from their crops, uint8 RGB [B, 1, S, S, 3]. Returns L2-normalised float32 [B, D]"""

        def features(start: int, end: int) -> Any:
            pixels = self._pixels.apply(crops[start:end, 0], self._device).to(self._dtype)
            if self._family == "siglip2":
                return self._model.get_image_features(**to_patches(pixels, self._patch))
            return self._model.get_image_features(pixel_values=pixels)

        return self._embed(len(crops), self.masks_a_batch, features)

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts, without any template around them. Returns L2-normalised float32 [T, D]"""

        def features(start: int, end: int) -> Any:
            inputs = self._tokens(texts[start:end]).items()
            return self._model.get_text_features(**{k: v.to(self._device) for k, v in inputs})

        return self._embed(len(texts), TEXTS_A_BATCH, features)

    @in_turn
    def _embed(self, count: int, most: int, features: Callable[[int, int], Any]) -> np.ndarray:
        """Unit vectors of what `features` computes for a range of things at a time. float32 [count, D]"""

        def run(start: int, end: int) -> np.ndarray:
            embeddings = _unit(features(start, end))
            if self._dtype != torch.float32 and not np.isfinite(embeddings).all():
                self._dtype = torch.float32
                self._model.to(torch.float32)
                self._progress.warn(f"half precision is too narrow for {self.name}; it goes on in single")
                embeddings = _unit(features(start, end))
            if not np.isfinite(embeddings).all():
                raise ModelError(f"{self.name} gives embeddings that are no numbers; fetch its weights again")
            return embeddings

        parts = in_batches(count, most, run, name=self.name, device=self._device)
        return np.concatenate([np.empty((0, self.dim), np.float32), *parts])


def load_clip(
    folder: Path,
    name: str = "",
    *,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
    progress: Reporter = SILENT,
) -> ClipEncoder:
    """Load a CLIP, SigLIP or SigLIP 2.

    Args:
        folder: Holds `config.json`, the weights as safetensors (in `transformers`' layout, of a CLIP also in
            open_clip's), `preprocessor_config.json` and the tokenizer's files.
        name: Identifies model and weights.
        device: Where to run; by default the fastest device.
        dtype: By default half precision on an NVIDIA GPU, single elsewhere.
        progress: Told if the model goes on in single precision.

    Raises:
        ModelError: If the folder holds no such model, or it is incomplete.
    """
    import transformers

    kind = str(read_json(folder / "config.json").get("model_type"))
    classes = {
        "clip": transformers.CLIPModel,
        "siglip": transformers.SiglipModel,
        "siglip2": transformers.Siglip2Model,
    }
    if kind not in classes:
        raise ModelError(
            f"{folder} holds a model of type {kind!r}; an encoder is one of: {', '.join(classes)}"
        )
    family: ClipFamily = kind  # type: ignore[assignment]
    if family == "clip" and not (folder / WEIGHTS).is_file() and (folder / OPEN_CLIP_WEIGHTS).is_file():
        model = _load_open_clip(folder)
    else:
        model = load_pretrained(classes[kind], folder)
    tokens = Tokens(folder, model.config.text_config.max_position_embeddings, siglip=family != "clip")
    pixels = read_pixel_rule(folder, CLIP_PIXELS if family == "clip" else SIGLIP_PIXELS)
    size = _image_size(model.config.vision_config, family, folder)
    options = {"device": device, "dtype": dtype, "progress": progress}
    return ClipEncoder(model, family, tokens, pixels, size, name or str(folder), **options)


def to_patches(pixels: Tensor, patch: int) -> dict[str, Tensor]:
    """Cut pictures into the patches that a SigLIP 2 of variable resolution (NaFlex) takes.

    Args:
        pixels: Square pictures. [B, 3, S, S]
        patch: Side of a patch, px; divides S.

    Returns:
        Arguments of its image encoder: patches row by row, each flattened with its channels last
        [B, P, patch·patch·3]; which of them are no padding (all) [B, P]; rows and columns of patches [B, 2].
    """
    count, channels, side, _ = pixels.shape
    across = side // patch
    cells = pixels.reshape(count, channels, across, patch, across, patch).permute(0, 2, 4, 3, 5, 1)
    return {
        "pixel_values": cells.reshape(count, across * across, patch * patch * channels),
        "pixel_attention_mask": torch.ones(count, across * across, dtype=torch.int32, device=pixels.device),
        "spatial_shapes": torch.full((count, 2), across, dtype=torch.int64, device=pixels.device),
    }


def _image_size(vision: Any, family: ClipFamily, folder: Path) -> int:
    """Side of the square pictures that a model takes, px."""
    if family != "siglip2":
        return int(vision.image_size)
    most = int(read_processor(folder).get("max_num_patches", vision.num_patches))
    return int(most**0.5) * int(vision.patch_size)


def _load_open_clip(folder: Path) -> Any:
    from transformers import CLIPConfig, CLIPModel

    config = CLIPConfig.from_dict(read_json(folder / "config.json"))
    try:
        weights = load_file(folder / OPEN_CLIP_WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{folder / OPEN_CLIP_WEIGHTS} cannot be read ({error}); fetch it again") from error
    return load_pretrained(CLIPModel, folder, config=config, weights=renamed(weights))


def _unit(output: Any) -> np.ndarray:
    """Embeddings as unit vectors, float32 [B, D]; older versions of `transformers` return a bare tensor."""
    embeddings = output if isinstance(output, Tensor) else output.pooler_output
    return to_host(normalize(embeddings.float(), dim=-1))
