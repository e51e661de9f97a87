"""Cosines of every Gaussian with the canonical phrases: what counts of them is the largest, for any text."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gags.simd.cache import kernel


@dataclass(frozen=True, eq=False)
class Similarities:
    """The two largest cosines of every Gaussian with C vectors, and all of them if these are few enough.

    Attributes:
        largest: float32 [N]
        which: The vector that it is of. int16 [N]
        second: The largest of the others; as `largest` if there are none. float32 [N]
        which_second: int16 [N]
        of_rows: Cosines of some Gaussians, by a mask [N] or indices, with all vectors. [n, C]
        cosines: Of all Gaussians, None if they are too much to keep. float32 [N, C]
    """

    largest: Tensor
    which: Tensor
    second: Tensor
    which_second: Tensor
    of_rows: Callable[[Tensor], Tensor]
    cosines: Tensor | None = None

    @classmethod
    def of(cls, cosines: Tensor) -> "Similarities":
        """From all cosines. [N, C]"""
        return cls(*two_largest(cosines), lambda rows: cosines[rows], cosines)

    def largest_of(self, counted: Tensor) -> Tensor:
        """The largest cosine of every Gaussian with those vectors that count.

        Args:
            counted: Which do, one at least; on the CPU. bool [C]

        Returns:
            float32 [N]
        """
        if bool(counted.all()):
            return self.largest
        counts = counted.to(self.which.device)
        first, second = counts[self.which.int()], counts[self.which_second.int()]
        found = torch.where(first, self.largest, self.second)
        # Few Gaussians are nearest to two vectors that do not count.
        rows = torch.nonzero(~(first | second))[:, 0]
        if len(rows):
            found[rows] = self.of_rows(rows)[:, counts].amax(dim=-1)
        return found


def two_largest(cosines: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The largest of each row [N, C] and its column, the second and its column. float32, int16 [N] each"""
    if cosines.device.type != "cpu":
        values, columns = cosines.topk(min(2, cosines.shape[1]), dim=-1)
        columns = columns.to(torch.int16)
        return values[:, 0].contiguous(), columns[:, 0], values[:, -1].contiguous(), columns[:, -1]
    count = len(cosines)
    found = (
        torch.empty(count),
        torch.empty(count, dtype=torch.int16),
        torch.empty(count),
        torch.empty(count, dtype=torch.int16),
    )
    _two_largest(cosines.contiguous().numpy(), *(tensor.numpy() for tensor in found))
    return found


@kernel(nogil=True)
def _two_largest(cosines, largest, which, second, which_second) -> None:  # pragma: no cover - compiled
    """The two largest numbers of each row and their columns, the first of equal ones first."""
    for row in range(len(cosines)):
        one, two = cosines[row, 0], np.float32(-np.inf)
        column, other = 0, 0
        for k in range(1, cosines.shape[1]):
            value = cosines[row, k]
            if value > one:
                two, other = one, column
                one, column = value, k
            elif value > two:
                two, other = value, k
        largest[row], which[row] = one, column
        second[row], which_second[row] = (two, other) if cosines.shape[1] > 1 else (one, column)
