"""Which device Gaussians and neural nets take, in which precision; faked machines."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from tests.helpers.heard import Heard
from tests.helpers.pretend_gpu import GPU, marked, pretend_gpu

from gags.errors import GagsError, ModelError
from gags.files import memory
from gags.models import device
from gags.models.cuda import CudaFacts
from gags.models.device import (
    free_bytes,
    in_batches,
    in_turn,
    net_lock,
    neural_device,
    neural_dtype,
    out_of_memory,
    scene_device,
    to_device,
    to_host,
)


@pytest.mark.parametrize(
    ("cuda", "mps", "expected", "dtype"),
    [
        (True, False, "cuda:0", torch.float16),
        (False, True, "mps", torch.float32),
        (False, False, "cpu", torch.float32),
    ],
)
def test_the_fastest_device(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, expected: str, dtype: torch.dtype
) -> None:
    monkeypatch.delenv("GAGS_DEVICE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(device, "gpu_computes", lambda: True)
    assert neural_device() == torch.device(expected)
    assert neural_dtype(neural_device()) == dtype


def test_free_memory_of_a_gpu_counts_what_torch_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 5000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 300)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 100)
    assert free_bytes(torch.device("cuda")) == 1200


@pytest.mark.parametrize(("available", "expected"), [(1000, 700), (100, 500), (0, 400)])
def test_free_memory_of_a_mac(monkeypatch: pytest.MonkeyPatch, available: int, expected: int) -> None:
    """Of 900 that the GPU may take, tensors have 200, and torch keeps another 400 for the next ones."""
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 900)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 600)
    monkeypatch.setattr(torch.mps, "current_allocated_memory", lambda: 200)
    monkeypatch.setattr(device, "available_bytes", lambda: available)
    assert free_bytes(torch.device("mps")) == expected


def test_free_memory_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1 << 20 < free_bytes(torch.device("cpu")) <= psutil.virtual_memory().total
    monkeypatch.setattr(memory, "_left_in_groups", lambda own, root: iter([1_024_000]))  # a container's
    assert free_bytes(torch.device("cpu")) == 1_024_000


WORKS = CudaFacts(True, "12.8", True, gsplat="1.5.3", compiled=True)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict:
    """A machine with the NVIDIA GPU that its "facts" tell of, and where loading kernels ends in "problem".

    It has another one, but this one, the second, was chosen.
    """
    found = {"facts": WORKS, "problem": "", "loaded": []}

    def load(facts: CudaFacts, progress: object, *, again: bool) -> str:
        found["loaded"].append(again)
        return found["problem"]

    monkeypatch.delenv("GAGS_DEVICE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: found["facts"].torch_sees_gpu)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(device, "cuda_facts", lambda: found["facts"])
    monkeypatch.setattr(device, "kernels_problem", load)
    monkeypatch.setattr(device, "gpu_computes", lambda: True)
    return found


def test_gaussians_go_where_gsplat_works(machine: dict) -> None:
    listener = Heard()
    assert scene_device(listener) == torch.device("cuda:1")
    assert machine["loaded"] == [False]
    machine["facts"] = replace(WORKS, torch_sees_gpu=False)
    assert scene_device(listener) == torch.device("cpu")
    assert listener.said == []
    assert machine["loaded"] == [False]  # without a GPU nothing is loaded


def test_a_gpu_without_gsplat_is_told(machine: dict) -> None:
    machine["facts"] = replace(WORKS, gsplat="")
    listener = Heard()
    assert scene_device(listener) == torch.device("cpu")
    assert len(listener.said) == 1
    assert "pip install 'gags[cuda]'" in listener.said[0]
    assert neural_device() == torch.device("cuda:1")  # nets need no gsplat
    assert machine["loaded"] == []


def test_kernels_that_do_not_load_leave_gaussians_on_the_cpu(
    machine: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine["problem"] = "gsplat's kernels do not work here: unsupported GNU version"
    listener = Heard()
    assert scene_device(listener) == torch.device("cpu")
    assert listener.said == [f"Gaussians stay on the CPU: {machine['problem']}"]
    monkeypatch.setenv("GAGS_DEVICE", "cuda")
    with pytest.raises(
        GagsError, match=r"GAGS_DEVICE is cuda, but gsplat's kernels .* GNU version; unset it"
    ):
        scene_device()
    assert machine["loaded"] == [False, True]  # who insists on the GPU gets another try


def test_the_choice_of_the_user(machine: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAGS_DEVICE", "cpu")
    assert scene_device() == neural_device() == torch.device("cpu")
    monkeypatch.setenv("GAGS_DEVICE", " CUDA ")
    assert scene_device() == neural_device() == torch.device("cuda:1")
    machine["facts"] = replace(WORKS, gsplat="")
    with pytest.raises(GagsError, match="GAGS_DEVICE is cuda, but GPU found, gsplat missing"):
        scene_device()
    machine["facts"] = replace(WORKS, torch_sees_gpu=False)
    with pytest.raises(GagsError, match="GAGS_DEVICE is cuda, but"):
        neural_device()


@pytest.mark.parametrize("value", ["gpu", "cuda:1", "metal"])
def test_an_unknown_choice_is_one_line(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAGS_DEVICE", value)
    for choose in (scene_device, neural_device):
        with pytest.raises(GagsError) as raised:
            choose()
        assert str(raised.value) == f"GAGS_DEVICE must be auto, cpu, cuda or mps, not {value!r}"


def test_apples_gpu_can_be_chosen(machine: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nets run there, Gaussians on the CPU; also beside an NVIDIA GPU."""
    monkeypatch.setenv("GAGS_DEVICE", "mps")
    with pytest.raises(GagsError, match="GAGS_DEVICE is mps, but there is no Apple GPU that torch can use"):
        neural_device()
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert neural_device() == torch.device("mps")
    listener = Heard()
    assert scene_device(listener) == torch.device("cpu")
    assert listener.said == []


def test_nets_on_apples_gpu_share_one_lock() -> None:
    """Others have one each: they may compute side by side."""
    for name, shared in (("mps", True), ("cpu", False), ("cuda", False)):
        assert (net_lock(torch.device(name)) is net_lock(torch.device(name))) is shared


def test_one_thread_at_a_time_is_in_a_net() -> None:
    class Net:
        def __init__(self) -> None:
            self._lock, self.inside, self.most = net_lock(torch.device("mps")), 0, 0

        @in_turn
        def work(self, number: int, *, more: int = 0) -> int:
            self.inside += 1
            self.most = max(self.most, self.inside)
            time.sleep(0.01)
            self.inside -= 1
            return number + more

    net = Net()
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda number: net.work(number, more=1), range(4))) == [1, 2, 3, 4]
    assert net.most == 1


def test_nets_leave_a_gpu_that_torch_was_not_built_for(
    machine: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine["facts"] = replace(WORKS, capability=(6, 1), torch_archs=("sm_75", "sm_80"))
    monkeypatch.setattr(device, "gpu_computes", lambda: False)
    assert neural_device() == scene_device() == torch.device("cpu")
    monkeypatch.setenv("GAGS_DEVICE", "cuda")
    with pytest.raises(GagsError, match=r"compute capability 6\.1, and torch was built for sm_75, sm_80"):
        neural_device()


def test_whether_torch_computes_on_a_gpu_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_kernel(*size: int, device: str) -> torch.Tensor:
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device")

    device.gpu_computes.cache_clear()
    with pretend_gpu():
        assert device.gpu_computes()
    device.gpu_computes.cache_clear()
    monkeypatch.setattr(torch, "ones", no_kernel)
    assert not device.gpu_computes()
    device.gpu_computes.cache_clear()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 17.00 GB, other allocations: 1 GB)"), True),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory"),
            True,
        ),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (MemoryError(), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("MPS backend out of memory"), False),
    ],
)
def test_what_says_that_memory_ran_out(error: Exception, expected: bool) -> None:
    assert out_of_memory(error) == expected


def test_batches_are_halved_until_they_fit() -> None:
    tried: list[tuple[int, int]] = []

    def run(start: int, end: int) -> list[int]:
        tried.append((start, end))
        if end - start > 3:
            raise RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)")
        return list(range(start, end))

    parts = in_batches(10, 8, run, name="a net", device=torch.device("mps"))
    assert parts == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    assert tried == [(0, 8), (0, 4), (0, 2), (2, 4), (4, 6), (6, 8), (8, 10)]
    assert in_batches(0, 8, run, name="a net", device=torch.device("mps")) == []


def test_one_that_does_not_fit_is_an_error_and_other_errors_pass() -> None:
    def run(start: int, end: int) -> None:
        raise RuntimeError(message)

    message = "MPS backend out of memory"
    with pytest.raises(ModelError, match="a net needs more memory than mps has free; close other programs"):
        in_batches(4, 4, run, name="a net", device=torch.device("mps"))
    message = "shapes cannot be multiplied"
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        in_batches(4, 4, run, name="a net", device=torch.device("cpu"))


def test_what_comes_from_and_goes_to_a_gpu_is_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies from a GPU end before their values are read; copies to it are not waited for."""
    asked: list[str] = []

    def pinned(tensor: torch.Tensor) -> torch.Tensor:
        asked.append("pinned")
        return torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")

    stream = SimpleNamespace(synchronize=lambda: asked.append("waited"))
    monkeypatch.setattr(device, "pinned", pinned)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: asked.append("pinned up") or self)
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert np.array_equal(to_host(to_device(values, torch.device("cpu"))), values)
    assert asked == []
    with pretend_gpu():
        there = to_device(values, GPU)
        assert marked(there)
        assert asked == ["pinned up"]
        assert np.array_equal(to_host(there * 2), 2 * values)
    assert asked == ["pinned up", "pinned", "waited"]
