"""SAM's mask decoder in float32, without an image embedding of its own for every prompt.

What a prompt changes of the image embedding has low rank. In each block, every position p adds a mean of the
7 tokens' values in each of the 8 heads, weighted by attention, then is normalised (layer norm):

    X₁ = s₁ (X₀ + A₁ B₁) γ₁ + β₁,  X₂ = s₂ (X₁ + A₂ B₂) γ₂ + β₂

X₀ [P, 256] belongs to the photo, A [P, 49] are the attention weights and a column of ones (the weights of a
head sum up to 1, so the last token's is left out), B [49, 256] is what the tokens add, s [P] is 1 over the
standard deviation. All that is done with X is linear: projections to keys, queries and values, and the first
upscaling. So a product X W is s (X₀ γ W) + (s A) (B γ W) + β W, where the first product is computed once a
photo for all prompts, and the second has 49 columns instead of 256. For s, the squared length of a row is
|x₀|² + 2 a (B x₀) + a (B Bᵀ) aᵀ. Rows are centred beforehand, as layer norm wants it.

That is half of the arithmetic of `FoldedDecoder`, and the same masks but for rounding (see
`benchmarks/sam_decoder.py`).
It is used in float32 only: bfloat16 would round more, and there products cost little.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

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
    PROMPTS_A_CHUNK,
    TOKENS,
    MaskDecoder,
    PreparedImage,
    front,
)
from gags.segment.sam.kernels import as_array

FREE_TOKENS = TOKENS - 1  # whose weights are kept; that of the last is 1 minus these
RANK = HEADS * FREE_TOKENS + 1  # of what one block adds to the image embedding: A, with its column of ones
_FIRST, _SECOND = "layers.0.cross_attn_image_to_token", "layers.1.cross_attn_image_to_token"
_TO_IMAGE, _FINAL = "layers.1.cross_attn_token_to_image", "final_attn_token_to_image"
_ORDER = np.arange(HEADS)
_NO_BIAS = np.zeros((HEADS, TOKENS), np.float32)
_heads = MaskDecoder._by_head  # [T, 128] to [8, T, 16]


class Update(NamedTuple):
    """How the values of a block's tokens become rows of B, or of B times some matrix.

    Attributes:
        heads: Of each head. [8, 16, n]
        bias: Added to what the last tokens give. [n]
    """

    heads: Tensor
    bias: Tensor

    def times(self, matrix: Tensor) -> "Update":
        """Rows of B times a matrix [n, m], or times a diagonal [n]."""
        if matrix.ndim == 1:
            return Update(self.heads * matrix, self.bias * matrix)
        return Update(self.heads @ matrix, self.bias @ matrix)

    def centred(self) -> "Update":
        """Rows of B without their means."""
        return Update(_centred(self.heads), _centred(self.bias))

    def rows(self, values: Tensor, out: Tensor | None = None) -> Tensor:
        """B, or B times the matrix.

        Args:
            values: Of a prompt's tokens. [8, 7, 16]
            out: Receives the rows, if given.

        Returns:
            [49, n]: what each token adds beyond the last one, head by head; then what the last ones add.
        """
        n = self.heads.shape[-1]
        out = torch.empty(RANK, n) if out is None else out
        beyond = values[:, :FREE_TOKENS] - values[:, FREE_TOKENS:]
        torch.bmm(beyond, self.heads, out=out[:-1].view(HEADS, FREE_TOKENS, n))
        torch.addmv(self.bias, self.heads.view(-1, n).T, values[:, FREE_TOKENS].reshape(-1), out=out[-1])
        return out


class Projected(NamedTuple):
    """The photo's part of a projection, (X₀ γ W), and the part that has no factor s, (β + positions) W.

    Attributes:
        scaled: [8, 16, 4096]
        fixed: [8, 16, 4096]; [0] for values, whose part is added afterwards
    """

    scaled: Tensor
    fixed: Tensor


@dataclass(eq=False)
class SharedImage:
    """What all prompts of a photo share.

    Attributes:
        first: For the attentions before the image embedding changes.
        lengths: |x|² of the centred rows that blocks 0 and 1 start from. [4096] each
        along: What the updates have in common with these rows, B x: block 0's in block 0, in block 1, and
            block 1's in block 1; [8, 16, 4096] and [4096] each.
        keys: Of the second attention to the image, and of the final one.
        values: Likewise.
        queries: Of the second attention of the image.
        upscaled: The photo's part of the first upscaling. [4096, 256]
    """

    first: PreparedImage
    lengths: tuple[Tensor, Tensor]
    along: tuple[Update, Update, Update]
    keys: tuple[Projected, Projected]
    values: tuple[Projected, Projected]
    queries: Projected
    upscaled: Tensor


class _Memory(threading.local):
    """Memory of one thread, see `gags.segment.sam.decoder`."""

    def __init__(self) -> None:
        self.weights = torch.empty(
            PROMPTS_A_CHUNK, 2 * RANK, POSITIONS
        )  # A₁ s₁ above A₂, later both times s₂
        self.scales = torch.empty(PROMPTS_A_CHUNK, 2, POSITIONS)  # s₁, s₁ s₂
        self.along = torch.empty(2 * RANK, POSITIONS)
        self.lengths = torch.empty(2 * RANK, POSITIONS)
        self.scores = torch.empty(HEADS, TOKENS, POSITIONS)
        self.attention = torch.empty(HEADS, TOKENS, POSITIONS)
        self.ones = torch.ones(POSITIONS)
        self.twice = torch.empty(POSITIONS, EMBEDDING_CHANNELS)
        self.four_times = torch.empty(4 * POSITIONS, 128)


class LowRankDecoder(MaskDecoder[SharedImage]):
    """Masks on three levels from single-point prompts; see the head of this file.

    Args:
        weights: SAM's weights, from `read_weights`.
    """

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__(weights, torch.float32)
        w = weights
        self._gamma = (w["layers.0.norm4.weight"], w["layers.1.norm4.weight"])
        self._beta = (w["layers.0.norm4.bias"], w["layers.1.norm4.bias"])
        first = Update(w[_FIRST + ".out_proj.heads"], w[_FIRST + ".out_proj.bias"])
        second = Update(w[_SECOND + ".out_proj.heads"], w[_SECOND + ".out_proj.bias"] + self._beta[0])
        # Block 0's update within X₀ + A₁ B₁, the same within X₁ + A₂ B₂, and block 1's there.
        self._added = first.centred()
        self._kept = self._added.times(self._gamma[0]).centred()
        self._added_last = second.centred()
        normed = self._added.times(self._gamma[0])
        both = [each.times(self._gamma[1]) for each in (self._kept, self._added_last)]
        self._to_keys = normed.times(self._matrix(_TO_IMAGE, "k_proj"))
        self._to_values = normed.times(self._matrix(_TO_IMAGE, "v_proj"))
        self._to_queries = normed.times(self._matrix(_SECOND, "q_proj"))
        self._to_last_keys = [each.times(self._matrix(_FINAL, "k_proj")) for each in both]
        self._to_last_values = [each.times(self._matrix(_FINAL, "v_proj")) for each in both]
        self._to_upscaled = [each.times(self._upscale[0]) for each in both]
        self._values_bias = [
            beta @ self._matrix(name, "v_proj") + w[name + ".v_proj.bias"]
            for beta, name in zip(self._beta, (_TO_IMAGE, _FINAL), strict=True)
        ]
        cells = (self._beta[1] @ self._upscale[0]).view(4, 64)
        self._upscale_bias = cells + w["output_upscaling.0.bias"]
        self._memory = _Memory()

    @torch.inference_mode()
    def prepare(self, embedding: Tensor) -> SharedImage:
        """Compute what does not depend on the prompts, see `MaskDecoder.prepare`."""
        w, (gamma, last_gamma), (beta, last_beta) = self._weights, self._gamma, self._beta
        first = self._prepare_first(embedding)
        image = _centred(first.embedding[0])
        kept = _centred(image * gamma)  # within X₁ + A₂ B₂
        normed, last_normed = image * gamma, kept * last_gamma

        def projected(x: Tensor, beta: Tensor, name: str, projection: str) -> Projected:
            heads = w[f"{name}.{projection}.heads"]
            fixed = torch.matmul(beta + self._positions, heads).transpose(1, 2).contiguous()
            scaled = torch.matmul(x, heads).transpose(1, 2).contiguous()
            return Projected(scaled, fixed if projection != "v_proj" else fixed.new_empty(0))

        def along(x: Tensor, name: str, more: Tensor | float = 0.0) -> Update:
            heads = torch.matmul(w[name + ".out_proj.heads"], x.T).contiguous()
            return Update(heads, x @ (w[name + ".out_proj.bias"] + more))

        return SharedImage(
            first=first,
            lengths=(image.square().sum(1), kept.square().sum(1)),
            along=(
                along(image, _FIRST),
                along(_centred(kept * gamma), _FIRST),
                along(kept, _SECOND, beta),
            ),
            keys=(
                projected(normed, beta, _TO_IMAGE, "k_proj"),
                projected(last_normed, last_beta, _FINAL, "k_proj"),
            ),
            values=(
                projected(normed, beta, _TO_IMAGE, "v_proj"),
                projected(last_normed, last_beta, _FINAL, "v_proj"),
            ),
            queries=projected(normed, beta, _SECOND, "q_proj"),
            upscaled=last_normed @ self._upscale[0],
        )

    @torch.inference_mode()
    def _decode(
        self, image: SharedImage, points: Tensor, size: tuple[int, int], min_iou: float
    ) -> tuple[np.ndarray, np.ndarray]:
        linear, memory, prompts = self._linear, self._memory, range(len(points))
        initial = self._initial_tokens(points)
        # Block 0: the image embedding is still that of the photo.
        tokens = self._norm(self._self_attention(initial, initial, "layers.0.self_attn"), "layers.0.norm1")
        attended = self._first_tokens_to_image(image.first, tokens + initial)
        tokens = self._norm(tokens + attended, "layers.0.norm2")
        tokens = self._norm(tokens + self._mlp(tokens, "layers.0.mlp"), "layers.0.norm3")
        keys, values = (
            linear(tokens + initial, _FIRST + ".k_proj"),
            _values(linear(tokens, _FIRST + ".v_proj")),
        )
        for b in prompts:
            self._update_first(image, _heads(keys[b]), values[b], b)
        # Block 1: tokens to the image, then the image to the tokens.
        tokens = tokens + self._self_attention(tokens + initial, tokens, "layers.1.self_attn")
        tokens = self._norm(tokens, "layers.1.norm1")
        queries = linear(tokens + initial, _TO_IMAGE + ".q_proj") / HEAD_DIM**0.5
        attended = [self._attend_second(image, _heads(queries[b]), values[b], b) for b in prompts]
        tokens = self._norm(tokens + linear(torch.stack(attended), _TO_IMAGE + ".out_proj"), "layers.1.norm2")
        tokens = self._norm(tokens + self._mlp(tokens, "layers.1.mlp"), "layers.1.norm3")
        keys = linear(tokens + initial, _SECOND + ".k_proj") / HEAD_DIM**0.5
        last_values = _values(linear(tokens, _SECOND + ".v_proj"))
        for b in prompts:
            self._update_second(image, _heads(keys[b]), values[b], last_values[b], b)
        # The last attention, only for the tokens that are read.
        tokens, initial = tokens[:, OUTPUT_TOKENS], initial[:, OUTPUT_TOKENS]
        queries = linear(tokens + initial, _FINAL + ".q_proj") / HEAD_DIM**0.5
        pairs = list(zip(values, last_values, strict=True))
        attended = [self._attend_last(image, _heads(queries[b]), pairs[b], b) for b in prompts]
        tokens = self._norm(tokens + linear(torch.stack(attended), _FINAL + ".out_proj"), "norm_final_attn")

        def upscale(prompt: int, hyper: np.ndarray, out: np.ndarray) -> None:
            weights, scale = memory.weights[prompt], memory.scales[prompt, 1]
            weights, scale, shared = _covered(weights, scale, image.upscaled, size)
            twice = torch.mm(
                weights.T, _both(self._to_upscaled, pairs[prompt]), out=memory.twice[: len(scale)]
            )
            shared = shared.view(-1, 64), scale
            self._masks_of(twice.view(-1, 64), memory.four_times, self._upscale_bias, hyper, out, shared)

        return self._masks(tokens, size, min_iou, upscale)

    def _update_first(self, image: SharedImage, keys: Tensor, values: Tensor, prompt: int) -> None:
        """Block 0's attention of the image to the tokens: A₁ times s₁, and s₁."""
        memory = self._memory
        weights, scale = memory.weights[prompt, :RANK], memory.scales[prompt, 0]
        torch.bmm(keys, image.first.queries, out=memory.scores)
        self._weights_of_tokens(_NO_BIAS, weights)
        along = image.along[0].rows(values, memory.along[:RANK])
        added = self._added.rows(values)
        self._normalise(weights, along, added, image.lengths[0], memory.ones, scale)

    def _update_second(
        self, image: SharedImage, keys: Tensor, values: Tensor, last_values: Tensor, prompt: int
    ) -> None:
        """Block 1's attention of the image to the tokens: A₁ s₁ s₂ above A₂ s₂, and s₁ s₂."""
        memory, (scale, both) = self._memory, self._memory.scales[prompt]
        weights = memory.weights[prompt]
        rows = self._to_queries.rows(values)
        self._scores(keys, image.queries, scale, rows, weights[:RANK], memory.scores)
        bias = torch.bmm(keys, self._weights[_SECOND + ".q_proj.bias"].view(HEADS, HEAD_DIM, 1))
        self._weights_of_tokens(bias[..., 0].numpy(), weights[RANK:])
        image.along[1].rows(values, memory.along[:RANK])
        image.along[2].rows(last_values, memory.along[RANK:])
        added = torch.cat([self._kept.rows(values), self._added_last.rows(last_values)])
        self._normalise(weights, memory.along, added, image.lengths[1], scale, both)

    def _weights_of_tokens(self, bias: np.ndarray, weights: Tensor) -> None:
        """A from the scores in memory: softmax over the tokens, the last left out; and a row of ones."""
        kernels.softmax_over_tokens(
            scores=as_array(self._memory.scores),
            bias=bias,
            order=_ORDER,
            weights=as_array(weights[:-1].view(HEADS, FREE_TOKENS, POSITIONS)),
        )
        weights[-1] = 1

    def _normalise(
        self,
        weights: Tensor,
        along: Tensor,
        added: Tensor,
        lengths: Tensor,
        before: Tensor,
        scale: Tensor,
    ) -> None:
        """Multiply A by s, which is 1 over the standard deviation of a row of s₀ X₀ + A B.

        Args:
            weights: A. [K, 4096]
            along: B X₀ᵀ. [K, 4096]
            added: B. [K, 256]
            lengths: Squared lengths of the rows of X₀. [4096]
            before: s₀. [4096]
            scale: Receives s₀ s. [4096]
        """
        squares = torch.mm(added @ added.T, weights, out=self._memory.lengths[: len(weights)])
        kernels.scale_by_norm(
            weights=as_array(weights),
            along=as_array(along),
            squares=as_array(squares),
            lengths=as_array(lengths),
            before=as_array(before),
            scale=as_array(scale),
        )

    def _attend_second(self, image: SharedImage, queries: Tensor, values: Tensor, prompt: int) -> Tensor:
        return self._attend(
            queries,
            image.keys[0],
            image.values[0],
            self._memory.scales[prompt, 0],
            (self._to_keys.rows(values), self._to_values.rows(values)),
            self._memory.weights[prompt, :RANK],
            self._values_bias[0],
        )

    def _attend_last(
        self, image: SharedImage, queries: Tensor, pair: tuple[Tensor, Tensor], prompt: int
    ) -> Tensor:
        return self._attend(
            queries,
            image.keys[1],
            image.values[1],
            self._memory.scales[prompt, 1],
            (_both(self._to_last_keys, pair), _both(self._to_last_values, pair)),
            self._memory.weights[prompt],
            self._values_bias[1],
        )

    def _attend(
        self,
        queries: Tensor,
        keys: Projected,
        values: Projected,
        scale: Tensor,
        rows: tuple[Tensor, Tensor],
        weights: Tensor,
        bias: Tensor,
    ) -> Tensor:
        """Attention of a prompt's tokens to its image embedding.

        Args:
            queries: [8, T, 16]
            keys: The photo's part of the keys.
            values: The photo's part of the values.
            scale: s of the photo's part. [4096]
            rows: B times the projections to keys and to values. [K, 128] each
            weights: s A. [K, 4096]
            bias: Added to the values. [128]

        Returns:
            Before the output projection. [T, 128]
        """
        tokens, memory = queries.shape[1], self._memory
        shape = (HEADS, tokens, POSITIONS)
        scores = self._scores(queries, keys, scale, rows[0], weights, front(memory.scores, shape))
        attention = torch.softmax(scores, -1, out=front(memory.attention, shape))
        per_row = torch.mm(attention.view(-1, POSITIONS), weights.T).view(HEADS, tokens, -1)
        attention *= scale
        attended = torch.bmm(attention, values.scaled.transpose(1, 2))
        attended.baddbmm_(per_row, _heads(rows[1]))
        return attended.transpose(0, 1).reshape(tokens, -1) + bias

    def _scores(
        self, tokens: Tensor, image: Projected, scale: Tensor, rows: Tensor, weights: Tensor, out: Tensor
    ) -> Tensor:
        """Products of tokens with a projection of the image embedding; see `_attend`. [8, T, 4096]"""
        torch.bmm(tokens, image.scaled, out=out)
        out *= scale
        out.baddbmm_(tokens, image.fixed)
        per_row = torch.bmm(tokens, _heads(rows).transpose(1, 2)).view(-1, len(rows))
        out.view(-1, POSITIONS).addmm_(per_row, weights)
        return out

    def _matrix(self, name: str, projection: str) -> Tensor:
        """A projection as [256, 128], head by head."""
        return self._weights[f"{name}.{projection}.heads"].transpose(0, 1).reshape(EMBEDDING_CHANNELS, -1)


def _both(updates: Sequence[Update], pair: tuple[Tensor, Tensor]) -> Tensor:
    """Rows of what both blocks add. [98, n]"""
    return torch.cat([update.rows(values) for update, values in zip(updates, pair, strict=True)])


def _covered(
    weights: Tensor, scale: Tensor, upscaled: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """The positions that the photo covers: [K, p], [p], [p, 256]."""
    rows, columns = size
    if columns == GRID_SIDE:
        covered = slice(0, rows * columns)
        return weights[:, covered], scale[covered], upscaled[covered]
    grid = (GRID_SIDE, GRID_SIDE)
    weights = weights.view(-1, *grid)[:, :rows, :columns].reshape(len(weights), -1)
    scale = scale.view(grid)[:rows, :columns].reshape(-1)
    return weights, scale, upscaled.view(*grid, -1)[:rows, :columns].reshape(len(scale), -1)


def _values(x: Tensor) -> list[Tensor]:
    """Values of each prompt's tokens. [B, 7, 128] to B of [8, 7, 16]"""
    return [_heads(each).contiguous() for each in x]


def _centred(x: Tensor) -> Tensor:
    """Without its mean over the last dimension."""
    return x - x.mean(-1, keepdim=True)
