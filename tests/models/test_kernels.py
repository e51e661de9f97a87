"""Kernels of gsplat are loaded once, quietly; a machine where they do not work is remembered."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tests.helpers.heard import Heard
from tests.helpers.pretend_gpu import pretend_gpu

from gags.errors import GagsError
from gags.models import kernels
from gags.models.cuda import CudaFacts
from gags.models.kernels import build_jobs, first_cause, kernels_problem, output_to_stderr
from gags.render.cuda_view import load_gsplat

FACTS = CudaFacts(True, "12.8", True, gsplat="1.5.3", compiled=False)

PACKAGE = """
import torch

__version__ = "1.5.3"

def quat_scale_to_covar_preci(quats, scales, compute_preci=True):
    {run}
    return torch.diag_embed(scales ** 2) * {factor}, None
"""

BACKEND = """
import os, subprocess
from pathlib import Path

with open(os.environ["GAGS_TEST_LOADS"], "a") as file:
    file.write(os.environ["MAX_JOBS"] + "\\n")
print("gsplat: Setting up CUDA")
subprocess.run(["echo", "nvcc warning : deprecated"], check=True)
os.write(1, b"ninja: no work to do.\\n")
{last}
"""


@pytest.fixture
def gsplat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """Writes a package gsplat that prints while it is set up; the list of its loads (MAX_JOBS of each)."""
    loads = tmp_path / "loads"
    loads.touch()
    monkeypatch.setenv("GAGS_TEST_LOADS", str(loads))
    monkeypatch.setenv("GAGS_MODELS", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "extensions"))
    monkeypatch.delenv("MAX_JOBS", raising=False)
    monkeypatch.syspath_prepend(tmp_path / "site")

    def forget() -> None:
        """What a new process would not know."""
        kernels._load.cache_clear()
        for name in [name for name in sys.modules if name.split(".")[0] == "gsplat"]:
            del sys.modules[name]

    def write(last: str, factor: float = 1.0, run: str = "") -> None:
        forget()
        folder = tmp_path / "site" / "gsplat"
        (folder / "cuda").mkdir(parents=True, exist_ok=True)
        (folder / "__init__.py").write_text(PACKAGE.format(factor=factor, run=run))
        (folder / "cuda" / "__init__.py").touch()
        (folder / "cuda" / "_backend.py").write_text(BACKEND.format(last=last))

    former = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "gsplat"}
    yield SimpleNamespace(write=write, forget=forget, loads=lambda: loads.read_text().split(), root=tmp_path)
    forget()
    sys.modules.update(former)


def load(facts: CudaFacts = FACTS, listener: Heard | None = None, *, again: bool = False) -> str:
    with pretend_gpu("none"):
        return kernels_problem(facts, listener or Heard(), again=again)


def test_kernels_are_loaded_once_and_nothing_goes_to_stdout(
    gsplat: SimpleNamespace, capfd: pytest.CaptureFixture[str]
) -> None:
    gsplat.write("_C = object()")
    listener = Heard()
    assert load(listener=listener) == load() == ""
    print("{}")
    captured = capfd.readouterr()
    assert captured.out == "{}\n"
    for line in ("gsplat: Setting up CUDA", "nvcc warning : deprecated", "ninja: no work to do."):
        assert line in captured.err
    assert len(gsplat.loads()) == 1
    assert len(listener.said) == 1
    assert listener.said[0].startswith("Compiling gsplat's kernels, ")
    assert not (gsplat.root / "cache").exists()


def test_kernels_that_were_built_before_are_not_announced(gsplat: SimpleNamespace) -> None:
    gsplat.write("_C = object()")
    built = gsplat.root / "extensions" / "py312_cu128" / "gsplat_cuda"
    built.mkdir(parents=True)
    (built / "gsplat_cuda.so").touch()
    listener = Heard()
    assert load(listener=listener) == ""
    assert listener.said == []


def test_a_failed_build_is_one_line_and_not_tried_again(gsplat: SimpleNamespace) -> None:
    output = "Error building extension 'gsplat_cuda': [1/9] nvcc -c a.cu -o error.o\\nFAILED: error.o\\n"
    output += "host_config.h:143:2: error: #error -- unsupported GNU version! gcc later than 13\\n1 error"
    gsplat.write(f'raise RuntimeError("{output}")')
    expected = (
        "gsplat's kernels do not work here: host_config.h:143:2: error: #error -- unsupported GNU version! "
        "gcc later than 13"
    )
    assert load() == load() == expected
    assert len(gsplat.loads()) == 1
    gsplat.forget()  # the next command
    listener = Heard()
    assert load(listener=listener) == f"{expected} (as found before; `gags doctor` tries again)"
    assert listener.said == []
    assert len(gsplat.loads()) == 1
    assert load(replace(FACTS, cxx="g++-13")) == expected  # another compiler
    assert len(gsplat.loads()) == 2


def test_doctor_tries_again_and_success_is_remembered(gsplat: SimpleNamespace) -> None:
    gsplat.write("raise RuntimeError('nvcc fatal : Unsupported gpu architecture')")
    assert "Unsupported gpu architecture" in load()
    gsplat.write("_C = object()")
    assert "as found before" in load()
    assert load(again=True) == ""
    gsplat.forget()
    assert load() == ""


@pytest.mark.parametrize(
    ("last", "told"),
    [
        ("_C = None", "neither compiled kernels nor a CUDA toolkit"),
        ("raise RuntimeError('c++: fatal error: Killed signal terminated program cc1plus')", "Killed signal"),
        ("import no_such_module", "No module named 'no_such_module'"),
        (
            "try:\n    raise OSError('CUDA_HOME is not set')\n"
            "except OSError:\n    raise ImportError('gsplat_cuda.so: cannot open shared object file')",
            "do not work here: CUDA_HOME is not set",
        ),
    ],
)
def test_other_failures_are_told(gsplat: SimpleNamespace, last: str, told: str) -> None:
    gsplat.write(last)
    assert told in load()
    if "Killed" in told:  # for want of memory: the next time it may work
        gsplat.write("_C = object()")
        assert load() == ""


@pytest.mark.parametrize(
    "message",
    [
        "CUDA error: all CUDA-capable devices are busy or unavailable",
        "CUDA unknown error - this may be due to an incorrectly set up environment",
        "initialization error",
        "cannot allocate memory",
    ],
)
@pytest.mark.parametrize("where", ["building", "running"])
def test_what_may_pass_is_tried_again(gsplat: SimpleNamespace, where: str, message: str) -> None:
    raising = f"raise RuntimeError({message!r})"
    gsplat.write(raising) if where == "building" else gsplat.write("_C = object()", run=raising)
    assert message in load()
    gsplat.write("_C = object()")
    assert load() == ""


def test_a_failed_trial_of_what_was_built_is_not_remembered(gsplat: SimpleNamespace) -> None:
    """Trying again takes no build."""
    gsplat.write("_C = object()", run="raise RuntimeError('the driver does not like it')")
    assert "does not like it" in load()
    gsplat.write("_C = object()")
    assert load() == ""


def beside_a_build(listener: Heard, meanwhile: Callable[[], None]) -> str:
    """What a process finds that comes while another one builds, which does something before it ends."""
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(load(listener=listener)))
    with kernels._build_lock():
        thread.start()
        deadline = time.monotonic() + 60
        while not listener.said and time.monotonic() < deadline:
            time.sleep(0.01)
        assert found == []
        meanwhile()
    thread.join(60)
    assert len(found) == 1
    return found[0]


def test_a_build_of_another_process_is_waited_for(gsplat: SimpleNamespace) -> None:
    gsplat.write("_C = object()")
    built = gsplat.root / "extensions" / "py312_cu128" / "gsplat_cuda"

    def build() -> None:
        assert gsplat.loads() == []
        built.mkdir(parents=True)
        (built / "gsplat_cuda.so").touch()

    listener = Heard()
    assert beside_a_build(listener, build) == ""
    assert [line.split(":")[0] for line in listener.said] == [
        "Waiting for another process that sets up gsplat's kernels"
    ]
    assert len(gsplat.loads()) == 1


def test_a_build_that_failed_meanwhile_is_not_repeated(gsplat: SimpleNamespace) -> None:
    gsplat.write("_C = object()")
    failed = kernels._Loaded("no nvcc", lasting=True)
    found = beside_a_build(Heard(), lambda: kernels._remember(FACTS, failed))
    assert found == "no nvcc (as found before; `gags doctor` tries again)"
    assert gsplat.loads() == []


def test_who_rasterises_at_once_builds_in_the_same_way(
    gsplat: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(kernels, "build_jobs", lambda: 5)
    gsplat.write("_C = object()")
    assert load_gsplat() is load_gsplat() is sys.modules["gsplat"]
    assert gsplat.loads() == ["5"]
    assert capfd.readouterr().out == ""
    gsplat.write("raise RuntimeError('nvcc fatal : no')")
    with pytest.raises(GagsError, match="cannot be compiled: nvcc fatal : no"):
        load_gsplat()


def test_a_kernel_is_run(gsplat: SimpleNamespace) -> None:
    """Kernels for another GPU are loaded without complaint."""
    gsplat.write("_C = object()", factor=0.5)
    assert "the covariance of a ball wrongly" in load()


def test_the_environment_is_as_before(gsplat: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "build_jobs", lambda: 5)
    path = os.environ["PATH"]
    gsplat.write("_C = object()")
    assert load() == ""
    assert "MAX_JOBS" not in os.environ
    monkeypatch.setenv("MAX_JOBS", "3")
    gsplat.write("raise RuntimeError('error')")
    load()
    assert os.environ["MAX_JOBS"] == "3"  # the user's
    assert os.environ["PATH"] == path
    assert gsplat.loads() == ["5", "3"]


@pytest.mark.parametrize(("gigabytes", "cores", "expected"), [(64, 8, 8), (10, 8, 3), (1, 8, 1), (64, 1, 1)])
def test_as_many_jobs_as_memory_and_cores_allow(
    monkeypatch: pytest.MonkeyPatch, gigabytes: int, cores: int, expected: int
) -> None:
    """A container's, where there is one: both count control groups."""
    monkeypatch.setattr(kernels, "usable_cores", lambda: cores)
    monkeypatch.setattr(kernels, "available_bytes", lambda: gigabytes * 10**9)
    assert build_jobs() == expected


def test_the_cause_in_a_compilers_output() -> None:
    assert first_cause("") == ""
    assert first_cause("odd\nbut nothing wrong") == "odd"
    assert first_cause("Error building extension 'gsplat_cuda'\n\n  x.h:1:10:  fatal error: glm.h: none") == (
        "x.h:1:10: fatal error: glm.h: none"
    )
    assert len(first_cause("error " + "x" * 1000)) == 300


def test_stdout_comes_back_after_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError), output_to_stderr():
        raise KeyError
    os.write(1, b"back")
    print("again", flush=True)
    assert capfd.readouterr().out == "backagain\n"
    assert torch.ones(1).item() == 1
