"""SAM's prompt encoder and mask decoder in a cheaper form that gives the same masks.

A prompt is 7 tokens. They attend to 4096 positions of the image embedding, and these attend to them. The
usual form projects all positions to keys, queries and values again for every prompt, which takes most of its
time. Here the image embedding is projected once a photo; what a prompt changes of it is kept as products of
low rank (`low_rank`), and all else that is done to it is linear. That is an eleventh of the usual arithmetic
of the attentions. The transposed convolutions have stride and kernel 2: they are plain products, and only the
part that the photo covers is upscaled.

Own code although onnxruntime runs the export, which takes 5 times as long (`benchmarks/sam_decoder.py`).
"""

import threading
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gags.segment.sam import kernels, passes
from gags.segment.sam.low_rank import (
    ONES_LAST,
    RANK,
    Projected,
    Update,
    Values,
    by_head,
    centred,
    from_sums,
    in_blocks,
    rows_of,
    upper,
)
from gags.segment.sam.passes import BLOCK, FREE, HEAD_DIM, HEADS, ROW_OF_SCALES
from gags.threads import single_threaded_pool

GRID_SIDE = 64  # image positions a side
POSITIONS = GRID_SIDE * GRID_SIDE
EMBEDDING_CHANNELS = 256  # of the image embedding and of the tokens
OUTPUT_TOKENS = [0, 2, 3, 4]  # the IoU token and those of the three masks; token 1 is for a single mask
MOST_PROMPTS = 16  # of one thread at a time: the more, the less often threads wait for Python
MAX_THREADS = 8  # each has memory of 38 MB
_MLP_LAYERS = ("lin1", "lin2")  # of the MLPs in the transformer's blocks
_HEAD_LAYERS = ("layers.0", "layers.1", "layers.2")  # of the IoU head and the hypernetwork MLPs
_FIRST, _SECOND = "layers.0.cross_attn_image_to_token", "layers.1.cross_attn_image_to_token"
_TO_IMAGE, _FINAL = "layers.1.cross_attn_token_to_image", "final_attn_token_to_image"


@dataclass(eq=False)
class SharedImage:
    """What all prompts of a photo share; what goes by position is in 16 blocks of 256, see `passes`.

    Attributes:
        first: Keys, values and queries before the image embedding changes. [16, 8, 16, 256] each
        lengths: |x|² of the centred rows that blocks 0 and 1 start from. [4096] each
        along: What the updates have in common with these rows, B x: block 0's in block 0, in block 1, and
            block 1's in block 1; [16, 8, 16, 256] and [4096] each.
        keys: Of the second attention to the image, and of the final one.
        values: Likewise, the part that belongs to the photo. [16, 8, 16, 256] each
        queries: Of the second attention of the image.
        upscaled: The photo's part of the first upscaling. [4096, 256]
    """

    first: tuple[Tensor, Tensor, Tensor]
    lengths: tuple[Tensor, Tensor]
    along: tuple[Update, Update, Update]
    keys: tuple[Projected, Projected]
    values: tuple[Tensor, Tensor]
    queries: Projected
    upscaled: Tensor


class _Memory(threading.local):
    """Memory of one thread; fresh memory for every product would cost more time than the product."""

    def __init__(self) -> None:
        # For each prompt: A₁ times s₁, later s₁ s₂; A₂ s₂; then these scales, the factors of rows of ones.
        blocks = POSITIONS // BLOCK
        self.weights = torch.empty(MOST_PROMPTS, blocks, 2 * RANK, BLOCK)
        self.twice = torch.empty(POSITIONS, EMBEDDING_CHANNELS)
        self.four_times = torch.empty(4 * POSITIONS, 128)


class MaskDecoder:
    """Masks on three levels from single-point prompts; see the head of this file.

    Args:
        weights: SAM's weights, from `read_weights`.
    """

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self._weights = w = weights
        centres = (torch.arange(GRID_SIDE) + 0.5) / GRID_SIDE
        grid = torch.stack(torch.meshgrid(centres, centres, indexing="xy"), -1).view(-1, 2)
        self._positions = self._positional_encoding(grid)
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
        self._to_keys = normed.times(self._matrix(_TO_IMAGE, "k"))
        self._to_values = normed.times(self._matrix(_TO_IMAGE, "v"))
        self._to_queries = normed.times(self._matrix(_SECOND, "q"))
        self._to_last_keys = [each.times(self._matrix(_FINAL, "k")) for each in both]
        self._to_last_values = [each.times(self._matrix(_FINAL, "v")) for each in both]
        self._to_upscaled = [each.times(w["output_upscaling.0.weight"]) for each in both]
        self._values_bias = [
            beta @ self._matrix(name, "v") + w[name + ".v_proj.bias"]
            for beta, name in zip(self._beta, (_TO_IMAGE, _FINAL), strict=True)
        ]
        cells = (self._beta[1] @ w["output_upscaling.0.weight"]).view(4, 64)
        self._upscale_bias = cells + w["output_upscaling.0.bias"]
        self._memory = _Memory()
        self.threads = min(torch.get_num_threads(), MAX_THREADS)
        self._pool = single_threaded_pool(self.threads, "mask-decoder")

    @torch.inference_mode()
    def prepare(self, embedding: Tensor) -> SharedImage:
        """Compute what does not depend on the prompts.

        Args:
            embedding: Image embedding, from the image encoder. float32 [256, 64, 64]
        """
        w, (gamma, last_gamma), (beta, last_beta) = self._weights, self._gamma, self._beta
        plain = embedding.reshape(EMBEDDING_CHANNELS, POSITIONS).T + w["no_mask_embed"]
        positioned = plain + self._positions
        image = centred(plain)
        kept = centred(image * gamma)  # within X₁ + A₂ B₂
        normed, last_normed = image * gamma, kept * last_gamma

        def first(x: Tensor, name: str) -> Tensor:
            x = self._linear(x, f"layers.0.cross_attn_{name}_proj")
            return in_blocks(x.view(POSITIONS, HEADS, HEAD_DIM).permute(1, 2, 0))

        def scaled(x: Tensor, name: str, projection: str) -> Tensor:
            return in_blocks(torch.matmul(x, w[f"{name}.{projection}_proj.heads"]).transpose(1, 2))

        def projected(x: Tensor, beta: Tensor, name: str, projection: str) -> Projected:
            bias = w[f"{name}.{projection}_proj.bias"].view(HEADS, HEAD_DIM, 1)
            fixed = torch.matmul(beta + self._positions, w[f"{name}.{projection}_proj.heads"])
            return Projected(scaled(x, name, projection), in_blocks(fixed.transpose(1, 2) + bias))

        def along(x: Tensor, name: str, more: Tensor | float = 0.0) -> Update:
            heads = in_blocks(torch.matmul(w[name + ".out_proj.heads"], x.T))
            return Update(heads, x @ (w[name + ".out_proj.bias"] + more))

        return SharedImage(
            first=(
                first(positioned, "token_to_image.k"),
                first(plain, "token_to_image.v"),
                first(positioned, "image_to_token.q") / HEAD_DIM**0.5,
            ),
            lengths=(image.square().sum(1), kept.square().sum(1)),
            along=(
                along(image, _FIRST),
                along(centred(kept * gamma), _FIRST),
                along(kept, _SECOND, beta),
            ),
            keys=(
                projected(normed, beta, _TO_IMAGE, "k"),
                projected(last_normed, last_beta, _FINAL, "k"),
            ),
            values=(
                scaled(normed, _TO_IMAGE, "v"),
                scaled(last_normed, _FINAL, "v"),
            ),
            queries=projected(normed, beta, _SECOND, "q"),
            upscaled=last_normed @ w["output_upscaling.0.weight"],
        )

    def decode(
        self, image: SharedImage, points: Tensor, size: tuple[int, int], min_iou: float
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
        # As many chunks for each thread, and no more than memory asks for.
        rounds = max(1, -(-len(points) // (self.threads * MOST_PROMPTS)))
        chunks = points.split(max(1, -(-len(points) // (self.threads * rounds))))
        done = list(self._pool.map(lambda chunk: self._decode(image, chunk, size, min_iou), chunks))
        return np.concatenate([logits for logits, _ in done]), np.concatenate([ious for _, ious in done])

    @torch.inference_mode()
    def _decode(
        self, image: SharedImage, points: Tensor, size: tuple[int, int], min_iou: float
    ) -> tuple[np.ndarray, np.ndarray]:
        linear = self._linear
        initial = self._initial_tokens(points)
        # Block 0: the image embedding is still that of the photo.
        tokens = self._norm(self._self_attention(initial, initial, "layers.0.self_attn"), "layers.0.norm1")
        attended = self._ask_photo(image, tokens + initial)
        tokens = self._norm(tokens + attended, "layers.0.norm2")
        tokens = self._norm(tokens + self._mlp(tokens, "layers.0.mlp"), "layers.0.norm3")
        keys = by_head(linear(tokens + initial, _FIRST + ".k_proj"))
        values = Values.of(linear(tokens, _FIRST + ".v_proj"))
        # Block 1 asks the image once block 0 has changed it: both in one pass over the image.
        tokens = tokens + self._self_attention(tokens + initial, tokens, "layers.1.self_attn")
        tokens = self._norm(tokens, "layers.1.norm1")
        queries = by_head(linear(tokens + initial, _TO_IMAGE + ".q_proj") / HEAD_DIM**0.5)
        attended = self._first_pass(image, keys, queries, values)
        tokens = self._norm(tokens + linear(attended, _TO_IMAGE + ".out_proj"), "layers.1.norm2")
        tokens = self._norm(tokens + self._mlp(tokens, "layers.1.mlp"), "layers.1.norm3")
        keys = by_head(linear(tokens + initial, _SECOND + ".k_proj") / HEAD_DIM**0.5)
        pair = values, Values.of(linear(tokens, _SECOND + ".v_proj"))
        # The last attention, only for the tokens that are read.
        tokens, initial = tokens[:, OUTPUT_TOKENS], initial[:, OUTPUT_TOKENS]
        queries = by_head(linear(tokens + initial, _FINAL + ".q_proj") / HEAD_DIM**0.5)
        attended = self._second_pass(image, keys, queries, pair)
        tokens = self._norm(tokens + linear(attended, _FINAL + ".out_proj"), "norm_final_attn")
        upscaled = torch.cat(rows_of(self._to_upscaled, pair), 1)[:, ONES_LAST]
        return self._masks(image, tokens, upscaled, size, min_iou)

    def _ask_photo(self, image: SharedImage, queries: Tensor) -> Tensor:
        """Attention of the tokens to the image embedding of the photo. [N, 7, 256]"""
        name, (keys, values, _) = "layers.0.cross_attn_token_to_image", image.first
        queries = by_head(self._linear(queries, name + ".q_proj") / HEAD_DIM**0.5)
        sums = passes.ask_photo(queries.numpy(), keys.numpy(), values.numpy())
        return self._linear(from_sums(sums, []), name + ".out_proj")

    def _first_pass(self, image: SharedImage, keys: Tensor, queries: Tensor, values: Values) -> Tensor:
        """Block 0's attention of the image to the tokens, block 1's of them to the image. [N, 7, 128]"""
        added = self._added.rows(values)
        gram = added @ added.mT
        sums = passes.first_pass(
            keys=keys.numpy(),
            queries=image.first[2].numpy(),
            added=values.added(image.along[0]),
            lengths=image.lengths[0].numpy(),
            gram=gram.numpy(),
            upper=upper(gram[:, :FREE, :FREE]),
            projection=image.keys[0].asked(queries, [self._to_keys.rows(values)]),
            values=image.values[0].numpy(),
            weights=self._memory.weights.numpy(),
        )
        return from_sums(sums, [self._to_values.rows(values)]) + self._values_bias[0]

    def _second_pass(
        self, image: SharedImage, keys: Tensor, queries: Tensor, pair: tuple[Values, Values]
    ) -> Tensor:
        """Block 1's attention of the image to the tokens, the last of them to the image. [N, 4, 128]"""
        values, last_values = pair
        added = torch.cat(rows_of((self._kept, self._added_last), pair), 1)[:, ONES_LAST]
        gram = added @ added.mT
        sums = passes.second_pass(
            to_tokens=image.queries.asked(keys, [self._to_queries.rows(values)]),
            before=values.added(image.along[1]),
            added=last_values.added(image.along[2]),
            lengths=image.lengths[1].numpy(),
            gram=gram.numpy(),
            upper=upper(gram[:, : 2 * FREE, : 2 * FREE]),
            projection=image.keys[1].asked(queries, rows_of(self._to_last_keys, pair)),
            values=image.values[1].numpy(),
            weights=self._memory.weights.numpy(),
        )
        return from_sums(sums, rows_of(self._to_last_values, pair)) + self._values_bias[1]

    def _matrix(self, name: str, projection: str) -> Tensor:
        """A projection as [256, 128], head by head."""
        return (
            self._weights[f"{name}.{projection}_proj.heads"].transpose(0, 1).reshape(EMBEDDING_CHANNELS, -1)
        )

    def _masks(
        self, image: SharedImage, tokens: Tensor, upscaled: Tensor, size: tuple[int, int], min_iou: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Predicted IoUs, and the masks above a least one; see `decode`.

        Args:
            image: From `prepare`.
            tokens: The output tokens. [N, 4, 256]
            upscaled: B of both blocks times the first upscaling, the rows of ones last. [N, 98, 256]
            size: Rows and columns of image positions to upscale.
            min_iou: See `decode`.
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
            weights, shared = _covered(self._memory.weights[prompt], image.upscaled, size)
            self._upscale(weights, upscaled[prompt], shared, masks, logits[done : done + len(masks)])
            done += len(masks)
        return logits, ious

    def _initial_tokens(self, points: Tensor) -> Tensor:
        """IoU token and mask tokens, then the tokens of a point prompt. [B, 2] to [B, 7, 256]"""
        w = self._weights
        output = w["output_tokens"].expand(len(points), -1, -1)
        prompt = (self._positional_encoding(points) + w["point_embed"])[:, None]
        padding = w["not_a_point_embed"].expand(len(points), 1, -1)
        return torch.cat([output, prompt, padding], 1)

    def _upscale(
        self, weights: Tensor, rows: Tensor, shared: Tensor, hyper: np.ndarray, out: np.ndarray
    ) -> None:
        """Masks of one prompt.

        Args:
            weights: A of the positions that the photo covers, block by block. [blocks, 98, positions]
            rows: B times the first upscaling. [98, 256]
            shared: The photo's part of the upscaled image embedding. [rows · columns, 256]
            hyper: Vectors from the hypernetwork MLPs, each value four times. float32 [M, 128]
            out: Receives the logits. float32 [M, 4 rows, 4 columns]
        """
        w, memory, count = self._weights, self._memory, len(shared)
        blocks, _, positions = weights.shape
        twice = memory.twice[: blocks * positions].view(blocks, positions, EMBEDDING_CHANNELS)
        torch.bmm(weights.mT, rows.expand(blocks, -1, -1), out=twice)
        twice = memory.twice[:count].view(-1, 64)
        kernels.norm_and_gelu(
            x=twice.numpy(),
            bias=self._upscale_bias.numpy(),
            weight=w["output_upscaling.1.weight"].numpy(),
            shift=w["output_upscaling.1.bias"].numpy(),
            shared=shared.view(-1, 64).numpy(),
            # The factor of the photo's part is that of block 0's row of ones.
            factors=weights[:, ROW_OF_SCALES].reshape(-1)[:count].contiguous().numpy(),
        )
        four_times = memory.four_times[: len(twice)]
        torch.mm(twice, w["output_upscaling.3.weight"], out=four_times)
        kernels.gelu_and_masks(
            x=four_times.view(out.shape[1] // 4, out.shape[2] // 4, 2, 2, 128).numpy(),
            bias=w["output_upscaling.3.bias"].numpy(),
            hyper=hyper,
            out=out,
        )

    def _self_attention(self, positioned: Tensor, tokens: Tensor, name: str) -> Tensor:
        attended = functional.scaled_dot_product_attention(
            by_head(self._linear(positioned, name + ".q_proj")),
            by_head(self._linear(positioned, name + ".k_proj")),
            by_head(self._linear(tokens, name + ".v_proj")),
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


def _covered(weights: Tensor, upscaled: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The positions that the photo covers: [blocks, 98, up to 256], [rows · columns, 256]."""
    rows, columns = size
    if columns == GRID_SIDE:
        return weights[: -(-rows * columns // BLOCK)], upscaled[: rows * columns]
    grid = weights.view(len(weights), weights.shape[1], -1, GRID_SIDE)
    grid = grid[: -(-rows // grid.shape[2]), ..., :columns]
    covered = upscaled.view(GRID_SIDE, GRID_SIDE, -1)[:rows, :columns]
    return grid.reshape(*grid.shape[:2], -1), covered.reshape(rows * columns, -1)
