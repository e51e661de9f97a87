"""What a prompt changes of SAM's image embedding, kept as products of low rank.

In each block of the mask decoder's transformer, to every position is added a mean of the 7 tokens' values in
each of the 8 heads, weighted by attention; then it is normalised (layer norm):

    X₁ = s₁ (X₀ + A₁ B₁) γ₁ + β₁,  X₂ = s₂ (X₁ + A₂ B₂) γ₂ + β₂

X₀ [P, 256] belongs to the photo, A [P, 49] are the attention weights and a column of ones (the weights of a
head sum up to 1, so the last token's is left out), B [49, 256] is what the tokens add, s [P] is 1 over the
standard deviation. All that is done with X is linear: projections to keys, queries and values, and the first
upscaling. So a product X W is s (X₀ γ W) + (s A) (B γ W) + β W, where the first product is computed once a
photo for all prompts, and the second has 49 columns instead of 256. For s, the squared length of a row is
|x₀|² + 2 a (B x₀) + a (B Bᵀ) aᵀ. Rows are centred beforehand, as layer norm wants it.

`decoder` is the net that is computed in this way, `passes` has the loops over the positions.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gags.segment.sam import passes
from gags.segment.sam.passes import BLOCK, FREE, FREE_TOKENS, HEAD_DIM, HEADS

RANK = FREE + 1  # of what one block adds to the image embedding
ONES_LAST = [*range(FREE), *range(RANK, RANK + FREE), FREE, RANK + FREE]  # rows of both blocks


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
        return Update(centred(self.heads), centred(self.bias))

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
        return cls(by_head(x[:, :FREE_TOKENS] - last), by_head(last))

    def added(self, along: Update) -> passes.Added:
        """What they add to the image embedding, and its products with the rows of that (`along`)."""
        return passes.Added(self.beyond.numpy(), self.last.numpy(), along.heads.numpy(), along.bias.numpy())


class Projected(NamedTuple):
    """The photo's part of a projection, (X₀ γ W), and the part that has no factor s, (β + positions) W.

    Attributes:
        scaled: [16, 8, 16, 256]
        fixed: Likewise.
    """

    scaled: Tensor
    fixed: Tensor

    def asked(self, tokens: Tensor, rows: Sequence[Tensor]) -> passes.Projection:
        """Scores of tokens with it.

        Args:
            tokens: [N, 8, T, 16]
            rows: B times the projection, of each block. [N, 49, 128]
        """
        by_row = [torch.matmul(tokens, by_head(each).transpose(2, 3)).flatten(1, 2) for each in rows]
        return passes.Projection(
            tokens.numpy(),
            self.scaled.numpy(),
            self.fixed.numpy(),
            torch.cat([each[..., :FREE] for each in by_row], 2).numpy(),
            torch.stack([each[..., FREE] for each in by_row], 2).numpy(),
        )


def from_sums(sums: passes.Attended, rows: Sequence[Tensor]) -> Tensor:
    """What tokens get from the image, before the bias and the output projection.

    Args:
        sums: Of a pass.
        rows: B times the projection to values, of each block. [N, 49, 128]

    Returns:
        [N, T, 128]
    """
    found = torch.from_numpy(sums.by_value).sum(-1)  # [N, 8, T, 16]
    by_rank = torch.from_numpy(sums.by_rank).sum(-1).view(*found.shape[:3], -1)
    by_ones = torch.from_numpy(sums.by_ones).view(*found.shape[:3], -1)
    for n, each in enumerate(rows):
        split = by_head(each)
        found += torch.matmul(by_rank[..., FREE * n : FREE * (n + 1)], split[:, :, :FREE])
        found += by_ones[..., n : n + 1] * split[:, :, FREE:]
    return found.transpose(1, 2).flatten(2)


def upper(gram: Tensor) -> np.ndarray:
    """Symmetric matrices with twice what lies right of the diagonal, and nothing left of it."""
    return (gram.triu() + gram.triu(1)).numpy()


def by_head(x: Tensor) -> Tensor:
    """[N, T, C] to [N, 8, T, C / 8]"""
    return x.unflatten(-1, (HEADS, -1)).transpose(1, 2).contiguous()


def rows_of(updates: Sequence[Update], pair: tuple[Values, Values]) -> list[Tensor]:
    """Rows of what both blocks add. [N, 49, n] each"""
    return [update.rows(values) for update, values in zip(updates, pair, strict=True)]


def in_blocks(x: Tensor) -> Tensor:
    """Block by block of the positions. [8, 16, 4096] to [16, 8, 16, 256]"""
    return x.reshape(HEADS, HEAD_DIM, -1, BLOCK).permute(2, 0, 1, 3).contiguous()


def centred(x: Tensor) -> Tensor:
    """Without its mean over the last dimension."""
    return x - x.mean(-1, keepdim=True)
