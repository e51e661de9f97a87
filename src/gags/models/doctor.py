"""What works on this machine, and what to do about the rest."""

import platform
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gags import models
from gags._version import __version__
from gags.capture.camera import Camera
from gags.errors import GagsError
from gags.models import hub
from gags.models.choose import SMALL_SEGMENTER
from gags.models.device import (
    DEVICE_VARIABLE,
    free_bytes,
    neural_device,
    neural_dtype,
    scene_device,
    scene_problem,
)
from gags.models.known import OWN_MODELS, PAPER_ENCODER, PAPER_SEGMENTER
from gags.progress import SILENT, Reporter
from gags.threads import cores_in_words

Rasterize = Callable[..., Any]
"""`gags.render.rasterize`; handed in, because rendering builds on this room."""

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


def examine(rasterize: Rasterize, progress: Reporter = SILENT) -> list[Check]:
    """Look at everything that gags depends on; renders a Gaussian rather than trust version numbers.

    Args:
        rasterize: `gags.render.rasterize`.
        progress: Told before the kernels of the GPU are compiled, which takes minutes.
    """
    system = f"Python {platform.python_version()}, torch {torch.__version__}, {platform.platform()}"
    checks = [Check("gags", True, f"{__version__}, {system}")]
    threads = f"{cores_in_words()}, torch uses {torch.get_num_threads()} threads"
    checks.append(_backend(rasterize, "cpu", f"rasteriser in Numba, {threads}", needed=True))
    checks += [_cuda(rasterize, progress), _device(), _nets()]
    defaults = (*(own.name for own in OWN_MODELS), PAPER_SEGMENTER, PAPER_ENCODER)
    checks += [Check(found.name, found.installed, found.note) for found in map(models.find, defaults)]
    return [*checks, _hub(), *_disks()]


def _cuda(rasterize: Rasterize, progress: Reporter) -> Check:
    """Renders a Gaussian, if the kernels can be loaded; tries that also where it failed before."""
    if problem := scene_problem(progress, again=True):
        return Check("cuda", False, problem)
    return _backend(rasterize, "cuda", torch.cuda.get_device_name(0), needed=False)


def _device() -> Check:
    try:
        device = scene_device()
    except GagsError as error:
        return Check("device", False, str(error), needed=True)
    where = {"cuda": "the NVIDIA GPU", "cpu": "the CPU"}[device.type]
    return Check(
        "device", True, f"Gaussians are computed on {where} ({DEVICE_VARIABLE}=cpu, cuda or mps overrides)"
    )


def _nets() -> Check:
    try:
        device = neural_device()
    except GagsError as error:
        return Check("nets", False, str(error), needed=True)
    maker = "AMD" if torch.version.hip else "NVIDIA"
    kind = {"cuda": f"the {maker} GPU", "mps": "Apple's GPU", "cpu": "the CPU"}[device.type]
    precision = "half" if neural_dtype(device) == torch.float16 else "single"
    free = free_bytes(device) / 1e9
    return Check(
        "nets", True, f"SAM and CLIP run on {kind} in {precision} precision, {free:.0f} GB free there"
    )


def _hub() -> Check:
    if hub.offline():
        return Check("hub", True, "not asked, HF_HUB_OFFLINE forbids it; models must be on this machine")
    if hub.reachable():
        return Check("hub", True, f"{hub.endpoint()} answers; models that are not here are fetched")
    here = all(hub.folder_of(repo) for repo in (PAPER_SEGMENTER, PAPER_ENCODER))
    rest = "the paper's models are here already" if here else "the paper's models have to come by hand"
    finding = f"{hub.endpoint()} does not answer within {hub.PROBE_SECONDS:.0f} s: {rest}"
    return Check("hub", here, f"{finding}; HF_ENDPOINT names a mirror, HTTPS_PROXY a proxy")


def _backend(rasterize: Rasterize, name: str, note: str, *, needed: bool) -> Check:
    """Render one opaque Gaussian in the middle of a tiny picture."""
    device = "cuda" if name == "cuda" else "cpu"
    camera = Camera(np.eye(4), np.array([[16.0, 0, 8], [0, 16, 8], [0, 0, 1]]), 16, 16)
    tensors = [[[0.0, 0, 2]], [[1.0, 0, 0, 0]], [[0.3, 0.3, 0.3]], [0.9], [[1.0, 0.5, 0.0]]]
    try:
        inputs = [torch.tensor(values, device=device) for values in tensors]
        alpha = float(rasterize(*inputs, camera, backend=name).alphas[8, 8])
    except (GagsError, RuntimeError, ImportError, AttributeError, OSError) as error:
        return Check(name, False, " ".join(str(error).split()), needed)
    if not 0.85 < alpha < 0.95:
        return Check(name, False, f"{note}: renders an alpha of {alpha:.3f} instead of 0.9", needed)
    return Check(name, True, note, needed)


def _disks() -> list[Check]:
    """Free space and write permission where gags keeps models and where it was started."""
    unset = models.find(SMALL_SEGMENTER).folder is None
    return [
        _disk(models.cache_folder(), "set GAGS_MODELS to a folder that can be", needed=unset),
        _disk(hub.cache(), "set HF_HOME to a folder that can be"),
        _disk(Path.cwd(), "give --out another folder"),
    ]


def _disk(folder: Path, remedy: str, *, needed: bool = False) -> Check:
    """Try to write into a folder, or into the nearest one above it that exists.

    Args:
        folder: The folder.
        remedy: What to do if it cannot be written to.
        needed: Whether gags cannot do without it.
    """
    existing = next(p for p in [folder, *folder.absolute().parents] if p.exists())
    try:
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        return Check("disk", False, f"{folder} cannot be written to ({error.strerror}): {remedy}", needed)
    free = shutil.disk_usage(existing).free / 1e9
    return Check("disk", free >= FREE_GB, f"{free:.0f} GB free in {folder}")
