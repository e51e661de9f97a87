"""SAM's mask decoder with projections applied on the side of the tokens.

q·(W_q W_kᵀ) and (attention·image)·(W_v W_o): so the image embedding of each prompt is multiplied as it is.
Products over image positions may be bfloat16, the rest is float32.
"""

import threading
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gags.segment.sam import kernels
from gags.segment.sam.decoder import (
    EMBEDDING_CHANNELS,
    GRID_SIDE,
    HEAD_DIM,
    HEADS,
    OUTPUT_TOKENS,
    POSITIONS,
    TOKENS,
    MaskDecoder,
    front,
)
from gags.segment.sam.kernels import as_array

_MOST_PROMPTS = 4  # of one thread at a time; their buffers must stay in the processor's cache


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


class _FirstMemory(threading.local):
    """Memory of one thread for the first attention to the image."""

    def __init__(self) -> None:
        shape = (HEADS, _MOST_PROMPTS * TOKENS, POSITIONS)
        self.scores = torch.empty(shape)
        self.weights = torch.empty(shape)


class _Buffers(threading.local):
    """Memory of one thread; fresh memory for every product would cost more time than the product."""

    def __init__(self, dtype: torch.dtype) -> None:
        image = (_MOST_PROMPTS, POSITIONS, EMBEDDING_CHANNELS)
        attention = (_MOST_PROMPTS, HEADS * TOKENS, POSITIONS)
        self.image = torch.empty(image, dtype=dtype)  # image embedding of each prompt
        self.positioned = torch.empty(image, dtype=dtype)  # the same plus its positional encoding
        self.update = torch.empty(image, dtype=dtype)
        self.scores = torch.empty(attention, dtype=dtype)
        self.weights = torch.empty(attention, dtype=dtype)


class FoldedDecoder(MaskDecoder[PreparedImage]):
    """Masks on three levels from single-point prompts; see the head of this file.

    Args:
        weights: SAM's weights, from `read_weights`.
        dtype: float32, or bfloat16 for products over image positions.
    """

    most_prompts = _MOST_PROMPTS

    def __init__(self, weights: dict[str, Tensor], dtype: torch.dtype) -> None:
        super().__init__(weights, dtype)
        self._first_memory = _FirstMemory()
        self._typed_positions = self._positions.to(dtype)
        self._buffers = _Buffers(dtype)

    @torch.inference_mode()
    def prepare(self, embedding: Tensor) -> PreparedImage:
        """Compute what does not depend on the prompts, see `MaskDecoder.prepare`."""
        first = self._project_first(embedding)
        return PreparedImage(
            embedding=first.image.to(self._dtype)[None].contiguous(),
            keys=first.keys.contiguous(),
            values=first.values.mT.contiguous(),
            queries=first.queries.contiguous(),
        )

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
        scores = torch.bmm(queries, shared.keys, out=front(self._first_memory.scores, shape))
        weights = torch.softmax(scores, -1, out=front(self._first_memory.weights, shape))
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
        scores = torch.bmm(folded, positioned.transpose(1, 2), out=front(buffers.scores, shape))
        weights = torch.softmax(scores, -1, out=front(buffers.weights, shape))
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
        scores = torch.bmm(keys, shared.queries, out=front(self._first_memory.scores, shape))
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

    def _by_prompt(self, x: Tensor, prompts: int) -> Tensor:
        """[8, B·T, 256] to [B, 8·T, 256] in the dtype of the image embedding"""
        x = x.view(HEADS, prompts, -1, EMBEDDING_CHANNELS).transpose(0, 1).to(self._dtype)
        return x.reshape(prompts, -1, EMBEDDING_CHANNELS)
