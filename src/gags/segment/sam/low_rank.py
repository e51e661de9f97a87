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

That is half of the arithmetic of `FoldedDecoder`, and the same masks but for rounding. The loops over
positions are in `passes`; `benchmarks/sam_decoder.py` measures. It is used in float32 only: bfloat16 would
round more, and there products cost little.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gags.segment.sam import passes
from gags.segment.sam.decoder import (
    EMBEDDING_CHANNELS,
    GRID_SIDE,
    HEAD_DIM,
    HEADS,
    OUTPUT_TOKENS,
    POSITIONS,
    TOKENS,
    MaskDecoder,
)

MOST_PROMPTS = 16  # of one thread at a time: the more, the less often threads wait for Python
FREE_TOKENS = TOKENS - 1  # whose weights are kept; that of the last is 1 minus these
FREE = HEADS * FREE_TOKENS  # rows of A of one block, without the row of ones
RANK = FREE + 1  # of what one block adds to the image embedding
_FIRST, _SECOND = "layers.0.cross_attn_image_to_token", "layers.1.cross_attn_image_to_token"
_TO_IMAGE, _FINAL = "layers.1.cross_attn_token_to_image", "final_attn_token_to_image"
_ONES_LAST = [*range(FREE), *range(RANK, RANK + FREE), FREE, RANK + FREE]  # rows of both blocks


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

    def rows(self, values: "Values") -> Tensor:
        """B, or B times the matrix, of each prompt.

        Returns:
            [N, 49, n]: what each token adds beyond the last one, head by head; then what the last ones add.
        """
        prompts, n = len(values.last), self.heads.shape[-1]
        beyond = torch.bmm(values.beyond.transpose(0, 1).reshape(HEADS, -1, HEAD_DIM), self.heads)
        beyond = beyond.view(HEADS, prompts, FREE_TOKENS, n).transpose(0, 1).reshape(prompts, FREE, n)
        last = torch.addmm(self.bias, values.last.view(prompts, -1), self.heads.view(-1, n))
        return torch.cat([beyond, last[:, None]], 1)


class Values(NamedTuple):
    """Values of the prompts' tokens in the attention of the image to them.

    Attributes:
        beyond: Of the first six, less those of the last. [N, 8, 6, 16]
        last: Of the last. [N, 8, 1, 16]
    """

    beyond: Tensor
    last: Tensor

    @classmethod
    def of(cls, x: Tensor) -> "Values":
        """From [N, 7, 128]."""
        last = x[:, FREE_TOKENS:]
        return cls(_heads(x[:, :FREE_TOKENS] - last), _heads(last))

    def added(self, along: Update) -> passes.Added:
        """What they add to the image embedding, beside what that has in common with it."""
        return passes.Added(self.beyond.numpy(), self.last.numpy(), along.heads.numpy(), along.bias.numpy())


class Projected(NamedTuple):
    """The photo's part of a projection, (X₀ γ W), and the part that has no factor s, (β + positions) W.

    Attributes:
        scaled: [16, 8, 16, 256]
        fixed: Likewise; [0] for values, whose part is added afterwards
    """

    scaled: Tensor
    fixed: Tensor

    def asked(self, tokens: Tensor, rows: Sequence[Tensor]) -> passes.Projection:
        """Scores of tokens with it.

        Args:
            tokens: [N, 8, T, 16]
            rows: B times the projection, of each block. [N, 49, 128]
        """
        by_row = [torch.matmul(tokens, _heads(each).transpose(2, 3)).flatten(1, 2) for each in rows]
        return passes.Projection(
            tokens.numpy(),
            self.scaled.numpy(),
            self.fixed.numpy(),
            torch.cat([each[..., :FREE] for each in by_row], 2).numpy(),
            torch.stack([each[..., FREE] for each in by_row], 2).numpy(),
        )


@dataclass(eq=False)
class SharedImage:
    """What all prompts of a photo share; what goes by position is in 16 blocks of 256, see `passes`.

    Attributes:
        first: Keys, values and queries before the image embedding changes. [16, 8, 16, 256] each
        lengths: |x|² of the centred rows that blocks 0 and 1 start from. [4096] each
        along: What the updates have in common with these rows, B x: block 0's in block 0, in block 1, and
            block 1's in block 1; [16, 8, 16, 256] and [4096] each.
        keys: Of the second attention to the image, and of the final one.
        values: Likewise.
        queries: Of the second attention of the image.
        upscaled: The photo's part of the first upscaling. [4096, 256]
    """

    first: tuple[Tensor, Tensor, Tensor]
    lengths: tuple[Tensor, Tensor]
    along: tuple[Update, Update, Update]
    keys: tuple[Projected, Projected]
    values: tuple[Projected, Projected]
    queries: Projected
    upscaled: Tensor


class _Memory(threading.local):
    """Memory of one thread, see `gags.segment.sam.decoder`."""

    def __init__(self) -> None:
        # For each prompt: A₁ times s₁, later s₁ s₂; A₂ s₂; then these scales, the factors of rows of ones.
        blocks = POSITIONS // passes.BLOCK
        self.weights = torch.empty(MOST_PROMPTS, blocks, 2 * RANK, passes.BLOCK)
        self.twice = torch.empty(POSITIONS, EMBEDDING_CHANNELS)
        self.four_times = torch.empty(4 * POSITIONS, 128)


class LowRankDecoder(MaskDecoder[SharedImage]):
    """Masks on three levels from single-point prompts; see the head of this file.

    Args:
        weights: SAM's weights, from `read_weights`.
    """

    most_prompts = MOST_PROMPTS

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
        first = self._project_first(embedding)
        image = _centred(first.image)
        kept = _centred(image * gamma)  # within X₁ + A₂ B₂
        normed, last_normed = image * gamma, kept * last_gamma

        def projected(x: Tensor, beta: Tensor, name: str, projection: str) -> Projected:
            heads = w[f"{name}.{projection}.heads"]
            scaled = _blocks(torch.matmul(x, heads).transpose(1, 2))
            if projection == "v_proj":
                return Projected(scaled, scaled.new_empty(0))
            bias = w[f"{name}.{projection}.bias"].view(HEADS, 1, HEAD_DIM)
            fixed = torch.matmul(beta + self._positions, heads) + bias
            return Projected(scaled, _blocks(fixed.transpose(1, 2)))

        def along(x: Tensor, name: str, more: Tensor | float = 0.0) -> Update:
            heads = _blocks(torch.matmul(w[name + ".out_proj.heads"], x.T))
            return Update(heads, x @ (w[name + ".out_proj.bias"] + more))

        return SharedImage(
            first=(_blocks(first.keys), _blocks(first.values), _blocks(first.queries)),
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
        linear, memory = self._linear, self._memory
        initial = self._initial_tokens(points)
        # Block 0: the image embedding is still that of the photo.
        tokens = self._norm(self._self_attention(initial, initial, "layers.0.self_attn"), "layers.0.norm1")
        attended = self._ask_photo(image, tokens + initial)
        tokens = self._norm(tokens + attended, "layers.0.norm2")
        tokens = self._norm(tokens + self._mlp(tokens, "layers.0.mlp"), "layers.0.norm3")
        keys = _heads(linear(tokens + initial, _FIRST + ".k_proj"))
        values = Values.of(linear(tokens, _FIRST + ".v_proj"))
        # Block 1 asks the image once block 0 has changed it: both in one pass over the image.
        tokens = tokens + self._self_attention(tokens + initial, tokens, "layers.1.self_attn")
        tokens = self._norm(tokens, "layers.1.norm1")
        queries = _heads(linear(tokens + initial, _TO_IMAGE + ".q_proj") / HEAD_DIM**0.5)
        attended = self._first_pass(image, keys, queries, values)
        tokens = self._norm(tokens + linear(attended, _TO_IMAGE + ".out_proj"), "layers.1.norm2")
        tokens = self._norm(tokens + self._mlp(tokens, "layers.1.mlp"), "layers.1.norm3")
        keys = _heads(linear(tokens + initial, _SECOND + ".k_proj") / HEAD_DIM**0.5)
        pair = values, Values.of(linear(tokens, _SECOND + ".v_proj"))
        # The last attention, only for the tokens that are read.
        tokens, initial = tokens[:, OUTPUT_TOKENS], initial[:, OUTPUT_TOKENS]
        queries = _heads(linear(tokens + initial, _FINAL + ".q_proj") / HEAD_DIM**0.5)
        attended = self._second_pass(image, keys, queries, pair)
        tokens = self._norm(tokens + linear(attended, _FINAL + ".out_proj"), "norm_final_attn")
        upscaled = torch.cat(_rows(self._to_upscaled, pair), 1)[:, _ONES_LAST]

        def upscale(prompt: int, hyper: np.ndarray, out: np.ndarray) -> None:
            weights, shared = _covered(memory.weights[prompt], image.upscaled, size)
            blocks, positions = len(weights), weights.shape[-1]
            rows = upscaled[prompt].expand(blocks, -1, -1)
            twice = memory.twice[: blocks * positions].view(blocks, positions, EMBEDDING_CHANNELS)
            torch.bmm(weights.mT, rows, out=twice)
            twice = memory.twice[: len(shared)]
            # The factor of the photo's part is that of block 0's row of ones.
            factors = weights[:, 2 * FREE].reshape(-1)[: len(shared)].contiguous()
            shared = shared.view(-1, 64), factors
            self._masks_of(twice.view(-1, 64), memory.four_times, self._upscale_bias, hyper, out, shared)

        return self._masks(tokens, size, min_iou, upscale)

    def _ask_photo(self, image: SharedImage, queries: Tensor) -> Tensor:
        """Attention of the tokens to the image embedding of the photo. [N, 7, 256]"""
        name, (keys, values, _) = "layers.0.cross_attn_token_to_image", image.first
        queries = _heads(self._linear(queries, name + ".q_proj") / HEAD_DIM**0.5)
        sums = passes.ask_photo(queries.numpy(), keys.numpy(), values.numpy())
        return self._linear(_attended(sums, []), name + ".out_proj")

    def _first_pass(self, image: SharedImage, keys: Tensor, queries: Tensor, values: Values) -> Tensor:
        """Block 0's attention of the image to the tokens, block 1's of them to the image. [N, 7, 128]"""
        added = self._added.rows(values)
        gram = added @ added.mT
        sums = passes.first_pass(
            keys.numpy(),
            image.first[2].numpy(),
            values.added(image.along[0]),
            image.lengths[0].numpy(),
            gram.numpy(),
            _upper(gram[:, :FREE, :FREE]),
            image.keys[0].asked(queries, [self._to_keys.rows(values)]),
            image.values[0].scaled.numpy(),
            self._memory.weights.numpy(),
        )
        return _attended(sums, [self._to_values.rows(values)]) + self._values_bias[0]

    def _second_pass(
        self, image: SharedImage, keys: Tensor, queries: Tensor, pair: tuple[Values, Values]
    ) -> Tensor:
        """Block 1's attention of the image to the tokens, the last of them to the image. [N, 4, 128]"""
        values, last_values = pair
        added = torch.cat(_rows((self._kept, self._added_last), pair), 1)[:, _ONES_LAST]
        gram = added @ added.mT
        sums = passes.second_pass(
            image.queries.asked(keys, [self._to_queries.rows(values)]),
            values.added(image.along[1]),
            last_values.added(image.along[2]),
            image.lengths[1].numpy(),
            gram.numpy(),
            _upper(gram[:, : 2 * FREE, : 2 * FREE]),
            image.keys[1].asked(queries, _rows(self._to_last_keys, pair)),
            image.values[1].scaled.numpy(),
            self._memory.weights.numpy(),
        )
        return _attended(sums, _rows(self._to_last_values, pair)) + self._values_bias[1]

    def _matrix(self, name: str, projection: str) -> Tensor:
        """A projection as [256, 128], head by head."""
        return self._weights[f"{name}.{projection}.heads"].transpose(0, 1).reshape(EMBEDDING_CHANNELS, -1)


def _attended(sums: passes.Attended, rows: Sequence[Tensor]) -> Tensor:
    """What tokens get from the image, before the bias and the output projection.

    Args:
        sums: Of a pass.
        rows: B times the projection to values, of each block. [N, 49, 128]

    Returns:
        [N, T, 128]
    """
    attended = torch.from_numpy(sums.by_value).sum(-1)  # [N, 8, T, 16]
    by_rank = torch.from_numpy(sums.by_rank).sum(-1).view(*attended.shape[:3], -1)
    by_ones = torch.from_numpy(sums.by_ones).view(*attended.shape[:3], -1)
    for n, each in enumerate(rows):
        heads = _heads(each)
        attended += torch.matmul(by_rank[..., FREE * n : FREE * (n + 1)], heads[:, :, :FREE])
        attended += by_ones[..., n : n + 1] * heads[:, :, FREE:]
    return attended.transpose(1, 2).flatten(2)


def _upper(gram: Tensor) -> np.ndarray:
    """Symmetric matrices with twice what lies right of the diagonal, and nothing left of it."""
    return (gram.triu() + gram.triu(1)).numpy()


def _heads(x: Tensor) -> Tensor:
    """[N, T, 128] to [N, 8, T, 16]"""
    return x.view(len(x), -1, HEADS, HEAD_DIM).transpose(1, 2).contiguous()


def _rows(updates: Sequence[Update], pair: tuple[Values, Values]) -> list[Tensor]:
    """Rows of what both blocks add. [N, 49, n] each"""
    return [update.rows(values) for update, values in zip(updates, pair, strict=True)]


def _covered(weights: Tensor, upscaled: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The positions that the photo covers: [N, 98, up to 256], [p, 256]."""
    rows, columns = size
    if columns == GRID_SIDE:
        return weights[: -(-rows * columns // passes.BLOCK)], upscaled[: rows * columns]
    grid = weights.view(len(weights), weights.shape[1], -1, GRID_SIDE)
    grid = grid[: -(-rows // grid.shape[2]), ..., :columns]
    covered = upscaled.view(GRID_SIDE, GRID_SIDE, -1)[:rows, :columns]
    return grid.reshape(*grid.shape[:2], -1), covered.reshape(rows * columns, -1)


def _blocks(x: Tensor) -> Tensor:
    """Block by block of the positions. [8, 16, 4096] to [16, 8, 16, 256]"""
    return x.reshape(HEADS, HEAD_DIM, -1, passes.BLOCK).permute(2, 0, 1, 3).contiguous()


def _centred(x: Tensor) -> Tensor:
    """Without its mean over the last dimension."""
    return x - x.mean(-1, keepdim=True)
