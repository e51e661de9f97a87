"""The numbers of Gaussians, picked from the rows of a file in one pass; of millions, numpy would need ten."""

import numpy as np
import torch
from numba import prange

from gags.gaussians.gaussians import Gaussians
from gags.simd.cache import kernel


def pick(rows: np.ndarray, columns: np.ndarray) -> tuple[Gaussians, bool]:
    """Gaussians from rows of float32.

    Args:
        rows: Of a file. [N, P]
        columns: Where in a row the means (3), quats (4), log-scales (3), the opacity logit, the harmonics of
            degree 0 (3) and the others, channel by channel, are. int64 [14 + R]

    Returns:
        The Gaussians, and whether all of their numbers are finite.
    """
    count, rest = len(rows), len(columns) - 14
    found = Gaussians(
        torch.empty(count, 3),
        torch.empty(count, 4),
        torch.empty(count, 3),
        torch.empty(count),
        torch.empty(count, 1 + rest // 3, 3),
    )
    finite = _pick(
        rows,
        columns,
        found.means.numpy(),
        found.quats.numpy(),
        found.log_scales.numpy(),
        found.logit_opacities.numpy(),
        found.sh.numpy(),
    )
    return found, bool(finite)


@kernel(parallel=True)
def _pick(rows, columns, means, quats, scales, opacities, sh) -> bool:  # pragma: no cover - compiled
    """Write the numbers of every Gaussian; returns whether all are finite."""
    rest = sh.shape[1] - 1
    odd = 0
    for i in prange(len(rows)):
        row = rows[i]
        total = np.float32(0)
        for k in range(3):
            means[i, k] = row[columns[k]]
            scales[i, k] = row[columns[7 + k]]
            sh[i, 0, k] = row[columns[11 + k]]
            for j in range(rest):
                sh[i, 1 + j, k] = row[columns[14 + k * rest + j]]
        for k in range(4):
            quats[i, k] = row[columns[3 + k]]
        opacities[i] = row[columns[10]]
        for column in columns:
            total += row[column] * np.float32(0)  # 0, or not a number
        odd += total != 0
    return odd == 0
