"""Where Gaussians and neural nets are computed, in which precision, and how much memory is free there.

Gaussians need a rasteriser, of which there are two: Numba's on the CPU, and gsplat's on an NVIDIA GPU (extra
`cuda`). On a Mac, segmenters and encoders thus run on its GPU and the rasteriser on its CPU. The environment
variable `GAGS_DEVICE` (auto, cpu, cuda or mps) overrides both choices.
"""

import functools
import os
import threading
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor

from gags.errors import GagsError, ModelError
from gags.files.memory import available_bytes
from gags.models.cuda import cuda_facts, cuda_problem, torch_problem
from gags.models.kernels import kernels_problem
from gags.progress import SILENT, Reporter

Result = TypeVar("Result")
Given = ParamSpec("Given")

_MPS_LOCK = threading.RLock()

DEVICE_VARIABLE = "GAGS_DEVICE"
DEVICES = ("auto", "cpu", "cuda", "mps")

NO_MEMORY = (
    "MPS backend out of memory",
    "CUDA error: out of memory",
    "STATUS_ALLOC_FAILED",  # cuBLAS, cuDNN
    "can't allocate memory",  # the CPU's: Linux, then Windows and macOS
    "not enough memory",
)
"""What torch says where memory ran out and its error has no class of its own."""


def scene_device(progress: Reporter = SILENT) -> torch.device:
    """Where Gaussians and what is learnt of them live: an NVIDIA GPU that gsplat works on, else the CPU.

    gsplat's kernels are loaded to find out, once a process.

    Args:
        progress: Told what keeps a GPU that is there from being used, and what to do about it.

    Raises:
        GagsError: If `GAGS_DEVICE` asks for a GPU that does not work here, or has an unknown value.
    """
    chosen = _choice()
    if chosen in ("cpu", "mps") or (chosen == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    problem = scene_problem(progress, again=chosen == "cuda")
    if not problem:
        return _current_gpu()
    if chosen == "cuda":
        raise _refused(chosen, problem)
    progress.say_once(f"Gaussians stay on the CPU: {problem}")
    return torch.device("cpu")


def scene_problem(progress: Reporter = SILENT, *, again: bool = False) -> str:
    """What keeps Gaussians from the GPU, and what to do about it; empty if nothing does.

    Args:
        progress: Told before kernels are compiled.
        again: Compile them even where an earlier process failed to.
    """
    facts = cuda_facts()
    return cuda_problem(facts) or kernels_problem(facts, progress, again=again)


def _current_gpu() -> torch.device:
    """The GPU that this thread is set to, by number: without one, another thread would take the first GPU."""
    return torch.device("cuda", torch.cuda.current_device())


def _choice() -> str:
    chosen = (os.environ.get(DEVICE_VARIABLE) or "auto").strip().lower()
    if chosen not in DEVICES:
        raise GagsError(
            f"{DEVICE_VARIABLE} must be {', '.join(DEVICES[:-1])} or {DEVICES[-1]}, not {chosen!r}"
        )
    return chosen


def _refused(chosen: str, problem: str) -> GagsError:
    return GagsError(f"{DEVICE_VARIABLE} is {chosen}, but {problem}; unset it to go on without")


def neural_device() -> torch.device:
    """The fastest device for neural nets: an NVIDIA GPU, else Apple's, else the CPU.

    Raises:
        GagsError: If `GAGS_DEVICE` asks for a GPU that torch cannot use, or has an unknown value.
    """
    chosen = _choice()
    if chosen in ("auto", "cuda") and torch.cuda.is_available() and gpu_computes():
        return _current_gpu()
    if chosen == "cuda":
        raise _refused(chosen, torch_problem(cuda_facts()) or "torch fails to compute on the GPU")
    if chosen in ("auto", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    if chosen == "mps":
        raise _refused(chosen, "there is no Apple GPU that torch can use")
    return torch.device("cpu")


@functools.cache
def gpu_computes() -> bool:
    """Whether torch's own kernels run on the GPU that it sees; not if they were compiled for other GPUs."""
    try:
        return (torch.ones(2, device="cuda") + 1).sum().item() == 4
    except RuntimeError:
        return False


def net_lock(device: torch.device) -> Any:
    """What a thread holds while it uses a net or its results on a device, a `threading.RLock`.

    On Apple's GPU it is one for the whole process: two threads that compute there at once can end it
    (pytorch#197805), whatever the nets. Elsewhere it is a new one.
    """
    return _MPS_LOCK if device.type == "mps" else threading.RLock()


def in_turn(method: Callable[Concatenate[Any, Given], Result]) -> Callable[Concatenate[Any, Given], Result]:
    """A method that one thread at a time is in, of an object that keeps its `net_lock` as `_lock`."""

    @functools.wraps(method)
    def run(self: Any, *args: Given.args, **kwargs: Given.kwargs) -> Result:
        with self._lock:
            return method(self, *args, **kwargs)

    return run


def neural_dtype(device: torch.device) -> torch.dtype:
    """Half precision on an NVIDIA GPU, as the paper runs its models; single elsewhere.

    CPUs are no faster in half, and Apple's GPU gains little and misses some operations in it.
    """
    return torch.float16 if device.type == "cuda" else torch.float32


def free_bytes(device: torch.device) -> int:
    """Memory that a computation on a device may still take; in a container, what it leaves."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + kept
    free = available_bytes()
    if device.type == "mps" and hasattr(torch.mps, "recommended_max_memory"):  # torch 2.5 or newer
        # What torch keeps for later is free for tensors. The GPU shares the memory of the system.
        used = torch.mps.current_allocated_memory()
        kept = torch.mps.driver_allocated_memory() - used
        return max(0, min(torch.mps.recommended_max_memory() - used, free + kept))
    return free


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that the memory of a device ran out."""
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY)


def in_batches(
    count: int, most: int, run: Callable[[int, int], Result], *, name: str, device: torch.device
) -> list[Result]:
    """Run a model on many things, some at a time; half as many as soon as memory runs out.

    Args:
        count: How many things there are.
        most: How many to try at a time.
        run: Runs the model on those from the first number up to, not including, the second.
        name: The model, for the error.
        device: Where it runs, for the error.

    Returns:
        What `run` returned, in order.

    Raises:
        ModelError: If there is not enough memory for one.
    """
    done: list[Result] = []
    start = 0
    while start < count:
        end = min(start + most, count)
        try:
            done.append(run(start, end))
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if end == start + 1:
                raise ModelError(
                    f"{name} needs more memory than {device} has free; close other programs, or take a "
                    "smaller model"
                ) from error
            most = (end - start) // 2
        else:
            start = end
    return done


def to_host(tensor: Tensor) -> np.ndarray:
    """A tensor as an array; from an NVIDIA GPU through pinned memory, about twice as fast as without."""
    if tensor.device.type != "cuda":
        return tensor.cpu().numpy()
    host = pinned(tensor)
    host.copy_(tensor, non_blocking=True)
    torch.cuda.current_stream(tensor.device).synchronize()
    return host.numpy()


def to_device(values: np.ndarray, device: torch.device) -> Tensor:
    """A copy of an array on a device; to an NVIDIA GPU through pinned memory, without waiting for it."""
    tensor = torch.tensor(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def pinned(tensor: Tensor) -> Tensor:
    """Room for a copy of a tensor in the host's memory, which a GPU can write to by itself."""
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
