"""Loops of the mask decoder that PyTorch has no fused form for; each is one pass over memory on one core.

LLVM vectorises these loops by itself. The exponential and GELU are good to a few units of the last place of
float32, which those of `gags.simd` are not meant to be.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

FAST = {"fastmath": True, "error_model": "numpy", "nogil": True, "cache": True}

# Eigen's rational approximation of erf on [−4, 4], good to a few units of the last place of float32.
_ERF_P = (-2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05)
_ERF_P += (-7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02)
_ERF_Q = (-1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03)
_ERF_Q += (-7.37332916720468e-03, -1.42647390514189e-02)
# Taylor terms of 2^f on [−½, ½], (ln 2)^k / k!.
_EXP2 = (1.5403530393e-4, 1.3333558146e-3, 9.6181291076e-3, 5.5504108665e-2, 2.4022650696e-1, 6.9314718056e-1)


def _float_of_bits(typing_context: Any, bits: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.uint32), generate


_float: Any = intrinsic(_float_of_bits)


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
def norm_and_gelu(
    x: np.ndarray,
    bias: np.ndarray,
    weight: np.ndarray,
    shift: np.ndarray,
    shared: np.ndarray,
    factors: np.ndarray,
) -> None:
    """GELU of the layer norm of x + factors · shared + bias over 64 channels, in place.

    Args:
        x: Four cells a position. float32 [4 P, 64]
        bias: Of each of the four. float32 [4, 64]
        weight: float32 [64]
        shift: float32 [64]
        shared: float32 [4 P, 64]
        factors: Of each position. float32 [P]
    """
    row = np.empty(64, np.float32)
    for n in range(x.shape[0]):
        total = np.float32(0)
        for c in range(64):
            row[c] = x[n, c] + bias[n & 3, c] + factors[n >> 2] * shared[n, c]
            total += row[c]
        mean = total * np.float32(1 / 64)
        square = np.float32(0)
        for c in range(64):
            row[c] -= mean
            square += row[c] * row[c]
        scale = np.float32(1) / np.sqrt(square * np.float32(1 / 64) + np.float32(1e-6))
        for c in range(64):
            x[n, c] = _gelu(row[c] * scale * weight[c] + shift[c])


@njit(**FAST)
def gelu_and_masks(x: np.ndarray, bias: np.ndarray, hyper: np.ndarray, out: np.ndarray) -> None:
    """GELU of the upscaled image embedding and its product with the vectors of the masks, laid out as images.

    Args:
        x: Upscaled embedding. Every position [rows, columns] has 2×2 cells [2, 2]; these have 32 channels at
            2×2 cells of their own, channel by channel [32 · 4]. float32 [rows, columns, 2, 2, 128]
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
                        active[k] = _gelu(x[i, j, a, b, k] + bias[k])
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
