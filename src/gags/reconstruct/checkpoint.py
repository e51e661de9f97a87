"""Saving a training run so that a killed one goes on where it was (safetensors, nothing pickled)."""

import hashlib
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from gags.capture import Capture
from gags.files import atomic_write
from gags.gaussians import Gaussians
from gags.progress import Reporter
from gags.reconstruct.settings import ReconstructSettings
from gags.reconstruct.state import PARAMETERS, TrainingState

CHECKPOINT_FORMAT = "gags-fit-1"
PARTS = ("gaussians", "first", "second")


def run_signature(capture: Capture, settings: ReconstructSettings) -> str:
    """A hash of everything that decides how training goes."""
    return hashlib.sha256(
        repr((CHECKPOINT_FORMAT, asdict(settings), capture.fingerprint())).encode()
    ).hexdigest()


def save_checkpoint(path: Path, state: TrainingState, signature: str) -> None:
    """Write the whole training state atomically.

    Args:
        path: Safetensors file, replaced if it exists.
        state: Training state.
        signature: Hash of the run, see `run_signature`.
    """
    tensors = {
        f"{part}.{name}": getattr(getattr(state, part), name).detach().cpu().contiguous()
        for part in PARTS
        for name in PARAMETERS
    }
    tensors |= {"gradient_sum": state.gradient_sum.cpu(), "seen": state.seen.cpu()}
    metadata = {"format": CHECKPOINT_FORMAT, "signature": signature, "step": str(state.step)}
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, metadata)


def load_checkpoint(path: Path, signature: str, progress: Reporter) -> TrainingState | None:
    """Read a training state back.

    Args:
        path: File that `save_checkpoint` wrote.
        signature: Hash of the run that wants to go on.
        progress: Is warned of a damaged file, and told of one that belongs to another run.

    Returns:
        The state, or None if there is none to go on from.
    """
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != CHECKPOINT_FORMAT or metadata.get("signature") != signature:
                progress.say(
                    f"{path} belongs to other photos or settings; training starts from the beginning"
                )
                return None
            parts = [Gaussians(*(file.get_tensor(f"{part}.{name}") for name in PARAMETERS)) for part in PARTS]
            window = file.get_tensor("gradient_sum"), file.get_tensor("seen")
            state = TrainingState(parts[0], parts[1], parts[2], *window, int(metadata["step"]))
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        progress.warn(f"checkpoint {path} is damaged ({error}); training starts from the beginning")
        return None
    rows = {len(getattr(part, name)) for part in parts for name in PARAMETERS}
    rows |= {len(state.gradient_sum), len(state.seen)}
    finite = all(bool(torch.isfinite(getattr(parts[0], name)).all()) for name in PARAMETERS)
    if len(rows) != 1 or not finite:
        progress.warn(
            f"checkpoint {path} is damaged (its tensors do not fit); training starts from the beginning"
        )
        return None
    return state
