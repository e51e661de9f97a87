"""A training that diverges says so in one line, and everything that was there stays as it was."""

import math
from pathlib import Path

import pytest
import torch

from gags import cli, models, pipeline
from gags.compare.codebook import Hybrid, train_codebook
from gags.compare.methods.autoencoder import AutoencoderSettings, train_autoencoder
from gags.compare.methods.langsplat import LangSplatSettings, train_fields
from gags.compare.methods.pixels import PixelSamples
from gags.distill import optimize
from gags.distill.effects import refuse_unfit
from gags.distill.settings import DistillSettings
from gags.errors import SettingsError, TrainingError
from gags.progress import SILENT
from gags.reconstruct import step
from gags.reconstruct.settings import ReconstructSettings
from gags.store import check_finite, loss_note
from tests.helpers.toy_capture import ColorEncoder, ColorSegmenter, write_capture

TINY = ["--reconstruct.steps", "20", "--reconstruct.fill-holes-at", "0"]
DISTILL = ["--distill.steps", "20", "--distill.batch-regions", "16", "--distill.pixels-per-photo", "500"]


@pytest.fixture(autouse=True)
def models_of_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "load_segmenter", lambda name, progress=None: ColorSegmenter())
    monkeypatch.setattr(pipeline, "load_encoder", lambda name, progress=None: ColorEncoder())
    monkeypatch.setattr(models, "ensure", lambda name, progress=None: None)


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_capture(tmp_path_factory.mktemp("toy") / "balls", views=4)


@pytest.fixture
def scene(capture: Path, tmp_path: Path) -> Path:
    """A scene with Gaussians, masks and a field."""
    folder = str(tmp_path / "ws")
    assert cli.main(["reconstruct", str(capture), "--out", folder, *TINY]) == 0
    small = ["--describe.prompts-per-patch", "1", "--segmenter", "mobile-sam", "--encoder", "lite"]
    assert cli.main(["describe", folder, *small]) == 0
    assert cli.main(["distill", folder, *DISTILL]) == 0
    return tmp_path / "ws"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_training_that_diverges_replaces_nothing(capture, scene, monkeypatch, capsys):
    before = contents(scene)
    with monkeypatch.context() as patch:
        patch.setattr(optimize, "rate_share", lambda share, decay: math.nan)
        capsys.readouterr()
        assert cli.main(["distill", str(scene), *DISTILL, "--distill.seed", "1"]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("gags distill: training diverged: after step 10, the loss is no finite number")
    assert "--distill.feature-rate" in last
    assert contents(scene) == before

    descend = step.Training.descend

    def to_nowhere(self, state, leaves, visible):
        descend(self, state, leaves, visible)
        if state.step == 15:
            state.gaussians.means[0, 0] = math.nan

    with monkeypatch.context() as patch:
        patch.setattr(step.Training, "descend", to_nowhere)
        command = ["reconstruct", str(capture), "--out", str(scene), *TINY, "--reconstruct.seed", "1"]
        assert cli.main(command) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("gags reconstruct: training diverged: after step ")
    assert "a centre is no finite number any more; set smaller learning rates" in last
    assert contents(scene) == before
    assert cli.main(["distill", str(scene), *DISTILL, "--distill.seed", "1"]) == 0  # nothing is in its way


def test_finite_numbers_and_others():
    check_finite(3, {"a": torch.ones(3), "b": 0.5, "c": 7}, "")
    for wrong in (torch.tensor([0.0, math.inf]), math.nan, torch.tensor(math.nan)):
        with pytest.raises(TrainingError, match=r"^training diverged: after step 3, b is no .*; rest\."):
            check_finite(3, {"a": 1.0, "b": wrong}, "rest")


def test_the_loss_is_told_and_checked_now_and_then():
    assert loss_note(torch.tensor(0.12345), 50, "") == "loss 0.1235"
    assert loss_note(torch.tensor(0.12345), 20, "", every=10, decimals=2) == "loss 0.12"
    assert loss_note(torch.tensor(math.nan), 49, "") == ""
    with pytest.raises(TrainingError, match="after step 100, the loss"):
        loss_note(torch.tensor(math.inf), 100, "")


def test_baselines_stop_too():
    wrong = torch.full((8, 16), math.nan)
    with pytest.raises(TrainingError, match=r"--langsplat\.autoencoder\.rate"):
        train_autoencoder(wrong, AutoencoderSettings(steps=1, batch=4), 0, SILENT)
    with pytest.raises(TrainingError, match="gags describe"):
        train_codebook(Hybrid(wrong, wrong), 1, 0)
    one = torch.zeros(4, 1, dtype=torch.int32)
    pixels = PixelSamples(one, torch.ones(4, 1), one.expand(4, 3))
    with pytest.raises(TrainingError, match=r"--langsplat\.rate"):
        train_fields(pixels, wrong[:, :3], 1, LangSplatSettings(steps=1, batch_pixels=4), 0, SILENT)


@pytest.mark.parametrize(
    ("changes", "gaussians", "dim", "free", "message"),
    [
        (
            {"feature_dim": 33},
            99,
            32,
            1e9,
            "distill.feature_dim must be at most 32, the length of an",
        ),
        ({"top_k": 21}, 20, 32, 1e9, "distill.top_k must be at most 20, the number of Gaussians, got 21"),
        # 1000 Gaussians of 32 numbers of 4 bytes, four times: 512 kB.
        ({"feature_dim": 32}, 1000, 64, 511_999, "distill.feature_dim 32 takes 0.0 GB for 1000 Gaussians"),
        ({"feature_dim": 32, "top_k": 20}, 1000, 32, 512_000, None),
        ({}, 5, 4, 1e9, None),  # a toy smaller than the defaults
    ],
)
def test_what_is_too_large_for_a_scene(changes, gaussians, dim, free, message):
    settings = DistillSettings(**changes)
    sizes = {"gaussians": gaussians, "dim": dim, "free_bytes": int(free)}
    if message is None:
        refuse_unfit(settings, **sizes)
        return
    with pytest.raises(SettingsError, match=message):
        refuse_unfit(settings, **sizes)


def test_more_gaussians_than_memory_holds_are_refused_before_training(monkeypatch, capture, tmp_path, capsys):
    # 11 + 3 · 3² floats, four times: 608 bytes.
    monkeypatch.setattr(step, "free_bytes", lambda device: 608 * 5000)
    command = ["reconstruct", str(capture), "--out", str(tmp_path / "ws"), *TINY]
    assert cli.main([*command, "--reconstruct.max-gaussians", "5001"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "--reconstruct.max-gaussians 5001 may take 0.0 GB, and 0.0 GB are free; set at most 5000" in said
    step._check_memory(ReconstructSettings(max_gaussians=5000), torch.device("cpu"))
