"""One training run: what a step looks at, learns and changes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np
import torch
from torch import Tensor

from gags.capture import Capture, View
from gags.capture.camera import Camera
from gags.errors import CaptureError
from gags.gaussians import Gaussians, render
from gags.models.device import free_bytes
from gags.reconstruct import density
from gags.reconstruct import losses_gpu as gpu_steps
from gags.reconstruct.adam import adam_step
from gags.reconstruct.density import Densifier, nearest_depths
from gags.reconstruct.depth import sparse_depth_loss
from gags.reconstruct.holes import fill_holes
from gags.reconstruct.losses_cpu import photometric_loss
from gags.reconstruct.settings import ReconstructSettings
from gags.reconstruct.start import gaussians_at_points, scene_extent
from gags.reconstruct.state import NAMES, TrainingState
from gags.render import Rendering

HOLES_SIDE = 120  # longest side of the pictures in which holes are looked for, px
SH_REST_FACTOR = 1 / 10  # learning rate of the higher harmonics against the base colour
DEPTH_POINTS = 20_000  # sparse points that guide depth; more would cost time and tell nothing new
# What a step costs beside its pixels, in pixels; measured, so that the progress bar keeps a steady pace.
PIXELS_A_GAUSSIAN = 5
PIXELS_A_STEP = 120_000
STEPS_A_PSNR = 10  # on a GPU: to ask for a number is to wait for all that was queued before it
PHOTOS_SHARE = 0.25  # of a GPU's free memory that photos may stay in


@dataclass(eq=False)
class Training:
    """Everything that stays the same while the state changes.

    Attributes:
        settings: How to train.
        views: The training views.
        points: Sparse points that Gaussians start from, at most as many as there may be Gaussians. [P, 3]
        points_rgb: Their colours. uint8 [P, 3]
        extent: Scene extent, world units.
        nearest: How near to each view the sparse points come, world units.
        densifier: Adds and removes Gaussians.
        photos: Photos of the size in use.
        device: Where the Gaussians are.
    """

    settings: ReconstructSettings
    views: list[View]
    points: np.ndarray
    points_rgb: np.ndarray
    extent: float
    nearest: list[float]
    densifier: Densifier
    photos: "Photos" = field(default_factory=lambda: Photos())
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @staticmethod
    def of(capture: Capture, settings: ReconstructSettings, device: torch.device | str = "cpu") -> "Training":
        """Prepare training on the training photos of a capture; see `fit` for the errors."""
        if not capture.train:
            raise CaptureError(f"{capture.root} has no training photos; shorten the list of test photos")
        if not len(capture.points):
            raise CaptureError(
                f"{capture.root} has no sparse points to start Gaussians from; export them with the poses"
            )
        chosen = np.random.default_rng(settings.seed).permutation(len(capture.points))
        chosen = np.sort(chosen[: settings.max_gaussians])
        points, points_rgb = capture.points[chosen], capture.points_rgb[chosen]
        return Training(
            settings,
            capture.train,
            points,
            points_rgb,
            extent=scene_extent(capture),
            nearest=nearest_depths(points, [view.camera for view in capture.train]),
            densifier=Densifier(settings, len(points)),
            device=torch.device(device),
        )

    def begin(self) -> TrainingState:
        """The state before the first step."""
        opacity = self.settings.initial_opacity
        gaussians = gaussians_at_points(self.points, self.points_rgb, opacity=opacity, extent=self.extent)
        return TrainingState.begin(gaussians.to(self.device))

    def rehearse(self) -> None:
        """Go through a step and a pruning whose results are thrown away, so that all kernels are compiled."""
        state = self.begin()
        self.step(state)
        self.strongest_weights(state, [resized(self.views[0].camera, 16)])

    @property
    def on_cpu(self) -> bool:
        """Whether the CPU's own kernels can be used."""
        return self.device.type == "cpu"

    def step(self, state: TrainingState) -> float | None:
        """Look at one photo, improve the Gaussians; returns the PSNR before that, if it was asked for."""
        step = state.step
        state.grow_sh(self.sh_degree(step))
        photo, camera = self.photos.at(self.view(step), self.divisor(step))
        leaves = Gaussians(*(getattr(state.gaussians, name).detach().requires_grad_() for name in NAMES))
        offset = self.offset(state) if self.densifier.gathers(step) else None
        rendering = render(
            leaves,
            camera,
            background=self.background(step),
            means2d_offset=offset,
        )
        psnr, slopes = self.slopes(rendering, photo, camera, step)
        torch.autograd.backward([rendering.colors, rendering.depths], slopes)
        visible = rendering.radii > 0
        self.descend(state, leaves, visible)
        if offset is not None and offset.grad is not None:
            half_size = offset.new_tensor([camera.width / 2, camera.height / 2])
            state.gradient_sum += (offset.grad * half_size).norm(dim=1)
            state.seen += visible
        state.step += 1
        self.revise(state)
        return psnr

    def offset(self, state: TrainingState) -> Tensor:
        """Zeros that receive the screen-space gradient. [N, 2]"""
        return torch.zeros(len(state), 2, device=self.device, requires_grad=True)

    def slopes(
        self, rendering: Rendering, photo: np.ndarray, camera: Camera, step: int
    ) -> tuple[float | None, list[Tensor]]:
        """PSNR, and the slopes of the loss at the rendered colours [H, W, 3] and depths [H, W]."""
        settings, colors, depths = self.settings, rendering.colors.detach(), rendering.depths.detach()
        if self.on_cpu:
            loss = photometric_loss(colors.numpy(), photo, settings.lambda_dssim)
            slope = sparse_depth_loss(depths.numpy(), camera, self.guides).gradient
            slopes = [torch.from_numpy(loss.gradient), torch.from_numpy(settings.depth_weight * slope)]
            return loss.psnr, slopes
        there = self.photos.on_device(self.view(step).name, self.device, len(self.views))
        psnr, slope = gpu_steps.photometric_loss(colors, there, settings.lambda_dssim)
        towards_points = gpu_steps.sparse_depth_slope(depths, camera, self.guides_there)
        asked = step % STEPS_A_PSNR == 0
        return float(psnr) if asked else None, [slope, settings.depth_weight * towards_points]

    def descend(self, state: TrainingState, leaves: Gaussians, visible: Tensor) -> None:
        """One Adam step on every parameter of the Gaussians in view."""
        for name in NAMES:
            moments = getattr(state.first, name), getattr(state.second, name)
            rates = self.rates(name, state.step, state.gaussians.sh.shape[1])
            values, gradient = getattr(state.gaussians, name), getattr(leaves, name).grad
            if self.on_cpu:
                adam_step(values, gradient, *moments, rates, visible.numpy(), state.step)
            else:
                gpu_steps.adam_step(values, gradient, *moments, rates, visible, state.step)

    @property
    def guides(self) -> np.ndarray:
        """The sparse points that depth is compared with. [G, 3]"""
        return self.points[:: max(1, len(self.points) // DEPTH_POINTS)]

    @cached_property
    def guides_there(self) -> Tensor:
        """The same on the device of the Gaussians. float64 [G, 3]"""
        return torch.from_numpy(self.guides.astype(np.float64)).to(self.device)

    def revise(self, state: TrainingState) -> None:
        """Add and remove Gaussians where the schedule says so."""
        if state.step == self.settings.fill_holes_at:
            fill_holes(state, self.small_photos(state.step), opacity=self.settings.initial_opacity)
        if self.settings.prune_floaters and state.step % self.settings.densify_every == 0:
            state.keep(~self.floating(state))
        if self.densifier.due(state.step):
            self.densifier.revise(state)
        if state.step == self.densifier.last_step and self.settings.prune_weight > 0:
            cameras = (resized(view.camera, 2 * self.divisor(state.step)) for view in self.views)
            state.keep(self.strongest_weights(state, cameras) >= self.settings.prune_weight)

    def floating(self, state: TrainingState) -> Tensor:
        """Which Gaussians hover right before a camera. bool [N]"""
        found = density.floating if self.on_cpu else gpu_steps.floating
        return found(state.gaussians.means, [view.camera for view in self.views], self.nearest)

    def strongest_weights(self, state: TrainingState, cameras: Iterable[Camera]) -> Tensor:
        """Largest blending weight of every Gaussian over all pixels of some cameras. [N]"""
        found = density.strongest_weights if self.on_cpu else gpu_steps.strongest_weights
        return found(state.gaussians, cameras)

    def small_photos(self, step: int) -> Iterator[tuple[np.ndarray, Camera]]:
        """All training photos at a size that shows holes and little else, with their cameras."""
        for view in self.views:
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
        epoch, index = divmod(step, len(self.views))
        order = np.random.default_rng([self.settings.seed, epoch]).permutation(len(self.views))
        return self.views[order[index]]

    def background(self, step: int) -> Tensor | None:
        """Colour behind the Gaussians in a step."""
        if self.settings.background == "black":
            return None
        if self.settings.background == "white":
            return torch.ones(3, device=self.device)
        color = np.random.default_rng([self.settings.seed, step, 1]).random(3, np.float32)
        return torch.from_numpy(color).to(self.device)

    def sh_degree(self, step: int) -> int:
        """Degree of the harmonics that are trained in a step."""
        return min(self.settings.sh_degree, int(step / self.settings.steps / self.settings.sh_interval))

    def divisor(self, step: int) -> int:
        """By how much the photos are shrunk in a step."""
        share = step / self.settings.steps
        return [divisor for start, divisor in self.settings.resolutions if start <= share][-1]

    def work(self) -> list[int]:
        """Work done before each step and after the last, in millions of pixels."""
        camera = self.views[0].camera
        pixels = camera.width * camera.height
        steps = [
            pixels / self.divisor(step) ** 2 + PIXELS_A_GAUSSIAN * self.densifier.budget(step) + PIXELS_A_STEP
            for step in range(self.settings.steps)
        ]
        return np.ceil(np.concatenate([[0], np.cumsum(steps)]) / 1e6).astype(int).tolist()


@dataclass(eq=False)
class Photos:
    """Photos of the size in use, read when first needed."""

    divisor: int = 0
    held: dict[str, np.ndarray] = field(default_factory=dict)
    there: dict[str, Tensor] = field(default_factory=dict)  # those that stay on a GPU

    def at(self, view: View, divisor: int) -> tuple[np.ndarray, Camera]:
        """A photo shrunk by a divisor, uint8 [H, W, 3], and its camera."""
        if divisor != self.divisor:
            self.divisor, self.held, self.there = divisor, {}, {}
        camera = resized(view.camera, divisor)
        if view.name not in self.held:
            image = view.image()
            if divisor > 1:
                image = cv2.resize(image, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
            self.held[view.name] = image
        return self.held[view.name], camera

    def on_device(self, name: str, device: torch.device, count: int) -> Tensor:
        """A photo that `at` has read, on a GPU; kept there if all `count` photos of its size may be."""
        if name in self.there:
            return self.there[name]
        photo = torch.from_numpy(self.held[name]).to(device)
        if photo.numel() * (count - len(self.there)) < PHOTOS_SHARE * free_bytes(device):
            self.there[name] = photo
        return photo


def resized(camera: Camera, divisor: float) -> Camera:
    """The camera of a photo shrunk by a divisor."""
    return camera.resized(max(1, round(camera.width / divisor)), max(1, round(camera.height / divisor)))
