"""3D Gaussians as plain tensors, stored the way 3DGS files store them, and how a camera sees them."""

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from gags.capture.camera import Camera
from gags.progress import part
from gags.render import Backend, BlendWeights, Rendering, rasterize
from gags.render import blend_weights as blend_weights_of_tensors
from gags.render import keep_view as keep_view_of_tensors
from gags.render import largest_weights as largest_weights_of_tensors

SH_C0 = 0.28209479177387814  # Y of degree 0, 1 / (2 √π): colour = ½ + C0 · coefficient (Kerbl et al. 2023)


@dataclass(eq=False)
class Gaussians:
    """A set of N Gaussians; values before activation, so that reading and writing a file loses nothing.

    Attributes:
        means: Centres in world units. [N, 3]
        quats: Rotations as wxyz quaternions, not necessarily normalised. [N, 4]
        log_scales: Natural logarithms of the standard deviations along the axes. [N, 3]
        logit_opacities: Opacities before the sigmoid. [N]
        sh: Spherical-harmonic colour coefficients, DC first; K = (degree + 1)². [N, K, 3]
    """

    means: Tensor
    quats: Tensor
    log_scales: Tensor
    logit_opacities: Tensor
    sh: Tensor

    def __len__(self) -> int:
        return self.means.shape[0]

    @property
    def scales(self) -> Tensor:
        """Standard deviations in world units. [N, 3]"""
        return self.log_scales.exp()

    @property
    def opacities(self) -> Tensor:
        """Opacities in (0, 1). [N]"""
        return self.logit_opacities.sigmoid()

    @property
    def sh_degree(self) -> int:
        """Degree of the spherical harmonics held, 0 to 3."""
        return round(self.sh.shape[1] ** 0.5) - 1

    def to(self, device: torch.device | str) -> "Gaussians":
        """The same Gaussians on another device."""
        return Gaussians(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    def __getitem__(self, index: Tensor) -> "Gaussians":
        """A subset, by boolean mask [N] or by indices, in the order of the index."""
        return Gaussians(**{f.name: getattr(self, f.name)[index] for f in fields(self)})


TOP_K = 16  # Gaussians kept a pixel: the rest holds next to nothing of its weight


def render(
    gaussians: Gaussians,
    camera: Camera,
    values: Tensor | None = None,
    *,
    background: Tensor | None = None,
    means2d_offset: Tensor | None = None,
    backend: Backend = "auto",
) -> Rendering:
    """Render Gaussians into one view, differentiable in their tensors and in `values`.

    Args:
        gaussians: The N Gaussians.
        camera: View to render.
        values: What to blend instead of their colours, such as features or relevancies. [N, C]
        background: Value behind everything, [C]; None is black (0).
        means2d_offset: Added to the projected centres, in px, for screen-space gradients. [N, 2]
        backend: "auto" takes the fastest one for the device of the Gaussians.

    Returns:
        Colours or values, expected depth, alpha and screen radii.

    Raises:
        ValueError: If shapes or devices do not fit each other.
        GagsError: If the backend asked for does not work here.
    """
    with part("rendering"):
        return rasterize(
            gaussians.means,
            gaussians.quats,
            gaussians.scales,
            gaussians.opacities,
            colors=gaussians.sh if values is None else values,
            camera=camera,
            sh_degree=gaussians.sh_degree if values is None else None,
            background=background,
            means2d_offset=means2d_offset,
            backend=backend,
        )


def blend_weights(
    gaussians: Gaussians, camera: Camera, pixels: Tensor, *, top_k: int = TOP_K, backend: Backend = "auto"
) -> BlendWeights:
    """The Gaussians that make up chosen pixels, and their blending weights w = αT (no gradient).

    Args:
        gaussians: The N Gaussians.
        camera: View the pixels belong to.
        pixels: Column and row of each pixel. int64 [P, 2] (x, y)
        top_k: How many Gaussians to keep a pixel, those of largest weight.
        backend: "auto" takes the fastest one for the device of the Gaussians.

    Returns:
        Indices, weights and total alpha of the P pixels, in their order.

    Raises:
        ValueError: If a pixel lies outside the image, or shapes or devices do not fit each other.
        GagsError: If the backend asked for does not work here.
    """
    return blend_weights_of_tensors(
        gaussians.means,
        gaussians.quats,
        gaussians.scales,
        gaussians.opacities,
        camera=camera,
        pixels=pixels,
        top_k=top_k,
        backend=backend,
    )


def keep_view(
    gaussians: Gaussians, camera: Camera, *, backend: Backend = "auto"
) -> Callable[[Tensor], Rendering]:
    """What renders values [N, C] of the Gaussians into one view, as `render` does, but faster from then on.

    Args:
        gaussians: The N Gaussians; must not change after.
        camera: The view.
        backend: "auto" takes the fastest one for the device of the Gaussians.

    Raises:
        ValueError: If shapes or devices do not fit each other.
        GagsError: If the backend asked for does not work here.
    """
    return keep_view_of_tensors(
        gaussians.means,
        gaussians.quats,
        gaussians.scales,
        gaussians.opacities,
        camera=camera,
        backend=backend,
    )


def largest_weights(
    gaussians: Gaussians, camera: Camera, *, places: Tensor | None = None, backend: Backend = "auto"
) -> Tensor:
    """Largest blending weight of every Gaussian over the pixels of a view, 0 for what is not seen.

    Args:
        gaussians: N Gaussians.
        camera: The view.
        places: Row · width + column of the pixels that count; None for all. int64 [P]
        backend: "auto" takes the fastest one for the device of the Gaussians.

    Returns:
        Weights in [0, 1]. float32 [N]
    """
    return largest_weights_of_tensors(
        gaussians.means,
        gaussians.quats,
        gaussians.scales,
        gaussians.opacities,
        camera=camera,
        places=places,
        backend=backend,
    )
