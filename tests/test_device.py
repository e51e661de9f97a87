"""Which device neural nets take, in which precision; faked machines."""

import pytest
import torch

from gags import device
from gags.device import free_bytes, neural_device, neural_dtype


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
