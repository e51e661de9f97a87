"""Niantic's `.spz`, compressed, spherical harmonics included; gsply writes it."""

import math
from pathlib import Path

import numpy as np
from torch.nn.functional import normalize

from gags.files import atomic_write
from gags.gaussians.gaussians import Gaussians

COORDINATE_BITS = 24  # sign included


def save_spz(gaussians: Gaussians, path: Path) -> None:
    """Write version 3; the fraction of a coordinate gets the bits that the largest coordinate leaves."""
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
    return int(np.clip(COORDINATE_BITS - 1 - whole, 1, 20))
