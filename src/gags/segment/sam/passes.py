"""Both passes of `low_rank` over the positions of the image embedding, each a loop over blocks of them.

A block's scores, weights and products stay in the processor's cache between the steps, and nothing but A and
s is written for all positions. The softmax of the tokens over all positions is taken block by block: sums so
far are scaled down whenever a larger score comes (online softmax). Names are those of `low_rank`, whose A is
split here: rows of its 48 free weights (6 tokens of 8 heads), and the row of ones, which are constants and
factors instead. All arrays are float32 and contiguous, P is the number of positions, a multiple of 256.
Arrays over positions go block by block: rows of 4096 numbers would all take the same few places of the cache.
"""

from typing import NamedTuple

import numpy as np

from gags.segment.sam.kernels import exp
from gags.segment.sam.products import BLOCK, FAST, add_products, add_sums
from gags.simd.cache import kernel
from gags.simd.memory import native_load, store
from gags.simd.vectors import NATIVE_LANES, maximum

TOKENS = 7  # of a prompt: IoU token, four mask tokens, prompt, padding
FREE_TOKENS = TOKENS - 1  # whose weights are kept; that of the last is 1 minus these
HEADS = 8
HEAD_DIM = 16  # of attention between tokens and image
FREE = HEADS * FREE_TOKENS  # rows of A of one block of the transformer, without the row of ones
ROW_OF_SCALES = 2 * FREE  # of the rows of weights, and the next one
_EPSILON = 1e-5  # of the layer norms
_LOWEST = -1e38  # below every score


class Projection(NamedTuple):
    """Scores of the tokens of N prompts with a projection of the image embedding.

    The projection is s (X₀ W + A B W), and a part without s.

    Attributes:
        tokens: [N, 8, T, 16]
        scaled: X₀ W. [P / 256, 8, 16, 256]
        fixed: The part without s. [P / 256, 8, 16, 256]
        by_rank: Products of tokens and B W, without the rows of ones. [N, 8 T, K]
        by_ones: The same of the rows of ones, one for each block. [N, 8 T, 1 or 2]
    """

    tokens: np.ndarray
    scaled: np.ndarray
    fixed: np.ndarray
    by_rank: np.ndarray
    by_ones: np.ndarray


class Added(NamedTuple):
    """What a block adds to the image embedding, for the lengths of its rows.

    Attributes:
        beyond: Values of the tokens less those of the last. [N, 8, 6, 16]
        last: Values of the last token. [N, 8, 1, 16]
        along: The photo's part of B x. [P / 256, 8, 16, 256]
        along_bias: The same of what is added anyway. [P]
    """

    beyond: np.ndarray
    last: np.ndarray
    along: np.ndarray
    along_bias: np.ndarray


class Attended(NamedTuple):
    """Attention of tokens to the image, as sums over the positions: first of exponentials, then of weights.

    Attributes:
        largest: Largest scores. [N, M]
        total: Sums of exponentials. [N, M]
        by_rank: Of exponentials times A, in parts that are to be added up. [N, M, K, lanes]
        by_ones: Of exponentials times the factors of rows of ones. [N, M, 1 or 2]
        by_value: Of exponentials times the photo's part of the values, in parts. [N, 8, M / 8, 16, lanes]
    """

    largest: np.ndarray
    total: np.ndarray
    by_rank: np.ndarray
    by_ones: np.ndarray
    by_value: np.ndarray


@kernel(**FAST)
def _softmax_over_tokens(scores: np.ndarray, weights: np.ndarray) -> None:
    """Attention weights of all tokens but the last, head by head.

    Args:
        scores: [56, 256]; is changed
        weights: Receives them. [48, 256]
    """
    largest, total = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    for h in range(HEADS):
        largest[:] = np.float32(_LOWEST)
        total[:] = np.float32(0)
        for t in range(TOKENS):
            for i in range(BLOCK):
                value = scores[TOKENS * h + t, i]
                largest[i] = value if value > largest[i] else largest[i]
        for t in range(TOKENS):
            for i in range(BLOCK):
                value = exp(scores[TOKENS * h + t, i] - largest[i])
                scores[TOKENS * h + t, i] = value
                total[i] += value
        for i in range(BLOCK):
            total[i] = np.float32(1) / total[i]
        for t in range(FREE_TOKENS):
            for i in range(BLOCK):
                weights[FREE_TOKENS * h + t, i] = scores[TOKENS * h + t, i] * total[i]


@kernel(**FAST)
def _place(start: int, head: int) -> int:
    """Where a head's numbers of a block of positions begin in an array [P / 256, 8, 16, 256]."""
    return HEADS * HEAD_DIM * start + HEAD_DIM * BLOCK * head


@kernel(**FAST)
def _add_heads(out: np.ndarray, left: np.ndarray, right: np.ndarray, start: int) -> None:
    """Add products of every head with a block of positions: [8, T, 16] · [P / 256, 8, 16, 256]."""
    rows = left.shape[1]
    for h in range(HEADS):
        add_products(out[rows * h : rows * (h + 1)], left[h], right, _place(start, h))


@kernel(**FAST)
def _project(
    projection: Projection, n: int, weights: np.ndarray, scales: np.ndarray, start: int, out: np.ndarray
) -> None:
    """Scores of a block of positions.

    Args:
        projection: Tokens, and what they meet.
        n: The prompt.
        weights: s A of the block. [K, 256]
        scales: Factors of the photo's part and of the rows of ones. [1 or 2, 256]
        start: First position of the block.
        out: Receives the scores. [M, 256]
    """
    for m in range(out.shape[0]):
        out[m, :] = projection.by_ones[n, m, 0]
    _add_heads(out, projection.tokens[n], projection.scaled, start)
    for m in range(out.shape[0]):
        for i in range(BLOCK):
            out[m, i] *= scales[0, i]
        for j in range(1, scales.shape[0]):
            ones = projection.by_ones[n, m, j]
            for i in range(BLOCK):
                out[m, i] += ones * scales[j, i]
    _add_heads(out, projection.tokens[n], projection.fixed, start)
    add_products(out, projection.by_rank[n], weights)


@kernel(**FAST)
def _add_along(added: Added, n: int, start: int, along: np.ndarray, along_ones: np.ndarray) -> None:
    """Add B x of a prompt and a block of positions, and that of the row of ones. [48, 256], [1, 256]"""
    _add_heads(along, added.beyond[n], added.along, start)
    for h in range(HEADS):
        add_products(along_ones, added.last[n, h], added.along, _place(start, h))
    for i in range(BLOCK):
        along_ones[0, i] += added.along_bias[start + i]


@kernel(**FAST)
def _largest(scores: np.ndarray, start: int, lanes: np.ndarray) -> float:
    """The largest of 256 numbers; LLVM would compare them one by one. `lanes` is memory of a vector."""
    some = native_load(scores, start)
    for i in range(NATIVE_LANES, BLOCK, NATIVE_LANES):
        some = maximum(some, native_load(scores, start + i))
    store(lanes, 0, some)
    return max(lanes)


@kernel(**FAST)
def _attend(
    scores: np.ndarray,
    weights: np.ndarray,
    scales: np.ndarray,
    values: np.ndarray,
    start: int,
    sums: Attended,
    n: int,
) -> None:
    """Add a block of positions to the attention of tokens to the image.

    Args:
        scores: [M, 256]; is changed
        weights: s A of the block. [K, 256]
        scales: Factors of the photo's part and of the rows of ones. [1 or 2, 256]
        values: The photo's part of them. [P / 256, 8, 16, 256]
        start: First position of the block.
        sums: Is changed.
        n: The prompt.
    """
    tokens = scores.shape[0] // HEADS
    lanes = np.empty(NATIVE_LANES, np.float32)
    for m in range(scores.shape[0]):
        before = sums.largest[n, m]
        most = max(before, _largest(scores, BLOCK * m, lanes))
        total = np.float32(0)
        for i in range(BLOCK):
            value = exp(scores[m, i] - most)
            scores[m, i] = value
            total += value
        if most > before:
            factor = exp(before - most)
            sums.largest[n, m] = most
            sums.total[n, m] *= factor
            sums.by_rank[n, m] *= factor
            sums.by_ones[n, m] *= factor
            sums.by_value[n, m // tokens, m % tokens] *= factor
        sums.total[n, m] += total
    add_sums(sums.by_rank[n], scores, weights)
    for m in range(scores.shape[0]):
        for j in range(1, scales.shape[0]):
            total = np.float32(0)
            for i in range(BLOCK):
                total += scores[m, i] * scales[j, i]
            sums.by_ones[n, m, j] += total
        total = np.float32(0)
        for i in range(BLOCK):
            value = scores[m, i] * scales[0, i]
            scores[m, i] = value
            total += value
        sums.by_ones[n, m, 0] += total
    for h in range(HEADS):
        add_sums(sums.by_value[n, h], scores[tokens * h : tokens * (h + 1)], values, _place(start, h))


@kernel(**FAST)
def _no_sums(prompts: int, rows: int, rank: int, blocks: int) -> Attended:
    return Attended(
        np.full((prompts, rows), np.float32(_LOWEST)),
        np.zeros((prompts, rows), np.float32),
        np.zeros((prompts, rows, rank, NATIVE_LANES), np.float32),
        np.zeros((prompts, rows, blocks), np.float32),
        np.zeros((prompts, HEADS, rows // HEADS, HEAD_DIM, NATIVE_LANES), np.float32),
    )


@kernel(**FAST)
def _finish(sums: Attended) -> Attended:
    """Divide by the sums of exponentials."""
    tokens = sums.by_value.shape[2]
    for n in range(len(sums.total)):
        for m in range(sums.total.shape[1]):
            inverse = np.float32(1) / sums.total[n, m]
            sums.by_rank[n, m] *= inverse
            sums.by_ones[n, m] *= inverse
            sums.by_value[n, m // tokens, m % tokens] *= inverse
    return sums


@kernel(**FAST)
def _norm(weights: np.ndarray, along: np.ndarray, squares: np.ndarray) -> None:
    """Scale of the layer norm of a block of positions, which the weights are multiplied by.

    Args:
        weights: a, is changed. [K, 256]
        along: Products with a that squared lengths still lack. [K, 256]
        squares: Squared lengths; receives the scale. [256]
    """
    for k in range(weights.shape[0]):
        for i in range(BLOCK):
            squares[i] += weights[k, i] * along[k, i]
    for i in range(BLOCK):
        mean = max(squares[i], np.float32(0)) * np.float32(1 / (2 * HEADS * HEAD_DIM))  # rounding
        squares[i] = np.float32(1) / np.sqrt(mean + np.float32(_EPSILON))
    for k in range(weights.shape[0]):
        for i in range(BLOCK):
            weights[k, i] *= squares[i]


@kernel(**FAST)
def ask_photo(queries: np.ndarray, keys: np.ndarray, values: np.ndarray) -> Attended:
    """Attention of the tokens to the image before it changes, when it is that of the photo for all prompts.

    Args:
        queries: Of the tokens of N prompts. [N, 8, 7, 16]
        keys: Of the image. [P / 256, 8, 16, 256]
        values: Likewise.
    """
    scores, nothing = np.empty((HEADS * TOKENS, BLOCK), np.float32), np.empty((0, BLOCK), np.float32)
    scales = np.ones((1, BLOCK), np.float32)
    sums = _no_sums(len(queries), len(scores), 0, 1)
    for block in range(len(keys)):
        start = BLOCK * block
        for n in range(len(queries)):
            scores[:] = np.float32(0)
            _add_heads(scores, queries[n], keys, start)
            _attend(scores, nothing, scales, values, start, sums, n)
    return _finish(sums)


@kernel(**FAST)
def first_pass(
    keys: np.ndarray,
    queries: np.ndarray,
    added: Added,
    lengths: np.ndarray,
    gram: np.ndarray,
    upper: np.ndarray,
    projection: Projection,
    values: np.ndarray,
    weights: np.ndarray,
) -> Attended:
    """Block 0's attention of the image to the tokens, then block 1's of the tokens to the image.

    Args:
        keys: Of the tokens of N prompts. [N, 8, 7, 16]
        queries: Of the image. [P / 256, 8, 16, 256]
        added: What block 0 adds.
        lengths: |x|² of the rows of X₀. [P]
        gram: B Bᵀ. [N, 49, 49]
        upper: The same of the free weights, with twice what lies right of the diagonal, nothing left of it.
            [N, 48, 48]
        projection: Queries of the tokens to the image, and its keys.
        values: The photo's part of the image's values. [P / 256, 8, 16, 256]
        weights: Receives s₁ A₁ in its first 48 rows, s₁ in row 96. [N or more, P / 256, 98, 256]
    """
    rank = FREE
    scores = np.empty((HEADS * TOKENS, BLOCK), np.float32)
    free, along = np.empty((rank, BLOCK), np.float32), np.empty((rank, BLOCK), np.float32)
    along_ones, scales = np.empty((1, BLOCK), np.float32), np.empty((1, BLOCK), np.float32)
    sums = _no_sums(len(keys), HEADS * TOKENS, rank, 1)
    two = np.float32(2)
    for block in range(len(queries)):  # all prompts meet a block of the image while it is in the cache
        start = BLOCK * block
        for n in range(len(keys)):
            scores[:] = np.float32(0)
            _add_heads(scores, keys[n], queries, start)
            _softmax_over_tokens(scores, free)
            # |x₀ + a B|² = |x₀|² + a (2 B x₀ + (B Bᵀ) a)
            along_ones[:] = np.float32(0)
            for k in range(rank):
                along[k, :] = gram[n, k, rank]
            _add_along(added, n, start, along, along_ones)
            along *= two
            add_products(along, upper[n], free, 0, True)
            for i in range(BLOCK):
                scales[0, i] = lengths[start + i] + two * along_ones[0, i] + gram[n, rank, rank]
            _norm(free, along, scales[0])
            weights[n, block, :rank] = free
            weights[n, block, ROW_OF_SCALES] = scales[0]
            _project(projection, n, free, scales, start, scores)
            _attend(scores, free, scales, values, start, sums, n)
    return _finish(sums)


@kernel(**FAST)
def second_pass(
    to_tokens: Projection,
    before: Added,
    added: Added,
    lengths: np.ndarray,
    gram: np.ndarray,
    upper: np.ndarray,
    projection: Projection,
    values: np.ndarray,
    weights: np.ndarray,
) -> Attended:
    """Block 1's attention of the image to the tokens, then the last one of the tokens to the image.

    Args:
        to_tokens: Keys of the tokens of N prompts, and the image's queries.
        before: What block 0 added.
        added: What block 1 adds.
        lengths: |x|² of the rows of X₀ γ, centred. [P]
        gram: B Bᵀ of both blocks, the rows of ones last. [N, 98, 98]
        upper: See `first_pass`. [N, 96, 96]
        projection: Queries of the tokens to the image, and its keys.
        values: The photo's part of the image's values. [P / 256, 8, 16, 256]
        weights: From the first pass; receives s₁ s₂ A₁, s₂ A₂, s₁ s₂, s₂. [N or more, P / 256, 98, 256]
    """
    half, rank, two = FREE, 2 * FREE, np.float32(2)
    first, last = rank, rank + 1  # rows of ones
    to_image = np.empty((HEADS * TOKENS, BLOCK), np.float32)
    scores = np.empty((HEADS * projection.tokens.shape[2], BLOCK), np.float32)
    free, along = np.empty((rank, BLOCK), np.float32), np.empty((rank, BLOCK), np.float32)
    along_ones, scales = np.empty((2, BLOCK), np.float32), np.empty((2, BLOCK), np.float32)
    sums = _no_sums(len(gram), len(scores), rank, 2)
    for block in range(len(values)):
        start = BLOCK * block
        for n in range(len(gram)):
            free[:half] = weights[n, block, :half]
            scales[0] = weights[n, block, ROW_OF_SCALES]
            _project(to_tokens, n, free[:half], scales[:1], start, to_image)
            _softmax_over_tokens(to_image, free[half:])
            # x = s₁ (x₀ + first ones) + a B + last ones, with s₁ in the upper half of a
            along_ones[:] = np.float32(0)
            for k in range(rank):
                along[k, :] = gram[n, k, first]
            _add_along(before, n, start, along[:half], along_ones[:1])
            _add_along(added, n, start, along[half:], along_ones[1:])
            for k in range(rank):
                constant = two * gram[n, k, last]
                for i in range(BLOCK):
                    along[k, i] = two * scales[0, i] * along[k, i] + constant
            add_products(along, upper[n], free, 0, True)
            for i in range(BLOCK):
                s = scales[0, i]
                square = s * (lengths[start + i] + two * along_ones[0, i] + gram[n, first, first])
                mixed = two * (along_ones[1, i] + gram[n, first, last])
                scales[1, i] = s * (square + mixed) + gram[n, last, last]
            _norm(free, along, scales[1])
            for i in range(BLOCK):
                scales[0, i] *= scales[1, i]
            weights[n, block, :rank] = free
            weights[n, block, ROW_OF_SCALES:] = scales
            _project(projection, n, free, scales, start, scores)
            _attend(scores, free, scales, values, start, sums, n)
    return _finish(sums)
