"""Whether gsplat's kernels can be compiled here, told before its build fails in a page of compiler output."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

COMMAND_SECONDS = 5.0  # for `nvcc --version` and the like


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
    """What keeps the CUDA backend from working, and what to do about it; empty if nothing is known to."""
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
