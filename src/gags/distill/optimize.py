"""The optimisation of a field: Adam, with a checkpoint from which a stopped run resumes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from gags.distill.decoder import Decoder, PrincipalDecoder
from gags.distill.field import LanguageField
from gags.distill.objective import Terms
from gags.distill.settings import DistillSettings
from gags.progress import Reporter
from gags.store import Checkpoint, check_finite, loss_note

CHECKPOINT_SECONDS = 30.0
REMEDY = "set smaller rates (--distill.feature-rate, --distill.decoder-rate) or weights of the loss"
_SCHEDULE = "schedule."  # before the names of what a schedule keeps


class Schedule(Protocol):
    """What the steps learn from."""

    def terms(self, features: Tensor, decoder: Decoder, step: int) -> Terms:
        """Terms of Eq. 7 for one step, by its number alone, given features [N, d] and the decoder."""
        ...

    def state(self) -> dict[str, Tensor]:
        """What the next steps need of those before, beside features and decoder."""
        ...

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `state` gave."""
        ...


def optimize(
    field: LanguageField,
    schedule: Schedule,
    settings: DistillSettings,
    *,
    checkpoint: Path | None,
    key: str,
    progress: Reporter,
) -> None:
    """Run the steps that are left; changes `field` in place.

    Args:
        field: Where training starts.
        schedule: What the steps learn from.
        settings: Settings.
        checkpoint: File for the state of training; None keeps nothing.
        key: Of the checkpoint: what the run was given.
        progress: Told about progress.

    Raises:
        TrainingError: If training diverges; `field` is not changed then, nor the checkpoint.
    """
    features = torch.nn.Parameter(field.features.clone())
    rates = (settings.feature_rate, settings.decoder_rate)
    optimizer = adam(features, field.decoder)
    learnt = [features, *field.decoder.parameters()]
    keeper = Checkpoint(checkpoint, key, CHECKPOINT_SECONDS)
    saved = keeper.load(progress)
    first = restore_adam(learnt, optimizer, *saved) if saved else 0
    if saved and not first:
        keeper.refuse(progress)
    elif saved:
        kept = {k.removeprefix(_SCHEDULE): v for k, v in saved[1].items() if k.startswith(_SCHEDULE)}
        schedule.restore(kept)
    with progress.stage("Distilling language", settings.steps, "steps") as bar:
        keeper.begin(bar, first)
        for step in range(first, settings.steps):
            loss = schedule.terms(features, field.decoder, step).total(settings, step)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * rate_share(step / settings.steps, settings.rate_decay)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            if keeper.due:
                check_finite(step + 1, {"the loss": loss.item(), "a feature": features}, REMEDY)
                kept = {_SCHEDULE + name: tensor for name, tensor in schedule.state().items()}
                keeper.save(step + 1, adam_state(learnt, optimizer) | kept)
            bar.advance(note=loss_note(loss, step, REMEDY, every=10, decimals=3))
    check_finite(settings.steps, {"the decoder": torch.cat([p.flatten() for p in learnt[1:]])}, REMEDY)
    check_finite(settings.steps, {"a feature": features}, REMEDY)
    field.features = features.detach()
    field.decoder.requires_grad_(False).eval()


def adam(features: Tensor, decoder: Decoder) -> torch.optim.Adam:
    """Adam for features [N, d] and a decoder, as two groups of parameters; rates are set at every step.

    On a CPU it works through each tensor once, a third of the time; not for the decoder `principal`, whose
    fields stay the same to the digit.
    """
    fused = features.device.type == "cpu" and decoder.kind != PrincipalDecoder.kind
    groups = [{"params": [features]}, {"params": list(decoder.parameters())}]
    return torch.optim.Adam(groups, eps=1e-12, fused=fused or None)


def adam_state(parameters: Sequence[Tensor], optimizer: torch.optim.Adam) -> dict[str, Tensor]:
    """Parameters and Adam's moments, as tensors to keep; without a gradient so far there are no moments.

    Args:
        parameters: The P parameters, of any shapes.
        optimizer: Their optimiser.

    Returns:
        "value.i", "first.i" and "second.i" of parameter i, each of the parameter's shape.
    """
    tensors = {}
    for i, parameter in enumerate(parameters):
        tensors[f"value.{i}"] = parameter
        state = optimizer.state.get(parameter)
        if state:
            tensors[f"first.{i}"], tensors[f"second.{i}"] = state["exp_avg"], state["exp_avg_sq"]
    return tensors


def restore_adam(
    parameters: Sequence[Tensor], optimizer: torch.optim.Adam, step: int, tensors: dict[str, Tensor]
) -> int:
    """Put back what `adam_state` gave.

    Args:
        parameters: The P parameters, of any shapes; changed in place.
        optimizer: Their optimiser; its state is changed in place.
        step: Number of steps that were done.
        tensors: What `adam_state` gave, each of its parameter's shape.

    Returns:
        `step`; 0 if shapes do not fit, then nothing is changed.
    """
    values = [tensors.get(f"value.{i}") for i in range(len(parameters))]
    if any(v is None or v.shape != p.shape for v, p in zip(values, parameters, strict=True)):
        return 0
    for i, parameter in enumerate(parameters):
        if f"first.{i}" not in tensors:
            continue
        parameter.data.copy_(tensors[f"value.{i}"])
        optimizer.state[parameter] = {
            "step": torch.tensor(float(step)),
            "exp_avg": tensors[f"first.{i}"].to(parameter.device),
            "exp_avg_sq": tensors[f"second.{i}"].to(parameter.device),
        }
    return step


def rate_share(done: float, decay: str) -> float:
    """Share of the learning rate after a share of the steps: 1, or a cosine from 1 down to 0.05."""
    return 1.0 if decay == "constant" else 0.05 + 0.95 * 0.5 * (1 + float(np.cos(np.pi * done)))
