from dataclasses import replace

import pytest
import torch

from gags import cli
from gags.models import doctor, doctor_cuda, hub
from gags.models.doctor import examine
from gags.models.doctor_cuda import CudaFacts, cuda_facts, cuda_problem
from gags.models.known import PAPER_ENCODER, PAPER_SEGMENTER


def test_everything_needed_works_here(capsys):
    checks = {check.name: check for check in examine()}
    assert checks["cpu"].fine
    assert checks["cpu"].needed
    assert {"gags", "cuda", "nets", "mobile-sam", "lite", "hub", "disk"} <= checks.keys()
    assert {PAPER_SEGMENTER, PAPER_ENCODER} <= checks.keys()
    assert cli.main(["doctor"]) == 0
    assert "`gags run` works here" in capsys.readouterr().out


def test_a_broken_rasteriser_is_told_and_fails(monkeypatch, capsys):
    def broken(*inputs, **options):
        raise ImportError("no module named numba")

    monkeypatch.setattr(doctor, "rasterize", broken)
    assert cli.main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "no module named numba" in out
    assert "cannot work here: cpu" in out


WORKS = CudaFacts(
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
def test_a_gpu_with_what_it_takes_has_no_problem(change):
    assert cuda_problem(replace(WORKS, **change)) == ""


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
def test_what_keeps_a_gpu_from_working_is_told(change, told):
    problem = cuda_problem(replace(WORKS, **change))
    for words in told:
        assert words in problem


def fake_command(folder, name, script):
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_facts_of_a_made_up_machine(tmp_path, monkeypatch):
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


def test_kernels_are_found_in_the_package_and_in_torchs_folder(tmp_path, monkeypatch):
    package = tmp_path / "site" / "gsplat"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "extensions"))
    assert not doctor_cuda._compiled()
    built = tmp_path / "extensions" / "py312_cu128" / "gsplat_cuda"
    built.mkdir(parents=True)
    (built / "gsplat_cuda.so").touch()
    assert doctor_cuda._compiled()
    (built / "gsplat_cuda.so").unlink()
    (package / "csrc.cpython-312-x86_64-linux-gnu.so").touch()
    assert doctor_cuda._compiled()


@pytest.mark.parametrize(
    ("offline", "reachable", "fine", "told"),
    [
        (True, False, True, "not asked, HF_HUB_OFFLINE forbids it"),
        (False, True, True, "https://huggingface.co answers"),
        (False, False, False, "does not answer within 2 s: the paper's models have to come by hand"),
    ],
)
def test_the_hub_is_looked_at(monkeypatch, offline, reachable, fine, told):
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    monkeypatch.setattr(hub, "offline", lambda: offline)
    monkeypatch.setattr(hub, "reachable", lambda: reachable)
    monkeypatch.setattr(hub, "locate", lambda name: None)
    check = doctor._hub()
    assert check.fine == fine
    assert told in check.finding
    assert not check.needed


def test_broken_kernels_are_told_and_not_thrown(monkeypatch):
    def broken(*inputs, **options):
        raise AttributeError("'NoneType' object has no attribute 'projection_ewa_3dgs_fused_fwd'")

    monkeypatch.setattr(doctor, "rasterize", broken)
    assert "NoneType" in doctor._backend("cpu", "a test", needed=False).finding
