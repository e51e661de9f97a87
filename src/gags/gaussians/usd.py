"""OpenUSD's `ParticleField3DGaussianSplat` (`.usd`, `.usda`, `.usdc`), which Omniverse and others open;
written.

The schema (usdVol, since OpenUSD 26.03) wants values after activation: linear sizes, opacities in [0, 1],
rotations of length 1, and all harmonics of one Gaussian behind each other, in the order of 3DGS files.
"""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
from torch.nn.functional import normalize

from gags.errors import SplatsError
from gags.files import atomic_write
from gags.gaussians.gaussians import Gaussians
from gags.progress import SILENT, Reporter

PRIM = "/Gaussians"
_REACH = 3.0  # standard deviations that the extent holds around each centre


def save_usd(gaussians: Gaussians, path: Path, progress: Reporter = SILENT) -> None:
    """Write a stage with one prim, in the Gaussians' own frame; `.usd` and `.usdc` are binary, `.usda` is
    text.

    Raises:
        SplatsError: If the extra `usd` is not installed, or is older than the schema.
    """
    check_usd(path)
    Sdf, Tf, Usd, UsdGeom, UsdVol = map(_module, ("Sdf", "Tf", "Usd", "UsdGeom", "UsdVol"))
    layer = Sdf.Layer.CreateAnonymous(path.suffix)
    stage = Usd.Stage.Open(layer)
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
    prim = UsdVol.ParticleField3DGaussianSplat.Define(stage, PRIM)
    stage.SetDefaultPrim(prim.GetPrim())
    prim.CreateProjectionModeHintAttr("perspective")
    prim.CreateSortingModeHintAttr("zDepth")
    for name, value in _values(gaussians).items():
        prim.GetPrim().GetAttribute(name).Set(value)
    try:
        with atomic_write(path) as temporary:
            layer.Export(str(temporary))
    except Tf.ErrorException as error:
        raise SplatsError(f"{path} cannot be written ({error}); choose another --out") from error


def _values(gaussians: Gaussians) -> dict[str, Any]:
    """Attributes of the prim by name."""
    Vt = _module("Vt")
    g = gaussians.to("cpu")
    means, scales, quats, sh = (
        t.detach().float().contiguous().numpy() for t in (g.means, g.scales, normalize(g.quats, dim=-1), g.sh)
    )
    reach = _REACH * scales.max(axis=1, keepdims=True)
    extent = np.stack([(means - reach).min(axis=0), (means + reach).max(axis=0)])
    xyzw = np.ascontiguousarray(quats[:, [1, 2, 3, 0]])  # as USD keeps a quaternion in memory
    return {
        "positions": Vt.Vec3fArray.FromNumpy(means),
        "orientations": Vt.QuatfArray.FromNumpy(xyzw),
        "scales": Vt.Vec3fArray.FromNumpy(scales),
        "opacities": Vt.FloatArray.FromNumpy(g.opacities.detach().float().numpy()),
        "radiance:sphericalHarmonicsDegree": g.sh_degree,
        "radiance:sphericalHarmonicsCoefficients": Vt.Vec3fArray.FromNumpy(sh.reshape(-1, 3)),
        "extent": Vt.Vec3fArray.FromNumpy(extent),
    }


def _module(name: str) -> Any:
    """A module of OpenUSD, whose bindings tell no types."""
    return importlib.import_module(f"pxr.{name}")


def check_usd(path: Path) -> None:
    """Make sure that USD can be written here.

    Raises:
        SplatsError: If not.
    """
    try:
        volumes = _module("UsdVol")
    except ImportError as error:
        raise SplatsError(f"{path}: USD needs the extra `usd`; pip install 'gags[usd]'") from error
    if not hasattr(volumes, "ParticleField3DGaussianSplat"):
        raise SplatsError(f"{path}: USD has Gaussians since 26.03; pip install -U 'gags[usd]'")
