"""USD: read back through OpenUSD's own schema, and rendered from what it gives."""

import sys

import numpy as np
import pytest
import torch
from tests.helpers.varied import pictures, varied

from gags.errors import SplatsError
from gags.gaussians import Gaussians
from gags.gaussians.files import load_gaussians, save_gaussians


def read_by_schema(path) -> Gaussians:
    from pxr import Usd, UsdVol

    stage = Usd.Stage.Open(str(path))
    prim = stage.GetDefaultPrim()
    assert prim.IsA(UsdVol.ParticleField3DGaussianSplat)
    opacities = np.array(UsdVol.ParticleFieldOpacityAttributeAPI(prim).GetOpacitiesAttr().Get())
    quats = UsdVol.ParticleFieldOrientationAttributeAPI(prim).GetOrientationsAttr().Get()
    harmonics = UsdVol.ParticleFieldSphericalHarmonicsAttributeAPI(prim)
    degree = harmonics.GetRadianceSphericalHarmonicsDegreeAttr().Get()
    sh = np.array(harmonics.GetRadianceSphericalHarmonicsCoefficientsAttr().Get())
    means = np.array(UsdVol.ParticleFieldPositionAttributeAPI(prim).GetPositionsAttr().Get())
    scales = np.array(UsdVol.ParticleFieldScaleAttributeAPI(prim).GetScalesAttr().Get())
    return Gaussians(
        torch.from_numpy(means),
        torch.tensor([[q.GetReal(), *q.GetImaginary()] for q in quats]),
        torch.from_numpy(np.log(scales)),
        torch.logit(torch.from_numpy(opacities), eps=1e-7),
        torch.from_numpy(sh.reshape(len(means), (degree + 1) ** 2, 3)),
    )


@pytest.mark.parametrize("suffix", [".usd", ".usda", ".usdc"])
@pytest.mark.parametrize("degree", [0, 3])
def test_usd_is_read_by_its_own_schema_and_looks_the_same(tmp_path, suffix, degree):
    pytest.importorskip("pxr")
    gaussians = varied(degree=degree)
    save_gaussians(gaussians, tmp_path / f"a{suffix}")
    assert [file.name for file in tmp_path.iterdir()] == [f"a{suffix}"]
    again = read_by_schema(tmp_path / f"a{suffix}")
    assert again.sh_degree == degree
    torch.testing.assert_close(pictures(again), pictures(gaussians), atol=1e-4, rtol=0)


def test_without_the_extra_it_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pxr.UsdVol", None)
    with pytest.raises(SplatsError, match=r"extra `usd`; pip install 'gags\[usd\]'"):
        save_gaussians(varied(), tmp_path / "a.usdc")
    assert list(tmp_path.iterdir()) == []


def test_usd_is_not_read(tmp_path):
    (tmp_path / "a.usdc").write_bytes(b"PXR-USDC")
    with pytest.raises(SplatsError, match=r"\.usdc is written, not read"):
        load_gaussians(tmp_path / "a.usdc")
