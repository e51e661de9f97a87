"""What the CUDA backend needs of a machine, and what to do about what is missing.

gsplat comes without compiled kernels: torch compiles them at first use, with the CUDA toolkit and a C++
compiler. What is missing is found out beforehand, where torch would look for it, because a build that fails
does so with a page of compiler output. Whether the build works is left to `gags.models.kernels`.
"""

import functools
import importlib
import importlib.metadata
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import torch

Version = tuple[int, int]
"""Of a GPU's compute capability, major and minor."""

GSPLAT_FROM, GSPLAT_UNTIL = (1, 5, 3), (1, 6)
"""Versions of gsplat that fit, the second exclusive; 1.6 changes what its functions take."""

COMMAND_SECONDS = 5.0  # for `nvcc --version` and the like
HEADER = "cuda_runtime.h"  # what all of gsplat's files include; some packages bring nvcc without it
TOOLKITS = "https://developer.nvidia.com/cuda-toolkit-archive"


@dataclass(frozen=True)
class Toolkit:
    """The CUDA toolkit that torch would compile with.

    Attributes:
        folder: Where it is; empty if torch finds none.
        nvcc: Version of its compiler, "12.8"; empty if it has none that runs.
        header: Whether its headers are there.
        archs: Compute capabilities that it compiles for; empty if it does not tell, or if the environment
            variable `TORCH_CUDA_ARCH_LIST` chooses them.
    """

    folder: str = ""
    nvcc: str = ""
    header: bool = False
    archs: tuple[Version, ...] = ()


@dataclass(frozen=True)
class CudaFacts:
    """What decides whether the CUDA backend can work.

    Attributes:
        driver: Whether an NVIDIA driver is installed (`nvidia-smi` is there).
        torch_cuda: CUDA version that torch was built for, "12.8"; empty for a build without CUDA.
        torch_hip: ROCm version that torch was built for; empty for a build without ROCm.
        torch_sees_gpu: Whether torch sees a GPU.
        torch_archs: What torch's own kernels were compiled for, "sm_80" or "compute_120".
        capability: Compute capability of the GPU; None if there is none.
        gsplat: Version of gsplat; empty if it is not installed, "?" if it does not tell.
        compiled: Whether gsplat came with compiled kernels that can be loaded. What an earlier build left in
            torch's folder of extensions does not count: gsplat takes it only where it could build it again.
        toolkit: What would compile its kernels.
        cxx: Name of the C++ compiler; empty if there is none.
        ninja: Whether the build tool ninja is there.
        setuptools: Whether the package is there, without which torch compiles nothing.
    """

    driver: bool
    torch_cuda: str
    torch_sees_gpu: bool
    gsplat: str
    compiled: bool
    torch_hip: str = ""
    torch_archs: tuple[str, ...] = ()
    capability: Version | None = None
    toolkit: Toolkit = Toolkit()
    cxx: str = ""
    ninja: bool = False
    setuptools: bool = True


def torch_problem(facts: CudaFacts) -> str:
    """What keeps torch from using the GPU, and what to do about it; empty if no problem is known."""
    if not facts.torch_sees_gpu:
        return _without_gpu(facts)
    if facts.torch_hip or not facts.capability or runs_on(facts.capability, facts.torch_archs):
        return ""
    older = facts.capability < min(map(_version, facts.torch_archs))
    remedy = (
        "a torch for an older CUDA, see https://pytorch.org/get-started/previous-versions"
        if older
        else "a newer torch, see https://pytorch.org/get-started/locally"
    )
    archs = ", ".join(facts.torch_archs)
    found = f"the GPU has compute capability {_dotted(facts.capability)}"
    return f"{found}, and torch was built for {archs}; install {remedy}"


def cuda_problem(facts: CudaFacts) -> str:
    """What keeps the CUDA backend from working, and what to do about it; empty if no problem is known."""
    if problem := torch_problem(facts):
        return problem
    if facts.torch_hip:
        return "torch uses this GPU through ROCm, for which gsplat has no kernels; models do run on the GPU"
    if not facts.gsplat:
        return "GPU found, gsplat missing: pip install 'gags[cuda]'"
    if not _fits(facts.gsplat):
        return f"gsplat {facts.gsplat} does not fit: pip install 'gags[cuda]' brings one that does"
    if facts.compiled:
        return ""
    lacking = [*_lacking_toolkit(facts), *_lacking_tools(facts)]
    return f"gsplat compiles its kernels at first use, and lacks {'; and '.join(lacking)}" if lacking else ""


def _without_gpu(facts: CudaFacts) -> str:
    if facts.torch_hip:
        return f"torch was built for ROCm {facts.torch_hip}, but sees no GPU, so everything runs on the CPU"
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


def _lacking_toolkit(facts: CudaFacts) -> list[str]:
    toolkit, wanted = facts.toolkit, facts.torch_cuda
    remedy = f"install the CUDA toolkit {wanted} ({TOOLKITS}) and set CUDA_HOME to its folder"
    if not toolkit.nvcc:
        where = f"there is none in {toolkit.folder}; " if toolkit.folder else ""
        return [f"a CUDA compiler, nvcc: {where}{remedy}"]
    if toolkit.nvcc.split(".")[0] != wanted.split(".")[0]:
        return [
            f"a CUDA compiler that fits torch: nvcc is {toolkit.nvcc}, torch was built for CUDA {wanted}; "
            f"{remedy}"
        ]
    if not toolkit.header:
        return [f"the headers of the CUDA toolkit ({HEADER} is not in {toolkit.folder}): {remedy}"]
    arch = built_for(facts)
    if arch and toolkit.archs and arch not in toolkit.archs:
        return [
            f"a CUDA compiler for compute capability {_dotted(arch)}: nvcc {toolkit.nvcc} is none; {remedy}"
        ]
    return []


def _lacking_tools(facts: CudaFacts) -> list[str]:
    lacking = []
    if not facts.cxx:
        lacking.append(
            "a C++ compiler: install g++ (Linux; CXX names another one) or the Visual Studio build tools "
            "(Windows)"
        )
    if not facts.ninja:
        lacking.append("the build tool ninja: pip install ninja")
    if not facts.setuptools:
        lacking.append("setuptools: pip install setuptools")
    return lacking


def runs_on(capability: Version, archs: tuple[str, ...]) -> bool:
    """Whether kernels can run on a GPU.

    A kernel for sm_86 runs where major is 8 and minor at least 6; one for sm_90a on 9.0 alone. Portable code,
    compute_80, is compiled anew by the driver of any GPU from 8.0 on.

    Args:
        capability: Compute capability of the GPU.
        archs: What the kernels were compiled for; of none at all nothing is known, and they pass.
    """
    if not archs:
        return True
    for arch in archs:
        major, minor = _version(arch)
        if arch.startswith("compute_") and not arch.endswith(("a", "f")):
            fits = capability >= (major, minor)
        elif arch.endswith("a"):
            fits = capability == (major, minor)
        else:
            fits = capability[0] == major and capability[1] >= minor
        if fits:
            return True
    return False


def built_for(facts: CudaFacts) -> Version | None:
    """The compute capability that torch would compile for: the GPU's, or the newest that torch knows."""
    known = [_version(arch) for arch in facts.torch_archs if arch.startswith("sm_")]
    return min(facts.capability, max(known)) if facts.capability and known else facts.capability


def _version(arch: str) -> Version:
    """ "sm_90a" or "compute_120" as (9, 0) or (12, 0)."""
    number = int(re.sub(r"\D", "", arch))
    return number // 10, number % 10


def _dotted(version: Version) -> str:
    return f"{version[0]}.{version[1]}"


def _fits(version: str) -> bool:
    if not (found := re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", version)):
        return True
    numbers = tuple(int(number or 0) for number in found.groups())
    return GSPLAT_FROM <= numbers < GSPLAT_UNTIL


def cuda_facts() -> CudaFacts:
    """Look at this machine; builds nothing."""
    sees = torch.cuda.is_available()
    hip = torch.version.hip or ""
    nvidia = sees and not hip
    return CudaFacts(
        driver=shutil.which("nvidia-smi") is not None,
        torch_cuda=torch.version.cuda or "",
        torch_hip=hip,
        torch_sees_gpu=sees,
        torch_archs=tuple(torch.cuda.get_arch_list()) if nvidia else (),
        capability=torch.cuda.get_device_capability() if nvidia else None,
        gsplat=_gsplat_version(),
        compiled=nvidia and _compiled(),
        toolkit=_toolkit() if nvidia else Toolkit(),
        cxx=_cxx(),
        ninja=shutil.which("ninja", path=build_path()) is not None,
        setuptools=importlib.util.find_spec("setuptools") is not None,
    )


def build_path() -> str:
    """`PATH` with the folder of this Python's programs, where pip puts ninja; it may not be on the `PATH`."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), sysconfig.get_path("scripts")])


def _gsplat_version() -> str:
    if importlib.util.find_spec("gsplat") is None:
        return ""
    try:
        return importlib.metadata.version("gsplat")
    except importlib.metadata.PackageNotFoundError:
        return "?"


def _compiled() -> bool:
    """Whether gsplat's folder holds kernels, and these can be loaded; those of another torch cannot."""
    spec = importlib.util.find_spec("gsplat")
    if spec is None or spec.origin is None:
        return False
    if not any(path.suffix in (".so", ".pyd") for path in Path(spec.origin).parent.glob("csrc*")):
        return False
    try:
        importlib.import_module("gsplat.csrc")
    except (ImportError, OSError):
        return False
    return True


def _toolkit() -> Toolkit:
    """The toolkit as `torch.utils.cpp_extension` finds it: CUDA_HOME, CUDA_PATH, nvcc on the PATH, or where
    it usually is."""
    try:
        from torch.utils.cpp_extension import CUDA_HOME, include_paths
    except ImportError:  # without setuptools
        return Toolkit()
    if not CUDA_HOME:
        return Toolkit()
    nvcc = os.environ.get("PYTORCH_NVCC") or str(Path(CUDA_HOME) / "bin" / "nvcc")
    release = re.search(r"release (\d+\.\d+)", _output(nvcc, "--version"))
    chosen = os.environ.get("TORCH_CUDA_ARCH_LIST")
    archs = [] if chosen else re.findall(r"compute_\d+", _output(nvcc, "--list-gpu-arch"))
    folders = [*include_paths("cuda"), *_compilers_own_folders()]
    return Toolkit(
        folder=CUDA_HOME,
        nvcc=release[1] if release else "",
        header=any((Path(folder) / HEADER).is_file() for folder in folders),
        archs=tuple(_version(arch) for arch in archs),
    )


def _compilers_own_folders() -> list[str]:
    """Where a C++ compiler looks for headers without being told to."""
    listed = [os.environ.get(name, "") for name in ("CPATH", "CPLUS_INCLUDE_PATH", "INCLUDE")]
    return ["/usr/include", *filter(None, os.pathsep.join(listed).split(os.pathsep))]


@functools.cache
def _output(*command: str) -> str:
    """What a program prints, asked once a process; empty if it cannot be run or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


def _cxx() -> str:
    """The C++ compiler that torch would take; on Windows it finds the one of Visual Studio by itself."""
    if sys.platform == "win32":
        programs = os.environ.get("PROGRAMFILES(X86)", r"C:\Program Files (x86)")
        finder = Path(programs) / "Microsoft Visual Studio" / "Installer" / "vswhere.exe"
        return "cl" if shutil.which("cl") or finder.is_file() else ""
    name = (shlex.split(os.environ.get("CXX", "")) or ["c++"])[0]
    return name if shutil.which(name) else ""
