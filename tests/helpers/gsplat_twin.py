"""gsplat's own Python on the CPU: its compiled module is replaced by plain PyTorch.

    with gsplat_on_cpu() as kernels: …

Asserts, padding and autograd functions are those of the package; only what its CUDA code computes is
computed here, by the readable twins that gsplat brings along (`_torch_impl`) and a compositor of our own.
Where the CUDA code is stricter or looser than PyTorch, so is this: inputs must be contiguous and float32,
only some widths have a kernel, and memory of Gaussians that are not in the picture is never written, which
NaN stands for.

It cannot show what only a GPU does: rounding of its fast maths, the order of atomic sums, memory, speed.
"""

import importlib
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from gags.render.types import MAX_ALPHA, MIN_ALPHA, MIN_TRANSMITTANCE

WIDTHS = (1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 64, 65, 128, 129, 256, 257, 512, 513)  # that have a kernel
NEVER_WRITTEN = float("nan")
FAR = 3.33  # standard deviations beyond which a Gaussian is not listed, however opaque

# What a call starts on a GPU: its own kernels, zeros that it fills, a running sum, a radix sort of 48 bits.
LAUNCHES = {
    "projection_ewa_3dgs_fused_fwd": 1,
    "projection_ewa_3dgs_fused_bwd": 4,
    "spherical_harmonics_fwd": 1,
    "spherical_harmonics_bwd": 3,
    "intersect_tile": 2 + 1 + 8,
    "intersect_offset": 1,
    "rasterize_to_pixels_3dgs_fwd": 1,
    "rasterize_to_pixels_3dgs_bwd": 5,
    "rasterize_to_indices_3dgs": 2 + 3,
    "adam": 1,
}
WAITS = ("intersect_tile", "rasterize_to_indices_3dgs")  # read back how many entries they need memory for


_OURS: dict[str, ModuleType] = {}  # the package as it is imported here


@contextmanager
def gsplat_on_cpu() -> Iterator["Kernels"]:
    """While it is entered, gsplat takes tensors on the CPU; what is compiled is neither loaded nor built.

    Before and after, the package is as it was: imported or not, with the kernels of a GPU or without.
    """
    before, kernels = _taken_out(), Kernels()
    sys.modules.update(_OURS)
    sys.modules.pop("gsplat.cuda._backend", None)
    try:
        package = importlib.import_module("gsplat")
        package.csrc = sys.modules["gsplat.csrc"] = kernels  # as a wheel with kernels has it
        importlib.import_module("gsplat.cuda._backend")
        yield kernels
    finally:
        _OURS.update(_taken_out())
        sys.modules.update(before)


def _taken_out() -> dict[str, ModuleType]:
    """The modules of gsplat that are imported; from here on, they are not."""
    names = [name for name in sys.modules if name.split(".")[0] == "gsplat"]
    return {name: sys.modules.pop(name) for name in names}


def _readable() -> Any:
    """What gsplat's kernels compute, in its own PyTorch."""
    return importlib.import_module("gsplat.cuda._torch_impl")


class Kernels:
    """The compiled module; notes its calls.

    Attributes:
        calls: How often each function was called.
        widths: How many channels each picture had.
        most_hits: Most entries that one listing of hits returned.
        inside: Whether one of its functions is at work.
    """

    CameraModelType = SimpleNamespace(PINHOLE="pinhole")
    PINHOLE = "pinhole"  # where gsplat's `_make_lazy_cuda_obj` looks for it

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.widths: list[int] = []
        self.most_hits = 0
        self.inside = False

    def __getattribute__(self, name: str) -> Any:
        """A function of the module, watched; everything else as it is."""
        found = super().__getattribute__(name)
        if name not in LAUNCHES:
            return found

        def watched(*args: Any) -> Any:
            self.calls[name] += 1
            self.inside = True
            try:
                with torch._C.DisableTorchFunction(), torch.no_grad():
                    values = found(*args)
            finally:
                self.inside = False
            _like_the_inputs(values, args)
            return values

        return watched

    def projection_ewa_3dgs_fused_fwd(
        self, means, covars, quats, scales, opacities, viewmats, Ks, width, height, eps2d, near, far, clip,
        with_compensations, model,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:  # fmt: skip
        _floats(means=means, quats=quats, scales=scales, opacities=opacities, viewmats=viewmats, Ks=Ks)
        assert covars is None
        assert (with_compensations, clip, model) == (False, 0.0, "pinhole")
        means2d, depths, conics = _project(means, quats, scales, viewmats, Ks, width, height, eps2d)
        determinant = conics[..., 0] * conics[..., 2] - conics[..., 1] ** 2
        variances = conics[..., [2, 0]] / determinant[..., None]
        reach = (2 * (opacities / MIN_ALPHA).log()).sqrt().clamp_max(FAR)
        radii = (reach[None, :, None] * variances.sqrt()).ceil()
        size = torch.tensor([width, height])
        shown = ((means2d + radii > 0) & (means2d - radii < size) & (radii > 0)).all(-1)
        shown &= (depths >= near) & (depths <= far) & (opacities >= MIN_ALPHA)
        for values in (means2d, depths, conics):
            values[~shown] = NEVER_WRITTEN
        return torch.where(shown[..., None], radii, 0.0).int(), means2d, depths, conics, None

    def projection_ewa_3dgs_fused_bwd(
        self, means, covars, quats, scales, viewmats, Ks, width, height, eps2d, model, radii, conics,
        compensations, g_means2d, g_depths, g_conics, g_compensations, of_viewmats,
    ) -> tuple[Tensor, None, Tensor, Tensor, None]:  # fmt: skip
        _floats(means=means, quats=quats, scales=scales, a=g_means2d, b=g_depths, c=g_conics)
        assert (covars, compensations, g_compensations, of_viewmats) == (None, None, None, False)
        rows = (radii[0] > 0).all(-1)
        with torch.enable_grad():
            leaves = [values[rows].detach().requires_grad_() for values in (means, quats, scales)]
            made = _project(*leaves, viewmats, Ks, width, height, eps2d)
            wanted = [g[:, rows] for g in (g_means2d, g_depths, g_conics)]
            found = torch.autograd.grad(made, leaves, wanted)
        of_means, of_quats, of_scales = (
            torch.zeros_like(values).masked_scatter_(rows[:, None], gradient)
            for values, gradient in zip((means, quats, scales), found, strict=True)
        )
        return of_means, None, of_quats, of_scales, None

    def spherical_harmonics_fwd(self, degree, directions, coefficients, masks) -> Tensor:
        _floats(directions=directions, coefficients=coefficients)
        assert masks.dtype == torch.bool
        assert masks.is_contiguous()
        colors = torch.full_like(directions, NEVER_WRITTEN)
        colors[masks] = _readable()._spherical_harmonics(degree, directions[masks], coefficients[masks])
        return colors

    def spherical_harmonics_bwd(
        self, count, degree, directions, coefficients, masks, g_colors, of_directions
    ) -> tuple[Tensor, Tensor]:
        _floats(directions=directions, coefficients=coefficients, g_colors=g_colors)
        assert count == coefficients.shape[-2]
        with torch.enable_grad():
            leaves = [v[masks].detach().requires_grad_() for v in (coefficients, directions)]
            colors = _readable()._spherical_harmonics(degree, leaves[1], leaves[0])
            found = torch.autograd.grad(colors, leaves, g_colors[masks], allow_unused=True)
        of_coefficients, gradient = torch.zeros_like(coefficients), torch.zeros_like(directions)
        of_coefficients[masks] = found[0]
        if found[1] is not None:  # degree 0 does not depend on directions
            gradient[masks] = found[1]
        return of_coefficients, gradient

    def intersect_tile(
        self, means2d, radii, depths, image_ids, gaussian_ids, images, side, tiles_x, tiles_y, sort, segmented
    ) -> tuple[Tensor, Tensor, Tensor]:
        _floats(means2d=means2d, depths=depths)
        assert radii.is_contiguous()
        assert radii.dtype == torch.int32
        assert (image_ids, gaussian_ids, images, sort, segmented) == (None, None, 1, True, False)
        shown = (radii[0] > 0).all(-1)
        centre = torch.where(shown[:, None], means2d[0], 0.0) / side
        most = torch.tensor([tiles_x, tiles_y])
        low = (centre - radii[0] / side).floor().clamp_min(0).minimum(most).long()
        high = (centre + radii[0] / side).ceil().clamp_min(0).minimum(most).long()
        span = high - low
        counts = torch.where(shown, span.prod(-1), 0)
        ids = torch.repeat_interleave(torch.arange(len(counts)), counts)
        place = torch.arange(len(ids)) - (counts.cumsum(0) - counts)[ids]
        column = low[ids, 0] + place % span[ids, 0].clamp_min(1)
        row = low[ids, 1] + place // span[ids, 0].clamp_min(1)
        bits = depths[0, ids].contiguous().view(torch.int32).long()
        keys, order = torch.sort((row * tiles_x + column) << 32 | bits, stable=True)
        return counts[None].int(), keys, ids[order].int()

    def intersect_offset(self, keys, images, tiles_x, tiles_y) -> Tensor:
        assert images == 1
        tiles = torch.arange(tiles_x * tiles_y)
        return torch.searchsorted(keys >> 32, tiles).int().reshape(1, tiles_y, tiles_x)

    def rasterize_to_pixels_3dgs_fwd(
        self, means2d, conics, colors, opacities, backgrounds, masks, width, height, side, offsets, ids
    ) -> tuple[Tensor, Tensor, Tensor]:
        _floats(means2d=means2d, conics=conics, colors=colors, opacities=opacities, backgrounds=backgrounds)
        assert masks is None
        assert colors.shape[-1] in WIDTHS
        self.widths.append(colors.shape[-1])
        light = torch.ones(height * width)
        hits = _hits(means2d, conics, opacities, width, height, side, offsets, ids, light)
        image, alphas = _composite(hits, means2d, conics, colors, opacities, backgrounds, width, height)
        return image, alphas, torch.zeros(1, height, width, dtype=torch.int32)

    def rasterize_to_pixels_3dgs_bwd(
        self, means2d, conics, colors, opacities, backgrounds, masks, width, height, side, offsets, ids,
        alphas, last_ids, g_image, g_alphas, with_absolute,
    ) -> tuple[Tensor | None, ...]:  # fmt: skip
        _floats(g_image=g_image, g_alphas=g_alphas)
        assert not with_absolute
        light = torch.ones(height * width)
        hits = _hits(means2d, conics, opacities, width, height, side, offsets, ids, light)
        with torch.enable_grad():
            leaves = [t.detach().requires_grad_() for t in (means2d, conics, colors, opacities)]
            made = _composite(hits, *leaves, backgrounds, width, height)
            return None, *torch.autograd.grad(made, leaves, [g_image, g_alphas])

    def rasterize_to_indices_3dgs(
        self, start, end, light, means2d, conics, opacities, width, height, side, offsets, ids
    ) -> tuple[Tensor, Tensor]:
        _floats(light=light, means2d=means2d, conics=conics, opacities=opacities)
        assert offsets.dtype == ids.dtype == torch.int32
        assert start == 0
        assert len(ids) <= end * side**2 < side**2 << 32
        gaussians, pixels = _hits(
            means2d, conics, opacities, width, height, side, offsets, ids, light.flatten()
        )
        self.most_hits = max(self.most_hits, len(pixels))
        return gaussians, pixels

    def adam(self, values, gradient, first, second, valid, rate, beta1, beta2, epsilon) -> None:
        _floats(values=values, gradient=gradient, first=first, second=second)
        assert valid.dtype == torch.bool
        assert valid.is_contiguous()
        assert len(valid) == len(values)
        assert all(isinstance(number, float) for number in (rate, beta1, beta2, epsilon))
        first[valid] = beta1 * first[valid] + (1 - beta1) * gradient[valid]
        second[valid] = beta2 * second[valid] + (1 - beta2) * gradient[valid] ** 2
        values[valid] -= rate * first[valid] / (second[valid].sqrt() + epsilon)


def _like_the_inputs(values: Any, args: tuple) -> None:
    """Results lie where the inputs do, also on the GPU of `pretend_gpu`."""
    if any(getattr(value, "pretends", False) for value in args):
        for tensor in values if isinstance(values, tuple) else (values,):
            if isinstance(tensor, Tensor):
                tensor.pretends = True  # type: ignore[attr-defined]


def _floats(**tensors: Tensor | None) -> None:
    """What gsplat's CHECK_INPUT and `data_ptr<float>()` ask for."""
    for name, tensor in tensors.items():
        if tensor is not None:
            assert tensor.is_contiguous(), f"{name} must be contiguous"
            assert tensor.dtype == torch.float32, (
                f"expected scalar type Float but found {tensor.dtype} ({name})"
            )


def _project(means, quats, scales, viewmats, Ks, width, height, eps2d) -> tuple[Tensor, Tensor, Tensor]:
    covariances, _ = _readable()._quat_scale_to_covar_preci(quats, scales, True, False, triu=False)
    _, means2d, depths, conics, _ = _readable()._fully_fused_projection(
        means, covariances, viewmats, Ks, width, height, eps2d
    )
    return means2d, depths, conics


def _alphas(means2d: Tensor, conics: Tensor, opacities: Tensor, ids: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Alpha of Gaussians at pixels, as one goes on with the other; below 0 where the exponent is wrong."""
    dx, dy = means2d[0, ids, 0] - x - 0.5, means2d[0, ids, 1] - y - 0.5
    a, b, c = conics[0, ids].unbind(-1)
    sigmas = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
    return torch.where(sigmas >= 0, (opacities[0, ids] * torch.exp(-sigmas)).clamp_max(MAX_ALPHA), -1.0)


def _hits(
    means2d, conics, opacities, width, height, side, offsets, ids, light
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Gaussian and pixel of every hit, pixel by pixel, front to back, as the CUDA code writes them."""
    tiles_x = offsets.shape[-1]
    starts = offsets.flatten().long()
    ends = torch.cat([starts[1:], torch.tensor([len(ids)])])
    tiles = torch.repeat_interleave(torch.arange(len(starts)), ends - starts)
    inside = torch.arange(side**2)
    x = (tiles % tiles_x * side)[:, None] + inside % side
    y = (tiles // tiles_x * side)[:, None] + inside // side
    alphas = _alphas(means2d, conics, opacities, ids.long()[:, None], x, y)
    alphas = torch.where((alphas >= MIN_ALPHA) & (x < width) & (y < height), alphas, 0.0)
    logs = torch.log1p(-alphas.double())
    behind = logs.cumsum(0)
    behind = behind - (behind - logs)[starts[tiles]] if len(ids) else behind  # begun anew in every tile
    pixels = torch.where((x < width) & (y < height), y * width + x, 0)
    hit = (alphas > 0) & (light[pixels] * behind.exp() > MIN_TRANSMITTANCE)
    entries, place = hit.nonzero(as_tuple=True)
    gaussians, found = ids[entries].long(), pixels[entries, place]
    order = torch.argsort(found, stable=True)
    return gaussians[order], found[order]


def _composite(
    hits: tuple[Tensor, Tensor], means2d, conics, colors, opacities, backgrounds, width, height
) -> tuple[Tensor, Tensor]:
    """Pictures [1, H, W, C] and alphas [1, H, W, 1] of hits in the order of `_hits`."""
    gaussians, pixels = hits
    alphas = _alphas(means2d, conics, opacities, gaussians, pixels % width, pixels // width)
    logs = torch.log1p(-alphas.double())
    counts = torch.bincount(pixels, minlength=width * height)
    before = logs.cumsum(0) - logs
    first = (counts.cumsum(0) - counts)[pixels]
    weights = alphas * (before - before[first]).exp().float()
    image = torch.zeros(width * height, colors.shape[-1])
    image = image.index_add(0, pixels, weights[:, None] * colors[0, gaussians])
    total = torch.zeros(width * height).index_add(0, pixels, weights)
    if backgrounds is not None:
        image = image + (1 - total)[:, None] * backgrounds
    return image.reshape(1, height, width, -1), total.reshape(1, height, width, 1)
