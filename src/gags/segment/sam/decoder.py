"""SAM's prompt encoder and mask decoder in a cheaper form that gives the same masks.

A prompt is 7 tokens that look at 4096 image positions and are looked at by them. The usual form projects all
positions of every prompt to keys, queries and values, most of its time. Here the projections are applied on
the token side, q·(W_q W_kᵀ) and (attention·image)·(W_v W_o), so that image features are multiplied as they
are; in the first block, where they are the same for every prompt, they are projected once a photo. The
transposed convolutions have stride and kernel 2: they are plain products, and only the photo's part is
upscaled. Products over image positions may be bfloat16, the rest is float32.
"""

import math
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gags.segment.sam import kernels
from gags.segment.sam.kernels import as_array

SIDE = 64  # image positions a side
POSITIONS = SIDE * SIDE
TOKENS = 7  # predicted IoU, four masks, prompt, padding
ANSWERS = [0, 2, 3, 4]  # the predicted IoU and the three masks asked for; token 1 is the single-mask answer
HEADS = 8
HEAD_DIM = 16  # of attention between tokens and image
CHUNK = 4  # prompts of one thread at a time: what they touch has to stay in the cache
MAX_THREADS = 8  # each has buffers of about 35 MB
_MLP_LAYERS = ("lin1", "lin2")  # of the transformer's blocks
_HEAD_LAYERS = ("layers.0", "layers.1", "layers.2")  # of what reads the output tokens


@dataclass(eq=False)
class SharedFeatures:
    """What all prompts of a photo share.

    Attributes:
        image: Image features, with the embedding that says "no mask given". [1, 4096, 256]
        keys: Keys of the first attention from tokens to image. float32 [8, 16, 4096]
        values: Values of the same. float32 [8, 4096, 16]
        queries: Queries, scaled, of the first attention from image to tokens. float32 [8, 16, 4096]
    """

    image: Tensor
    keys: Tensor
    values: Tensor
    queries: Tensor


class _Buffers(threading.local):
    """Memory of one thread; fresh memory for every product would cost more time than the product."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.image = torch.empty(CHUNK, POSITIONS, 256, dtype=dtype)
        self.located = torch.empty(CHUNK, POSITIONS, 256, dtype=dtype)
        self.update = torch.empty(CHUNK, POSITIONS, 256, dtype=dtype)
        self.scores = torch.empty(CHUNK, HEADS * TOKENS, POSITIONS, dtype=dtype)
        self.weights = torch.empty(CHUNK, HEADS * TOKENS, POSITIONS, dtype=dtype)
        self.first_scores = torch.empty(HEADS, CHUNK * TOKENS, POSITIONS)
        self.first_weights = torch.empty(HEADS, CHUNK * TOKENS, POSITIONS)


class FoldedDecoder:
    """Masks on three levels from single-point prompts.

    Args:
        weights: SAM's weights, from `read_weights`.
        dtype: float32, or bfloat16 for products over image positions.
    """

    def __init__(self, weights: dict[str, Tensor], dtype: torch.dtype) -> None:
        self._weights = weights
        self._dtype = dtype
        centres = (torch.arange(SIDE) + 0.5) / SIDE
        grid = torch.stack(torch.meshgrid(centres, centres, indexing="xy"), -1).view(-1, 2)
        self._positions = self._fourier(grid)
        self._typed_positions = self._positions.to(dtype)
        self._upscale = [weights[f"output_upscaling.{layer}.weight"].to(dtype) for layer in (0, 3)]
        self._buffers = _Buffers(dtype)
        self._threads = _single_threaded_pool(min(torch.get_num_threads(), MAX_THREADS))

    @torch.inference_mode()
    def share(self, embedding: Tensor) -> SharedFeatures:
        """Do what does not depend on the prompts.

        Args:
            embedding: What the image encoder gives. float32 [256, 64, 64]
        """
        image = embedding.reshape(256, POSITIONS).T + self._weights["no_mask_embed"]
        located = image + self._positions

        def heads(x: Tensor) -> Tensor:
            return x.view(POSITIONS, HEADS, HEAD_DIM).transpose(0, 1)

        keys = heads(self._linear(located, "layers.0.cross_attn_token_to_image.k_proj"))
        values = heads(self._linear(image, "layers.0.cross_attn_token_to_image.v_proj"))
        queries = heads(self._linear(located, "layers.0.cross_attn_image_to_token.q_proj")) / HEAD_DIM**0.5
        return SharedFeatures(
            image.to(self._dtype)[None].contiguous(),
            keys.transpose(1, 2).contiguous(),
            values.contiguous(),
            queries.transpose(1, 2).contiguous(),
        )

    def decode(
        self, photo: SharedFeatures, points: Tensor, size: tuple[int, int], min_iou: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Masks of many prompts.

        Args:
            photo: From `share`.
            points: Prompts (x, y) as shares of SAM's frame. float32 [B, 2]
            size: Rows and columns of image positions to upscale.
            min_iou: Masks whose predicted IoU is not above this are left out.

        Returns:
            Logits of the masks that stay, prompt by prompt, float32 [K, 4 rows, 4 columns]; predicted IoU of
            all masks, float32 [B, 3].
        """
        chunks = points.split(CHUNK)
        done = list(self._threads.map(lambda chunk: self._decode(photo, chunk, size, min_iou), chunks))
        return np.concatenate([logits for logits, _ in done]), np.concatenate([ious for _, ious in done])

    @torch.inference_mode()
    def _decode(
        self, photo: SharedFeatures, points: Tensor, size: tuple[int, int], min_iou: float
    ) -> tuple[np.ndarray, np.ndarray]:
        tokens = self._transform(photo, self._embed(points))
        ious = self._mlp(tokens[:, 0], "iou_prediction_head")[:, 1:].numpy()
        vectors = [self._mlp(tokens[:, i], f"output_hypernetworks_mlps.{i}") for i in (1, 2, 3)]
        hyper = torch.stack(vectors, 1).repeat_interleave(4, -1).numpy()
        wanted = ious > min_iou
        logits = np.empty((np.count_nonzero(wanted), 4 * size[0], 4 * size[1]), np.float32)
        done = 0
        for prompt in np.flatnonzero(wanted.any(1)).tolist():
            masks = hyper[prompt, wanted[prompt]]
            self._masks(prompt, masks, size, logits[done : done + len(masks)])
            done += len(masks)
        return logits, ious

    def _embed(self, points: Tensor) -> Tensor:
        """Tokens of point prompts. [B, 2] to [B, 7, 256]"""
        w = self._weights
        output = w["output_tokens"].expand(len(points), -1, -1)
        prompt = (self._fourier(points) + w["point_embed"])[:, None]
        padding = w["not_a_point_embed"].expand(len(points), 1, -1)
        return torch.cat([output, prompt, padding], 1)

    def _transform(self, photo: SharedFeatures, encoding: Tensor) -> Tensor:
        """The two-way transformer. Returns the answers [B, 4, 256]; image features stay in the buffers."""
        buffers = self._buffers
        image, located = buffers.image[: len(encoding)], buffers.located[: len(encoding)]
        tokens = self._norm(self._self_attention(encoding, encoding, "layers.0.self_attn"), "layers.0.norm1")
        tokens = self._norm(tokens + self._look_first(photo, tokens + encoding), "layers.0.norm2")
        tokens = self._norm(tokens + self._mlp(tokens, "layers.0.mlp"), "layers.0.norm3")
        weights = self._tell_first(photo, tokens + encoding)
        self._update(photo.image, weights, tokens, "layers.0")
        tokens = tokens + self._self_attention(tokens + encoding, tokens, "layers.1.self_attn")
        tokens = self._norm(tokens, "layers.1.norm1")
        seen = self._look(image, located, tokens + encoding, "layers.1.cross_attn_token_to_image")
        tokens = self._norm(tokens + seen, "layers.1.norm2")
        tokens = self._norm(tokens + self._mlp(tokens, "layers.1.mlp"), "layers.1.norm3")
        weights = self._tell(located, tokens + encoding)
        self._update(image, weights, tokens, "layers.1")
        tokens, encoding = tokens[:, ANSWERS], encoding[:, ANSWERS]
        seen = self._look(image, located, tokens + encoding, "final_attn_token_to_image")
        return self._norm(tokens + seen, "norm_final_attn")

    def _look_first(self, photo: SharedFeatures, queries: Tensor) -> Tensor:
        """Attention of tokens to image features that are the same for all prompts."""
        name = "layers.0.cross_attn_token_to_image"
        prompts, tokens, _ = queries.shape
        queries = self._by_head(self._linear(queries, name + ".q_proj") / HEAD_DIM**0.5)
        scores = torch.bmm(
            queries, photo.keys, out=_part(self._buffers.first_scores, HEADS, prompts * tokens, POSITIONS)
        )
        weights = torch.softmax(scores, -1, out=_part(self._buffers.first_weights, *scores.shape))
        seen = torch.bmm(weights, photo.values).transpose(0, 1).reshape(prompts, tokens, -1)
        return self._linear(seen, name + ".out_proj")

    def _look(self, image: Tensor, located: Tensor, queries: Tensor, name: str) -> Tensor:
        """Attention of tokens to image features, projections folded onto the tokens."""
        prompts, tokens, _ = queries.shape
        w, buffers = self._weights, self._buffers
        queries = self._by_head(self._linear(queries, name + ".q_proj") / HEAD_DIM**0.5)
        folded = self._by_prompt(torch.bmm(queries, w[name + ".k_proj.heads"].transpose(1, 2)), prompts)
        scores = torch.bmm(
            folded, located.transpose(1, 2), out=_part(buffers.scores, *folded.shape[:2], POSITIONS)
        )
        weights = torch.softmax(scores, -1, out=_part(buffers.weights, *scores.shape))
        seen = torch.bmm(weights, image).float().view(prompts, HEADS, tokens, 256)
        seen = seen.transpose(0, 1).reshape(HEADS, prompts * tokens, 256)
        seen = torch.bmm(seen, w[name + ".v_proj.heads"]).transpose(0, 1).reshape(prompts, tokens, -1)
        return self._linear(seen + w[name + ".v_proj.bias"], name + ".out_proj")

    def _tell_first(self, photo: SharedFeatures, keys: Tensor) -> Tensor:
        """Weights [B, 56, 4096] of each token at image features that are the same for all prompts."""
        prompts, tokens, _ = keys.shape
        keys = self._by_head(self._linear(keys, "layers.0.cross_attn_image_to_token.k_proj"))
        scores = torch.bmm(
            keys, photo.queries, out=_part(self._buffers.first_scores, HEADS, prompts * tokens, POSITIONS)
        )
        groups = np.arange(HEADS * prompts)
        order = groups % prompts * HEADS + groups // prompts  # from heads × prompts to prompts × heads
        return self._softmax_over_tokens(
            scores.reshape(-1, tokens, POSITIONS), np.zeros((len(groups), tokens), np.float32), order
        )

    def _tell(self, located: Tensor, keys: Tensor) -> Tensor:
        """Weights [B, 56, 4096] of each token at each position, projections folded onto the tokens."""
        name = "layers.1.cross_attn_image_to_token"
        prompts, tokens, _ = keys.shape
        keys = self._by_head(self._linear(keys, name + ".k_proj") / HEAD_DIM**0.5)
        folded = self._by_prompt(
            torch.bmm(keys, self._weights[name + ".q_proj.heads"].transpose(1, 2)), prompts
        )
        bias = torch.bmm(keys, self._weights[name + ".q_proj.bias"].view(HEADS, HEAD_DIM, 1))
        bias = bias.view(HEADS, prompts, tokens).transpose(0, 1).reshape(-1, tokens)
        scores = torch.bmm(folded, located.transpose(1, 2), out=self._buffers.scores[:prompts])
        return self._softmax_over_tokens(
            scores.view(-1, tokens, POSITIONS), bias.numpy(), np.arange(HEADS * prompts)
        )

    def _softmax_over_tokens(self, scores: Tensor, bias: np.ndarray, order: np.ndarray) -> Tensor:
        weights = self._buffers.weights[: len(scores) // HEADS]
        kernels.softmax_over_tokens(
            as_array(scores), bias, order, as_array(weights.view(-1, TOKENS, POSITIONS))
        )
        return weights

    def _update(self, image: Tensor, weights: Tensor, tokens: Tensor, block: str) -> None:
        """Add what the tokens tell to the image features, and normalise, into the buffers."""
        name, norm = block + ".cross_attn_image_to_token", block + ".norm4"
        prompts, w, buffers = len(tokens), self._weights, self._buffers
        values = self._by_head(self._linear(tokens, name + ".v_proj"))
        told = self._by_prompt(torch.bmm(values, w[name + ".out_proj.heads"]), prompts)
        update = torch.bmm(weights.transpose(1, 2), told, out=buffers.update[:prompts])
        kernels.add_and_norm(
            as_array(image),
            as_array(update),
            w[name + ".out_proj.bias"].numpy(),
            w[norm + ".weight"].numpy(),
            w[norm + ".bias"].numpy(),
            as_array(self._typed_positions),
            as_array(buffers.image[:prompts]),
            as_array(buffers.located[:prompts]),
        )

    def _masks(self, prompt: int, hyper: np.ndarray, size: tuple[int, int], out: np.ndarray) -> None:
        """Upscale the image features of one prompt four times and multiply by the vectors of its masks."""
        rows, columns = size
        w, buffers = self._weights, self._buffers
        image = buffers.image[prompt].view(SIDE, SIDE, 256)[:rows, :columns].reshape(-1, 256)
        # By now the located features of all prompts are used up, and so is the update.
        twice = torch.mm(image, self._upscale[0], out=buffers.update[0, : rows * columns])
        twice = twice.view(-1, 64)
        kernels.norm_and_gelu(
            as_array(twice),
            w["output_upscaling.0.bias"].numpy(),
            w["output_upscaling.1.weight"].numpy(),
            w["output_upscaling.1.bias"].numpy(),
        )
        four_times = buffers.located.view(-1, 128)[: len(twice)]
        torch.mm(twice, self._upscale[1], out=four_times)
        kernels.gelu_and_masks(
            as_array(four_times.view(rows, columns, 2, 2, 128)),
            w["output_upscaling.3.bias"].numpy(),
            hyper,
            out,
        )

    def _self_attention(self, located: Tensor, tokens: Tensor, name: str) -> Tensor:
        def heads(x: Tensor) -> Tensor:
            return x.view(len(x), TOKENS, HEADS, -1).transpose(1, 2)

        seen = functional.scaled_dot_product_attention(
            heads(self._linear(located, name + ".q_proj")),
            heads(self._linear(located, name + ".k_proj")),
            heads(self._linear(tokens, name + ".v_proj")),
        )
        return self._linear(seen.transpose(1, 2).reshape(tokens.shape), name + ".out_proj")

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
        return functional.layer_norm(
            x, (256,), self._weights[name + ".weight"], self._weights[name + ".bias"]
        )

    def _fourier(self, points: Tensor) -> Tensor:
        """SAM's positional encoding of points, as shares of the frame. [B, 2] to [B, 256]"""
        angles = 2 * torch.pi * ((2 * points - 1) @ self._weights["fourier_matrix"])
        return torch.cat([angles.sin(), angles.cos()], -1)

    @staticmethod
    def _by_head(x: Tensor) -> Tensor:
        """[B, T, 128] to [8, B·T, 16]"""
        return x.view(-1, HEADS, HEAD_DIM).transpose(0, 1)

    def _by_prompt(self, x: Tensor, prompts: int) -> Tensor:
        """[8, B·T, 256] to [B, 8·T, 256] in the type of the image features"""
        x = x.view(HEADS, prompts, -1, 256).transpose(0, 1).to(self._dtype)
        return x.reshape(prompts, -1, 256)


def _part(buffer: Tensor, *shape: int) -> Tensor:
    """A contiguous tensor of some shape in the front of a buffer."""
    return buffer.view(-1)[: math.prod(shape)].view(shape)


def _single_threaded_pool(threads: int) -> ThreadPoolExecutor:
    """Threads in which PyTorch's own operations do not start further ones."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="mask-decoder")
    usual = torch.get_num_threads()
    started = threading.Barrier(threads)

    def start(_: int) -> None:
        torch.set_num_threads(1)
        started.wait()

    list(pool.map(start, range(threads)))
    torch.set_num_threads(usual)  # the setting is also the default of threads to come
    return pool


def fast_dtype() -> torch.dtype:
    """bfloat16 where the processor multiplies it natively, else float32."""
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    native = ("avx512_bf16", "amx_bf16")
    return torch.bfloat16 if any(capabilities.get(name) for name in native) else torch.float32
