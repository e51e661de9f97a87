"""What `gags doctor` finds, on this machine and on faked ones."""

from pathlib import Path

import pytest
import torch

from gags import cli
from gags.cli import models as doctor_command
from gags.models import doctor, hub
from gags.models.doctor import Check, examine
from gags.models.known import PAPER_ENCODER, PAPER_SEGMENTER
from gags.progress import Reporter
from gags.render import rasterize


def broken(*inputs: object, **options: object) -> None:
    raise ImportError("no module named numba")


def found(name: str, rasterize=broken) -> list[Check]:
    return [check for check in examine(rasterize) if check.name == name]


def test_everything_needed_works_here(capsys: pytest.CaptureFixture[str]) -> None:
    checks = {check.name: check for check in examine(rasterize)}
    assert checks["cpu"].fine
    assert checks["cpu"].needed
    assert {"gags", "cuda", "nets", "mobile-sam", "lite", "hub", "disk"} <= checks.keys()
    assert {PAPER_SEGMENTER, PAPER_ENCODER} <= checks.keys()
    assert cli.main(["doctor"]) == 0
    assert "`gags run` works here" in capsys.readouterr().out


def test_cores_are_those_that_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "cores_in_words", lambda: "2 of 64 cores")
    (check,) = found("cpu", rasterize)
    assert "rasteriser in Numba, 2 of 64 cores, torch uses" in check.finding


def test_a_broken_rasteriser_is_told_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor_command, "rasterize", broken)
    assert cli.main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "no module named numba" in out
    assert "cannot work here: cpu" in out


def test_broken_kernels_are_told_and_not_thrown() -> None:
    def unbuilt(*inputs: object, **options: object) -> None:
        raise AttributeError("'NoneType' object has no attribute 'projection_ewa_3dgs_fused_fwd'")

    (check,) = found("cpu", unbuilt)
    assert not check.fine
    assert "NoneType" in check.finding


def test_kernels_that_failed_before_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[bool] = []

    def problem(progress: Reporter, *, again: bool) -> str:
        tried.append(again)
        return "gsplat's kernels do not work here: fatal error"

    monkeypatch.setattr(doctor, "scene_problem", problem)
    (check,) = found("cuda")
    assert (check.fine, check.needed) == (False, False)
    assert check.finding == "gsplat's kernels do not work here: fatal error"
    assert tried == [True]


@pytest.mark.parametrize(("hip", "maker"), [("6.3", "AMD"), (None, "NVIDIA")])
def test_whose_gpu_nets_run_on(monkeypatch: pytest.MonkeyPatch, hip: str | None, maker: str) -> None:
    monkeypatch.setattr(doctor, "neural_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(doctor, "free_bytes", lambda device: 20 * 10**9)
    monkeypatch.setattr(torch.version, "hip", hip)
    (check,) = found("nets")
    assert check.finding == f"SAM and CLIP run on the {maker} GPU in half precision, 20 GB free there"


def test_a_wrong_choice_of_device_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAGS_DEVICE", "gpu")
    for name in ("device", "nets"):
        (check,) = found(name)
        assert (check.fine, check.needed) == (False, True)
        assert check.finding == "GAGS_DEVICE must be auto, cpu, cuda or mps, not 'gpu'"


@pytest.mark.parametrize(
    ("offline", "reachable", "fine", "told"),
    [
        (True, False, True, "not asked, HF_HUB_OFFLINE forbids it"),
        (False, True, True, "https://huggingface.co answers"),
        (False, False, False, "does not answer within 2 s: the paper's models have to come by hand"),
    ],
)
def test_the_hub_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, offline: bool, reachable: bool, fine: bool, told: str
) -> None:
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    monkeypatch.setattr(hub, "offline", lambda: offline)
    monkeypatch.setattr(hub, "reachable", lambda: reachable)
    monkeypatch.setattr(hub, "folder_of", lambda name: None)
    (check,) = found("hub")
    assert check.fine == fine
    assert told in check.finding
    assert not check.needed


def test_a_cache_folder_that_cannot_be_written_to_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """/proc takes no files, not even from root; neither does a file in the place of a folder."""
    for place in (tmp_path / "file", Path("/proc/nonexistent")):
        if place.parent == tmp_path:
            place.touch()
        elif not place.parent.is_dir():
            continue
        monkeypatch.setenv("GAGS_MODELS", str(place / "models"))
        check = found("disk")[0]
        assert (check.fine, check.needed) == (False, True)
        assert f"{place}/models cannot be written to (" in check.finding
        assert "set GAGS_MODELS to a folder that can be" in check.finding
    assert cli.main(["doctor"]) == 1
    assert "`gags run` cannot work here: disk" in capsys.readouterr().out


def test_a_cache_folder_with_all_models_need_not_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gags.models.own.problems_of", lambda model: [])
    monkeypatch.setattr("gags.models.own.files", lambda name: {"a": tmp_path / "a", "b": tmp_path / "b"})
    (tmp_path / "file").touch()
    monkeypatch.setenv("GAGS_MODELS", str(tmp_path / "file" / "models"))
    check = found("disk")[0]
    assert (check.fine, check.needed) == (False, False)
