"""Training on a GPU that is not there, by gsplat's own Python: it learns as on the CPU, and waits little."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.helpers.pretend_gpu import marked, pretend_gpu
from tests.helpers.scenes import coloured_balls, photograph
from torch import Tensor

from gags.capture import Capture
from gags.distill import mixed
from gags.errors import CaptureError
from gags.reconstruct import adam, photos, quality
from gags.reconstruct import step as step_module
from gags.reconstruct.density import strongest_weights
from gags.reconstruct.quality import held_out_quality
from gags.reconstruct.settings import ReconstructSettings
from gags.reconstruct.state import PARAMETERS
from gags.reconstruct.step import STEPS_A_PSNR, Training
from gags.reconstruct.train import train_gaussians

SHORT = ReconstructSettings(
    steps=30,
    densify_from=10,
    densify_every=10,
    max_gaussians=60,
    densify_gradient=0.0,
    sh_degree=1,
    sh_interval=0.2,
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


@pytest.fixture(autouse=True)
def free_memory(monkeypatch):
    monkeypatch.setattr(photos, "free_bytes", lambda device: 1 << 30)


def test_training_on_a_gpu_is_like_that_on_the_cpu(capture):
    plain = train_gaussians(capture, SHORT)
    with pretend_gpu("gsplat") as work:
        there = train_gaussians(capture, SHORT, device="cuda")
        assert marked(there.means)
        assert work.kernels.calls["rasterize_to_pixels_3dgs_bwd"] == SHORT.steps + 1  # one to warm up
        assert work.kernels.calls["adam"] == (SHORT.steps + 1) * len(PARAMETERS)
        there = there.to("cpu")
    assert len(there) == pytest.approx(len(plain), rel=0.1)
    figures = [held_out_quality(gaussians, capture) for gaussians in (there, plain)]
    assert figures[0]["psnr"] == pytest.approx(figures[1]["psnr"], abs=0.3)
    assert figures[0]["train_psnr"] == pytest.approx(figures[1]["train_psnr"], abs=0.3)
    begun = held_out_quality(Training.of(capture, SHORT).begin().gaussians, capture)
    assert figures[0]["train_psnr"] > begun["train_psnr"] + 2


def test_one_step_on_a_gpu_moves_gaussians_as_on_the_cpu(capture):
    settings = replace(SHORT, background="random", steps=400)
    plain = Training.of(capture, settings)
    flatness = torch.linspace(-0.5, 0.5, 3)  # round ones have no rotation to learn
    expected = plain.begin()
    expected.gaussians.log_scales += flatness
    psnr = plain.step(expected)
    with pretend_gpu("gsplat"):
        training = Training.of(capture, settings, "cuda")
        state = training.begin()
        state.gaussians.log_scales += flatness.to("cuda")
        assert training.step(state) == pytest.approx(psnr, abs=1e-3)
        found = {name: tensor.cpu() for name, tensor in state.tensors().items()}
    begun = plain.begin()
    begun.gaussians.log_scales += flatness
    for name, truth in expected.tensors().items():
        change = (truth - begun.tensors()[name]).norm()
        assert change > 0, name
        assert (found[name] - truth).norm() <= 0.02 * change, name


@pytest.fixture
def later(capture):
    """Training after all photos have been looked at, at a step of which no PSNR is read."""
    with pretend_gpu("gsplat") as work:
        settings = replace(SHORT, background="random", steps=400, densify_from=100, densify_every=100)
        training = Training.of(capture, settings, "cuda")
        state = training.begin()
        first = 320 // len(training.views) * len(training.views)  # of an epoch of full size, all harmonics
        for step in range(first, first + len(training.views)):
            state.step = step
            training.step(state)
        state.step = 333
        yield training, state, work


def test_what_is_kept_on_a_device_may_be_used_in_training():
    device = torch.device("cpu")
    kept = [
        (adam._on_device, (np.ones(2, np.float32).tobytes(), device)),
        (quality._taps, (device, torch.float32)),
        (step_module._half_size, (8, 6, device)),
        (step_module._backgrounds, (0, 0, device)),
        (mixed._permutation, (4, 0)),
    ]
    for cached, given in kept:
        cached.cache_clear()
        with torch.inference_mode():
            cached(*given)
        assert not cached(*given).is_inference(), cached


def test_a_step_waits_once_and_starts_few_kernels(later):
    training, state, work = later
    assert state.step % STEPS_A_PSNR
    work.clear()
    training.step(state)
    assert work.waited == 1, work.waits  # for the length of the lists of tiles, in gsplat
    assert work.kernels.calls["intersect_tile"] == 1
    assert not work.sent, work.sent  # photos, cameras, backgrounds, rates: all there
    assert 60 < work.launched < 120, (work.launches, work.kernels.calls)


def test_a_photo_and_its_camera_are_sent_without_waiting(later):
    training, state, work = later
    state.step = 1
    assert training.divisor(1) != training.divisor(333)  # so all photos are new
    work.clear()
    training.step(state)
    assert work.waited == 1, work.waits
    assert work.sent.total() >= 1


def test_densifying_and_pruning_wait_a_few_times(later):
    training, state, work = later
    state.step = 200
    assert training.densifier.due(state.step)
    count = len(state)
    work.clear()
    training.revise(state)
    assert len(state) > count
    assert work.waited <= 4, work.waits  # floaters, transparent ones, those worth splitting


def test_pruning_by_weight_waits_for_the_lists_alone(later):
    training, state, work = later
    cameras = [view.camera for view in training.views]
    work.clear()
    found = strongest_weights(state.gaussians, cameras)
    assert work.waited == 3 * len(cameras), work.waits  # tiles, hits, and how hits are shared out
    plain = strongest_weights(state.gaussians.to("cpu"), cameras)
    # The CPU looks at the eight strongest of each pixel.
    assert torch.allclose(found.cpu(), plain, atol=1 / 9)
    sure = plain > 1 / 9
    assert sure.sum() > 20
    assert torch.allclose(found.cpu()[sure], plain[sure], rtol=1e-3)


def test_pruning_everything_ends_in_one_error(capture):
    strict = replace(SHORT, prune_opacity=0.9999)
    with pytest.raises(CaptureError, match="step 10: no Gaussian is left, all are transparent"):
        train_gaussians(capture, strict)
    unseen = replace(SHORT, prune_weight=0.9999)
    with pytest.raises(CaptureError, match="no photo shows any of them"):
        train_gaussians(capture, unseen)
    near = Training.of(capture, SHORT)
    near.nearest = [1000.0] * len(near.views)
    state = near.begin()
    state.step = 20
    with pytest.raises(CaptureError, match="all hover before a camera"):
        near.revise(state)


def test_backgrounds_are_those_of_single_steps(capture):
    training = Training.of(capture, replace(SHORT, background="random"))
    for step in (0, 1, 255, 256, 300):
        expected = np.random.default_rng([SHORT.seed, step, 1]).random(3, np.float32)
        background = training.background(step)
        assert isinstance(background, Tensor)
        assert background.tolist() == expected.tolist()
