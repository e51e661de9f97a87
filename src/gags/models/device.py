"""Where Gaussians and neural nets are computed, in which precision, and how much memory is free there.

Gaussians need a rasteriser, of which there are two: Numba's on the CPU, and gsplat's on an NVIDIA GPU (extra
`cuda`). On a Mac, segmenters and encoders thus run on its GPU and the rasteriser on its CPU. The environment
variable `GAGS_DEVICE` (auto, cpu or cuda) overrides both choices.
"""

import os

import torch

from gags.errors import GagsError
from gags.models.doctor_cuda import cuda_facts, cuda_problem
from gags.progress import SILENT, Reporter

CHOICE = "GAGS_DEVICE"
CHOICES = ("auto", "cpu", "cuda")
UNKNOWN_FREE = 4 << 30
"""Bytes taken to be free where the system does not tell."""


def scene_device(progress: Reporter = SILENT) -> torch.device:
    """Where Gaussians and what is learnt of them live: an NVIDIA GPU that gsplat works on, else the CPU.

    Args:
        progress: Told what keeps a GPU that is there from being used, and what to do about it.

    Raises:
        GagsError: If `GAGS_DEVICE` asks for what is not to be had here, or for nothing known.
    """
    chosen = _choice()
    if chosen == "cpu" or (chosen == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    problem = cuda_problem(cuda_facts())
    if not problem:
        return torch.device("cuda")
    if chosen == "cuda":
        raise _refused(problem)
    progress.say(f"Gaussians stay on the CPU: {problem}")
    return torch.device("cpu")


def _choice() -> str:
    chosen = os.environ.get(CHOICE) or "auto"
    if chosen not in CHOICES:
        raise GagsError(f"{CHOICE} must be {', '.join(CHOICES[:-1])} or {CHOICES[-1]}, not {chosen!r}")
    return chosen


def _refused(problem: str) -> GagsError:
    return GagsError(f"{CHOICE} is cuda, but {problem}; unset it to go on without")


def neural_device() -> torch.device:
    """The fastest device for neural nets: an NVIDIA GPU, else Apple's, else the CPU.

    Raises:
        GagsError: If `GAGS_DEVICE` asks for a GPU that torch cannot use, or for nothing known.
    """
    chosen = _choice()
    if chosen == "cuda" and not torch.cuda.is_available():
        raise _refused(cuda_problem(cuda_facts()))
    if chosen != "cpu" and torch.cuda.is_available():
        return torch.device("cuda")
    if chosen != "cpu" and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def neural_dtype(device: torch.device) -> torch.dtype:
    """Half precision on an NVIDIA GPU, as the paper runs its models; single elsewhere.

    CPUs are no faster in half, and Apple's GPU gains little and misses some operations in it.
    """
    return torch.float16 if device.type == "cuda" else torch.float32


def free_bytes(device: torch.device) -> int:
    """Memory that a computation on a device may still take."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + kept
    if device.type == "mps" and hasattr(torch.mps, "recommended_max_memory"):  # torch 2.5 or newer
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return _free_system_memory()


def _free_system_memory() -> int:
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass  # not Linux
    try:
        # All memory, not what is free of it; a quarter of that is a fair guess on a personal machine.
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
    except (AttributeError, ValueError, OSError):
        return UNKNOWN_FREE
