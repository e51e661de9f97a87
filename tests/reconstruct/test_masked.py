"""Training with masks: what is ignored in a photo has no say in losses, density, holes, pruning, quality."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tests.helpers.scenes import HEIGHT, WIDTH, coloured_balls, orbit_camera, photograph

from gags.capture import Capture, View
from gags.gaussians import Gaussians, largest_weights, render
from gags.reconstruct import losses, losses_cpu, losses_gpu
from gags.reconstruct.adopt import measure_likeness
from gags.reconstruct.density import strongest_weights
from gags.reconstruct.holes import fill_holes
from gags.reconstruct.photos import Photos, resized, shrunk_kept
from gags.reconstruct.quality import held_out_quality, likeness, psnr
from gags.reconstruct.settings import ReconstructSettings
from gags.reconstruct.state import PARAMETERS, TrainingState
from gags.reconstruct.step import Training
from gags.reconstruct.train import train_gaussians

LAMBDA = 0.2


@pytest.fixture
def pictures() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A render that leaves [0, 1] here and there, a photo, and which pixels count."""
    rng = np.random.default_rng(0)
    picture = rng.uniform(-0.2, 1.2, (33, 47, 3)).astype(np.float32)
    photo = rng.integers(0, 256, (33, 47, 3), np.uint8)
    kept = cv2.GaussianBlur(rng.random((33, 47)), (0, 0), 3) > 0.5
    assert 0.2 < kept.mean() < 0.8
    return picture, photo, kept


def truth(picture, photo, kept) -> tuple[float, np.ndarray]:
    """Loss and gradient of the readable twin, in double precision by autograd."""
    x = torch.from_numpy(picture).double().requires_grad_()
    loss = losses.photometric_loss(x, torch.from_numpy(photo).double() / 255, LAMBDA, torch.from_numpy(kept))
    (gradient,) = torch.autograd.grad(loss, x)
    return loss.item(), gradient.numpy()


def test_both_kernels_agree_with_the_readable_loss(pictures):
    picture, photo, kept = pictures
    value, gradient = truth(picture, photo, kept)
    on_cpu = losses_cpu.photometric_loss(picture, photo, LAMBDA, kept)
    assert on_cpu.value == pytest.approx(value, abs=1e-6)
    scale = np.abs(gradient).max()
    np.testing.assert_allclose(on_cpu.gradient, gradient, atol=2e-5 * scale)
    as_on_gpu = losses_gpu.photometric_gradient(
        torch.from_numpy(picture), torch.from_numpy(photo), LAMBDA, torch.from_numpy(kept)
    )
    np.testing.assert_allclose(as_on_gpu.numpy(), gradient, atol=2e-5 * scale)
    assert not on_cpu.gradient[~kept].any()
    assert not as_on_gpu.numpy()[~kept].any()
    assert np.abs(on_cpu.gradient[kept]).min() > 0


def test_the_psnr_is_that_of_what_counts(pictures):
    picture, photo, kept = pictures
    squared = ((picture.clip(0, 1) - photo / 255) ** 2)[kept].mean()
    expected = pytest.approx(-10 * np.log10(squared), abs=1e-4)
    assert losses_cpu.photometric_loss(picture, photo, LAMBDA, kept).psnr == expected
    there = torch.from_numpy(picture), torch.from_numpy(photo), torch.from_numpy(kept)
    assert float(losses_gpu.psnr(*there)) == expected


def test_what_is_ignored_changes_nothing_at_all(pictures):
    picture, photo, kept = pictures
    other = photo.copy()
    other[~kept] = 255 - other[~kept]
    first, second = (losses_cpu.photometric_loss(picture, each, LAMBDA, kept) for each in (photo, other))
    assert first.value == second.value
    assert np.array_equal(first.gradient, second.gradient)


def test_if_all_counts_the_digits_are_those_without_a_mask(pictures):
    picture, photo, _ = pictures
    plain = losses_cpu.photometric_loss(picture, photo, LAMBDA)
    masked = losses_cpu.photometric_loss(picture, photo, LAMBDA, np.ones((33, 47), bool))
    assert (plain.value, plain.psnr) == (masked.value, masked.psnr)
    assert np.array_equal(plain.gradient, masked.gradient)


def test_sparse_points_at_ignored_pixels_guide_nothing():
    camera = orbit_camera(0.3)
    points = np.random.default_rng(1).uniform(-0.6, 0.6, (200, 3)).astype(np.float32)
    depths = np.random.default_rng(2).uniform(1.5, 2.5, (HEIGHT, WIDTH)).astype(np.float32)
    kept = np.ones((HEIGHT, WIDTH), bool)
    kept[:, :25] = False
    xy, z = camera.project(points)
    inside = (z > 0) & (xy >= 0).all(1) & (xy < (WIDTH, HEIGHT)).all(1) & (xy[:, 0] >= 25)
    alone = losses_cpu.sparse_depth_loss(depths, camera, points[inside])
    masked = losses_cpu.sparse_depth_loss(depths, camera, points, kept)
    assert masked.value == pytest.approx(alone.value)
    np.testing.assert_allclose(masked.gradient, alone.gradient, rtol=1e-5)
    x = torch.from_numpy(depths).requires_grad_()
    loss = losses.sparse_depth_loss(x, camera, torch.from_numpy(points), torch.from_numpy(kept))
    (gradient,) = torch.autograd.grad(loss, x)
    np.testing.assert_allclose(gradient.numpy(), alone.gradient, atol=1e-6)
    targets = losses_gpu.DepthTargets.of(camera, points, torch.device("cpu"), kept)
    on_gpu = losses_gpu.sparse_depth_gradient(torch.from_numpy(depths), targets, 1.0)
    np.testing.assert_allclose(on_gpu.numpy(), alone.gradient, atol=1e-6)


def test_holes_are_filled_where_pixels_count():
    camera = orbit_camera(0.0)
    photo = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    ball = coloured_balls(4)
    holes = render(ball, camera).alphas.numpy() < 0.5
    kept = np.zeros((HEIGHT, WIDTH), bool)
    kept[:10] = True
    state = TrainingState.begin(ball)
    assert fill_holes(state, [(photo, camera, kept)], opacity=0.5) == (holes & kept).sum()
    xy, _ = camera.project(state.gaussians.means.numpy()[4:])
    assert kept[xy[:, 1].astype(int), xy[:, 0].astype(int)].all()
    assert fill_holes(TrainingState.begin(ball), [(photo, camera, kept & False)], opacity=0.5) == 0


def test_only_pixels_that_count_keep_a_gaussian():
    gaussians, camera = coloured_balls(), orbit_camera(1.0)
    kept = np.zeros((HEIGHT, WIDTH), bool)
    kept[5:20, 12:30] = True
    places = torch.from_numpy(np.flatnonzero(kept))
    found = strongest_weights(gaussians, [camera], [kept])
    exact = largest_weights(gaussians, camera, places=places, backend="reference")
    np.testing.assert_allclose(found.numpy()[exact > 0.12], exact.numpy()[exact > 0.12], atol=1e-3)
    assert float(found.sum()) < 0.8 * float(strongest_weights(gaussians, [camera]).sum())
    assert not strongest_weights(gaussians, [camera], [kept & False]).any()
    everything = strongest_weights(gaussians, [camera], [None])
    assert torch.equal(everything, strongest_weights(gaussians, [camera]))


# A capture in which something stands before the camera in some photos.


def with_blob(capture: Capture, folder: Path, *, every: int, masks: bool) -> Capture:
    """A pasted-in disc on every so-manyth training photo, at changing places, and masks of it."""
    views = []
    folder.mkdir(parents=True, exist_ok=True)
    for number, view in enumerate(capture.views):
        if view.split == "test" or number % every:
            views.append(view)
            continue
        photo, disc = view.image(), np.zeros((HEIGHT, WIDTH), np.uint8)
        cv2.circle(disc, (18 + 3 * (number % 4), 18), 9, 1, -1)
        photo[disc > 0] = (255, 0, 255)
        path = folder / view.name
        cv2.imwrite(str(path), photo[..., ::-1])
        cv2.imwrite(str(folder / f"mask_{view.name}"), 255 * (1 - disc))
        mask = folder / f"mask_{view.name}" if masks else None
        views.append(replace(view, path=path, mask=mask))
    return Capture(capture.root, views, capture.points, capture.points_rgb)


TINY = ReconstructSettings(
    steps=120,
    background="black",
    densify_from=20,
    densify_every=20,
    max_gaussians=80,
    densify_gradient=0.0,
    sh_degree=0,
    resolutions=((0.0, 2), (0.3, 1)),
    fill_holes_at=0,
    opacities_lr=0.1,
    scales_lr=0.02,
    sh_lr=0.05,
)


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> Capture:
    return photograph(coloured_balls(), tmp_path_factory.mktemp("clean"), views=12)


def test_a_scene_is_closer_to_the_truth_with_masks_than_without(clean, tmp_path):
    figures = {}
    for name, masks in (("masked", True), ("as it is", False)):
        capture = with_blob(clean, tmp_path / name, every=2, masks=masks)
        figures[name] = held_out_quality(train_gaussians(capture, TINY), capture)["psnr"]
    undisturbed = held_out_quality(train_gaussians(clean, TINY), clean)["psnr"]
    # Measured with 150 steps: 31.5 dB undisturbed, 30.0 dB with masks, 21.4 dB without.
    assert figures["masked"] > figures["as it is"] + 4
    assert figures["masked"] > undisturbed - 3


def test_whatever_is_behind_a_mask_gives_the_same_gaussians(clean, tmp_path):
    short = replace(TINY, steps=40)
    one = with_blob(clean, tmp_path / "one", every=2, masks=True)
    views = []
    for view in one.views:
        if view.mask is not None:
            photo, kept = view.image(), view.kept()
            photo[~kept] = (0, 200, 30)
            cv2.imwrite(str(tmp_path / view.name), photo[..., ::-1])
            view = replace(view, path=tmp_path / view.name)
        views.append(view)
    other = Capture(one.root, views, one.points, one.points_rgb)
    a, b = train_gaussians(one, short), train_gaussians(other, short)
    assert all(torch.equal(getattr(a, name), getattr(b, name)) for name in PARAMETERS)


def test_a_mask_that_ignores_nothing_changes_no_digit(clean, tmp_path):
    white = tmp_path / "white.png"
    cv2.imwrite(str(white), np.full((HEIGHT, WIDTH), 255, np.uint8))
    views = [replace(view, mask=white) for view in clean.views]
    masked = Capture(clean.root, views, clean.points, clean.points_rgb)
    short = replace(TINY, steps=40)
    a, b = train_gaussians(clean, short), train_gaussians(masked, short)
    assert all(torch.equal(getattr(a, name), getattr(b, name)) for name in PARAMETERS)
    assert held_out_quality(a, clean) == held_out_quality(a, masked)


def test_what_only_ignored_pixels_show_gets_no_gradient_and_counts_as_unseen(clean, tmp_path):
    black = tmp_path / "black.png"
    columns = np.full((HEIGHT, WIDTH), 255, np.uint8)
    columns[:, : WIDTH // 2] = 0
    cv2.imwrite(str(black), columns)
    views = [replace(view, mask=black) for view in clean.views]
    training = Training.of(Capture(clean.root, views, clean.points, clean.points_rgb), TINY)
    state = training.begin()
    state.gaussians.log_scales -= 2  # small ones lie on one side of the border
    before, camera = state.gaussians.means.clone(), resized(training.view(0).camera, 2)
    kept = shrunk_kept(training.view(0), 2)
    assert kept is not None
    weights = largest_weights(state.gaussians, camera, backend="reference")
    places = torch.from_numpy(np.flatnonzero(kept))
    shown = largest_weights(state.gaussians, camera, places=places, backend="reference")
    hidden = (weights > 0.01) & (shown == 0)
    assert hidden.sum() > 3
    training.step(state)
    training.photos.close()
    assert not state.gradient_sum[hidden].any()
    assert not state.seen[hidden].any()
    assert state.seen[shown > 0.1].all()
    moved = (state.gaussians.means != before).any(dim=1)
    assert not moved[hidden].any()
    assert moved[shown > 0.1].all()


def test_held_out_quality_is_that_of_what_counts(clean, tmp_path):
    view = replace(clean.test[0], mask=tmp_path / "m.png")
    columns = np.full((HEIGHT, WIDTH), 255, np.uint8)
    columns[:, :30] = 0
    cv2.imwrite(str(tmp_path / "m.png"), columns)
    picture = torch.rand(HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(0))
    photo = torch.from_numpy(view.image()).float() / 255
    found = likeness(picture, view)
    assert found[0] == pytest.approx(float(psnr(picture[:, 30:], photo[:, 30:])), abs=1e-4)
    # SSIM by the readable twin: its map where the photo counts; elsewhere the photo is like the picture.
    target = torch.cat([picture[:, :30], photo[:, 30:]], dim=1).double()
    x = picture.double()
    mean_x, mean_y = losses.blur(x), losses.blur(target)
    top = (2 * mean_x * mean_y + losses.SSIM_C1) * (
        2 * (losses.blur(x * target) - mean_x * mean_y) + losses.SSIM_C2
    )
    bottom = (mean_x**2 + mean_y**2 + losses.SSIM_C1) * (
        losses.blur(x * x) - mean_x**2 + losses.blur(target**2) - mean_y**2 + losses.SSIM_C2
    )
    assert found[1] == pytest.approx(float((top / bottom)[:, 30:].mean()), abs=1e-4)


def test_adopted_gaussians_are_compared_where_photos_count(clean, tmp_path):
    gaussians = coloured_balls()
    blob = with_blob(clean, tmp_path / "blob", every=1, masks=False)
    masked = with_blob(clean, tmp_path / "masked", every=1, masks=True)
    spoilt, whole = measure_likeness(gaussians, blob.train), measure_likeness(gaussians, masked.train)
    assert whole.correlation > 0.97 > spoilt.correlation
    other = Gaussians(*(getattr(coloured_balls(seed=9), name) for name in PARAMETERS))
    assert measure_likeness(other, masked.train).correlation < 0.5


def test_photos_that_are_decoded_ahead_bring_their_masks(clean, tmp_path):
    capture = with_blob(clean, tmp_path, every=2, masks=True)
    for budget in (0, 1 << 20):
        photos = Photos(budget)
        for _ in range(2):
            for number, view in enumerate(capture.train):
                photo, _ = photos.at(view, 2)
                photos.expect((later, 2) for later in capture.train[number + 1 : number + 3])
                kept = photos.kept(view)
                assert (kept is None) == (view.mask is None)
                assert kept is None or kept.shape == photo.shape[:2]
        photos.close()


def test_views_without_mask_have_none():
    view = View("a", Path("a"), orbit_camera(0.0))
    assert view.kept() is None
