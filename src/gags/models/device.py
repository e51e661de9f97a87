"""Where Gaussians and neural nets are computed, in which precision, and how much memory is free there.

Gaussians need a rasteriser, of which there are two: Numba's on the CPU, and gsplat's on an NVIDIA GPU (extra
`cuda`). On a Mac, segmenters and encoders thus run on its GPU and the rasteriser on its CPU. The environment
variable `GAGS_DEVICE` (auto, cpu or cuda) overrides both choices.

gsplat compiles its kernels at first use. Whether it can is found out beforehand, because its build fails with
a page of compiler output.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from gags.errors import GagsError
from gags.progress import SILENT, Reporter

DEVICE_VARIABLE = "GAGS_DEVICE"
DEVICES = ("auto", "cpu", "cuda")
COMMAND_SECONDS = 5.0  # for `nvcc --version` and the like


def scene_device(progress: Reporter = SILENT) -> torch.device:
    """Where Gaussians and what is learnt of them live: an NVIDIA GPU that gsplat works on, else the CPU.

    Args:
        progress: Told what keeps a GPU that is there from being used, and what to do about it.

    Raises:
        GagsError: If `GAGS_DEVICE` asks for a GPU that does not work here, or has an unknown value.
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
    chosen = os.environ.get(DEVICE_VARIABLE) or "auto"
    if chosen not in DEVICES:
        raise GagsError(
            f"{DEVICE_VARIABLE} must be {', '.join(DEVICES[:-1])} or {DEVICES[-1]}, not {chosen!r}"
        )
    return chosen


def _refused(problem: str) -> GagsError:
    return GagsError(f"{DEVICE_VARIABLE} is cuda, but {problem}; unset it to go on without")


def neural_device() -> torch.device:
    """The fastest device for neural nets: an NVIDIA GPU, else Apple's, else the CPU.

    Raises:
        GagsError: If `GAGS_DEVICE` asks for a GPU that torch cannot use, or has an unknown value.
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
    return psutil.virtual_memory().available


@dataclass(frozen=True)
class CudaFacts:
    """What decides whether the CUDA backend can work.

    Attributes:
        driver: Whether an NVIDIA driver is installed (`nvidia-smi` is there).
        torch_cuda: CUDA version that torch was built for, "12.8"; empty for a build without CUDA.
        torch_sees_gpu: Whether torch can use a GPU.
        gsplat: Whether gsplat is installed.
        compiled: Whether its kernels have been compiled already, here or by whoever built the wheel.
        nvcc: Version of the CUDA compiler, "12.8"; empty if there is none.
        cxx: Name of the C++ compiler; empty if there is none.
        ninja: Whether the build tool ninja is there.
    """

    driver: bool
    torch_cuda: str
    torch_sees_gpu: bool
    gsplat: bool
    compiled: bool
    nvcc: str
    cxx: str
    ninja: bool


def cuda_problem(facts: CudaFacts) -> str:
    """What keeps the CUDA backend from working, and what to do about it; empty if no problem is known."""
    if not facts.torch_sees_gpu:
        return _without_gpu(facts)
    if not facts.gsplat:
        return "GPU found, gsplat missing: pip install 'gags[cuda]'"
    if facts.compiled:
        return ""
    major = facts.torch_cuda.split(".")[0]
    lacking = []
    if not facts.nvcc:
        lacking.append(
            f"a CUDA compiler: install the CUDA toolkit {facts.torch_cuda} (nvcc), and set CUDA_HOME to its "
            "folder"
        )
    elif facts.nvcc.split(".")[0] != major:
        lacking.append(
            f"a CUDA compiler that fits torch: nvcc is {facts.nvcc}, torch was built for CUDA "
            f"{facts.torch_cuda}; install the CUDA toolkit {major}.x and set CUDA_HOME to its folder, or a "
            f"torch for CUDA {facts.nvcc}"
        )
    if not facts.cxx:
        lacking.append("a C++ compiler: install g++ (Linux) or the Visual Studio build tools (Windows)")
    if not facts.ninja:
        lacking.append("the build tool ninja: pip install ninja")
    if not lacking:
        return ""
    return (
        f"gsplat compiles its kernels at first use, and lacks {'; and '.join(lacking)}. Or install a gsplat "
        "wheel with compiled kernels, see https://docs.gsplat.studio/whl"
    )


def _without_gpu(facts: CudaFacts) -> str:
    if facts.driver and not facts.torch_cuda:
        return (
            "there is an NVIDIA driver, but torch was built without CUDA, so everything runs on the CPU; for "
            "the GPU install a CUDA build of torch, see https://pytorch.org/get-started/locally"
        )
    if facts.driver:
        return (
            f"torch was built for CUDA {facts.torch_cuda} but cannot use the GPU, so everything runs on the "
            "CPU; often the driver is too old for it: compare with what nvidia-smi says, and update either"
        )
    return "there is no NVIDIA GPU that torch can use, so everything runs on the CPU"


def cuda_facts() -> CudaFacts:
    """Look at this machine; starts no GPU work and builds nothing."""
    return CudaFacts(
        driver=shutil.which("nvidia-smi") is not None,
        torch_cuda=torch.version.cuda or "",
        torch_sees_gpu=torch.cuda.is_available(),
        gsplat=importlib.util.find_spec("gsplat") is not None,
        compiled=_compiled(),
        nvcc=_nvcc_version(),
        cxx=_cxx(),
        ninja=shutil.which("ninja") is not None or importlib.util.find_spec("ninja") is not None,
    )


def _nvcc_version() -> str:
    """Version of the compiler that a build would take: the one in CUDA_HOME, else the one on the PATH."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH") or ""
    candidates = [str(Path(home) / "bin" / "nvcc")] if home else []
    candidates += [shutil.which("nvcc") or "", "/usr/local/cuda/bin/nvcc"]
    for candidate in filter(None, candidates):
        try:
            done = subprocess.run(
                [candidate, "--version"], capture_output=True, text=True, timeout=COMMAND_SECONDS, check=True
            )
        except (OSError, subprocess.SubprocessError):
            continue
        if found := re.search(r"release (\d+\.\d+)", done.stdout):
            return found[1]
    return ""


def _cxx() -> str:
    names = ["cl"] if sys.platform == "win32" else [os.environ.get("CXX") or "c++", "g++", "clang++"]
    return next((name for name in names if shutil.which(name)), "")


def _compiled() -> bool:
    """Whether gsplat finds kernels: in its own folder, or built earlier into torch's folder of extensions."""
    spec = importlib.util.find_spec("gsplat")
    if spec is None or spec.origin is None:
        return False
    if any(path.suffix in (".so", ".pyd") for path in Path(spec.origin).parent.glob("csrc*")):
        return True
    from torch.utils import cpp_extension

    root = os.environ.get("TORCH_EXTENSIONS_DIR") or cpp_extension.get_default_build_root()
    return any(path.suffix in (".so", ".pyd") for path in Path(root).glob("**/gsplat_cuda/gsplat_cuda*"))
