"""Rasterisation of 3D Gaussians: one signature, three backends, chosen by device.

- `reference`: plain PyTorch, the truth that the others are tested against.
- `cpu`: Numba kernels (`kernels`).
- `cuda`: gsplat.

`gags.gaussians.render` and `blend_weights` take a whole set of Gaussians; here are its tensors.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Literal

import torch
from torch import Tensor

from gags.capture.camera import Camera
from gags.errors import GagsError
from gags.render.types import BlendWeights, Rendering

Backend = Literal["auto", "reference", "cpu", "cuda"]

__all__ = [
    "Backend",
    "BlendWeights",
    "Rendering",
    "blend_weights",
    "keep_view",
    "largest_weights",
    "rasterize",
]


def rasterize(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    camera: Camera,
    *,
    sh_degree: int | None = None,
    background: Tensor | None = None,
    means2d_offset: Tensor | None = None,
    backend: Backend = "auto",
) -> Rendering:
    """Render Gaussians into one view (Kerbl et al. 2023), differentiable in every tensor argument.

    Args:
        means: Centres, world units. [N, 3]
        quats: Rotations wxyz; normalised inside. [N, 4]
        scales: Standard deviations, world units (already activated). [N, 3]
        opacities: In (0, 1) (already activated). [N]
        colors: Colours or features [N, C], or spherical harmonics [N, K, 3] if `sh_degree` is given.
        camera: View to render.
        sh_degree: Degree of the harmonics to use, 0 to 3; None if `colors` are final.
        background: Colour behind everything. [C]; None is black.
        means2d_offset: Added to the projected centres, in px; pass zeros that require grad to receive
            the screen-space gradient that densification needs. [N, 2]
        backend: "auto" takes the fastest one for the device of `means`.

    Returns:
        Colours, expected depth, alpha and screen radii.

    Raises:
        ValueError: If shapes or devices do not fit each other.
        GagsError: If the backend asked for does not work here.
    """
    _check(
        means,
        quats,
        scales,
        opacities,
        colors=colors,
        background=background,
        means2d_offset=means2d_offset,
    )
    _check_colors(len(means), colors, sh_degree, background, means2d_offset)
    return _load(backend, means.device).rasterize(
        means,
        quats,
        scales,
        opacities,
        colors=colors,
        camera=camera,
        sh_degree=sh_degree,
        background=background,
        means2d_offset=means2d_offset,
    )


def blend_weights(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    camera: Camera,
    pixels: Tensor,
    *,
    top_k: int = 16,
    backend: Backend = "auto",
) -> BlendWeights:
    """The Gaussians that make up chosen pixels and their blending weights w = αT (no gradient).

    Args:
        means: Centres, world units. [N, 3]
        quats: Rotations wxyz. [N, 4]
        scales: Standard deviations, world units. [N, 3]
        opacities: In (0, 1). [N]
        camera: View the pixels belong to.
        pixels: Column and row of each pixel. int64 [P, 2] (x, y)
        top_k: How many Gaussians to keep a pixel, those of largest weight.
        backend: "auto" takes the fastest one for the device of `means`.

    Returns:
        Indices, weights and total alpha of the P pixels, in their order.

    Raises:
        ValueError: If a pixel lies outside the image, or shapes or devices do not fit each other.
        GagsError: If the backend asked for does not work here.
    """
    _check(means, quats, scales, opacities, pixels=pixels)
    if top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}")
    if pixels.ndim != 2 or pixels.shape[1] != 2:
        raise ValueError(f"pixels must be [P, 2] (x, y), got {tuple(pixels.shape)}")
    x, y = pixels.unbind(1)
    if ((x < 0) | (y < 0) | (x >= camera.width) | (y >= camera.height)).any():
        raise ValueError(f"pixels must lie inside the {camera.width}x{camera.height} image")
    return _load(backend, means.device).blend_weights(
        means, quats, scales, opacities, camera=camera, pixels=pixels, top_k=top_k
    )


def largest_weights(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    camera: Camera,
    *,
    places: Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    """Largest blending weight w = αT of every Gaussian over the pixels of a view (no gradient).

    The CPU's backend looks at the 8 strongest Gaussians of each pixel only: a Gaussian that is nowhere among
    these has weights below 1/9, and counts as 0.

    Args:
        means: Centres, world units. [N, 3]
        quats: Rotations wxyz. [N, 4]
        scales: Standard deviations, world units. [N, 3]
        opacities: In (0, 1). [N]
        camera: The view.
        places: Row · width + column of the pixels that count; None for all. int64 [P]
        backend: "auto" takes the fastest one for the device of `means`.

    Returns:
        Weights in [0, 1], 0 for what is not seen. float32 [N]

    Raises:
        ValueError: If shapes or devices do not fit each other.
        GagsError: If the backend asked for does not work here.
    """
    _check(means, quats, scales, opacities, places=places)
    chosen = {} if places is None else {"places": places}
    return _load(backend, means.device).largest_weights(
        means, quats, scales, opacities, camera=camera, **chosen
    )


def keep_view(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    camera: Camera,
    *,
    backend: Backend = "auto",
) -> Callable[[Tensor], Rendering]:
    """Project Gaussians into one view and list them by tile, once for all values that are blended there.

    Args:
        means: Centres, world units. [N, 3]
        quats: Rotations wxyz. [N, 4]
        scales: Standard deviations, world units. [N, 3]
        opacities: In (0, 1). [N]
        camera: The view.
        backend: "auto" takes the fastest one for the device of `means`.

    Returns:
        What renders values [N, C], as `rasterize` does on black, without gradients.

    Raises:
        ValueError: If shapes or devices do not fit each other.
        GagsError: If the backend asked for does not work here.
    """
    _check(means, quats, scales, opacities)
    module = _load(backend, means.device)
    if not hasattr(module, "keep_view"):  # a backend that keeps nothing
        return lambda values: rasterize(means, quats, scales, opacities, values, camera, backend=backend)
    blended = module.keep_view(means, quats, scales, opacities, camera=camera)

    def checked(values: Tensor) -> Rendering:
        _check(means, quats, scales, opacities, values=values)
        _check_colors(len(means), values, None, None, None)
        return blended(values)

    return checked


def _load(backend: Backend, device: torch.device) -> ModuleType:
    """The module of a backend, imported only when it is used: Numba and gsplat are slow to import."""
    if backend == "auto":
        backend = "cuda" if device.type == "cuda" else "cpu"
    if backend not in ("reference", "cpu", "cuda"):
        raise ValueError(f"backend must be auto, reference, cpu or cuda, got {backend!r}")
    if backend in ("cpu", "cuda") and device.type != backend:
        raise GagsError(f"the {backend} rasteriser needs tensors on {backend}, these are on {device}")
    if backend == "reference":
        from gags.render import reference as module
    elif backend == "cpu":
        from gags.render import cpu as module
    else:
        from gags.render import cuda as module
    return module


def _check(means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, **more: Tensor | None) -> None:
    """Check shapes and devices of the Gaussians, and the devices of the other tensors."""
    n = means.shape[0]
    tensors = {"means": means, "quats": quats, "scales": scales, "opacities": opacities}
    shapes = {"means": (n, 3), "quats": (n, 4), "scales": (n, 3), "opacities": (n,)}
    for name, shape in shapes.items():
        _check_shape(name, tensors[name], shape)
    for name, tensor in (tensors | more).items():
        if tensor is not None and tensor.device != means.device:
            raise ValueError(f"{name} is on {tensor.device}, but means are on {means.device}")


def _check_colors(
    n: int, colors: Tensor, sh_degree: int | None, background: Tensor | None, means2d_offset: Tensor | None
) -> None:
    if sh_degree is None:
        if colors.ndim != 2 or colors.shape[0] != n or colors.shape[1] == 0:
            raise ValueError(f"colors must be [{n}, C] without sh_degree, got {list(colors.shape)}")
    elif not 0 <= sh_degree <= 3:
        raise ValueError(f"sh_degree must be 0, 1, 2 or 3, got {sh_degree}")
    elif (
        colors.ndim != 3
        or colors.shape[0] != n
        or colors.shape[1] < (sh_degree + 1) ** 2
        or colors.shape[2] != 3
    ):
        raise ValueError(
            f"colors must be [{n}, K >= {(sh_degree + 1) ** 2}, 3] for sh_degree {sh_degree}, "
            f"got {list(colors.shape)}"
        )
    if background is not None:
        _check_shape("background", background, (colors.shape[-1],))
    if means2d_offset is not None:
        _check_shape("means2d_offset", means2d_offset, (n, 2))


def _check_shape(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} must have shape {list(shape)}, got {list(tensor.shape)}")
