"""What works on this machine, and what to do about the rest."""

import importlib.util
import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from gags import __version__, models
from gags.capture.camera import Camera
from gags.errors import GagsError
from gags.render import Backend, rasterize

FREE_GB = 2.0  # a scene of a hundred photos with its models


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes:
        name: What was looked at.
        fine: Whether it works.
        finding: What was found, and what to do if it does not work.
        needed: Whether `gags run` cannot do without it.
    """

    name: str
    fine: bool
    finding: str
    needed: bool = False


def examine() -> list[Check]:
    """Look at everything that gags depends on; renders a Gaussian rather than trusting version numbers."""
    system = f"Python {platform.python_version()}, torch {torch.__version__}, {platform.platform()}"
    checks = [Check("gags", True, f"{__version__}, {system}")]
    threads = f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads"
    checks.append(_backend("cpu", f"rasteriser in Numba, {threads}", needed=True))
    if not torch.cuda.is_available():
        checks.append(Check("cuda", False, "no NVIDIA GPU that torch can use; everything runs on the CPU"))
    elif importlib.util.find_spec("gsplat") is None:
        checks.append(Check("cuda", False, "GPU found, gsplat missing: pip install 'gags[cuda]'"))
    else:
        checks.append(_backend("cuda", torch.cuda.get_device_name(0), needed=False))
    checks += [Check(row.name, row.installed, row.note) for row in models.listing()]
    checks += [_disk(models.cache_folder()), _disk(Path.cwd())]
    return checks


def _backend(name: Backend, note: str, *, needed: bool) -> Check:
    """Render one opaque Gaussian in the middle of a tiny picture."""
    device = "cuda" if name == "cuda" else "cpu"
    camera = Camera(np.eye(4), np.array([[16.0, 0, 8], [0, 16, 8], [0, 0, 1]]), 16, 16)
    tensors = [[[0.0, 0, 2]], [[1.0, 0, 0, 0]], [[0.3, 0.3, 0.3]], [0.9], [[1.0, 0.5, 0.0]]]
    try:
        inputs = [torch.tensor(values, device=device) for values in tensors]
        alpha = float(rasterize(*inputs, camera, backend=name).alphas[8, 8])  # type: ignore[arg-type]
    except (GagsError, RuntimeError, ImportError, OSError) as error:
        return Check(name, False, " ".join(str(error).split()), needed)
    if not 0.85 < alpha < 0.95:
        return Check(name, False, f"{note}: renders an alpha of {alpha:.3f} instead of 0.9", needed)
    return Check(name, True, note, needed)


def _disk(folder: Path) -> Check:
    existing = next(p for p in [folder, *folder.absolute().parents] if p.exists())
    free = shutil.disk_usage(existing).free / 1e9
    writable = os.access(existing, os.W_OK)
    finding = f"{free:.0f} GB free in {folder}" + ("" if writable else ", not writable")
    return Check("disk", free >= FREE_GB and writable, finding)
