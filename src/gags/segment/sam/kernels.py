"""Loops of the mask decoder that PyTorch has no fused form for; each is one pass over memory on one core.

Arrays over image positions are float32, or bfloat16 as uint16 with the same bits; `as_array` makes one of a
tensor. Arithmetic is always float32.

LLVM vectorises these loops by itself. `gags.simd` is not used: it loads and stores float32 only, and its
exponential is another polynomial, so that the masks would change in their last digits.
"""

from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload

FAST = {"fastmath": True, "error_model": "numpy", "nogil": True, "cache": True}
_BLOCK = 256  # positions at a time; their values stay in the first-level cache between the steps of a loop

# Eigen's rational approximation of erf on [−4, 4], good to a few units of the last place of float32.
_ERF_P = (-2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05)
_ERF_P += (-7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02)
_ERF_Q = (-1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03)
_ERF_Q += (-7.37332916720468e-03, -1.42647390514189e-02)
# Taylor terms of 2^f on [−½, ½], (ln 2)^k / k!.
_EXP2 = (1.5403530393e-4, 1.3333558146e-3, 9.6181291076e-3, 5.5504108665e-2, 2.4022650696e-1, 6.9314718056e-1)


def as_array(tensor: torch.Tensor) -> np.ndarray:
    """The memory of a float32 or bfloat16 tensor as the kernels take it."""
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(np.uint16)
    return tensor.numpy()


def _float_of_bits(typing_context: Any, bits: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.uint32), generate


_float: Any = intrinsic(_float_of_bits)


def _bits_of_float(typing_context: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(32))

    return types.uint32(types.float32), generate


_bits: Any = intrinsic(_bits_of_float)


def _load(stored: Any) -> Any:
    """A stored value as float32."""
    raise NotImplementedError("compiled code only")


def _store(value: Any, like: Any) -> Any:
    """A float32 rounded to the type in which `like` is stored."""
    raise NotImplementedError("compiled code only")


@overload(_load, inline="always")
def _load_typed(stored: Any) -> Any:
    # bfloat16 is the upper half of a float32.
    def widen(stored: Any) -> Any:
        return _float(np.uint32(stored) << np.uint32(16))

    def keep(stored: Any) -> Any:
        return stored

    return widen if stored == types.uint16 else keep


@overload(_store, inline="always")
def _store_typed(value: Any, like: Any) -> Any:
    # The upper half of the bits, rounded to the nearest; of two that are as near, to the even one.
    def round_to_even(value: Any, like: Any) -> Any:
        bits = _bits(value)
        return np.uint16(
            (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
        )

    def keep(value: Any, like: Any) -> Any:
        return value

    return round_to_even if like == types.uint16 else keep


@njit(inline="always", **FAST)
def _gelu(x: np.float32) -> np.float32:
    """x Φ(x), the exact GELU: Φ(x) = ½ (1 + erf(x / √2)), erf(y) ≈ y p(y²) / q(y²)."""
    y = x * np.float32(0.7071067811865476)
    if y < np.float32(-4):
        y = np.float32(-4)
    if y > np.float32(4):
        y = np.float32(4)
    square = y * y
    p = np.float32(_ERF_P[0])
    for k in range(1, 7):
        p = p * square + np.float32(_ERF_P[k])
    q = np.float32(_ERF_Q[0])
    for k in range(1, 5):
        q = q * square + np.float32(_ERF_Q[k])
    return np.float32(0.5) * x * (np.float32(1) + y * p / q)


@njit(inline="always", **FAST)
def exp(x: np.float32) -> np.float32:
    """e^x for x ≤ 0, as 2^whole · 2^part with |part| ≤ ½; 2^part by its Taylor polynomial."""
    y = x * np.float32(1.4426950408889634)
    if y < np.float32(-126):
        y = np.float32(-126)
    whole = np.floor(y + np.float32(0.5))
    part = y - whole
    p = np.float32(_EXP2[0])
    for k in range(1, 6):
        p = p * part + np.float32(_EXP2[k])
    p = p * part + np.float32(1)
    # 2^whole: a float32 whose exponent bits hold whole + 127.
    return p * _float(np.uint32((np.int32(whole) + np.int32(127)) << np.int32(23)))


@njit(**FAST)
def softmax_over_tokens(scores: np.ndarray, bias: np.ndarray, order: np.ndarray, weights: np.ndarray) -> None:
    """Weights of the attention of the image to the tokens; a group is one head of one prompt.

    Args:
        scores: [G, T, P], P a multiple of 256
        bias: Added to the scores of each token. float32 [G, T]
        order: Where each group goes in `weights`. int64 [G]
        weights: Receives the softmax over T; of the first tokens, if it has fewer. [G, up to T, P]
    """
    groups, tokens, positions = scores.shape
    block = np.empty((tokens, _BLOCK), np.float32)
    largest = np.empty(_BLOCK, np.float32)
    total = np.empty(_BLOCK, np.float32)
    for g in range(groups):
        to = order[g]
        for start in range(0, positions, _BLOCK):
            largest[:] = np.float32(-3e38)
            total[:] = np.float32(0)
            # The largest score of each position, so that no exponential overflows.
            for t in range(tokens):
                for i in range(_BLOCK):
                    value = _load(scores[g, t, start + i]) + bias[g, t]
                    block[t, i] = value
                    largest[i] = value if value > largest[i] else largest[i]
            # exp(score − largest) of each token, and their sum over the tokens.
            for t in range(tokens):
                for i in range(_BLOCK):
                    value = exp(block[t, i] - largest[i])
                    block[t, i] = value
                    total[i] += value
            # Weights: each divided by the sum.
            for i in range(_BLOCK):
                total[i] = np.float32(1) / total[i]
            for t in range(weights.shape[1]):
                for i in range(_BLOCK):
                    weights[to, t, start + i] = _store(block[t, i] * total[i], weights[to, t, start + i])


@njit(**FAST)
def add_and_norm(
    residual: np.ndarray,
    delta: np.ndarray,
    bias: np.ndarray,
    weight: np.ndarray,
    shift: np.ndarray,
    positions: np.ndarray,
    out: np.ndarray,
    positioned: np.ndarray,
) -> None:
    """Layer norm of residual + delta + bias, and the same plus the positional encoding.

    Args:
        residual: [1 or B, P, 256], shared by all prompts if it is one
        delta: [B, P, 256]
        bias: float32 [256]
        weight: Scale of the layer norm. float32 [256]
        shift: Shift of the layer norm. float32 [256]
        positions: Positional encoding. [P, 256]
        out: Receives the layer norm; may be `residual` if that is not shared. [B, P, 256]
        positioned: Receives the layer norm + positions. [B, P, 256]
    """
    row = np.empty(256, np.float32)
    for n in range(delta.shape[0]):
        source = min(n, residual.shape[0] - 1)
        for p in range(delta.shape[1]):
            # Sum of residual, delta and bias over the 256 channels of one position, and its mean.
            total = np.float32(0)
            for c in range(256):
                row[c] = _load(residual[source, p, c]) + _load(delta[n, p, c]) + bias[c]
                total += row[c]
            mean = total * np.float32(1 / 256)
            # Variance, and from it the scale 1 / √(variance + ε).
            square = np.float32(0)
            for c in range(256):
                row[c] -= mean
                square += row[c] * row[c]
            scale = np.float32(1) / np.sqrt(square * np.float32(1 / 256) + np.float32(1e-5))
            # Normalised, scaled and shifted; with and without the positional encoding.
            for c in range(256):
                value = row[c] * scale * weight[c] + shift[c]
                out[n, p, c] = _store(value, out[n, p, c])
                positioned[n, p, c] = _store(value + _load(positions[p, c]), positioned[n, p, c])


@njit(**FAST)
def norm_and_gelu(
    x: np.ndarray,
    bias: np.ndarray,
    weight: np.ndarray,
    shift: np.ndarray,
    shared: np.ndarray | None,
    factors: np.ndarray | None,
) -> None:
    """GELU of the layer norm of x + bias (+ factors · shared) over 64 channels, in place.

    Args:
        x: Four cells a position. [4 P, 64]
        bias: Of each of the four. float32 [4, 64]
        weight: float32 [64]
        shift: float32 [64]
        shared: Added before, if given, times the factor of its position. float32 [4 P, 64]
        factors: float32 [P]
    """
    row = np.empty(64, np.float32)
    for n in range(x.shape[0]):
        total = np.float32(0)
        for c in range(64):
            row[c] = _load(x[n, c]) + bias[n & 3, c]
            if shared is not None and factors is not None:
                row[c] += factors[n >> 2] * shared[n, c]
            total += row[c]
        mean = total * np.float32(1 / 64)
        square = np.float32(0)
        for c in range(64):
            row[c] -= mean
            square += row[c] * row[c]
        scale = np.float32(1) / np.sqrt(square * np.float32(1 / 64) + np.float32(1e-6))
        for c in range(64):
            x[n, c] = _store(_gelu(row[c] * scale * weight[c] + shift[c]), x[n, c])


@njit(**FAST)
def gelu_and_masks(x: np.ndarray, bias: np.ndarray, hyper: np.ndarray, out: np.ndarray) -> None:
    """GELU of the upscaled image embedding and its product with the vectors of the masks, laid out as images.

    Args:
        x: Upscaled embedding. Every position [rows, columns] has 2×2 cells [2, 2]; these have 32 channels at
            2×2 cells of their own, channel by channel [32 · 4]. [rows, columns, 2, 2, 128]
        bias: Added before the GELU. float32 [128]
        hyper: Vectors from the hypernetwork MLPs, each value four times. float32 [M, 128]
        out: Receives the logits. float32 [M, 4 rows, 4 columns]
    """
    rows, columns = x.shape[:2]
    active = np.empty(128, np.float32)
    sums = np.empty(16, np.float32)
    for i in range(rows):
        for j in range(columns):
            for a in range(2):
                for b in range(2):
                    # GELU of 32 channels at 4 cells.
                    for k in range(128):
                        active[k] = _gelu(_load(x[i, j, a, b, k]) + bias[k])
                    # Per mask and cell the sum over the channels: first 16 sums side by side, which the
                    # compiler keeps in one register, then the four sums of each cell.
                    for m in range(hyper.shape[0]):
                        for lane in range(16):
                            total = np.float32(0)
                            for k in range(8):
                                total += active[16 * k + lane] * hyper[m, 16 * k + lane]
                            sums[lane] = total
                        for cell in range(4):
                            out[m, 4 * i + 2 * a + (cell >> 1), 4 * j + 2 * b + (cell & 1)] = (
                                sums[cell] + sums[cell + 4] + sums[cell + 8] + sums[cell + 12]
                            )
