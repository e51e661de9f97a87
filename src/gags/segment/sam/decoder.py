"""SAM's prompt encoder and mask decoder in a cheaper form that gives the same masks.

A prompt is 7 tokens. They attend to 4096 positions of the image embedding, and these attend to them. The
usual form projects all positions to keys, queries and values again for every prompt, which takes most of its
time. Here the projections are applied on the side of the tokens, q·(W_q W_kᵀ) and (attention·image)·(W_v
W_o), so that the image embedding is multiplied as it is. In the first block, where it is the same for every
prompt, it is projected once a photo. The transposed convolutions have stride and kernel 2: they are plain
products, and only the part that the photo covers is upscaled. Products over image positions may be bfloat16,
the rest is float32.

Own code although onnxruntime runs the export: 8 ms of a core a prompt in bfloat16 and 19 ms in float32,
against 40 ms (`benchmarks/sam_decoder.py`).
"""

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass

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
PROMPTS_A_CHUNK = 4  # prompts of one thread at a time; their buffers must stay in the processor's cache
MAX_THREADS = 8  # each has buffers of about 35 MB
_MLP_LAYERS = ("lin1", "lin2")  # of the MLPs in the transformer's blocks
_HEAD_LAYERS = ("layers.0", "layers.1", "layers.2")  # of the IoU head and the hypernetwork MLPs


@dataclass(eq=False)
class PreparedImage:
    """What all prompts of a photo share.

    Attributes:
        embedding: Image embedding plus the embedding of "no mask given". [1, 4096, 256]
        keys: Keys of the first attention of tokens to the image. float32 [8, 16, 4096]
        values: Values of the same. float32 [8, 4096, 16]
        queries: Queries, scaled, of the first attention of the image to the tokens. float32 [8, 16, 4096]
    """

    embedding: Tensor
    keys: Tensor
    values: Tensor
    queries: Tensor


class _Buffers(threading.local):
    """Memory of one thread; fresh memory for every product would cost more time than the product."""

    def __init__(self, dtype: torch.dtype) -> None:
        image = (PROMPTS_A_CHUNK, POSITIONS, EMBEDDING_CHANNELS)
        attention = (PROMPTS_A_CHUNK, HEADS * TOKENS, POSITIONS)
        first_attention = (HEADS, PROMPTS_A_CHUNK * TOKENS, POSITIONS)
        self.image = torch.empty(image, dtype=dtype)  # image embedding of each prompt
        self.positioned = torch.empty(image, dtype=dtype)  # the same plus its positional encoding
        self.update = torch.empty(image, dtype=dtype)
        self.scores = torch.empty(attention, dtype=dtype)
        self.weights = torch.empty(attention, dtype=dtype)
        self.first_scores = torch.empty(first_attention)
        self.first_weights = torch.empty(first_attention)


class FoldedDecoder:
    """Masks on three levels from single-point prompts.

    Args:
        weights: SAM's weights, from `read_weights`.
        dtype: float32, or bfloat16 for products over image positions.
    """

    def __init__(self, weights: dict[str, Tensor], dtype: torch.dtype) -> None:
        self._weights = weights
        self._dtype = dtype
        centres = (torch.arange(GRID_SIDE) + 0.5) / GRID_SIDE
        grid = torch.stack(torch.meshgrid(centres, centres, indexing="xy"), -1).view(-1, 2)
        self._positions = self._positional_encoding(grid)
        self._typed_positions = self._positions.to(dtype)
        self._upscale = [weights[f"output_upscaling.{layer}.weight"].to(dtype) for layer in (0, 3)]
        self._buffers = _Buffers(dtype)
        self._threads = single_threaded_pool(min(torch.get_num_threads(), MAX_THREADS), "mask-decoder")

    @torch.inference_mode()
    def prepare(self, embedding: Tensor) -> PreparedImage:
        """Compute what does not depend on the prompts.

        Args:
            embedding: Image embedding, from the image encoder. float32 [256, 64, 64]
        """
        image = embedding.reshape(EMBEDDING_CHANNELS, POSITIONS).T + self._weights["no_mask_embed"]
        positioned = image + self._positions

        def heads(x: Tensor) -> Tensor:
            return x.view(POSITIONS, HEADS, HEAD_DIM).transpose(0, 1)

        keys = heads(self._linear(positioned, "layers.0.cross_attn_token_to_image.k_proj"))
        values = heads(self._linear(image, "layers.0.cross_attn_token_to_image.v_proj"))
        queries = self._linear(positioned, "layers.0.cross_attn_image_to_token.q_proj")
        queries = heads(queries) / HEAD_DIM**0.5
        return PreparedImage(
            embedding=image.to(self._dtype)[None].contiguous(),
            keys=keys.transpose(1, 2).contiguous(),
            values=values.contiguous(),
            queries=queries.transpose(1, 2).contiguous(),
        )

    def decode(
        self, image: PreparedImage, points: Tensor, size: tuple[int, int], min_iou: float
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
        chunks = points.split(PROMPTS_A_CHUNK)
        done = list(self._threads.map(lambda chunk: self._decode(image, chunk, size, min_iou), chunks))
        return np.concatenate([logits for logits, _ in done]), np.concatenate([ious for _, ious in done])

    @torch.inference_mode()
    def _decode(
        self, image: PreparedImage, points: Tensor, size: tuple[int, int], min_iou: float
    ) -> tuple[np.ndarray, np.ndarray]:
        tokens = self._two_way_transformer(image, self._initial_tokens(points))

        def upscale(prompt: int, hyper: np.ndarray, out: np.ndarray) -> None:
            buffers, (rows, columns) = self._buffers, size
            covered = buffers.image[prompt].view(GRID_SIDE, GRID_SIDE, EMBEDDING_CHANNELS)[:rows, :columns]
            covered = covered.reshape(-1, EMBEDDING_CHANNELS)
            # `update` and `positioned` of all prompts are no longer needed: they take the two products.
            twice = torch.mm(covered, self._upscale[0], out=buffers.update[0, : rows * columns]).view(-1, 64)
            bias = self._weights["output_upscaling.0.bias"].repeat(4, 1)
            self._masks_of(twice, buffers.positioned.view(-1, 128), bias, hyper, out)

        return self._masks(tokens, size, min_iou, upscale)

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

    def _two_way_transformer(self, shared: PreparedImage, initial: Tensor) -> Tensor:
        """SAM's two-way transformer; initial tokens are added again as positional encoding of the tokens.

        Returns:
            The output tokens [B, 4, 256]; the image embedding of each prompt stays in the buffers.
        """
        buffers = self._buffers
        image, positioned = buffers.image[: len(initial)], buffers.positioned[: len(initial)]
        # Block 0: the image embedding is still that of the photo.
        tokens = self._norm(self._self_attention(initial, initial, "layers.0.self_attn"), "layers.0.norm1")
        tokens = self._norm(tokens + self._first_tokens_to_image(shared, tokens + initial), "layers.0.norm2")
        tokens = self._norm(tokens + self._mlp(tokens, "layers.0.mlp"), "layers.0.norm3")
        weights = self._first_image_to_tokens(shared, tokens + initial)
        self._update_image(shared.embedding, weights, tokens, "layers.0")
        # Block 1: each prompt has an image embedding of its own.
        tokens = tokens + self._self_attention(tokens + initial, tokens, "layers.1.self_attn")
        tokens = self._norm(tokens, "layers.1.norm1")
        attended = self._tokens_to_image(
            image, positioned, tokens + initial, "layers.1.cross_attn_token_to_image"
        )
        tokens = self._norm(tokens + attended, "layers.1.norm2")
        tokens = self._norm(tokens + self._mlp(tokens, "layers.1.mlp"), "layers.1.norm3")
        weights = self._image_to_tokens(positioned, tokens + initial)
        self._update_image(image, weights, tokens, "layers.1")
        # The last attention, only for the tokens that are read.
        tokens, initial = tokens[:, OUTPUT_TOKENS], initial[:, OUTPUT_TOKENS]
        attended = self._tokens_to_image(image, positioned, tokens + initial, "final_attn_token_to_image")
        return self._norm(tokens + attended, "norm_final_attn")

    def _first_tokens_to_image(self, shared: PreparedImage, queries: Tensor) -> Tensor:
        """Attention of the tokens to an image embedding that is the same for all prompts."""
        name = "layers.0.cross_attn_token_to_image"
        prompts, tokens, _ = queries.shape
        queries = self._by_head(self._linear(queries, name + ".q_proj") / HEAD_DIM**0.5)
        shape = (HEADS, prompts * tokens, POSITIONS)
        scores = torch.bmm(queries, shared.keys, out=_front(self._buffers.first_scores, shape))
        weights = torch.softmax(scores, -1, out=_front(self._buffers.first_weights, shape))
        attended = torch.bmm(weights, shared.values).transpose(0, 1).reshape(prompts, tokens, -1)
        return self._linear(attended, name + ".out_proj")

    def _tokens_to_image(self, image: Tensor, positioned: Tensor, queries: Tensor, name: str) -> Tensor:
        """Attention of the tokens to the image embedding, projections folded onto the tokens.

        Args:
            image: Image embedding of each prompt. [B, 4096, 256]
            positioned: The same plus the positional encoding. [B, 4096, 256]
            queries: Tokens plus initial tokens, before the projection. float32 [B, T, 256]
            name: Which attention of the transformer.
        """
        prompts, tokens, _ = queries.shape
        w, buffers = self._weights, self._buffers
        # q·(W_q W_kᵀ): the queries take over the projection of the keys.
        queries = self._by_head(self._linear(queries, name + ".q_proj") / HEAD_DIM**0.5)
        folded = self._by_prompt(torch.bmm(queries, w[name + ".k_proj.heads"].transpose(1, 2)), prompts)
        shape = (prompts, HEADS * tokens, POSITIONS)
        scores = torch.bmm(folded, positioned.transpose(1, 2), out=_front(buffers.scores, shape))
        weights = torch.softmax(scores, -1, out=_front(buffers.weights, shape))
        # (attention·image)·W_v: values are projected after the mean over the positions.
        attended = torch.bmm(weights, image).float().view(prompts, HEADS, tokens, EMBEDDING_CHANNELS)
        attended = attended.transpose(0, 1).reshape(HEADS, prompts * tokens, EMBEDDING_CHANNELS)
        attended = torch.bmm(attended, w[name + ".v_proj.heads"])
        attended = attended.transpose(0, 1).reshape(prompts, tokens, -1)
        return self._linear(attended + w[name + ".v_proj.bias"], name + ".out_proj")

    def _first_image_to_tokens(self, shared: PreparedImage, keys: Tensor) -> Tensor:
        """Attention weights [B, 56, 4096] of the image, the same for all prompts, to the tokens."""
        prompts, tokens, _ = keys.shape
        keys = self._by_head(self._linear(keys, "layers.0.cross_attn_image_to_token.k_proj"))
        shape = (HEADS, prompts * tokens, POSITIONS)
        scores = torch.bmm(keys, shared.queries, out=_front(self._buffers.first_scores, shape))
        groups = np.arange(HEADS * prompts)
        order = groups % prompts * HEADS + groups // prompts  # from heads × prompts to prompts × heads
        return self._softmax_over_tokens(
            scores.reshape(-1, tokens, POSITIONS), np.zeros((len(groups), tokens), np.float32), order
        )

    def _image_to_tokens(self, positioned: Tensor, keys: Tensor) -> Tensor:
        """Attention weights [B, 56, 4096] of the image to the tokens, projections folded onto the tokens."""
        name = "layers.1.cross_attn_image_to_token"
        prompts, tokens, _ = keys.shape
        keys = self._by_head(self._linear(keys, name + ".k_proj") / HEAD_DIM**0.5)
        folded = self._by_prompt(
            torch.bmm(keys, self._weights[name + ".q_proj.heads"].transpose(1, 2)), prompts
        )
        bias = torch.bmm(keys, self._weights[name + ".q_proj.bias"].view(HEADS, HEAD_DIM, 1))
        bias = bias.view(HEADS, prompts, tokens).transpose(0, 1).reshape(-1, tokens)
        scores = torch.bmm(folded, positioned.transpose(1, 2), out=self._buffers.scores[:prompts])
        return self._softmax_over_tokens(
            scores.view(-1, tokens, POSITIONS), bias.numpy(), np.arange(HEADS * prompts)
        )

    def _softmax_over_tokens(self, scores: Tensor, bias: np.ndarray, order: np.ndarray) -> Tensor:
        weights = self._buffers.weights[: len(scores) // HEADS]
        kernels.softmax_over_tokens(
            scores=as_array(scores),
            bias=bias,
            order=order,
            weights=as_array(weights.view(-1, TOKENS, POSITIONS)),
        )
        return weights

    def _update_image(self, image: Tensor, weights: Tensor, tokens: Tensor, block: str) -> None:
        """Add the attention of the image to the tokens, and normalise; the result goes into the buffers."""
        name, norm = block + ".cross_attn_image_to_token", block + ".norm4"
        prompts, w, buffers = len(tokens), self._weights, self._buffers
        values = self._by_head(self._linear(tokens, name + ".v_proj"))
        values = self._by_prompt(torch.bmm(values, w[name + ".out_proj.heads"]), prompts)
        update = torch.bmm(weights.transpose(1, 2), values, out=buffers.update[:prompts])
        kernels.add_and_norm(
            residual=as_array(image),
            delta=as_array(update),
            bias=w[name + ".out_proj.bias"].numpy(),
            weight=w[norm + ".weight"].numpy(),
            shift=w[norm + ".bias"].numpy(),
            positions=as_array(self._typed_positions),
            out=as_array(buffers.image[:prompts]),
            positioned=as_array(buffers.positioned[:prompts]),
        )

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

    def _by_prompt(self, x: Tensor, prompts: int) -> Tensor:
        """[8, B·T, 256] to [B, 8·T, 256] in the dtype of the image embedding"""
        x = x.view(HEADS, prompts, -1, EMBEDDING_CHANNELS).transpose(0, 1).to(self._dtype)
        return x.reshape(prompts, -1, EMBEDDING_CHANNELS)


def _front(buffer: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A contiguous tensor of some shape in the front part of a buffer."""
    return buffer.view(-1)[: math.prod(shape)].view(shape)


def fast_dtype() -> torch.dtype:
    """bfloat16 where the processor multiplies it natively, else float32."""
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    native = ("avx512_bf16", "amx_bf16")
    return torch.bfloat16 if any(capabilities.get(name) for name in native) else torch.float32
