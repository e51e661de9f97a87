"""MiniLM (all-MiniLM-L6-v2), the sentence encoder of `lite`.

In plain PyTorch although `transformers` runs it as well: until the net is loaded, that takes 2.7 s instead of
0.8 s, more than everything else in a query, and 775 of 1358 texts get other float16 embeddings
(`benchmarks/lite_nets.py`).
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch.nn import functional

EMBEDDING_DIM = 384

_LAYERS = 6
_HEADS = 12
_NORM_EPSILON = 1e-12
_MAX_TOKENS = 256
_TEXTS_A_BATCH = 16


@contextmanager
def _one_thread_each() -> Iterator[int]:
    """Keep PyTorch from splitting operations; yields the number of threads that are free for whole batches.

    The operations are so small that threads inside them wait for each other most of the time, and on a busy
    machine nearly all of the time.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


class MiniLM:
    """Maps texts to unit vectors: BERT with 6 layers, mean of the token states."""

    def __init__(self, folder: Path) -> None:
        """Load the net from a folder with `model.safetensors` and `tokenizer.json`."""
        self._weights = load_file(folder / "model.safetensors")
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(_MAX_TOKENS)
        self._tokenizer.enable_padding()

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts, each as many tokens as fit in 256. Returns unit vectors, float32 [T, 384]"""
        embeddings = np.empty((len(texts), EMBEDDING_DIM), np.float32)
        order: list[int] = np.argsort([len(text) for text in texts], kind="stable").tolist()
        batches = [order[start : start + _TEXTS_A_BATCH] for start in range(0, len(order), _TEXTS_A_BATCH)]

        def run(rows: list[int]) -> None:
            with torch.inference_mode():
                embeddings[rows] = self._encode_batch([texts[row] for row in rows]).numpy()

        with _one_thread_each() as threads, ThreadPoolExecutor(threads) as pool:
            list(pool.map(run, batches))
        return embeddings

    def _encode_batch(self, texts: Sequence[str]) -> torch.Tensor:
        encodings = self._tokenizer.encode_batch([*texts])
        tokens = torch.tensor([encoding.ids for encoding in encodings])
        used = torch.tensor([encoding.attention_mask for encoding in encodings]).bool()
        states = self._embed(tokens)
        for layer in range(_LAYERS):
            states = self._layer(states, used, f"encoder.layer.{layer}.")
        weights = used[..., None].float()
        return functional.normalize((states * weights).sum(1) / weights.sum(1), dim=-1)

    def _embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """Sum of word, position and (first) segment embeddings, normalised. [B, L] → [B, L, 384]"""
        words, positions, segments = (
            self._weights[f"embeddings.{kind}_embeddings.weight"]
            for kind in ("word", "position", "token_type")
        )
        return self._norm(words[tokens] + positions[: tokens.shape[1]] + segments[0], "embeddings.LayerNorm")

    def _layer(self, states: torch.Tensor, used: torch.Tensor, prefix: str) -> torch.Tensor:
        attended = self._linear(self._attend(states, used, prefix), f"{prefix}attention.output.dense")
        states = self._norm(states + attended, f"{prefix}attention.output.LayerNorm")
        inner = functional.gelu(self._linear(states, f"{prefix}intermediate.dense"))
        return self._norm(states + self._linear(inner, f"{prefix}output.dense"), f"{prefix}output.LayerNorm")

    def _attend(self, states: torch.Tensor, used: torch.Tensor, prefix: str) -> torch.Tensor:
        query, key, value = (
            self._linear(states, f"{prefix}attention.self.{part}").unflatten(-1, (_HEADS, -1)).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        attended = functional.scaled_dot_product_attention(query, key, value, used[:, None, None, :])
        return attended.transpose(1, 2).flatten(2)

    def _linear(self, inputs: torch.Tensor, name: str) -> torch.Tensor:
        return functional.linear(inputs, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _norm(self, inputs: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return functional.layer_norm(inputs, (EMBEDDING_DIM,), weight, bias, _NORM_EPSILON)
