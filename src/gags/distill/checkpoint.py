"""Keeping the state of training, so that a killed distillation goes on where it was."""

import time
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gags.files import atomic_write

SECONDS_BETWEEN = 30.0


class Checkpoint:
    """Parameters and Adam's moments in one safetensors file.

    Args:
        path: The file; None keeps nothing.
        parameters: What is being learnt, in a fixed order.
        optimizer: The Adam that learns it.
        key: Describes the run; a file with another key, or of other shapes, is not used.
    """

    def __init__(
        self, path: Path | None, parameters: Sequence[Tensor], optimizer: torch.optim.Adam, key: str
    ) -> None:
        self.path, self.parameters, self.optimizer, self.key = path, parameters, optimizer, key
        self.saved_at = time.monotonic()

    def restore(self) -> int:
        """Load the state if there is one that fits; returns the number of steps already done."""
        if self.path is None or not self.path.exists():
            return 0
        try:
            with safe_open(self.path, "pt") as file:
                metadata = file.metadata() or {}
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            fits = metadata["key"] == self.key and all(
                tensors[f"value.{i}"].shape == p.shape for i, p in enumerate(self.parameters)
            )
        except (OSError, SafetensorError, KeyError):
            return 0
        return self._apply(tensors, int(metadata["step"])) if fits else 0

    def _apply(self, tensors: dict[str, Tensor], step: int) -> int:
        for i, parameter in enumerate(self.parameters):
            if f"first.{i}" not in tensors:  # never had a gradient
                continue
            parameter.data.copy_(tensors[f"value.{i}"])
            self.optimizer.state[parameter] = {
                "step": torch.tensor(float(step)),
                "exp_avg": tensors[f"first.{i}"].to(parameter.device),
                "exp_avg_sq": tensors[f"second.{i}"].to(parameter.device),
            }
        return step

    def save_if_due(self, step: int) -> None:
        """Write the state after `step` steps, if some time has passed since the last time."""
        if self.path is not None and time.monotonic() - self.saved_at >= SECONDS_BETWEEN:
            self.save(step)

    def save(self, step: int) -> None:
        """Write the state after `step` steps."""
        assert self.path is not None
        tensors = {}
        for i, parameter in enumerate(self.parameters):
            tensors[f"value.{i}"] = parameter.detach()
            state = self.optimizer.state.get(parameter)
            if state:
                tensors[f"first.{i}"], tensors[f"second.{i}"] = state["exp_avg"], state["exp_avg_sq"]
        with atomic_write(self.path) as temporary:
            save_file(
                {k: v.cpu().contiguous() for k, v in tensors.items()},
                temporary,
                {"step": str(step), "key": self.key},
            )
        self.saved_at = time.monotonic()
