"""What a training run carries from step to step."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from gags.errors import CaptureError
from gags.gaussians import Gaussians

PARAMETERS = tuple(f.name for f in fields(Gaussians))
PARTS = ("gaussians", "first", "second")  # of the state that hold a tensor for each parameter


@dataclass(eq=False)
class TrainingState:
    """Gaussians in training with everything that belongs to them, row by row.

    Attributes:
        gaussians: The parameters.
        first: Adam's running mean of the gradients, shaped like the parameters.
        second: Adam's running mean of their squares.
        gradient_sum: Screen-space gradient norms since the last densification, summed over views. [N]
        seen: Number of views behind those sums. [N]
        step: Training steps done.
    """

    gaussians: Gaussians
    first: Gaussians
    second: Gaussians
    gradient_sum: Tensor
    seen: Tensor
    step: int = 0

    @staticmethod
    def begin(gaussians: Gaussians) -> "TrainingState":
        """The state before the first step."""
        sums, seen = (torch.zeros(len(gaussians), device=gaussians.means.device) for _ in range(2))
        return TrainingState(gaussians, _zeros(gaussians), _zeros(gaussians), sums, seen)

    def to(self, device: torch.device) -> "TrainingState":
        """The same state on another device."""
        return TrainingState(
            self.gaussians.to(device),
            self.first.to(device),
            self.second.to(device),
            self.gradient_sum.to(device),
            self.seen.to(device),
            self.step,
        )

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name, to keep in a file; the step is none of them."""
        tensors = {
            f"{part}.{name}": getattr(getattr(self, part), name) for part in PARTS for name in PARAMETERS
        }
        return tensors | {"gradient_sum": self.gradient_sum, "seen": self.seen}

    @staticmethod
    def of_tensors(step: int, tensors: dict[str, Tensor]) -> "TrainingState | None":
        """The state after some steps from what `tensors` gave; None if a tensor is missing or unfit."""
        if set(tensors) != {"gradient_sum", "seen"} | {f"{p}.{name}" for p in PARTS for name in PARAMETERS}:
            return None
        parts = [Gaussians(*(tensors[f"{part}.{name}"] for name in PARAMETERS)) for part in PARTS]
        finite = all(bool(torch.isfinite(getattr(parts[0], name)).all()) for name in PARAMETERS)
        if len({len(tensor) for tensor in tensors.values()}) != 1 or not finite:
            return None
        return TrainingState(parts[0], parts[1], parts[2], tensors["gradient_sum"], tensors["seen"], step)

    def __len__(self) -> int:
        return len(self.gaussians)

    def keep(self, mask: Tensor, otherwise: str) -> None:
        """Drop all Gaussians but those of a mask.

        Args:
            mask: Which to keep. bool [N]
            otherwise: What is wrong with all of them if none is kept, for the error.

        Raises:
            CaptureError: If none is kept: training cannot go on without.
        """
        rows = mask.nonzero()[:, 0]  # once: a GPU would be waited for at each tensor that takes the mask
        if not len(rows):
            raise CaptureError(
                f"step {self.step}: no Gaussian is left, {otherwise}; photos and poses do not fit each other "
                "(check the export of the capture), or the settings of pruning are too strict for it"
            )
        self.gaussians, self.first, self.second = self.gaussians[rows], self.first[rows], self.second[rows]
        self.gradient_sum, self.seen = self.gradient_sum[rows], self.seen[rows]

    def append(self, gaussians: Gaussians) -> None:
        """Add Gaussians, without momentum."""
        added = TrainingState.begin(gaussians)
        self.gaussians = join(self.gaussians, gaussians)
        self.first = join(self.first, added.first)
        self.second = join(self.second, added.second)
        self.gradient_sum = torch.cat([self.gradient_sum, added.gradient_sum])
        self.seen = torch.cat([self.seen, added.seen])

    def forget_gradients(self) -> None:
        """Begin a new window of densification statistics."""
        self.gradient_sum = torch.zeros_like(self.gradient_sum)
        self.seen = torch.zeros_like(self.seen)

    def grow_sh(self, degree: int) -> None:
        """Make room for spherical harmonics up to a degree; the new coefficients are 0."""
        for part in (self.gaussians, self.first, self.second):
            missing = (degree + 1) ** 2 - part.sh.shape[1]
            if missing > 0:
                part.sh = torch.cat([part.sh, part.sh.new_zeros(len(part), missing, 3)], dim=1)


def join(a: Gaussians, b: Gaussians) -> Gaussians:
    """The Gaussians of both, in that order; both hold harmonics of the same degree."""
    return Gaussians(*(torch.cat([getattr(a, name), getattr(b, name)]) for name in PARAMETERS))


def _zeros(gaussians: Gaussians) -> Gaussians:
    return Gaussians(*(torch.zeros_like(getattr(gaussians, name)) for name in PARAMETERS))
