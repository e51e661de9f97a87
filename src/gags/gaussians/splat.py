"""antimatter15's `.splat`, which browser viewers read: 32 bytes a Gaussian, no header."""

from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import normalize

from gags.files import atomic_write
from gags.gaussians.gaussians import SH_C0, Gaussians

SPLAT_ROW = np.dtype([("position", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("rotation", "u1", 4)])


def save_splat(gaussians: Gaussians, path: Path) -> None:
    """Write position, scale, RGBA and rotation (wxyz) of every Gaussian; no harmonics above degree 0."""
    rows = np.empty(len(gaussians), SPLAT_ROW)
    g = gaussians.to("cpu")
    rows["position"] = g.means.float().numpy()
    rows["scale"] = g.scales.float().numpy()
    rgba = torch.cat([0.5 + SH_C0 * g.sh[:, 0], g.opacities[:, None]], dim=1)
    rows["rgba"] = (rgba * 255).round().clamp(0, 255).byte().numpy()
    rows["rotation"] = (normalize(g.quats, dim=-1) * 128 + 128).round().clamp(0, 255).byte().numpy()
    with atomic_write(path) as temporary:
        temporary.write_bytes(rows.tobytes())
