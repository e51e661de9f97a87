"""SAM's prompt encoder and mask decoder in cheaper forms that give the same masks: what both forms share.

A prompt is 7 tokens. They attend to 4096 positions of the image embedding, and these attend to them. The
usual form projects all positions to keys, queries and values again for every prompt, which takes most of its
time. In the first block, where the image embedding is the same for every prompt, it is projected once a photo
here. From then on, `folded` and `low_rank` differ. The transposed convolutions have stride and kernel 2: they
are plain products, and only the part that the photo covers is upscaled.

Own code although onnxruntime runs the export, which takes 2 to 5 times as long (`benchmarks/sam_decoder.py`).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gags.segment.sam import kernels
from gags.segment.sam.kernels import as_array
from gags.threads import single_threaded_pool

GRID_SIDE = 64  # image positions a side
POSITIONS = GRID_SIDE * GRID_SIDE
EMBEDDING_CHANNELS = 256  # of the image embedding and of the tokens
TOKENS = 7  # IoU token, four mask tokens, prompt, padding
OUTPUT_TOKENS = [0, 2, 3, 4]  # the IoU token and those of the three masks; token 1 is for a single mask
HEADS = 8
HEAD_DIM = 16  # of attention between tokens and image
MAX_THREADS = 8  # each has buffers of 35 to 40 MB
_MLP_LAYERS = ("lin1", "lin2")  # of the MLPs in the transformer's blocks
_HEAD_LAYERS = ("layers.0", "layers.1", "layers.2")  # of the IoU head and the hypernetwork MLPs

Image = TypeVar("Image")  # what all prompts of a photo share


class FirstProjections(NamedTuple):
    """The image embedding before it becomes another one for each prompt, and its projections.

    Attributes:
        image: Image embedding plus the embedding of "no mask given". float32 [4096, 256]
        keys: Keys of the first attention of tokens to the image. float32 [8, 16, 4096]
        values: Values of the same. float32 [8, 16, 4096]
        queries: Queries, scaled, of the first attention of the image to the tokens. float32 [8, 16, 4096]
    """

    image: Tensor
    keys: Tensor
    values: Tensor
    queries: Tensor


class MaskDecoder(ABC, Generic[Image]):
    """Masks on three levels from single-point prompts: what both ways to compute them share.

    Args:
        weights: SAM's weights, from `read_weights`.
        dtype: float32, or bfloat16 for products over image positions.
    """

    most_prompts: int
    """Prompts of one thread at a time."""

    def __init__(self, weights: dict[str, Tensor], dtype: torch.dtype) -> None:
        self._weights = weights
        self._dtype = dtype
        centres = (torch.arange(GRID_SIDE) + 0.5) / GRID_SIDE
        grid = torch.stack(torch.meshgrid(centres, centres, indexing="xy"), -1).view(-1, 2)
        self._positions = self._positional_encoding(grid)
        self._upscale = [weights[f"output_upscaling.{layer}.weight"].to(dtype) for layer in (0, 3)]
        threads = min(torch.get_num_threads(), MAX_THREADS)
        self._threads, self._thread_count = single_threaded_pool(threads, "mask-decoder"), threads

    @abstractmethod
    def prepare(self, embedding: Tensor) -> Image:
        """Compute what does not depend on the prompts.

        Args:
            embedding: Image embedding, from the image encoder. float32 [256, 64, 64]
        """

    @abstractmethod
    def _decode(
        self, image: Image, points: Tensor, size: tuple[int, int], min_iou: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """`decode` of a few prompts, in one thread."""

    def _project_first(self, embedding: Tensor) -> FirstProjections:
        image = embedding.reshape(EMBEDDING_CHANNELS, POSITIONS).T + self._weights["no_mask_embed"]
        positioned = image + self._positions

        def heads(x: Tensor, name: str) -> Tensor:
            x = self._linear(x, f"layers.0.cross_attn_{name}_proj")
            return x.view(POSITIONS, HEADS, HEAD_DIM).permute(1, 2, 0)

        return FirstProjections(
            image=image,
            keys=heads(positioned, "token_to_image.k"),
            values=heads(image, "token_to_image.v"),
            queries=heads(positioned, "image_to_token.q") / HEAD_DIM**0.5,
        )

    def decode(
        self, image: Image, points: Tensor, size: tuple[int, int], min_iou: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Masks of many prompts.

        Args:
            image: From `prepare`.
            points: Prompts (x, y) as shares of SAM's frame. float32 [B, 2]
            size: Rows and columns of image positions to upscale.
            min_iou: Masks whose predicted IoU is not above this are left out.

        Returns:
            Logits of the masks above `min_iou`, prompt by prompt, float32 [K, 4 rows, 4 columns]; predicted
            IoU of all masks, float32 [B, 3].
        """
        # No thread is left idle for the sake of larger chunks.
        chunks = points.split(max(1, min(self.most_prompts, -(-len(points) // self._thread_count))))
        done = list(self._threads.map(lambda chunk: self._decode(image, chunk, size, min_iou), chunks))
        return np.concatenate([logits for logits, _ in done]), np.concatenate([ious for _, ious in done])

    def _masks(
        self,
        tokens: Tensor,
        size: tuple[int, int],
        min_iou: float,
        upscale: Callable[[int, np.ndarray, np.ndarray], None],
    ) -> tuple[np.ndarray, np.ndarray]:
        """Predicted IoUs, and the masks above a least one; see `decode`.

        Args:
            tokens: The output tokens. [B, 4, 256]
            size: Rows and columns of image positions to upscale.
            min_iou: See `decode`.
            upscale: Writes the masks of one prompt: its row, vectors of its masks, each value four times
                [M, 128], where the logits go [M, 4 rows, 4 columns].
        """
        ious = self._mlp(tokens[:, 0], "iou_prediction_head")[:, 1:].numpy()
        # A mask is the product of the upscaled image with what the hypernetwork MLP makes of its token.
        vectors = [self._mlp(tokens[:, i], f"output_hypernetworks_mlps.{i}") for i in (1, 2, 3)]
        hyper = torch.stack(vectors, 1).repeat_interleave(4, -1).numpy()
        wanted = ious > min_iou
        logits = np.empty((np.count_nonzero(wanted), 4 * size[0], 4 * size[1]), np.float32)
        done = 0
        for prompt in np.flatnonzero(wanted.any(1)).tolist():
            masks = hyper[prompt, wanted[prompt]]
            upscale(prompt, masks, logits[done : done + len(masks)])
            done += len(masks)
        return logits, ious

    def _initial_tokens(self, points: Tensor) -> Tensor:
        """IoU token and mask tokens, then the tokens of a point prompt. [B, 2] to [B, 7, 256]"""
        w = self._weights
        output = w["output_tokens"].expand(len(points), -1, -1)
        prompt = (self._positional_encoding(points) + w["point_embed"])[:, None]
        padding = w["not_a_point_embed"].expand(len(points), 1, -1)
        return torch.cat([output, prompt, padding], 1)

    def _masks_of(
        self,
        twice: Tensor,
        four_times: Tensor,
        bias: Tensor,
        hyper: np.ndarray,
        out: np.ndarray,
        shared: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        """Masks from the image embedding upscaled once, before its bias.

        Args:
            twice: Four cells a position; is changed. [rows · columns · 4, 64]
            four_times: Memory for the second product. [at least rows · columns · 4, 128]
            bias: Of each of the four cells. [4, 64]
            hyper: Vectors from the hypernetwork MLPs, each value four times. float32 [M, 128]
            out: Receives the logits. float32 [M, 4 rows, 4 columns]
            shared: What is missing in `twice`, and a factor of each position, if not all is there.
        """
        w, (rows, columns) = self._weights, (out.shape[1] // 4, out.shape[2] // 4)
        kernels.norm_and_gelu(
            x=as_array(twice),
            bias=bias.numpy(),
            weight=w["output_upscaling.1.weight"].numpy(),
            shift=w["output_upscaling.1.bias"].numpy(),
            shared=None if shared is None else shared[0].numpy(),
            factors=None if shared is None else shared[1].numpy(),
        )
        four_times = torch.mm(twice, self._upscale[1], out=four_times[: len(twice)])
        kernels.gelu_and_masks(
            x=as_array(four_times.view(rows, columns, 2, 2, 128)),
            bias=w["output_upscaling.3.bias"].numpy(),
            hyper=hyper,
            out=out,
        )

    def _self_attention(self, positioned: Tensor, tokens: Tensor, name: str) -> Tensor:
        def heads(x: Tensor) -> Tensor:
            return x.view(len(x), TOKENS, HEADS, -1).transpose(1, 2)

        attended = functional.scaled_dot_product_attention(
            heads(self._linear(positioned, name + ".q_proj")),
            heads(self._linear(positioned, name + ".k_proj")),
            heads(self._linear(tokens, name + ".v_proj")),
        )
        return self._linear(attended.transpose(1, 2).reshape(tokens.shape), name + ".out_proj")

    def _mlp(self, x: Tensor, name: str) -> Tensor:
        """Linear layers with ReLU between."""
        first, *rest = _MLP_LAYERS if name.endswith("mlp") else _HEAD_LAYERS
        x = self._linear(x, f"{name}.{first}")
        for layer in rest:
            x = self._linear(torch.relu(x), f"{name}.{layer}")
        return x

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return functional.linear(x, self._weights[name + ".weight"], self._weights[name + ".bias"])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self._weights[name + ".weight"], self._weights[name + ".bias"]
        return functional.layer_norm(x, (EMBEDDING_CHANNELS,), weight, bias)

    def _positional_encoding(self, points: Tensor) -> Tensor:
        """SAM's positional encoding of points, given as shares of the frame. [B, 2] to [B, 256]"""
        angles = 2 * torch.pi * ((2 * points - 1) @ self._weights["fourier_matrix"])
        return torch.cat([angles.sin(), angles.cos()], -1)

    @staticmethod
    def _by_head(x: Tensor) -> Tensor:
        """[B, T, 128] to [8, B·T, 16]"""
        return x.view(-1, HEADS, HEAD_DIM).transpose(0, 1)


def front(buffer: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A contiguous tensor of some shape in the front part of a buffer."""
    return buffer.view(-1)[: math.prod(shape)].view(shape)


def fast_dtype() -> torch.dtype:
    """bfloat16 where the processor multiplies it natively, else float32."""
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    native = ("avx512_bf16", "amx_bf16")
    return torch.bfloat16 if any(capabilities.get(name) for name in native) else torch.float32
