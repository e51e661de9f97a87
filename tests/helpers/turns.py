"""What a net computes while it does not hold its lock."""

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode


class Turns(TorchDispatchMode):
    """Stands in for the lock of all nets on Apple's GPU (`lock`), and notes who computes without it.

    Attributes:
        inside: Operations of torch while the lock was held.
        outside: The others.
    """

    def __init__(self) -> None:
        super().__init__()
        self.inside: list[str] = []
        self.outside: list[str] = []
        self.lock = _Counted()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        (self.inside if self.lock.held else self.outside).append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


class _Counted:
    held = 0

    def __enter__(self) -> None:
        self.held += 1

    def __exit__(self, *_: object) -> None:
        self.held -= 1
