"""What keeps the CUDA backend from working, told of faked machines."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils import cpp_extension

from gags.models import cuda
from gags.models.cuda import CudaFacts, Toolkit, built_for, cuda_facts, cuda_problem, runs_on, torch_problem

TOOLKIT = Toolkit("/usr/local/cuda", "12.6", header=True, archs=((7, 5), (8, 0), (8, 6), (8, 9), (9, 0)))
BUILDS = CudaFacts(
    driver=True,
    torch_cuda="12.8",
    torch_sees_gpu=True,
    torch_archs=("sm_75", "sm_80", "sm_86", "sm_90", "compute_90"),
    capability=(8, 6),
    gsplat="1.5.3",
    compiled=False,
    toolkit=TOOLKIT,
    cxx="c++",
    ninja=True,
)
BARE = {"toolkit": Toolkit(), "cxx": "", "ninja": False}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"compiled": True, **BARE},
        {"gsplat": "1.5.3+pt24cu124"},
        {"gsplat": "1.5.4"},
        {"gsplat": "?"},
        {"capability": (8, 9)},  # runs what is compiled for 8.6
        {"toolkit": replace(TOOLKIT, archs=())},  # does not tell
    ],
)
def test_a_gpu_with_what_it_takes_has_no_problem(change: dict) -> None:
    assert cuda_problem(replace(BUILDS, **change)) == ""


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"gsplat": ""}, ["pip install 'gags[cuda]'"]),
        ({"gsplat": "1.6.0"}, ["gsplat 1.6.0 does not fit", "pip install 'gags[cuda]'"]),
        ({"gsplat": "1.4.0"}, ["gsplat 1.4.0 does not fit"]),
        ({"toolkit": Toolkit()}, ["nvcc: install the CUDA toolkit 12.8", "CUDA_HOME"]),
        ({"toolkit": Toolkit("/opt/cuda")}, ["nvcc: there is none in /opt/cuda", "CUDA toolkit 12.8"]),
        (
            {"toolkit": replace(TOOLKIT, nvcc="11.8")},
            ["nvcc is 11.8, torch was built for CUDA 12.8", "install the CUDA toolkit 12.8"],
        ),
        ({"toolkit": replace(TOOLKIT, header=False)}, ["cuda_runtime.h is not in /usr/local/cuda"]),
        ({"cxx": ""}, ["a C++ compiler: install g++"]),
        ({"ninja": False}, ["pip install ninja"]),
        ({"setuptools": False}, ["pip install setuptools"]),
        ({"toolkit": Toolkit(), "cxx": ""}, ["a CUDA compiler", "and a C++ compiler"]),
        (
            {"capability": (12, 0), "torch_archs": ("sm_90", "sm_120")},
            ["a CUDA compiler for compute capability 12.0: nvcc 12.6 is none", "CUDA toolkit 12.8"],
        ),
        ({"torch_sees_gpu": False, "torch_cuda": ""}, ["torch was built without CUDA", "pytorch.org"]),
        ({"torch_sees_gpu": False}, ["built for CUDA 12.8 but cannot use the GPU", "nvidia-smi"]),
        ({"torch_sees_gpu": False, "driver": False}, ["no NVIDIA GPU", "runs on the CPU"]),
        ({"capability": (6, 1)}, ["capability 6.1, and torch was built for sm_75", "previous-versions"]),
        (
            {"capability": (12, 0), "torch_archs": ("sm_80", "sm_90")},
            ["capability 12.0, and torch was built for sm_80, sm_90", "a newer torch"],
        ),
    ],
)
def test_what_keeps_a_gpu_from_working_is_told(change: dict, told: list[str]) -> None:
    problem = cuda_problem(replace(BUILDS, **change))
    for words in told:
        assert words in problem
    assert "docs.gsplat.studio" not in problem  # its wheels are for Python 3.10 alone


@pytest.mark.parametrize("sees", [True, False])
def test_nobody_with_rocm_is_told_to_install_cuda(sees: bool) -> None:
    facts = replace(BUILDS, driver=False, torch_cuda="", torch_hip="6.3", torch_sees_gpu=sees, **BARE)
    facts = replace(facts, torch_archs=(), capability=None, gsplat="")
    assert "ROCm" in cuda_problem(facts)
    for word in ("CUDA", "nvcc", "NVIDIA", "install"):
        assert word not in cuda_problem(facts)
    assert (torch_problem(facts) == "") == sees  # models do run there


@pytest.mark.parametrize(
    ("capability", "archs", "expected"),
    [
        ((8, 6), ("sm_80",), True),
        ((8, 0), ("sm_86",), False),
        ((9, 0), ("sm_80", "sm_86"), False),
        ((9, 0), ("sm_80", "compute_86"), True),
        ((7, 5), ("compute_80",), False),
        ((9, 0), ("sm_90a",), True),
        ((10, 3), ("sm_100",), True),
        ((10, 3), ("sm_100a",), False),
        ((12, 0), ("sm_90", "compute_120"), True),
        ((12, 0), (), True),
    ],
)
def test_which_kernels_run_on_which_gpu(
    capability: tuple[int, int], archs: tuple[str, ...], expected: bool
) -> None:
    assert runs_on(capability, archs) == expected


def test_torch_compiles_for_no_newer_gpu_than_it_knows() -> None:
    assert built_for(replace(BUILDS, capability=(12, 0))) == (9, 0)
    assert built_for(replace(BUILDS, capability=(7, 5))) == (7, 5)
    # So a toolkit that does not know the GPU is enough, if torch runs there by portable code.
    assert cuda_problem(replace(BUILDS, capability=(12, 0))) == ""


def fake_command(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True, parents=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def fake_nvcc(folder: Path, release: str) -> None:
    script = f"""case $1 in
        --version) echo 'Cuda compilation tools, release {release}, V{release}.1';;
        --list-gpu-arch) printf 'compute_75\\ncompute_100\\n';;
    esac"""
    fake_command(folder / "bin", "nvcc", script)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with a GPU of 10.3, whose programs are those in the folder "bin"."""
    fake_command(tmp_path / "bin", "nvidia-smi", "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    for name in ("CUDA_HOME", "CUDA_PATH", "CXX", "CPATH", "CPLUS_INCLUDE_PATH", "CUDA_INC_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("TORCH_CUDA_ARCH_LIST", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_90", "sm_100"])
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (10, 3))
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    return tmp_path


def look(monkeypatch: pytest.MonkeyPatch) -> CudaFacts:
    """Facts as a new process would find them: torch looks for the toolkit when it is imported."""
    monkeypatch.setattr(cpp_extension, "CUDA_HOME", cpp_extension._find_cuda_home())
    cuda._output.cache_clear()
    return cuda_facts()


def test_the_compiler_is_asked_once_a_process(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_nvcc(machine, "12.8")
    facts = look(monkeypatch)
    (machine / "bin" / "nvcc").unlink()
    assert facts.toolkit.nvcc == "12.8"
    assert cuda_facts() == facts


def test_facts_of_a_made_up_machine(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = look(monkeypatch)
    assert (facts.driver, facts.torch_cuda, facts.torch_sees_gpu) == (True, "12.8", True)
    assert (facts.capability, facts.torch_archs) == ((10, 3), ("sm_90", "sm_100"))
    assert facts.cxx == ""
    monkeypatch.setattr(cpp_extension, "CUDA_HOME", None)
    assert cuda_facts().toolkit == Toolkit()
    fake_command(machine / "bin", "g++", "exit 0")
    assert look(monkeypatch).cxx == ""  # torch takes c++, or what CXX names
    monkeypatch.setenv("CXX", "g++ -m64")
    assert look(monkeypatch).cxx == "g++"
    fake_nvcc(machine, "11.8")
    assert look(monkeypatch).toolkit == Toolkit(str(machine), "11.8", False, ((7, 5), (10, 0)))


@pytest.mark.parametrize("variable", ["CUDA_HOME", "CUDA_PATH"])
def test_the_toolkit_is_the_one_that_torch_takes(
    variable: str, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the environment names comes before the PATH, which does not stand in for a folder without nvcc."""
    fake_nvcc(machine, "11.8")
    home = machine / "cuda-12.8"
    home.mkdir()
    monkeypatch.setenv(variable, str(home))
    assert look(monkeypatch).toolkit == Toolkit(str(home))
    fake_nvcc(home, "12.8")
    assert look(monkeypatch).toolkit == Toolkit(str(home), "12.8", False, ((7, 5), (10, 0)))
    (home / "include").mkdir()
    (home / "include" / "cuda_runtime.h").touch()
    assert look(monkeypatch).toolkit.header
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "12.0+PTX")
    assert look(monkeypatch).toolkit.archs == ()


def test_headers_that_the_compiler_finds_by_itself_count(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_nvcc(machine, "12.8")
    (machine / "elsewhere").mkdir()
    (machine / "elsewhere" / "cuda_runtime.h").touch()
    assert not look(monkeypatch).toolkit.header
    monkeypatch.setenv("CPATH", f"/nowhere:{machine / 'elsewhere'}")
    assert look(monkeypatch).toolkit.header


def test_ninja_of_this_python_counts(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program of a virtual environment that is not activated: pip's ninja is not on the PATH."""
    monkeypatch.setattr(cuda.sysconfig, "get_path", lambda name: str(machine / name))
    assert not look(monkeypatch).ninja
    fake_command(machine / "scripts", "ninja", "exit 0")
    assert look(monkeypatch).ninja


@pytest.fixture
def gsplat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Folder of an empty package called gsplat, the only one."""
    package = tmp_path / "site" / "gsplat"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    for name in [name for name in sys.modules if name.split(".")[0] == "gsplat"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path / "site")
    yield package
    for name in [name for name in sys.modules if name.split(".")[0] == "gsplat"]:
        del sys.modules[name]


def test_what_an_earlier_build_left_is_not_compiled(
    gsplat: Path, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gsplat takes it only where it finds a toolkit, and ninja compiles it anew if torch is another."""
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(machine / "extensions"))
    built = machine / "extensions" / "py312_cu128" / "gsplat_cuda"
    built.mkdir(parents=True)
    (built / "gsplat_cuda.so").touch()
    facts = look(monkeypatch)
    assert not facts.compiled
    assert "a CUDA compiler" in cuda_problem(replace(facts, gsplat="1.5.3"))


def test_only_kernels_that_load_are_compiled(
    gsplat: Path, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not look(monkeypatch).compiled
    suffix = ".cpython-{}{}-x86_64-linux-gnu.so".format(*sys.version_info[:2])
    (gsplat / f"csrc{suffix}").write_bytes(b"\x7fELF, of another torch")
    assert not look(monkeypatch).compiled
    monkeypatch.setitem(sys.modules, "gsplat.csrc", torch)  # one that loads
    assert look(monkeypatch).compiled
