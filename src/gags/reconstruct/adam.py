"""Adam over the Gaussians in view, fused into one Numba pass."""

import numpy as np
from numba import njit, prange
from torch import Tensor

BETA1 = 0.9
BETA2 = 0.999
EPSILON = 1e-15  # as 3DGS: gradients of a mean over pixels are tiny


def adam_step(
    values: Tensor,
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    rates: np.ndarray,
    visible: np.ndarray,
    step: int,
) -> None:
    """One Adam step (Kingma and Ba 2015) in place; rows not in view are left alone, moments included.

    Skipping them is what makes a step cost as much as the view shows, not as much as the scene holds.

    Args:
        values: Parameters, contiguous float32. [N, ...]
        gradient: Gradient of the loss, same shape.
        first: Running mean of the gradient, same shape.
        second: Running mean of its square, same shape.
        rates: Learning rate of each value of a row. float32 [D], D = values per row
        visible: Which rows to update. bool [N]
        step: Steps done before this one.
    """
    rows = values.shape[0]

    def flat(tensor: Tensor) -> np.ndarray:
        return tensor.detach().numpy().reshape(rows, -1)

    correction1 = 1 / (1 - BETA1 ** (step + 1))
    correction2 = 1 / (1 - BETA2 ** (step + 1))
    _update(
        flat(values),
        flat(gradient.contiguous()),
        flat(first),
        flat(second),
        rates.astype(np.float32),
        visible,
        np.float32(correction1),
        np.float32(correction2),
    )


@njit(parallel=True, fastmath=True, cache=True)
def _update(values, gradient, first, second, rates, visible, correction1, correction2):  # pragma: no cover
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
