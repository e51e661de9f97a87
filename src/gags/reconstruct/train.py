"""Training 3D Gaussians from posed photos (Kerbl et al. 2023), coarse to fine, on the CPU or a GPU."""

import math
from collections import deque
from contextlib import closing
from pathlib import Path

import torch
from torch import Tensor

from gags.capture import Capture
from gags.gaussians import Gaussians
from gags.progress import SILENT, Reporter
from gags.reconstruct.settings import ReconstructSettings
from gags.reconstruct.state import TrainingState
from gags.reconstruct.step import Training
from gags.store import Checkpoint, check_finite, stamp

CHECKPOINT_SECONDS = 60.0
CHECKED_EVERY = 100  # steps, whether all parameters are finite: 2 ms for 100,000 Gaussians
REMEDY = "set smaller learning rates (--reconstruct.means-lr, --reconstruct.scales-lr …)"


def train_gaussians(
    capture: Capture,
    settings: ReconstructSettings = ReconstructSettings(),
    *,
    checkpoint: Path | None = None,
    device: torch.device | str = "cpu",
    progress: Reporter = SILENT,
) -> Gaussians:
    """Train Gaussians on the training photos of a capture.

    Args:
        capture: Posed photos with sparse points.
        settings: Length, budget, learning rates and schedules.
        checkpoint: File to save the training state to about once a minute, and to go on from if it exists and
            belongs to the same photos and settings. It stays when training is done.
        device: Where to train, see `gags.models.device.scene_device`.
        progress: Receives the progress.

    Returns:
        The trained Gaussians, on that device.

    Raises:
        CaptureError: If there are no training photos, no points, or no point in front of a camera.
        TrainingError: If training diverges.
    """
    training = Training.of(capture, settings, device)
    keeper = Checkpoint(checkpoint, stamp(settings, capture.fingerprint()), CHECKPOINT_SECONDS)
    saved = keeper.load(progress)
    state = TrainingState.of_tensors(*saved) if saved else None
    if saved and state is None:
        keeper.refuse(progress)
    state = training.begin() if state is None else state.to(training.device)
    with closing(training.photos):
        _train(training, state, keeper, progress)
    return state.gaussians


def _train(training: Training, state: TrainingState, keeper: Checkpoint, progress: Reporter) -> None:
    """All steps that a state has not done yet; it is changed in place."""
    # A stage of its own: inside the training, compiling would look like slow steps.
    with progress.stage("Preparing kernels, compiled once on a machine", 1, "step") as bar:
        training.warm_up()
        bar.advance()
    work, steps = training.work(), training.settings.steps
    recent = Average(len(training.views))
    with progress.stage("Training Gaussians", work[-1], "Mpx") as bar:
        keeper.begin(bar, work[state.step])
        while state.step < steps:
            divisor = training.divisor(state.step)
            psnr = training.step(state)
            if psnr is not None:
                recent.add(psnr)
            size = "full size" if divisor == 1 else f"1/{divisor} size"
            count = f"{round(len(state) / 1000)}k Gaussians"
            note = f"step {state.step} · PSNR {recent.value:.1f} dB · {count} · {size}"
            bar.advance(work[state.step] - work[state.step - 1], note)
            last = state.step == steps
            if last or keeper.due or state.step % CHECKED_EVERY == 0 or not math.isfinite(psnr or 0.0):
                check_finite(state.step, parameters_of(state), REMEDY)
            if keeper.due:
                keeper.save(state.step, state.tensors())


def parameters_of(state: TrainingState) -> dict[str, Tensor]:
    """What must be finite of the Gaussians, by what it is called in a message."""
    gaussians = state.gaussians
    return {
        "a centre": gaussians.means,
        "a rotation": gaussians.quats,
        "a scale": gaussians.log_scales.exp(),
        "an opacity": gaussians.logit_opacities,
        "a colour": gaussians.sh,
    }


class Average:
    """Mean of the latest values."""

    def __init__(self, window: int) -> None:
        self._values: deque[float] = deque(maxlen=window)

    def add(self, value: float) -> None:
        self._values.append(value)

    @property
    def value(self) -> float:
        return sum(self._values) / max(len(self._values), 1)
