"""Steps on one photo each: which pixels count, regions after smoothing, Eq. 5 and 6 by hand, resuming."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.distill.test_train import KilledError, Steps
from tests.helpers.blobs import DIM, Scene, make_scene
from tests.helpers.plain_decoder import PlainDecoder
from torch import Tensor

from gags.capture.camera import Camera
from gags.distill import photo as photo_module
from gags.distill import samples as samples_module
from gags.distill.mixed import batch_of
from gags.distill.objective import Targets, Terms
from gags.distill.photo import PhotoPixels, PhotoSchedule, collect_photos, shrink_labels, step_pixels
from gags.distill.presets import PRESETS
from gags.distill.settings import DistillSettings
from gags.distill.train import Training, begin, train_field
from gags.errors import SettingsError, WorkspaceError
from gags.gaussians import render
from gags.progress import SILENT

RELEASED = replace(PRESETS["released"].distill, steps=12, step_pixels=64, feature_rate=0.1, decoder_rate=0.01)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(views=3)


def begun(scene: Scene, settings: DistillSettings) -> Training:
    return begin(scene.gaussians, scene.items(), settings)


def photos_of(training: Training) -> PhotoSchedule:
    assert isinstance(training.schedule, PhotoSchedule)
    return training.schedule


# --- where training starts, and which photo a step takes ---------------------------------------------


@pytest.mark.parametrize("name", ["paper", "released"])
def test_features_start_at_zero_and_the_decoder_goes_by_the_seed_alone(scene: Scene, name):
    settings = PRESETS[name].distill
    first, other = begun(scene, settings).field, begin(scene.gaussians, scene.items(seed=5), settings).field
    assert first.features.shape == (len(scene.gaussians), 16)
    assert first.features.abs().max() == 0
    for a, b in zip(first.decoder.parameters(), other.decoder.parameters(), strict=True):
        assert torch.equal(a, b)
    reseeded = begun(scene, replace(settings, seed=1)).field
    pairs = zip(first.decoder.parameters(), reseeded.decoder.parameters(), strict=True)
    assert not any(torch.equal(a, b) for a, b in pairs)


def test_a_step_learns_even_from_zero(scene: Scene):
    field = train_field(scene.gaussians, scene.items(), replace(RELEASED, steps=1))
    moved = field.features.abs().amax(dim=1) > 0
    assert 0 < moved.sum() < len(scene.gaussians)  # those that the 64 pixels of one photo show


def test_no_steps_from_zero_is_one_clear_line(scene: Scene):
    with pytest.raises(WorkspaceError, match="start at 0 learn nothing in 0 steps; set steps"):
        begun(scene, replace(RELEASED, steps=0))


def test_every_epoch_has_every_photo_once_in_an_order_of_its_own():
    orders = [[int(batch_of(7, 1, 7 * epoch + place, 3)) for place in range(7)] for epoch in range(20)]
    assert all(sorted(order) == list(range(7)) for order in orders)
    assert len({tuple(order) for order in orders}) > 15
    assert [int(batch_of(7, 1, step, 3)) for step in (13, 6, 13)] == [
        orders[1][6],
        orders[0][6],
        orders[1][6],
    ]
    assert orders[0] != [int(batch_of(7, 1, place, 4)) for place in range(7)]


def test_a_step_goes_by_its_number_and_the_seed_alone(scene: Scene):
    training = begun(scene, RELEASED)
    schedule, features = photos_of(training), torch.randn(len(scene.gaussians), 16)

    def loss(step: int) -> float:
        return float(schedule.terms(features, training.field.decoder, step).distillation)

    with torch.no_grad():
        found = [loss(step) for step in range(6)]
        assert [loss(step) for step in (4, 0, 5)] == [found[4], found[0], found[5]]
    assert len(set(found)) == 6


def test_a_step_draws_so_many_pixels_of_its_photo_without_repetition(scene: Scene, monkeypatch):
    training, drawn = begun(scene, RELEASED), []
    schedule = photos_of(training)

    def remember(features: Tensor, decoder: object, photo: PhotoPixels, rows: Tensor) -> None:
        drawn.append((schedule.photos.index(photo), rows))

    monkeypatch.setattr(schedule, "pixel_terms", remember)
    for step in range(3):
        schedule.terms(training.field.features, training.field.decoder, step)
    assert sorted(number for number, _ in drawn) == [0, 1, 2]
    assert all(len(rows) == len(rows.unique()) == 64 for _, rows in drawn)


def test_pixels_a_step_go_by_the_device_unless_set():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert [step_pixels(DistillSettings(), device) for device in (cpu, gpu)] == [1024, 0]
    assert [step_pixels(DistillSettings(step_pixels=n), gpu) for n in (0, 77)] == [0, 77]


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({"start": "zero", "step_pixels": None}, 60),
        ({"start": "zero", "step_pixels": 30}, 30),  # as asked
        (
            {"start": "uplift", "step_pixels": None, "decoder": "principal"},
            30,
        ),
    ],
)
def test_steps_take_more_pixels_in_larger_scenes(scene: Scene, changes, size, monkeypatch):
    monkeypatch.setattr(photo_module, "CPU_PIXELS", 30)
    monkeypatch.setattr(samples_module, "ENOUGH_FOR", len(scene.gaussians) // 2)
    training = begun(scene, replace(RELEASED, **changes))
    drawn = []
    monkeypatch.setattr(training.schedule, "pixel_terms", lambda *arguments: drawn.append(len(arguments[3])))
    training.schedule.terms(training.field.features, training.field.decoder, 0)
    assert drawn == [size]


@pytest.mark.parametrize(("start", "size"), [("zero", 16), ("uplift", 8)])
def test_groups_a_step_grow_where_features_start_at_zero(scene: Scene, start, size, monkeypatch):
    monkeypatch.setattr(samples_module, "ENOUGH_FOR", len(scene.gaussians) // 2)
    training = begun(scene, DistillSettings(steps=2, batch_regions=8, start=start, consensus=False))
    drawn = []
    monkeypatch.setattr(training.schedule, "batch_terms", lambda *arguments: drawn.append(len(arguments[2])))
    training.schedule.terms(training.field.features, training.field.decoder, 0)
    assert drawn == [size]


# --- stopped and resumed ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["paper", "released"])
def test_a_resumed_run_ends_as_the_whole_one(scene: Scene, name, tmp_path, monkeypatch):
    # Levels are kept from visit to visit soon, so that a resumed run needs those of before.
    monkeypatch.setattr(photo_module, "RENEWED_ALWAYS", 1)
    monkeypatch.setattr(photo_module, "RENEWED_EVERY", 3)
    settings = replace(
        PRESETS[name].distill, steps=14, batch_regions=16, step_pixels=64, feature_rate=0.1, decoder_rate=0.01
    )
    items = scene.items()
    whole = train_field(scene.gaussians, items, settings)
    path = tmp_path / "checkpoint.safetensors"
    monkeypatch.setattr("gags.distill.optimize.CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(KilledError):
        train_field(scene.gaussians, items, settings, checkpoint=path, progress=Steps(kill_after=8))
    rest = Steps()
    resumed = train_field(scene.gaussians, items, settings, checkpoint=path, progress=rest)
    assert rest.skipped == 8
    assert torch.equal(resumed.features, whole.features)
    for a, b in zip(resumed.decoder.parameters(), whole.decoder.parameters(), strict=True):
        assert torch.equal(a, b)


def test_what_a_schedule_keeps_are_the_levels_of_its_pixels(scene: Scene):
    schedule = photos_of(begun(scene, RELEASED))
    assert schedule.state()["levels"].dtype == torch.int8
    for number, photo in enumerate(schedule.photos):
        photo.levels = torch.full_like(photo.levels, number)
    kept = schedule.state()
    fresh = photos_of(begun(scene, RELEASED))
    fresh.restore(kept)
    for number, photo in enumerate(fresh.photos):
        assert len(photo.levels) == len(photo) > 0
        assert (photo.levels == number).all()
    plain = photos_of(begun(scene, replace(RELEASED, region_smoothing=0)))
    assert plain.state() == {}


# --- which pixels count -------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", ["learnt", "part"])
@pytest.mark.parametrize("counted", ["all-levels", "any-level"])
@pytest.mark.parametrize("schedule", ["photo", "mixed"])
def test_pixels_that_count(scene: Scene, levels, counted, schedule):
    """In one-level runs, too, the rule asks for masks on all three levels."""
    items = scene.items()
    for _, description in items:
        description.masks.labels[0, :, :30] = -1
        description.masks.labels[1, 30:] = -1
    settings = replace(RELEASED, counted=counted, levels=levels, schedule=schedule, photo_scale=1.0)
    training = begin(scene.gaussians, items, settings)
    join = np.all if counted == "all-levels" else np.any
    expected = [join(description.masks.labels >= 0, axis=0) for _, description in items]
    if schedule == "photo":
        for photo, counts in zip(photos_of(training).photos, expected, strict=True):
            np.testing.assert_array_equal(photo.places, np.flatnonzero(counts))
        return
    targets = training.schedule.samples.targets.flatten(0, 1)  # pyright: ignore[reportAttributeAccessIssue]
    found = (targets >= 0).sum(dim=-1)
    assert found.min() == (3 if counted == "all-levels" else 1)
    shares = [counts.mean() for counts in expected]
    assert min(shares) > 0.1
    assert (found < 3).any() == (counted == "any-level")


def test_masks_of_pixels_count_through_all_photos(scene: Scene):
    items = scene.items()
    settings = replace(RELEASED, photo_scale=1.0)
    photos = collect_photos(scene.gaussians, items, settings, SILENT)
    first = 0
    for photo, (_, description) in zip(photos, items, strict=True):
        flat = description.masks.labels.reshape(3, -1)[:, photo.places.numpy()].T
        np.testing.assert_array_equal(photo.targets, flat + first)
        first += len(description.masks)


def test_a_photo_of_many_pixels_gives_a_random_part_of_them(scene: Scene):
    most = 100
    whole = collect_photos(scene.gaussians, scene.items(), RELEASED, SILENT)
    some = collect_photos(scene.gaussians, scene.items(), replace(RELEASED, pixels_per_photo=most), SILENT)
    for part, photo in zip(some, whole, strict=True):
        assert len(photo) > most
        assert len(part) == len(part.places.unique()) == most
        assert np.isin(part.places, photo.places).all()
        where = np.searchsorted(photo.places, part.places)
        assert photo.weights is not None
        assert part.weights is not None
        assert torch.equal(part.weights, photo.weights[where])
        assert torch.equal(part.targets, photo.targets[where])
        assert part.places.float().std() > 0.5 * photo.places.float().std()


def test_label_maps_shrink_to_the_label_at_the_centre_of_each_pixel():
    labels = np.arange(3 * 4 * 6).reshape(3, 4, 6)
    np.testing.assert_array_equal(shrink_labels(labels, 1.0), labels)
    # Half: the centre of a pixel is the corner between four, of which the lower right one is taken.
    np.testing.assert_array_equal(shrink_labels(labels, 0.5), labels[:, 1::2, 1::2])
    # Two thirds of 6 are 4 columns with centres at 0.75, 2.25, 3.75, 5.25; of 4 rows 3, at 0.67, 2, 3.33.
    np.testing.assert_array_equal(shrink_labels(labels, 2 / 3), labels[:, [0, 2, 3]][:, :, [0, 2, 3, 5]])
    assert shrink_labels(labels, 0.01).shape == (3, 1, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"photo_scale": 0.0}, "distill.photo_scale must be a number above 0 and at most 1, got 0"),
        ({"photo_scale": 1.5}, "distill.photo_scale must be a number above 0 and at most 1, got 1.5"),
        ({"region_smoothing": 4}, "distill.region_smoothing must be odd or 0, got 4"),
    ],
)
def test_settings_that_make_no_sense_are_one_clear_line(scene: Scene, change, message):
    with pytest.raises(SettingsError, match=message):
        begun(scene, replace(RELEASED, **change))


def test_photos_without_a_pixel_that_counts_are_left_out_and_none_at_all_is_an_error(scene: Scene):
    items = scene.items()
    items[1][1].masks.labels[2] = -1
    schedule = photos_of(begin(scene.gaussians, items, RELEASED))
    assert len(schedule.photos) == 2
    assert schedule.photos[1].targets.min() >= len(items[0][1].masks) + len(items[1][1].masks)
    for _, description in items:
        description.masks.labels[2] = -1
    with pytest.raises(WorkspaceError, match="no pixel of any photo has a mask on all three levels"):
        begin(scene.gaussians, items, RELEASED)


# --- what pixels are rendered from --------------------------------------------------------------------


def by_whole_photo(training: Training, features: Tensor) -> Tensor:
    """Features of every pixel of the first photo, from the photo rendered whole. [h, w, d]"""
    photo = photos_of(training).photos[0]
    rendering = render(photos_of(training).gaussians, photo.camera, features)
    if photos_of(training).settings.asked == "pixels":
        return rendering.colors
    return rendering.colors / rendering.alphas.clamp(min=1e-8)[..., None]


@pytest.mark.parametrize("asked", ["pixels", "gaussians"])
def test_kept_weights_and_whole_photos_say_the_same(scene: Scene, asked):
    """With all Gaussians of a pixel kept and all pixels drawn, the loss is that of the whole photo."""
    features = torch.randn(len(scene.gaussians), 16, generator=torch.Generator().manual_seed(0))
    found = []
    for pixels in (100_000, 0):
        # A first step: λ and levels are alike.
        training = begun(scene, replace(RELEASED, step_pixels=pixels, top_k=64, asked=asked))
        with torch.no_grad():
            terms = photos_of(training).terms(features, training.field.decoder, 0)
        assert terms.entropy is not None
        found.append([float(terms.distillation), float(terms.entropy), float(terms.consistency)])
    assert found[0] == pytest.approx(found[1], rel=2e-3)


# --- regions ------------------------------------------------------------------------------------------


def smoothed_by_loops(omega: np.ndarray, side: int) -> np.ndarray:
    """Mean over side × side, of the pixels that are there. [h, w, 3]"""
    reach, (height, width, _) = side // 2, omega.shape
    smooth = np.zeros_like(omega)
    for y in range(height):
        for x in range(width):
            around = omega[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
            smooth[y, x] = around.reshape(-1, 3).mean(axis=0)
    return smooth


@pytest.mark.parametrize("pixels", [64, 0])
@pytest.mark.parametrize("side", [5, 3])
def test_levels_are_those_of_the_plain_mean_right_after_a_renewal(scene: Scene, side, pixels, monkeypatch):
    items = scene.items()
    for _, description in items:
        description.masks.labels[2, :20] = -1  # a level that cannot win there
    settings = replace(RELEASED, region_smoothing=side, counted="any-level", step_pixels=pixels)
    training = begin(scene.gaussians, items, settings)
    schedule = photos_of(training)
    features = torch.randn(len(scene.gaussians), DIM + 3, generator=torch.Generator().manual_seed(0))
    decoder = PlainDecoder(DIM)
    used: dict[int, Tensor] = {}
    smoothed = schedule.smoothed_levels

    def remember(decoder: PlainDecoder, photo: PhotoPixels, image: Tensor) -> Tensor:
        return used.setdefault(schedule.photos.index(photo), smoothed(decoder, photo, image))

    monkeypatch.setattr(schedule, "smoothed_levels", remember)
    with torch.no_grad():
        schedule.terms(features, decoder, 0)
        ((number, levels),) = used.items()
        photo = schedule.photos[number]
        image = render(scene.gaussians, photo.camera, features).colors
        logits = image[..., DIM:].double().numpy()
    if pixels:
        assert torch.equal(photo.levels, levels)
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    omega = shares / shares.sum(-1, keepdims=True)
    smooth = smoothed_by_loops(omega, side).reshape(-1, 3)[photo.places]
    expected = np.where(photo.targets >= 0, smooth, -1.0)
    np.testing.assert_array_equal(levels, expected.argmax(axis=1))
    plain = np.where(photo.targets >= 0, omega.reshape(-1, 3)[photo.places], -1.0).argmax(axis=1)
    assert (plain != levels.numpy()).mean() > 0.02  # smoothing did something
    assert len(np.unique(levels)) == 3


def test_levels_are_renewed_at_the_first_visits_and_then_at_some(scene: Scene, monkeypatch):
    monkeypatch.setattr(photo_module, "RENEWED_ALWAYS", 2)
    monkeypatch.setattr(photo_module, "RENEWED_EVERY", 3)
    training, renewed = begun(scene, RELEASED), []
    schedule = photos_of(training)

    def note(decoder: object, photo: PhotoPixels, image: Tensor) -> Tensor:
        renewed.append(step)
        return photo.levels

    monkeypatch.setattr(schedule, "smoothed_levels", note)
    with torch.no_grad():
        for step in range(27):  # nine visits of three photos
            schedule.terms(training.field.features, training.field.decoder, step)
    assert sorted({step // 3 for step in renewed}) == [0, 1, 3, 6]
    assert len(renewed) == 4 * 3


# Six pixels, each one Gaussian of its own; embeddings of length 2. Masks 0-2 are sub-parts, 3 and 4 parts,
# 5 the whole. At pixel 5 nothing is drawn.
MASKS = torch.tensor([[0, 3, 5], [0, 3, 5], [0, 3, 5], [1, 4, 5], [2, 4, 5], [2, 4, 5]], dtype=torch.int32)
WANTED = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [1, 0], [0, 1], [0, -1]])
DECODED = torch.tensor([[1.0, 0.5], [0.8, 0.0], [1.0, 0.0], [0.0, 0.4], [0.3, 1.0], [9.0, 9.0]])
LEVELS = torch.tensor([0, 1, 1, 1, 1, 0], dtype=torch.int8)  # regions: mask 0; 3, 3; 4, 4
OMEGA = torch.tensor([0.25, 0.5, 0.25])


def hand_made(**changes) -> tuple[Terms, Tensor]:
    """Terms on the six pixels, and their features [6, 5]: embedding and logits."""
    base = DistillSettings(
        schedule="photo", levels="learnt", granularity="distance", region_aware=True, region_smoothing=3,
        feature_dim=5, detach_granularity=False, step_pixels=6, asked="pixels",
    )  # fmt: skip
    features = torch.cat([DECODED, OMEGA.log().expand(6, 3)], dim=1)
    weights = torch.tensor([1.0, 1, 1, 1, 1, 0])[:, None]
    indices = torch.arange(6, dtype=torch.int32)[:, None]
    camera = Camera(np.eye(4), np.eye(3), 6, 1)
    photo = PhotoPixels(camera, torch.arange(6), MASKS, indices, weights, LEVELS)
    gaussians = make_scene(views=1).gaussians
    schedule = PhotoSchedule(gaussians, [photo], Targets(WANTED), replace(base, **changes))
    return schedule.pixel_terms(features, PlainDecoder(2), photo, torch.arange(6)), features


def losses_by_hand(loss: str) -> list[float]:
    """Eq. 3 of the five pixels with a Gaussian, as sums over the channels."""
    found = []
    for decoded, masks in zip(DECODED[:5].numpy(), MASKS[:5].numpy(), strict=True):
        wanted = WANTED[masks].numpy()
        if loss == "weighted":
            found.append(
                sum(w * ((decoded - f) ** 2).sum() for w, f in zip(OMEGA.numpy(), wanted, strict=True))
            )
        else:
            found.append(np.abs(decoded - OMEGA.numpy() @ wanted).sum())
    return found


@pytest.mark.parametrize("loss", ["weighted", "mixture"])
@pytest.mark.parametrize(("units", "channels"), [("sums", 1), ("means", 2)])
def test_eq_5_is_the_mean_over_the_pixels_of_a_region_then_over_regions(loss, units, channels):
    a, b, c, d, e = losses_by_hand(loss)
    terms, _ = hand_made(loss=loss, units=units)
    expected = (a + (b + c) / 2 + (d + e) / 2) / 3 / channels
    assert float(terms.distillation) == pytest.approx(expected, rel=1e-5)
    terms, _ = hand_made(loss=loss, units=units, region_aware=False)
    assert float(terms.distillation) == pytest.approx((a + b + c + d + e) / 5 / channels, rel=1e-5)


def test_eq_3_by_hand_is_what_it_is():
    """Of the fourth pixel, (0, 0.4): squared distances 0.36, 0.36, 1.96; the mixture (0, 0.5)."""
    assert losses_by_hand("weighted")[3] == pytest.approx(0.25 * 0.36 + 0.5 * 0.36 + 0.25 * 1.96)
    assert losses_by_hand("mixture")[3] == pytest.approx(abs(0.4 - 0.5))


@pytest.mark.parametrize(("units", "channels"), [("sums", 1), ("means", 5)])
def test_eq_6_goes_by_area_as_released_or_by_region(units, channels):
    """Regions of 1, 2 and 2 pixels. Two pixels are both half of their difference from their mean."""
    spread = [0.0] + [float((DECODED[i] - DECODED[j]).square().sum()) / 4 for i, j in ((1, 2), (3, 4))]
    by_area = (1 * spread[0] + 2 * spread[1] + 2 * spread[2]) / 5
    terms, _ = hand_made(units=units, consistency_by="area")
    assert float(terms.consistency) == pytest.approx(by_area / channels, rel=1e-5)
    terms, _ = hand_made(units=units, consistency_by="region")
    assert float(terms.consistency) == pytest.approx(sum(spread) / 3 / channels, rel=1e-5)


@pytest.mark.parametrize(("units", "levels"), [("sums", 1), ("means", 3)])
def test_eq_4_is_the_mean_over_pixels_and_as_released_over_levels(units, levels):
    terms, _ = hand_made(units=units)
    assert terms.entropy is not None
    entropy = -(0.25 * np.log(0.25) * 2 + 0.5 * np.log(0.5))
    # Where nothing is drawn, no level counts, and the entropy is 0.
    assert float(terms.entropy) == pytest.approx(5 / 6 * entropy / levels, rel=1e-5)


def test_without_smoothing_a_region_is_that_of_the_largest_weight():
    """ω is largest for "part" everywhere: regions are masks 3 (three pixels) and 4 (two)."""
    a, b, c, d, e = losses_by_hand("weighted")
    terms, _ = hand_made(region_smoothing=0)
    assert float(terms.distillation) == pytest.approx(((a + b + c) / 3 + (d + e) / 2) / 2, rel=1e-5)
