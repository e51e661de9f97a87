"""Where neural nets run, in which precision, and how much memory is free there.

Gaussians are another matter: they are rasterised on the CPU unless they lie on an NVIDIA GPU (`gags.render`).
On a Mac, segmenters and encoders thus run on its GPU and the rasteriser on its CPU.
"""

import os

import torch

UNKNOWN_FREE = 4 << 30
"""Bytes taken to be free where the system does not tell."""


def neural_device() -> torch.device:
    """The fastest device for neural nets: an NVIDIA GPU, else Apple's, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
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
