"""Which device Gaussians and neural nets take, in which precision; faked machines."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from tests.helpers.heard import Heard

from gags.errors import GagsError
from gags.models import device
from gags.models.device import (
    CudaFacts,
    cuda_facts,
    cuda_problem,
    free_bytes,
    neural_device,
    neural_dtype,
    scene_device,
)


@pytest.mark.parametrize(
    ("cuda", "mps", "expected", "dtype"),
    [
        (True, False, "cuda", torch.float16),
        (False, True, "mps", torch.float32),
        (False, False, "cpu", torch.float32),
    ],
)
def test_the_fastest_device(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, expected: str, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert neural_device() == torch.device(expected)
    assert neural_dtype(neural_device()) == dtype


def test_free_memory_of_a_gpu_counts_what_torch_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 5000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 300)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 100)
    assert free_bytes(torch.device("cuda")) == 1200


def test_free_memory_of_a_mac(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 900)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 200)
    assert free_bytes(torch.device("mps")) == 700


def test_free_memory_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1 << 20 < free_bytes(torch.device("cpu")) <= psutil.virtual_memory().total
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1_024_000))
    assert free_bytes(torch.device("cpu")) == 1_024_000


WORKS = CudaFacts(True, "12.8", True, gsplat=True, compiled=True, nvcc="", cxx="", ninja=False)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, CudaFacts]:
    """A machine with the NVIDIA GPU that its "facts" tell of."""
    found = {"facts": WORKS}
    monkeypatch.delenv("GAGS_DEVICE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: found["facts"].torch_sees_gpu)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(device, "cuda_facts", lambda: found["facts"])
    return found


def test_gaussians_go_where_gsplat_works(machine: dict[str, CudaFacts]) -> None:
    listener = Heard()
    assert scene_device(listener) == torch.device("cuda")
    machine["facts"] = replace(WORKS, torch_sees_gpu=False)
    assert scene_device(listener) == torch.device("cpu")
    assert listener.said == []


def test_a_gpu_without_gsplat_is_told(machine: dict[str, CudaFacts]) -> None:
    machine["facts"] = replace(WORKS, gsplat=False)
    listener = Heard()
    assert scene_device(listener) == torch.device("cpu")
    assert len(listener.said) == 1
    assert "pip install 'gags[cuda]'" in listener.said[0]
    assert neural_device() == torch.device("cuda")  # nets need no gsplat


def test_the_choice_of_the_user(machine: dict[str, CudaFacts], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAGS_DEVICE", "cpu")
    assert scene_device() == neural_device() == torch.device("cpu")
    monkeypatch.setenv("GAGS_DEVICE", "cuda")
    assert scene_device() == neural_device() == torch.device("cuda")
    machine["facts"] = replace(WORKS, gsplat=False)
    with pytest.raises(GagsError, match="GAGS_DEVICE is cuda, but GPU found, gsplat missing"):
        scene_device()
    machine["facts"] = replace(WORKS, torch_sees_gpu=False)
    with pytest.raises(GagsError, match="GAGS_DEVICE is cuda, but"):
        neural_device()
    monkeypatch.setenv("GAGS_DEVICE", "gpu")
    with pytest.raises(GagsError, match="must be auto, cpu or cuda, not 'gpu'"):
        scene_device()


BUILDS = CudaFacts(
    driver=True,
    torch_cuda="12.8",
    torch_sees_gpu=True,
    gsplat=True,
    compiled=False,
    nvcc="12.6",
    cxx="g++",
    ninja=True,
)


@pytest.mark.parametrize("change", [{}, {"compiled": True, "nvcc": "", "cxx": "", "ninja": False}])
def test_a_gpu_with_what_it_takes_has_no_problem(change: dict) -> None:
    assert cuda_problem(replace(BUILDS, **change)) == ""


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"gsplat": False}, ["pip install 'gags[cuda]'"]),
        ({"nvcc": ""}, ["CUDA toolkit 12.8 (nvcc)", "CUDA_HOME", "docs.gsplat.studio/whl"]),
        ({"nvcc": "11.8"}, ["nvcc is 11.8, torch was built for CUDA 12.8", "CUDA toolkit 12.x"]),
        ({"cxx": ""}, ["a C++ compiler: install g++"]),
        ({"ninja": False}, ["pip install ninja"]),
        ({"nvcc": "", "cxx": ""}, ["a CUDA compiler", "and a C++ compiler"]),
        ({"torch_sees_gpu": False, "torch_cuda": ""}, ["torch was built without CUDA", "pytorch.org"]),
        ({"torch_sees_gpu": False}, ["built for CUDA 12.8 but cannot use the GPU", "nvidia-smi"]),
        ({"torch_sees_gpu": False, "driver": False}, ["no NVIDIA GPU", "runs on the CPU"]),
    ],
)
def test_what_keeps_a_gpu_from_working_is_told(change: dict, told: list[str]) -> None:
    problem = cuda_problem(replace(BUILDS, **change))
    for words in told:
        assert words in problem


def fake_command(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_facts_of_a_made_up_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = "echo 'Cuda compilation tools, release {}, V{}.1'"
    fake_command(tmp_path / "bin", "nvidia-smi", "exit 0")
    fake_command(tmp_path / "bin", "g++", "exit 0")
    fake_command(tmp_path / "bin", "nvcc", release.format("11.8", "11.8"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    for name in ("CUDA_HOME", "CUDA_PATH", "CXX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    facts = cuda_facts()
    assert (facts.driver, facts.torch_cuda, facts.torch_sees_gpu) == (True, "12.8", True)
    assert (facts.nvcc, facts.cxx) == ("11.8", "g++")
    home = tmp_path / "cuda-12.8"
    home.mkdir()
    fake_command(home / "bin", "nvcc", release.format("12.8", "12.8"))
    monkeypatch.setenv("CUDA_HOME", str(home))
    assert cuda_facts().nvcc == "12.8"


def test_kernels_are_found_in_the_package_and_in_torchs_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site" / "gsplat"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "extensions"))
    assert not cuda_facts().compiled
    built = tmp_path / "extensions" / "py312_cu128" / "gsplat_cuda"
    built.mkdir(parents=True)
    (built / "gsplat_cuda.so").touch()
    assert cuda_facts().compiled
    (built / "gsplat_cuda.so").unlink()
    (package / "csrc.cpython-312-x86_64-linux-gnu.so").touch()
    assert cuda_facts().compiled
