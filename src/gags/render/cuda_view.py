"""Gaussians as one camera sees them, by gsplat: the first half of a picture, and of blending weights.

gsplat's one-call `rasterization` cannot shift projected centres, so its steps are called one by one, and
unpacked: one view at a time gains nothing from packing. Its classic mode and pinhole projection are those of
the reference; the principal point may lie anywhere.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gags.capture.camera import Camera
from gags.errors import GagsError
from gags.models.kernels import load_backend
from gags.render.types import EPS2D, NEAR_PLANE

TILE_SIZE = 16
VERSIONS = ((1, 5, 3), (1, 6))  # of gsplat: from the first, up to but not including the second
_CAMERAS_KEPT = 4096  # on a GPU, 512 bytes each


def load_gsplat() -> Any:
    """The package, its kernels compiled: at the first use on a machine that takes minutes.

    Most ways here have loaded them before (`gags.models.device.scene_device`).

    Raises:
        GagsError: If it is missing, of another version, or without kernels.
    """
    try:
        import gsplat  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise GagsError("the cuda backend needs gsplat; install it with: pip install 'gags[cuda]'") from error
    if not VERSIONS[0] <= _version(gsplat.__version__) < VERSIONS[1]:
        raise GagsError(
            f"the cuda backend needs gsplat 1.5.3 or newer, below 1.6; {gsplat.__version__} is installed, "
            "run: pip install 'gags[cuda]'"
        )
    try:
        backend = load_backend()
    except (ImportError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        raise GagsError(f"gsplat's kernels cannot be compiled: {reason}; `gags doctor` tells more") from error
    # Without a CUDA compiler gsplat only prints a line and goes on with None.
    if getattr(backend, "_C", None) is None:
        raise GagsError("gsplat has no compiled kernels and finds no CUDA compiler; `gags doctor` tells more")
    return gsplat


def _version(text: str) -> tuple[int, ...]:
    """The numbers of a version, "1.5.3+cu124" → (1, 5, 3)."""
    return tuple(int(part) for part in text.split("+")[0].split(".") if part.isdigit())


def to_device(values: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """Put values on a device; from the CPU without waiting for what a GPU still has to do."""
    tensor = values if isinstance(values, Tensor) else torch.from_numpy(values)
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)  # other memory would have to be waited for


class CameraTensors(NamedTuple):
    """A camera on a device, float32."""

    viewmats: Tensor  # [1, 4, 4]
    Ks: Tensor  # [1, 3, 3]
    position: Tensor  # [3]


def camera_tensors(camera: Camera, device: torch.device) -> CameraTensors:
    """A camera as gsplat takes it. Every step of training asks for one, so they stay on the device."""
    return _camera_tensors(camera.viewmat.tobytes(), camera.K.tobytes(), device)


@lru_cache(_CAMERAS_KEPT)
@torch.inference_mode(False)  # what is kept may be used in training later
def _camera_tensors(viewmat: bytes, K: bytes, device: torch.device) -> CameraTensors:
    pose = np.frombuffer(viewmat).reshape(4, 4)
    position = -pose[:3, :3].T @ pose[:3, 3]
    numbers = np.concatenate([pose.ravel(), np.frombuffer(K), position]).astype(np.float32)
    there = to_device(numbers, device)
    return CameraTensors(there[:16].view(1, 4, 4), there[16:25].view(1, 3, 3), there[25:])


class Seen(NamedTuple):
    """What gsplat makes of N Gaussians in one view (its leading dimension of cameras is 1)."""

    radii: Tensor  # [1, N, 2]
    means2d: Tensor  # [1, N, 2]
    depths: Tensor  # [1, N]
    conics: Tensor  # [1, N, 3]
    opacities: Tensor  # [1, N]
    isect_offsets: Tensor  # [1, tiles_y, tiles_x]
    flatten_ids: Tensor  # [n_isects]


def see(
    gsplat: Any,
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    camera: Camera,
    means2d_offset: Tensor | None = None,
) -> Seen:
    """Project the Gaussians, float32 and contiguous, and list them by tile."""
    there = camera_tensors(camera, means.device)
    radii, means2d, depths, conics, _ = gsplat.fully_fused_projection(
        means=means,
        covars=None,
        quats=quats,
        scales=scales,
        viewmats=there.viewmats,
        Ks=there.Ks,
        width=camera.width,
        height=camera.height,
        eps2d=EPS2D,
        near_plane=NEAR_PLANE,
        opacities=opacities,
    )
    if means2d_offset is not None:
        means2d = means2d + means2d_offset
    tiles_x, tiles_y = -(-camera.width // TILE_SIZE), -(-camera.height // TILE_SIZE)
    _, isect_ids, flatten_ids = gsplat.isect_tiles(means2d, radii, depths, TILE_SIZE, tiles_x, tiles_y)
    offsets = gsplat.isect_offset_encode(isect_ids, 1, tiles_x, tiles_y).reshape(1, tiles_y, tiles_x)
    return Seen(radii, means2d, depths, conics, opacities[None], offsets, flatten_ids)
