"""One step of training: the photo it looks at, what it learns, how it changes the set of Gaussians."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import cv2
import numpy as np
import torch
from torch import Tensor

from gags.capture import Capture, View
from gags.capture.camera import Camera
from gags.capture.masks import resized_kept
from gags.errors import CaptureError, SettingsError
from gags.gaussians import Gaussians, render
from gags.models.device import free_bytes
from gags.reconstruct import losses_cpu, losses_gpu
from gags.reconstruct.adam import adam_step
from gags.reconstruct.density import Densifier, floating, nearest_depths, strongest_weights
from gags.reconstruct.holes import SmallPhoto, fill_holes
from gags.reconstruct.photos import AHEAD, Photos, mask_of, resized, shrunk_kept
from gags.reconstruct.settings import ReconstructSettings
from gags.reconstruct.start import gaussians_at_points, scene_extent
from gags.reconstruct.state import PARAMETERS, TrainingState
from gags.render import Rendering
from gags.render.cuda_view import to_device

# Up to so many Gaussians, half the size shows what each of them adds to a photo. Of a million, several share
# each of its pixels: a fifth to a third of those that photos do show would count as hidden.
SEEN_AT_HALF_SIZE = 200_000
HOLES_SIDE = 120  # longest side of the pictures in which holes are looked for, px
SH_REST_FACTOR = 1 / 10  # learning rate of the higher harmonics against the base colour
FLOATS_A_NUMBER = 4  # that is learnt: itself, its gradient, Adam's two moments
DEPTH_POINTS = 20_000  # sparse points that guide depth; more would cost time and add nothing
# What a step costs beside its pixels, in pixels; measured, so that the progress bar keeps a steady pace.
PIXELS_A_GAUSSIAN = 5
PIXELS_A_STEP = 120_000
WARM_UP_GAUSSIANS = 1000  # enough to compile everything for
STEPS_A_PSNR = 10  # on a GPU, where reading a number waits for all that was queued before it
BACKGROUNDS_AT_ONCE = 256  # colours that are drawn and sent to the device together
TARGETS_KEPT = 256  # views whose sparse points stay on a GPU: 80 MB


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
        photos: Photos of the size in use, of which memory holds so many.
        device: Where the Gaussians are.
    """

    settings: ReconstructSettings
    views: list[View]
    points: np.ndarray
    points_rgb: np.ndarray
    extent: float
    nearest: list[float]
    densifier: Densifier
    photos: Photos = field(default_factory=Photos)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @staticmethod
    def of(capture: Capture, settings: ReconstructSettings, device: torch.device | str = "cpu") -> "Training":
        """Prepare training on the training photos of a capture; see `train_gaussians` for the errors."""
        if not capture.train:
            raise CaptureError(f"{capture.root} has no training photos; shorten the list of test photos")
        if not len(capture.points):
            raise CaptureError(
                f"{capture.root} has no sparse points to start Gaussians from; export them with the poses"
            )
        _check_memory(settings, torch.device(device))
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

    def begin(self, most: int | None = None) -> TrainingState:
        """The state before the first step; with `most`, of the first of the Gaussians alone."""
        points, rgb, opacity = self.points[:most], self.points_rgb[:most], self.settings.initial_opacity
        gaussians = gaussians_at_points(points, rgb, opacity=opacity, extent=self.extent)
        return TrainingState.begin(gaussians.to(self.device))

    def warm_up(self) -> None:
        """Do a step and a pruning whose results are thrown away, so that all kernels are compiled."""
        state = self.begin(WARM_UP_GAUSSIANS)
        self.step(state)
        strongest_weights(state.gaussians, [resized(self.views[0].camera, 16)])

    def step(self, state: TrainingState) -> float | None:
        """Improve the Gaussians by one photo; returns the PSNR before, or None if not computed."""
        step = state.step
        state.grow_sh(self.sh_degree(step))
        on_cpu = self.device.type == "cpu"
        photo, camera = self.photos.at(self.view(step), self.divisor(step), here=on_cpu)
        coming = range(step + 1, min(step + 1 + AHEAD, self.settings.steps))
        self.photos.expect((self.view(later), self.divisor(later)) for later in coming)
        leaves = Gaussians(*(getattr(state.gaussians, name).detach().requires_grad_() for name in PARAMETERS))
        offset = self.screen_offset(state) if self.densifier.gathers(step) else None
        rendering = render(leaves, camera, background=self.background(step), means2d_offset=offset)
        kept = self.photos.kept(self.view(step))
        psnr, gradients = self.gradients(rendering, photo, camera, step, kept)
        torch.autograd.backward([rendering.colors, rendering.depths], gradients)
        visible = rendering.radii > 0
        self.descend(state, leaves, visible)
        if offset is not None and offset.grad is not None:
            half_size = _half_size(camera.width, camera.height, self.device)
            pull = (offset.grad * half_size).norm(dim=1)
            state.gradient_sum += pull
            # What only ignored pixels show gets no gradient, and was not seen: its mean gradient stays right.
            state.seen += visible if kept is None else visible & (pull > 0)
        state.step += 1
        self.revise(state)
        return psnr

    def screen_offset(self, state: TrainingState) -> Tensor:
        """Zeros that receive the screen-space gradient. [N, 2]"""
        return torch.zeros(len(state), 2, device=self.device, requires_grad=True)

    def gradients(
        self,
        rendering: Rendering,
        photo: np.ndarray,
        camera: Camera,
        step: int,
        kept: np.ndarray | None = None,
    ) -> tuple[float | None, list[Tensor]]:
        """PSNR, and the gradients of the loss by the rendered colours [H, W, 3] and depths [H, W].

        Pixels that are not kept have no gradient.
        """
        settings, colors, depths = self.settings, rendering.colors.detach(), rendering.depths.detach()
        if self.device.type == "cpu":
            loss = losses_cpu.photometric_loss(colors.numpy(), photo, settings.lambda_dssim, kept)
            g_depths = losses_cpu.sparse_depth_loss(depths.numpy(), camera, self.depth_points, kept).gradient
            g_depths = torch.from_numpy(settings.depth_weight * g_depths)
            return loss.psnr, [torch.from_numpy(loss.gradient), g_depths]
        name = self.view(step).name
        photo_there, kept_there = self.photos.on_device(name, photo, self.device), None
        if kept is not None:
            kept_there = self.photos.on_device(mask_of(name), kept, self.device)
        g_colors = losses_gpu.photometric_gradient(colors, photo_there, settings.lambda_dssim, kept_there)
        targets = self.depth_targets(self.view(step).name, self.divisor(step))
        g_depths = losses_gpu.sparse_depth_gradient(depths, targets, settings.depth_weight)
        wanted = step % STEPS_A_PSNR == 0
        psnr = float(losses_gpu.psnr(colors, photo_there, kept_there)) if wanted else None
        return psnr, [g_colors, g_depths]

    def descend(self, state: TrainingState, leaves: Gaussians, visible: Tensor) -> None:
        """One Adam step on every parameter of the Gaussians in view."""
        for name in PARAMETERS:
            adam_step(
                getattr(state.gaussians, name),
                gradient=getattr(leaves, name).grad,
                first=getattr(state.first, name),
                second=getattr(state.second, name),
                rates=self.rates(name, state.step, state.gaussians.sh.shape[1]),
                visible=visible,
                step=state.step,
            )

    @property
    def depth_points(self) -> np.ndarray:
        """The sparse points that depth is compared with. [G, 3]"""
        return self.points[:: max(1, len(self.points) // DEPTH_POINTS)]

    @cached_property
    def depth_targets(self) -> Callable[[str, int], losses_gpu.DepthTargets]:
        """Those of a view, by its name, at the size of a divisor; on a GPU, where those used last stay."""
        views = {view.name: view for view in self.views}

        @lru_cache(TARGETS_KEPT)
        def of(name: str, divisor: int) -> losses_gpu.DepthTargets:
            camera, kept = resized(views[name].camera, divisor), shrunk_kept(views[name], divisor)
            return losses_gpu.DepthTargets.of(camera, self.depth_points, self.device, kept)

        return of

    def revise(self, state: TrainingState) -> None:
        """Add and remove Gaussians where the schedule says so."""
        if state.step == self.settings.fill_holes_at:
            fill_holes(state, self.small_photos(state.step), opacity=self.settings.initial_opacity)
        if self.settings.prune_floaters and state.step % self.settings.densify_every == 0:
            cameras = [view.camera for view in self.views]
            floats = floating(state.gaussians.means, cameras, self.nearest)
            state.keep(~floats, "all hover before a camera, nearer than the sparse points")
        if self.densifier.due(state.step):
            self.densifier.revise(state)
        if state.step == self.densifier.last_step and self.settings.prune_weight > 0:
            divisor = self.divisor(state.step) * (2 if len(state.gaussians) <= SEEN_AT_HALF_SIZE else 1)
            cameras = (resized(view.camera, divisor) for view in self.views)
            kept = (shrunk_kept(view, divisor) for view in self.views)
            strongest = strongest_weights(state.gaussians, cameras, kept)
            state.keep(strongest >= self.settings.prune_weight, "no photo shows any of them")

    def small_photos(self, step: int) -> Iterator[SmallPhoto]:
        """All training photos at a size that shows holes and little else."""
        divisor = self.divisor(step)
        for number, view in enumerate(self.views):
            photo, camera = self.photos.at(view, divisor)
            self.photos.expect((later, divisor) for later in self.views[number + 1 : number + 1 + AHEAD])
            small = resized(camera, max(camera.width, camera.height) / HOLES_SIDE)
            kept = self.photos.kept(view)
            yield (
                cv2.resize(photo, (small.width, small.height), interpolation=cv2.INTER_AREA),
                small,
                None if kept is None else resized_kept(kept, small.width, small.height),
            )

    def rates(self, name: str, step: int, harmonics: int) -> np.ndarray:
        """Learning rate of every value in a row of a parameter."""
        settings = self.settings
        if name == "sh":
            rates = np.full((harmonics, 3), settings.sh_lr * SH_REST_FACTOR)
            rates[0] = settings.sh_lr
            return rates.reshape(-1)
        if name == "means":
            done = step / settings.steps
            decay = (settings.means_lr_final / settings.means_lr) ** done
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
        first = step // BACKGROUNDS_AT_ONCE * BACKGROUNDS_AT_ONCE
        return _backgrounds(self.settings.seed, first, self.device)[step - first]

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


def _check_memory(settings: ReconstructSettings, device: torch.device) -> None:
    """Refuse a number of Gaussians that memory cannot hold: it would run out after hours.

    Raises:
        SettingsError: If it cannot.
    """
    floats = 11 + 3 * (settings.sh_degree + 1) ** 2  # centre, rotation, scale, opacity; harmonics
    each, free = floats * FLOATS_A_NUMBER * 4, free_bytes(device)
    if settings.max_gaussians * each > free:
        raise SettingsError(
            settings.named("max_gaussians"),
            f"{settings.max_gaussians} may take {settings.max_gaussians * each / 1e9:.1f} GB, and "
            f"{free / 1e9:.1f} GB are free; set at most {free // each}",
        )


@lru_cache(2)
@torch.inference_mode(False)  # what is kept may be used in training later
def _backgrounds(seed: int, first: int, device: torch.device) -> Tensor:
    """Random colours for the steps from the first on, sent to the device together. float32 [S, 3]"""
    steps = range(first, first + BACKGROUNDS_AT_ONCE)
    colors = [np.random.default_rng([seed, step, 1]).random(3, np.float32) for step in steps]
    return to_device(np.stack(colors), device)


@lru_cache
@torch.inference_mode(False)  # what is kept may be used in training later
def _half_size(width: int, height: int, device: torch.device) -> Tensor:
    """Half of a picture's size, px, on a device to which it is sent once. float32 [2]"""
    return to_device(np.array([width / 2, height / 2], np.float32), device)
