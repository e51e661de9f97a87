"""Gaussians as files for viewers: 3DGS `.ply`, Niantic's `.spz`, antimatter15's `.splat`."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import normalize

from gags.errors import SplatsError
from gags.files import atomic_write
from gags.gaussians.gaussians import SH_C0, Gaussians
from gags.gaussians.ply import save_ply

SPLAT_ROW = np.dtype(
    [("position", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("rotation", "u1", 4)]
)  # 32 bytes a Gaussian, nothing before or after
SPZ_BITS = 24  # of a coordinate, sign included


def save_splats(gaussians: Gaussians, path: str | Path) -> None:
    """Write Gaussians in the format that the suffix names, atomically, in their order and frame.

    `.ply` keeps every value. `.spz` rounds them (24-bit coordinates, 8-bit colours) and keeps the spherical
    harmonics; `.splat` rounds colours and rotations to 8 bits and has no harmonics above degree 0.

    Args:
        gaussians: At least one.
        path: Ends in .ply, .spz or .splat.

    Raises:
        SplatsError: If the suffix is another one, there is no Gaussian, or the file cannot be written.
    """
    path = Path(path)
    writer = writer_for(path)
    if len(gaussians) == 0:
        raise SplatsError(f"there is no Gaussian to write to {path}; viewers open no empty file")
    try:
        writer(gaussians, path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SplatsError(f"{path} cannot be written ({reason}); choose another --out") from error


def writer_for(path: Path) -> Callable[[Gaussians, Path], None]:
    """What writes the format that a path's suffix names.

    Raises:
        SplatsError: If it names none.
    """
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise SplatsError(
            f"{path} ends in none of {', '.join(_WRITERS)}, the formats that are written; rename --out"
        )
    return writer


def save_splat(gaussians: Gaussians, path: Path) -> None:
    """Write antimatter15's `.splat`: position, scale, RGBA and wxyz rotation of every Gaussian, 32 bytes."""
    rows = np.empty(len(gaussians), SPLAT_ROW)
    g = gaussians.to("cpu")
    rows["position"] = g.means.float().numpy()
    rows["scale"] = g.scales.float().numpy()
    rgba = torch.cat([0.5 + SH_C0 * g.sh[:, 0], g.opacities[:, None]], dim=1)
    rows["rgba"] = (rgba * 255).round().clamp(0, 255).byte().numpy()
    rows["rotation"] = (normalize(g.quats, dim=-1) * 128 + 128).round().clamp(0, 255).byte().numpy()
    with atomic_write(path) as temporary:
        temporary.write_bytes(rows.tobytes())


def save_spz(gaussians: Gaussians, path: Path) -> None:
    """Write Niantic's `.spz`, version 3; as many bits of a coordinate are its fraction as its size leaves."""
    from gsply import GSData, write_spz

    g = gaussians.to("cpu")
    arrays = (g.means, normalize(g.quats, dim=-1), g.log_scales, g.logit_opacities, g.sh[:, 0], g.sh[:, 1:])
    means, quats, scales, opacities, sh0, rest = (np.ascontiguousarray(a.float().numpy()) for a in arrays)
    data = GSData.from_arrays(
        means=means,
        quats=quats,
        scales=scales,
        opacities=opacities,
        sh0=sh0,
        shN=rest if rest.size else None,
        format="ply",
    )
    with atomic_write(path) as temporary:
        write_spz(temporary, data, fractional_bits=fraction_bits(float(np.abs(means).max())))


def fraction_bits(largest: float) -> int:
    """Bits behind the point of SPZ's fixed-point coordinates, so that the largest still fits; 1 to 20."""
    whole = math.ceil(math.log2(max(largest, 1e-6) + 1e-3))
    return int(np.clip(SPZ_BITS - 1 - whole, 1, 20))


_WRITERS: dict[str, Callable[[Gaussians, Path], None]] = {
    ".ply": save_ply,
    ".spz": save_spz,
    ".splat": save_splat,
}
