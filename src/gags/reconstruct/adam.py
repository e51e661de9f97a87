"""Adam over the Gaussians in view: one pass over memory, by our own kernel on a CPU, gsplat's on a GPU.

`torch.optim.Adam` updates every row at every step; a step here costs as much as the view shows, not as much
as the scene holds, and Gaussians out of view do not drift on their momentum.
"""

from functools import lru_cache

import numpy as np
import torch
from numba import prange
from torch import Tensor

from gags.render.cuda_view import load_gsplat, to_device
from gags.simd.cache import kernel

BETA1 = 0.9
BETA2 = 0.999
EPSILON = 1e-15  # as 3DGS: gradients of a mean over pixels are tiny


def adam_step(
    values: Tensor,
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    rates: np.ndarray,
    visible: Tensor,
    step: int,
) -> None:
    """One Adam step (Kingma and Ba 2015) in place; rows not in view are left alone, moments included.

    Args:
        values: Parameters, contiguous float32. [N, ...]
        gradient: Gradient of the loss, same shape.
        first: Running mean of the gradient, same shape.
        second: Running mean of its square, same shape.
        rates: Learning rate of each value of a row. float32 [D], D = values per row
        visible: Which rows to update. bool [N]
        step: Steps done before this one.
    """
    if values.device.type == "cuda":
        adam_step_cuda(values, gradient, first, second, rates, visible, step)
        return
    rows = values.shape[0]

    def flat(tensor: Tensor) -> np.ndarray:
        return tensor.detach().numpy().reshape(rows, -1)

    correction1, correction2 = _corrections(step)
    _update(
        values=flat(values),
        gradient=flat(gradient.contiguous()),
        first=flat(first),
        second=flat(second),
        rates=rates.astype(np.float32),
        visible=visible.numpy(),
        correction1=np.float32(correction1),
        correction2=np.float32(correction2),
    )


@torch.no_grad()
def adam_step_cuda(
    values: Tensor,
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    rates: np.ndarray,
    visible: Tensor,
    step: int,
) -> None:
    """The same by gsplat's kernel, which knows one rate and no correction of the moments.

    With corrections c₁ and c₂, rate · c₁ m / (√(c₂ v) + ε) = (rate · c₁ / √c₂) · m / (√v + ε / √c₂).
    """
    if not len(values):
        return
    correction1, correction2 = _corrections(step)
    factor, epsilon = correction1 / correction2**0.5, EPSILON / correction2**0.5
    numbers = (BETA1, BETA2, epsilon)
    load_gsplat()
    from gsplat.cuda._wrapper import adam  # pyright: ignore[reportMissingImports]

    if (rates == rates[0]).all():
        adam(values, gradient.contiguous(), first, second, visible, float(rates[0]) * factor, *numbers)
        return
    change = torch.zeros_like(values)  # of a rate of 1
    adam(change, gradient.contiguous(), first, second, visible, factor, *numbers)
    values.addcmul_(
        change, _on_device(rates.astype(np.float32).tobytes(), values.device).view(values.shape[1:])
    )


@lru_cache
@torch.inference_mode(False)  # what is kept may be used in training later
def _on_device(rates: bytes, device: torch.device) -> Tensor:
    """Learning rates that stay on a GPU from step to step. float32 [D]"""
    return to_device(np.frombuffer(rates, np.float32).copy(), device)


@torch.no_grad()
def adam_step_torch(
    values: Tensor,
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    rates: np.ndarray,
    visible: Tensor,
    step: int,
) -> None:
    """The same in PyTorch, which both are tested against."""
    mask = visible.to(values.dtype).reshape(-1, *[1] * (values.ndim - 1))
    first.lerp_(gradient, (1 - BETA1) * mask)
    second.lerp_(gradient.square(), (1 - BETA2) * mask)
    correction1, correction2 = _corrections(step)
    rate = torch.from_numpy(rates.astype(np.float32)).to(values.device).reshape(values.shape[1:])
    change = first * correction1 / ((second * correction2).sqrt() + EPSILON)
    values.sub_(rate * mask * change)


def _corrections(step: int) -> tuple[float, float]:
    """By how much the running means are too small so early, because they began at 0."""
    return 1 / (1 - BETA1 ** (step + 1)), 1 / (1 - BETA2 ** (step + 1))


@kernel(parallel=True, fastmath=True)
def _update(
    values, gradient, first, second, rates, visible, correction1, correction2
) -> None:  # pragma: no cover - compiled
    beta1, beta2 = np.float32(BETA1), np.float32(BETA2)
    rest1, rest2 = np.float32(1 - BETA1), np.float32(1 - BETA2)
    for row in prange(values.shape[0]):
        if not visible[row]:
            continue
        for j in range(values.shape[1]):
            g = gradient[row, j]
            m = beta1 * first[row, j] + rest1 * g
            v = beta2 * second[row, j] + rest2 * g * g
            first[row, j] = m
            second[row, j] = v
            step = m * correction1 / (np.sqrt(v * correction2) + np.float32(EPSILON))
            values[row, j] -= rates[j] * step
