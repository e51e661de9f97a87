"""Training 3D Gaussians from posed photos (Kerbl et al. 2023), coarse to fine, on the CPU or a GPU."""

import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gags.capture import Capture
from gags.gaussians import Gaussians, render
from gags.progress import SILENT, Reporter
from gags.reconstruct.adopt import adopt
from gags.reconstruct.checkpoint import load_checkpoint, run_signature, save_checkpoint
from gags.reconstruct.quality import psnr, ssim
from gags.reconstruct.settings import ReconstructSettings
from gags.reconstruct.training import Training

__all__ = ["ReconstructSettings", "adopt", "held_out_quality", "train_gaussians"]

CHECKPOINT_SECONDS = 60.0
TRAIN_SAMPLE = 8  # training photos looked at to see how far held-out ones fall behind


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
    """
    training = Training.of(capture, settings, device)
    signature = run_signature(capture, settings)
    state = load_checkpoint(checkpoint, signature, progress) if checkpoint else None
    state = training.begin() if state is None else state.to(training.device)
    # The bar of training would take compilation for slow steps.
    with progress.stage("Preparing kernels, compiled once on a machine", 1, "step") as bar:
        training.rehearse()
        bar.advance()
    work = training.work()
    recent = Average(len(capture.train))
    saved = time.monotonic()
    with progress.stage("Training Gaussians", work[-1], "Mpx") as bar:
        bar.advance(work[state.step])
        while state.step < settings.steps:
            divisor = training.divisor(state.step)
            psnr = training.step(state)
            if psnr is not None:
                recent.add(psnr)
            size = "full size" if divisor == 1 else f"1/{divisor} size"
            count = f"{round(len(state) / 1000)}k Gaussians"
            note = f"step {state.step} · PSNR {recent.value:.1f} dB · {count} · {size}"
            bar.advance(work[state.step] - work[state.step - 1], note)
            if checkpoint and time.monotonic() - saved > CHECKPOINT_SECONDS:
                save_checkpoint(checkpoint, state, signature)
                saved = time.monotonic()
    return state.gaussians


def held_out_quality(gaussians: Gaussians, capture: Capture, progress: Reporter = SILENT) -> dict[str, Any]:
    """PSNR and SSIM of renders against photos, for `metrics.json`.

    Args:
        gaussians: Trained Gaussians.
        capture: Photos; those held out count, a few training photos are looked at for comparison.
        progress: Receives the progress.

    Returns:
        `psnr` (dB) and `ssim`, means over the held-out photos (absent if none were held out); `train_psnr`
        and `train_ssim`, means over some training photos; `psnr_of_photo`, PSNR of every held-out photo by
        name.
    """
    sample = capture.train[:: max(1, len(capture.train) // TRAIN_SAMPLE)][:TRAIN_SAMPLE]
    scores: dict[str, list[tuple[float, float]]] = {"test": [], "train": []}
    with progress.stage("Checking quality", len(capture.test) + len(sample), "photos") as bar:
        for split, views in (("test", capture.test), ("train", sample)):
            for view in views:
                picture = render(gaussians, view.camera).colors.clamp(0, 1)
                photo = torch.from_numpy(view.image()).to(picture.device).float() / 255
                scores[split].append((float(psnr(picture, photo)), float(ssim(picture, photo))))
                bar.advance(note=f"PSNR {scores[split][-1][0]:.1f} dB in {view.name}")
    figures: dict[str, Any] = {}
    for split, prefix in (("test", ""), ("train", "train_")):
        if scores[split]:
            figures[f"{prefix}psnr"], figures[f"{prefix}ssim"] = map(float, np.mean(scores[split], axis=0))
    figures["psnr_of_photo"] = {
        view.name: round(score[0], 3) for view, score in zip(capture.test, scores["test"], strict=True)
    }
    return figures


class Average:
    """Mean of the latest values."""

    def __init__(self, window: int) -> None:
        self._values: deque[float] = deque(maxlen=window)

    def add(self, value: float) -> None:
        self._values.append(value)

    @property
    def value(self) -> float:
        return sum(self._values) / max(len(self._values), 1)
