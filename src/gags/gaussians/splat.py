"""antimatter15's `.splat`, which browser viewers read: 32 bytes a Gaussian, no header."""

from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import normalize

from gags.errors import SplatsError
from gags.files import atomic_write
from gags.gaussians.foreign import content_of, gathered, logarithms_of, logits_of
from gags.gaussians.gaussians import SH_C0, Gaussians
from gags.progress import SILENT, Reporter

SPLAT_ROW = np.dtype([("position", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("rotation", "u1", 4)])


def save_splat(gaussians: Gaussians, path: Path, progress: Reporter = SILENT) -> None:
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


def load_splat(path: Path, progress: Reporter = SILENT) -> Gaussians:
    """Read such a file; see `files.load_gaussians`. Colours are those of harmonics of degree 0.

    Raises:
        SplatsError: If the file is missing, or its length or numbers are not those of Gaussians.
    """
    data = content_of(path)
    if not data or len(data) % SPLAT_ROW.itemsize:
        raise SplatsError(
            f"{path} has {len(data)} bytes, and a .splat has {SPLAT_ROW.itemsize} for each of its Gaussians; "
            "export it again, or give a .ply"
        )
    rows = np.frombuffer(data, SPLAT_ROW)
    if not (rows["scale"] >= 0).any():
        raise SplatsError(f"{path} is no .splat: no size of a Gaussian is positive; give a .ply")
    colors = (rows["rgba"][:, :3].astype(np.float32) / 255 - 0.5) / SH_C0
    return gathered(
        rows["position"],
        (rows["rotation"].astype(np.float32) - 128) / 128,
        logarithms_of(rows["scale"]),
        logits_of(rows["rgba"][:, 3].astype(np.float32) / 255),
        colors[:, None],
        path=path,
        progress=progress,
    )
