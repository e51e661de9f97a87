from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.helpers.scenes import coloured_balls, photograph

import gags.reconstruct.step as step_module
import gags.reconstruct.train as train_module
from gags.capture import Capture
from gags.errors import CaptureError
from gags.progress import Bar, Reporter
from gags.reconstruct.quality import held_out_quality
from gags.reconstruct.settings import ReconstructSettings
from gags.reconstruct.state import PARAMETERS
from gags.reconstruct.step import Training
from gags.reconstruct.train import train_gaussians

TINY = ReconstructSettings(
    steps=60,
    densify_from=10,
    densify_every=10,
    max_gaussians=60,
    densify_gradient=0.0,
    sh_degree=1,
    sh_interval=0.3,
    resolutions=((0.0, 2), (0.3, 1)),
    background="black",
    fill_holes_at=0,
    opacities_lr=0.2,
    scales_lr=0.03,
    sh_lr=0.02,
)


@pytest.fixture(scope="module")
def capture(tmp_path_factory) -> Capture:
    return photograph(coloured_balls(), tmp_path_factory.mktemp("capture"))


@pytest.fixture(scope="module")
def trained(capture):
    return train_gaussians(capture, TINY)


class KilledError(Exception):
    pass


class Watcher(Reporter):
    """Counts, and stops the run after some steps as a killed process would."""

    def __init__(self, kill_after: int | None = None):
        self.kill_after = kill_after
        self.bar = Bar(0)
        self.notes: list[str] = []
        self.warned: list[str] = []

    def warn(self, message):
        self.warned.append(message)

    @contextmanager
    def stage(self, name, total, unit="steps"):
        watcher = self

        class Watched(Bar):
            def advance(self, steps=1, note=""):
                super().advance(steps, note)
                watcher.notes += [note] * bool(note)
                if len(watcher.notes) == watcher.kill_after:
                    raise KilledError

        self.bar = Watched(total)
        yield self.bar


def equal(a, b) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in PARAMETERS)


def test_held_out_views_become_like_the_photos(capture, trained):
    before = held_out_quality(Training.of(capture, TINY).begin().gaussians, capture)
    after = held_out_quality(trained, capture)
    assert after["psnr"] > before["psnr"] + 4
    assert after["train_psnr"] > before["train_psnr"] + 4
    assert set(after["psnr_of_photo"]) == {"3.png", "7.png"}


def test_quality_of_the_true_gaussians_is_limited_by_rounding_only(capture):
    figures = held_out_quality(coloured_balls(), capture)
    # Rounding to 8 bits has a variance of (1/255)²/12 where nothing is black: 58.9 dB at least.
    assert figures["psnr"] > 58
    assert figures["ssim"] > 0.999


def test_the_budget_is_used_and_kept(trained):
    assert 40 < len(trained) <= 60
    assert trained.sh_degree == 1
    assert all(bool(torch.isfinite(getattr(trained, name)).all()) for name in PARAMETERS)


def test_same_seed_same_gaussians(capture, trained):
    assert equal(train_gaussians(capture, TINY), trained)
    assert not equal(train_gaussians(capture, replace(TINY, seed=1)), trained)


@pytest.mark.parametrize("steps", [17, 45])
def test_a_killed_run_goes_on_to_the_same_result(capture, trained, tmp_path, monkeypatch, steps):
    monkeypatch.setattr(train_module, "CHECKPOINT_SECONDS", 0.0)
    checkpoint = tmp_path / "fit.safetensors"
    with pytest.raises(KilledError):
        train_gaussians(capture, TINY, checkpoint=checkpoint, progress=Watcher(kill_after=steps + 1))
    watcher = Watcher()
    resumed = train_gaussians(capture, TINY, checkpoint=checkpoint, progress=watcher)
    assert len(watcher.notes) == TINY.steps - steps  # the steps before the kill were not done again
    assert equal(resumed, trained)


def test_a_damaged_checkpoint_is_no_obstacle(capture, trained, tmp_path):
    checkpoint = tmp_path / "fit.safetensors"
    checkpoint.write_bytes(b"half a file")
    watcher = Watcher()
    assert equal(train_gaussians(capture, TINY, checkpoint=checkpoint, progress=watcher), trained)
    assert "damaged" in watcher.warned[0]


def test_the_bar_counts_work_and_ends_full(capture):
    watcher = Watcher()
    train_gaussians(capture, TINY, progress=watcher)
    assert watcher.bar.done == watcher.bar.total
    assert watcher.notes[0].endswith("1/2 size")
    assert watcher.notes[-1].startswith("step 60 · PSNR ")
    assert watcher.notes[-1].endswith("full size")


def test_every_view_is_seen_once_an_epoch(capture):
    training = Training.of(capture, TINY)
    views = len(capture.train)
    epochs = [[training.view(epoch * views + i).name for i in range(views)] for epoch in range(3)]
    for epoch in epochs:
        assert sorted(epoch) == [view.name for view in capture.train]
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_learning_rates_decay_and_differ(capture):
    training = Training.of(capture, replace(TINY, means_lr=1e-3, means_lr_final=1e-5))
    middle = training.rates("means", 30, 4)
    np.testing.assert_allclose(middle, 1e-4 * training.extent)
    sh = training.rates("sh", 0, 4).reshape(4, 3)
    np.testing.assert_allclose(sh[1:] * 10, np.broadcast_to(sh[0], (3, 3)))


def test_a_capture_without_points_or_photos_is_an_error(capture):
    none = np.zeros((0, 3), np.float32)
    with pytest.raises(CaptureError, match="sparse points"):
        train_gaussians(Capture(capture.root, capture.views, none, none.astype(np.uint8)), TINY)
    with pytest.raises(CaptureError, match="no training photos"):
        train_gaussians(Capture(capture.root, capture.test, capture.points, capture.points_rgb), TINY)


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"sh_degree": 4}, {"resolutions": ((0.5, 1),)}, {"resolutions": ()}]
)
def test_settings_that_make_no_sense(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ReconstructSettings(**wrong)


def test_no_more_points_than_gaussians_may_be_are_started_from(capture):
    training = Training.of(capture, replace(TINY, max_gaussians=15))
    state = training.begin()
    assert len(state) == 15
    known = {tuple(point) for point in capture.points.tolist()}
    assert {tuple(mean) for mean in state.gaussians.means.tolist()} <= known
    assert len(train_gaussians(capture, replace(TINY, max_gaussians=15))) <= 15


def test_holes_are_filled_once(capture):
    settings = replace(TINY, fill_holes_at=5, densify_from=59)
    training = Training.of(capture, settings)
    state = training.begin()
    counts = []
    for _ in range(8):
        training.step(state)
        counts.append(len(state))
    assert counts[:4] == [40] * 4
    assert counts[4] > 40
    assert counts[4:] == [counts[4]] * 4


def test_gaussians_are_the_same_where_photos_do_not_fit(capture, trained, monkeypatch):
    monkeypatch.setattr("gags.reconstruct.photos.available_bytes", lambda: 0)
    assert equal(train_gaussians(capture, TINY), trained)


def test_of_many_gaussians_full_size_says_which_ones_photos_show(capture, monkeypatch):
    """At half the size several of a million share a pixel: what a photo shows would count as hidden."""
    widths = []

    def remember(gaussians, cameras, kept):
        widths.append({camera.width for camera in cameras})
        return torch.ones(len(gaussians))

    monkeypatch.setattr(step_module, "strongest_weights", remember)
    for most in (step_module.SEEN_AT_HALF_SIZE, 0):
        monkeypatch.setattr(step_module, "SEEN_AT_HALF_SIZE", most)
        training = Training.of(capture, replace(TINY, prune_weight=0.02, densify_gradient=1000.0))
        state = training.begin()
        state.step = training.densifier.last_step
        assert training.divisor(state.step) == 1
        training.revise(state)
    (width,) = {view.camera.width for view in capture.train}
    assert widths == [{width // 2}, {width}]
