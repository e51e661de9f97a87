"""Which device Gaussians and neural nets take, in which precision; faked machines."""

from dataclasses import replace

import pytest
import torch

from gags.errors import GagsError
from gags.models import device
from gags.models.device import free_bytes, neural_device, neural_dtype, scene_device
from gags.models.doctor_cuda import CudaFacts
from gags.progress import Reporter


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


def test_free_memory_of_the_system_where_it_is_told_and_where_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert free_bytes(torch.device("cpu")) > 1 << 20

    def unreadable(*arguments: object, **options: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", unreadable)
    monkeypatch.setattr(device.os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1000}.__getitem__)
    assert free_bytes(torch.device("cpu")) == 1_024_000
    monkeypatch.delattr(device.os, "sysconf")
    assert free_bytes(torch.device("cpu")) == device.UNKNOWN_FREE


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


class Listener(Reporter):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


def test_gaussians_go_where_gsplat_works(machine: dict[str, CudaFacts]) -> None:
    listener = Listener()
    assert scene_device(listener) == torch.device("cuda")
    machine["facts"] = replace(WORKS, torch_sees_gpu=False)
    assert scene_device(listener) == torch.device("cpu")
    assert listener.said == []


def test_a_gpu_without_gsplat_is_told(machine: dict[str, CudaFacts]) -> None:
    machine["facts"] = replace(WORKS, gsplat=False)
    listener = Listener()
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
