"""Decoded Gaussians of large scenes, in 2 bytes a number; cosines with them by kernels for that.

A row is whole numbers times a scale of its own, so that cosines are right to about 1e-5; features on disk are
in half precision, which is worse. All are read for every text: half of the bytes is half of the time.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numba import prange
from torch import Tensor

from gags.distill.decoder import Decoder, PrincipalDecoder
from gags.distill.linear import apply_layers, linear
from gags.simd.cache import kernel
from gags.threads import single_threaded_pool

LARGEST = 32767  # of an int16
DECODED_AT_ONCE = 1 << 12  # Gaussians; what a layer gives for them stays in the caches
ONE_BY_ONE = 16  # vectors, up to which products are taken row by row; with more, rows are put into blocks


@dataclass(frozen=True, eq=False)
class CompactVectors:
    """Unit vectors of N Gaussians, on the CPU.

    Attributes:
        numbers: int16 [N, r]
        scales: What a row's numbers are multiplied by. float32 [N]
    """

    numbers: np.ndarray
    scales: np.ndarray

    @classmethod
    def decoded(cls, decoder: Decoder, features: Tensor) -> "CompactVectors":
        """The coordinates of features [N, d], see `Decoder.coordinates`."""
        numbers = np.empty((len(features), decoder.rank), np.int16)
        scales = np.empty(len(features), np.float32)

        def decode(part: slice) -> None:
            with torch.no_grad():
                vectors = _coordinates(decoder, features[part])
            _round_rows(vectors.contiguous().numpy(), numbers[part], scales[part])

        _block_by_block(len(features), decode)
        return cls(numbers, scales)

    def __len__(self) -> int:
        return len(self.scales)

    def rows(self, part: slice | np.ndarray) -> Tensor:
        """Some of the vectors. float32 [n, r]"""
        return torch.from_numpy(self.numbers[part] * self.scales[part, None])

    def products(self, folded: Tensor) -> Tensor:
        """Cosines with vectors whose folded form [r, T] is given, see `Decoder.fold`. float32 [N, T]"""
        found = np.empty((len(self), folded.shape[1]), np.float32)
        if folded.shape[1] <= ONE_BY_ONE:
            _products(self.numbers, self.scales, folded.T.contiguous().float().numpy(), found)
        else:

            def keep(part: slice, cosines: Tensor) -> None:
                found[part] = cosines.numpy()

            self.products_of_blocks(folded, keep)
        return torch.from_numpy(found)

    def products_of_blocks(self, folded: Tensor, take: Callable[[slice, Tensor], None]) -> None:
        """`products`, block by block in several threads, for those who do not need all of them at once."""
        columns, bias = folded.T.contiguous().float(), folded.new_zeros(folded.shape[1])

        def multiply(part: slice) -> None:
            with torch.no_grad():
                take(part, linear(self.rows(part), columns, bias))

        _block_by_block(len(self), multiply)


def _block_by_block(count: int, work: Callable[[slice], None]) -> None:
    """Work on blocks of so many Gaussians, each in one thread, so that no thread waits for another one."""
    blocks = [slice(first, first + DECODED_AT_ONCE) for first in range(0, count, DECODED_AT_ONCE)]
    if not blocks:
        return
    with single_threaded_pool(min(torch.get_num_threads(), len(blocks)), "gaussians") as pool:
        for _ in pool.map(work, blocks):
            pass


def _coordinates(decoder: Decoder, features: Tensor) -> Tensor:
    """`Decoder.coordinates`, by the faster product; not normalised where that does not matter."""
    if not isinstance(decoder, PrincipalDecoder):
        return decoder.coordinates(features)
    skipped = linear(features, decoder.skip.weight, decoder.skip.bias)
    return apply_layers(decoder.body, features).add_(skipped)


@kernel(fastmath=True, nogil=True)
def _round_rows(vectors, numbers, scales) -> None:  # pragma: no cover - compiled
    """Round vectors [n, r] to whole numbers of unit vectors; rows of zeros stay zeros."""
    for row in range(len(vectors)):
        largest, squared = np.float32(0), np.float32(0)
        for k in range(vectors.shape[1]):
            largest = max(largest, abs(vectors[row, k]))
            squared += vectors[row, k] * vectors[row, k]
        norm = max(np.sqrt(squared), np.float32(1e-12))
        unit = np.float32(LARGEST) / max(largest, np.float32(1e-30))
        for k in range(vectors.shape[1]):
            numbers[row, k] = np.int16(np.rint(vectors[row, k] * unit))
        scales[row] = largest / np.float32(LARGEST) / norm


@kernel(parallel=True, fastmath=True)
def _products(numbers, scales, vectors, found) -> None:  # pragma: no cover - compiled
    """Products of rows [N, r] and vectors [T, r], times the scale of each row. [N, T]"""
    for row in prange(len(numbers)):
        for t in range(len(vectors)):
            total = np.float32(0)
            for k in range(numbers.shape[1]):
                total += np.float32(numbers[row, k]) * vectors[t, k]
            found[row, t] = total * scales[row]
