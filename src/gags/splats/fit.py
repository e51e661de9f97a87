"""Training 3D Gaussians from posed photos (Kerbl et al. 2023), coarse to fine, on the CPU."""

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from gags.capture import Capture, View
from gags.capture.camera import Camera
from gags.errors import CaptureError
from gags.progress import SILENT, Reporter
from gags.render import rasterize
from gags.splats.adam import adam_step
from gags.splats.adopt import adopt, render
from gags.splats.checkpoint import load_checkpoint, run_signature, save_checkpoint
from gags.splats.density import Densifier, strongest_weights
from gags.splats.depth import sparse_depth_loss
from gags.splats.gaussians import Gaussians
from gags.splats.holes import fill_holes
from gags.splats.loss import photometric_loss
from gags.splats.quality import psnr, ssim
from gags.splats.settings import FitSettings
from gags.splats.start import gaussians_at_points, scene_extent
from gags.splats.state import NAMES, TrainingState

__all__ = ["FitSettings", "adopt", "fit", "held_out_quality"]

CHECKPOINT_SECONDS = 60.0
HOLES_SIDE = 120  # longest side of the pictures in which holes are looked for, px
TRAIN_SAMPLE = 8  # training photos looked at to see how far held-out ones fall behind
SH_REST_FACTOR = 1 / 20  # learning rate of the higher harmonics against the base colour (Kerbl et al. 2023)
PIXELS_A_GAUSSIAN = 1.0  # a Gaussian costs a step about as much as this many pixels


def fit(
    capture: Capture,
    settings: FitSettings = FitSettings(),
    *,
    checkpoint: Path | None = None,
    report: Reporter = SILENT,
) -> Gaussians:
    """Train Gaussians on the training photos of a capture.

    Args:
        capture: Posed photos with sparse points.
        settings: Length, budget, learning rates and schedules.
        checkpoint: File to save the training state to about once a minute, and to go on from if it exists and
            belongs to the same photos and settings. It stays when training is done.
        report: Receives the progress.

    Returns:
        The trained Gaussians, on the CPU.

    Raises:
        CaptureError: If there are no training photos, no points, or no point in front of a camera.
    """
    training = Training.of(capture, settings)
    signature = run_signature(capture, settings)
    state = load_checkpoint(checkpoint, signature, report) if checkpoint else None
    if state is None:
        state = training.begin()
    work = training.work()
    recent = Average(len(capture.train))
    saved = time.monotonic()
    with report.stage("Training Gaussians", work[-1], "Mpx") as bar:
        bar.advance(work[state.step])
        while state.step < settings.steps:
            divisor = training.divisor(state.step)
            recent.add(training.step(state))
            size = "full size" if divisor == 1 else f"1/{divisor} size"
            count = f"{round(len(state) / 1000)}k Gaussians"
            note = f"step {state.step} · PSNR {recent.value:.1f} dB · {count} · {size}"
            bar.advance(work[state.step] - work[state.step - 1], note)
            if checkpoint and time.monotonic() - saved > CHECKPOINT_SECONDS:
                save_checkpoint(checkpoint, state, signature)
                saved = time.monotonic()
    return state.gaussians


def held_out_quality(gaussians: Gaussians, capture: Capture, report: Reporter = SILENT) -> dict[str, Any]:
    """PSNR and SSIM of renders against photos, for `metrics.json`.

    Args:
        gaussians: Trained Gaussians.
        capture: Photos; those held out count, a few training photos are looked at for comparison.
        report: Receives the progress.

    Returns:
        `psnr` (dB) and `ssim`, means over the held-out photos (absent if none were held out); `train_psnr`
        and `train_ssim`, means over some training photos; `psnr_of_photo`, PSNR of every held-out photo by
        name.
    """
    sample = capture.train[:: max(1, len(capture.train) // TRAIN_SAMPLE)][:TRAIN_SAMPLE]
    scores: dict[str, list[tuple[float, float]]] = {"test": [], "train": []}
    with report.stage("Checking quality", len(capture.test) + len(sample), "photos") as bar:
        for split, views in (("test", capture.test), ("train", sample)):
            for view in views:
                picture = render(gaussians, view.camera).colors.clamp(0, 1)
                photo = torch.from_numpy(view.image()).float() / 255
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


@dataclass(eq=False)
class Training:
    """Everything that stays the same while the state changes."""

    capture: Capture
    settings: FitSettings
    extent: float
    densifier: Densifier
    photos: "Photos" = field(default_factory=lambda: Photos())

    @staticmethod
    def of(capture: Capture, settings: FitSettings) -> "Training":
        if not capture.train:
            raise CaptureError(f"{capture.root} has no training photos; shorten the list of test photos")
        if not len(capture.points):
            raise CaptureError(
                f"{capture.root} has no sparse points to start Gaussians from; export them with the poses"
            )
        return Training(capture, settings, scene_extent(capture), Densifier(settings, len(capture.points)))

    def begin(self) -> TrainingState:
        """The state before the first step."""
        capture, opacity = self.capture, self.settings.initial_opacity
        return TrainingState.begin(
            gaussians_at_points(capture.points, capture.points_rgb, opacity=opacity, extent=self.extent)
        )

    def step(self, state: TrainingState) -> float:
        """Look at one photo, improve the Gaussians; returns the PSNR before that."""
        settings, step = self.settings, state.step
        state.grow_sh(self.sh_degree(step))
        photo, camera = self.photos.at(self.view(step), self.divisor(step))
        leaves = Gaussians(*(getattr(state.gaussians, name).detach().requires_grad_() for name in NAMES))
        offset = torch.zeros(len(state), 2, requires_grad=True) if self.densifier.gathers(step) else None
        rendering = rasterize(
            leaves.means,
            leaves.quats,
            leaves.scales,
            leaves.opacities,
            leaves.sh,
            camera,
            sh_degree=leaves.sh_degree,
            background=self.background(step),
            means2d_offset=offset,
        )
        loss = photometric_loss(rendering.colors.detach().numpy(), photo, settings.lambda_dssim)
        penalty = settings.opacity_penalty * leaves.opacities.mean()
        penalty = penalty + settings.scale_penalty / self.extent * leaves.scales.mean()
        depth = sparse_depth_loss(rendering.depths.detach().numpy(), camera, self.capture.points)
        torch.autograd.backward(
            [rendering.colors, rendering.depths, penalty],
            [torch.from_numpy(loss.gradient), torch.from_numpy(settings.depth_weight * depth.gradient), None],
        )
        visible = rendering.radii > 0
        self.descend(state, leaves, visible.numpy())
        if offset is not None and offset.grad is not None:
            half_size = torch.tensor([camera.width / 2, camera.height / 2])
            state.gradient_sum += (offset.grad * half_size).norm(dim=1)
            state.seen += visible
        state.step += 1
        self.revise(state)
        return loss.psnr

    def descend(self, state: TrainingState, leaves: Gaussians, visible: np.ndarray) -> None:
        """One Adam step on every parameter of the Gaussians in view."""
        for name in NAMES:
            gradient = getattr(leaves, name).grad
            adam_step(
                getattr(state.gaussians, name),
                gradient,
                getattr(state.first, name),
                getattr(state.second, name),
                self.rates(name, state.step, state.gaussians.sh.shape[1]),
                visible,
                state.step,
            )

    def revise(self, state: TrainingState) -> None:
        """Add and remove Gaussians where the schedule says so."""
        if state.step == self.settings.fill_holes_at:
            fill_holes(state, self.small_photos(state.step), opacity=self.settings.initial_opacity)
        if self.densifier.due(state.step):
            self.densifier.revise(state)
        if state.step == self.densifier.last_step and self.settings.prune_weight > 0:
            cameras = (resized(view.camera, 2 * self.divisor(state.step)) for view in self.capture.train)
            state.keep(strongest_weights(state.gaussians, cameras) >= self.settings.prune_weight)

    def small_photos(self, step: int) -> Iterator[tuple[np.ndarray, Camera]]:
        """All training photos at a size that shows holes and little else, with their cameras."""
        for view in self.capture.train:
            photo, camera = self.photos.at(view, self.divisor(step))
            small = resized(camera, max(camera.width, camera.height) / HOLES_SIDE)
            yield cv2.resize(photo, (small.width, small.height), interpolation=cv2.INTER_AREA), small

    def rates(self, name: str, step: int, harmonics: int) -> np.ndarray:
        """Learning rate of every value in a row of a parameter."""
        settings = self.settings
        if name == "sh":
            rates = np.full((harmonics, 3), settings.sh_lr * SH_REST_FACTOR)
            rates[0] = settings.sh_lr
            return rates.reshape(-1)
        if name == "means":
            progress = step / settings.steps
            decay = (settings.means_lr_final / settings.means_lr) ** progress
            return np.full(3, settings.means_lr * decay * self.extent)
        rate = {
            "quats": settings.quats_lr,
            "log_scales": settings.scales_lr,
            "logit_opacities": settings.opacities_lr,
        }
        return np.full({"quats": 4, "log_scales": 3, "logit_opacities": 1}[name], rate[name])

    def view(self, step: int) -> View:
        """The view of a step: every view once an epoch, in an order that only seed and epoch decide."""
        epoch, index = divmod(step, len(self.capture.train))
        order = np.random.default_rng([self.settings.seed, epoch]).permutation(len(self.capture.train))
        return self.capture.train[order[index]]

    def background(self, step: int) -> Tensor | None:
        """Colour behind the Gaussians in a step."""
        if self.settings.background == "black":
            return None
        if self.settings.background == "white":
            return torch.ones(3)
        return torch.from_numpy(np.random.default_rng([self.settings.seed, step, 1]).random(3, np.float32))

    def sh_degree(self, step: int) -> int:
        """Degree of the harmonics that are trained in a step."""
        return min(self.settings.sh_degree, step // self.settings.sh_interval)

    def divisor(self, step: int) -> int:
        """By how much the photos are shrunk in a step."""
        share = step / self.settings.steps
        return [divisor for start, divisor in self.settings.resolutions if start <= share][-1]

    def work(self) -> list[int]:
        """Work done before each step and after the last, in millions of pixels; Gaussians count as pixels."""
        camera = self.capture.train[0].camera
        pixels = camera.width * camera.height
        steps = [
            pixels / self.divisor(step) ** 2 + PIXELS_A_GAUSSIAN * self.densifier.budget(step)
            for step in range(self.settings.steps)
        ]
        return np.ceil(np.concatenate([[0], np.cumsum(steps)]) / 1e6).astype(int).tolist()


@dataclass(eq=False)
class Photos:
    """Photos of the size in use, read when first needed."""

    divisor: int = 0
    held: dict[str, np.ndarray] = field(default_factory=dict)

    def at(self, view: View, divisor: int) -> tuple[np.ndarray, Camera]:
        """A photo shrunk by a divisor, uint8 [H, W, 3], and its camera."""
        if divisor != self.divisor:
            self.divisor, self.held = divisor, {}
        camera = resized(view.camera, divisor)
        if view.name not in self.held:
            image = view.image()
            if divisor > 1:
                image = cv2.resize(image, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
            self.held[view.name] = image
        return self.held[view.name], camera


def resized(camera: Camera, divisor: float) -> Camera:
    """The camera of a photo shrunk by a divisor."""
    return camera.resized(max(1, round(camera.width / divisor)), max(1, round(camera.height / divisor)))


class Average:
    """Mean of the latest values."""

    def __init__(self, window: int) -> None:
        self._values: deque[float] = deque(maxlen=window)

    def add(self, value: float) -> None:
        self._values.append(value)

    @property
    def value(self) -> float:
        return sum(self._values) / len(self._values)
