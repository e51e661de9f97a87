"""How much memory of tensors a computation holds at a time."""

import weakref
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.helpers.gsplat_twin import Kernels


class _Held(TorchDispatchMode):
    """Adds up the memory that new tensors bring, as long as they live."""

    def __init__(self, kernels: Kernels | None) -> None:
        super().__init__()
        self.kernels, self.now, self.peak = kernels, 0, 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if self.kernels is None or not self.kernels.inside:
            for value in tree_leaves((args, found)):  # results of kernels are first seen as arguments
                if isinstance(value, Tensor):
                    self._add(value)
        return found

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        self._known.add(key)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._drop, key, storage.nbytes())

    def _drop(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def peak_bytes(compute: Callable[[], Any], kernels: Kernels | None = None) -> int:
    """Most bytes of tensors that a computation holds at a time, those that it is given included.

    Args:
        compute: The computation.
        kernels: gsplat's; what they hold inside, on a GPU they do not.
    """
    with _Held(kernels) as held:
        result = compute()
    del result
    return held.peak
