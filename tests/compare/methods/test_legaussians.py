"""LEGaussians: every term of its losses and its query by hand; words of toy scenes, from masks and tiles."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.helpers.blobs import WORDS, ToyEncoder, make_scene, word_vector
from tests.helpers.heard import Heard
from tests.helpers.tiny_vit import write_vit
from tests.helpers.toy_capture import HEIGHT, WIDTH, ColorEncoder, write_capture
from torch.nn.functional import normalize

from gags.capture import load_capture
from gags.compare.dense import tile_count
from gags.compare.harness import CompareSettings, check
from gags.compare.methods import all_methods, legaussians
from gags.compare.methods.goi import GoiSettings
from gags.compare.methods.grouping import GroupingSettings
from gags.compare.methods.langsplat import LangSplatSettings
from gags.compare.methods.learner import Inputs, bytes_per_gaussian
from gags.compare.methods.legaussians import (
    CodedPixels,
    LEGaussians,
    LEGaussiansField,
    LEGaussiansSettings,
    code_loss,
    layers,
    rows_of,
    scaled_positions,
    smoothness_loss,
    uncertain_cross_entropy,
)
from gags.compare.targets import TargetPhotos, mean_of_masks
from gags.distill.presets import PRESETS
from gags.distill.settings import DistillSettings
from gags.embed.description import Description
from gags.embed.dino.encoder import Dino, choose_dino
from gags.errors import CompareError, ModelError, QueryError, WorkspaceError
from gags.progress import SILENT
from gags.query.relevancy import Queries
from gags.segment.masks import Masks
from gags.store import plain

SETTINGS = LEGaussiansSettings(features="none", codebook_steps=100, steps=150)
ON_MASKS = LEGaussians(SETTINGS, "masks", batch=512, pixels_per_photo=2000)
DENSE = LEGaussians(replace(SETTINGS, photos=3), batch=512, pixels_per_photo=4000)


def test_the_constants_are_those_of_the_paper():
    assert legaussians.DECODER_WIDTHS == (8, 128, 256, 64)
    assert legaussians.SMOOTHER_WIDTHS == (3, 128, 128, 128, 128, 8)
    assert (legaussians.SMOOTH_EVERY, legaussians.LEAST_SMOOTHING, legaussians.MASK_RELEVANCY) == (
        10,
        0.1,
        0.5,
    )
    net = layers(legaussians.DECODER_WIDTHS)
    shapes = [tuple(weight.shape) for name, weight in net.named_parameters() if name.endswith("weight")]
    assert shapes == [(128, 8), (256, 128), (64, 256)]
    assert [type(layer).__name__ for layer in net] == ["Linear", "ReLU", "Linear", "ReLU", "Linear"]


# --- losses ---


def test_cross_entropy_counts_less_where_it_is_uncertain():
    logits = torch.tensor([[0.0, math.log(3.0)], [math.log(9.0), 0.0]])
    loss = uncertain_cross_entropy(logits, torch.tensor([0, 0]), torch.tensor([0.5, 0.2]))
    # Code 0 has the probabilities 1/4 and 9/10.
    entropy = (0.5 * math.log(4) + 0.8 * math.log(10 / 9)) / 2
    doubt = (-math.log(0.5) - math.log(0.8)) / 2
    assert loss.item() == pytest.approx(entropy + doubt)


def test_doubt_grows_where_the_code_cannot_be_learnt_and_is_never_infinite():
    """The optimum of (1 − u) CE − log(1 − u) is 1 − u = 1 / CE, where that is below 1."""
    logits, codes = torch.tensor([[0.0, 4.0]]), torch.tensor([0])  # CE = log(1 + e⁴) = 4.018
    best = 1 - 1 / math.log1p(math.exp(4.0))
    for u, rises in ((best - 0.1, False), (best + 0.1, True)):
        doubt = torch.tensor([u], requires_grad=True)
        uncertain_cross_entropy(logits, codes, doubt).backward()
        assert doubt.grad is not None
        assert (doubt.grad.item() > 0) == rises
    assert math.isfinite(uncertain_cross_entropy(logits, codes, torch.tensor([1.0])).item())


def test_smoothness_pulls_the_net_to_the_features_and_uncertain_features_to_the_net():
    smooth = torch.tensor([[1.0, 0.0], [0.0, 0.0]], requires_grad=True)
    features = torch.tensor([[0.0, 2.0], [3.0, 0.0]], requires_grad=True)
    loss = smoothness_loss(smooth, features, torch.tensor([0.0, 1.0]))
    # Squared distances 5 and 9; a certain Gaussian is pulled with 0.1, an uncertain one with 1.
    assert loss.item() == pytest.approx(((5 + 5 * 0.1) + (9 + 9 * 1.0)) / 2)
    loss.backward()
    # Gradients of mean ‖·‖²: the difference itself, for two rows; the net's has no share of the pull.
    torch.testing.assert_close(smooth.grad, torch.tensor([[1.0, -2.0], [-3.0, 0.0]]))
    torch.testing.assert_close(features.grad, torch.tensor([[-0.1, 0.2], [3.0, 0.0]]))


def test_features_and_uncertainty_are_rendered_before_they_are_compared():
    samples = CodedPixels(
        indices=torch.tensor([[0, 1], [1, 0]], dtype=torch.int32),
        weights=torch.tensor([[0.6, 0.2], [0.9, 0.0]]),
        codes=torch.tensor([0, 1]),
    )
    features = torch.zeros(2, 9)
    features[0, 0], features[1, 1] = 1.0, 4.0  # s
    features[0, 8], features[1, 8] = 0.5, 0.1  # u
    decoder = torch.nn.Linear(8, 2, bias=False)
    decoder.weight.data = torch.eye(8)[:2]  # logits are the first two numbers of the unit feature
    # Pixel 0: s = (.6, .8), of length 1; u = .3 + .02. Pixel 1: s = (0, 3.6) → (0, 1); u = .09.
    ce0 = -0.6 + math.log(math.exp(0.6) + math.exp(0.8))
    ce1 = -1.0 + math.log(1 + math.exp(1.0))
    for rows, expected in (
        ([0], 0.68 * ce0 - math.log(0.68)),
        ([1, 1], 0.91 * ce1 - math.log(0.91)),
        ([0, 1], (0.68 * ce0 + 0.91 * ce1 - math.log(0.68) - math.log(0.91)) / 2),
    ):
        loss = code_loss(features, samples, torch.tensor(rows), decoder)
        assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_positions_are_scaled_to_the_scene():
    means = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 4], [1e6, 0, 0]])
    # Middle (2, 0, 0); half of the Gaussians lie within 1 of it along x: four times that is the edge.
    expected = torch.tensor([[-0.5, 0, 0], [-0.25, 0, 0], [0, 0, 0], [0.25, 0, 1.0], [1.0, 0, 0]])
    torch.testing.assert_close(scaled_positions(means), expected)


def test_every_tenth_step_is_smoothed(scene, monkeypatch):
    smoothed = []

    def note(smooth, features, uncertainties):
        smoothed.append(len(features))
        return smoothness_loss(smooth, features, uncertainties)

    monkeypatch.setattr(legaussians, "smoothness_loss", note)
    monkeypatch.setattr(legaussians, "SMOOTHED", 100)
    samples = CodedPixels(torch.tensor([[0]]), torch.tensor([[1.0]]), torch.tensor([3]))
    legaussians.train(samples, scene.gaussians, 21, 4, 0, SILENT)
    assert smoothed == [100, 100, 100]


# --- what pixels should say ---


def test_a_pixel_says_the_mean_of_the_masks_that_cover_it():
    embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    labels = torch.tensor([[0, -1, -1], [0, 1, -1], [-1, 1, 2]])
    expected = normalize(torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.6, 1.8]]), dim=-1)
    torch.testing.assert_close(mean_of_masks(labels, embeddings), expected)


def test_masks_speak_for_their_pixels_and_keys_come_from_the_photo(tmp_path):
    capture = load_capture(write_capture(tmp_path / "capture", views=1), test_every=0)
    view = capture.train[0]
    labels = np.full((3, HEIGHT // 2, WIDTH // 2), -1, np.int16)  # masks of the photo at half of its size
    labels[1, 10:20, 30:50] = 0
    labels[2, 15:20, 30:50] = 1
    masks = Masks(labels, np.array([1, 2], np.int8), np.zeros((2, 4), np.int32), np.ones(2, np.float32))
    described = Description(masks, np.eye(2, 64, dtype=np.float16), "color")
    inputs = Inputs(make_scene(1).gaussians, [(view.camera, described)], ColorEncoder(), capture.train)
    dino = Dino(write_vit(tmp_path / "vit"), device=torch.device("cpu"))
    photos = TargetPhotos(inputs, "masks", dino, tmp_path / "dense", [0], 1000, seed=0)
    (photo,) = photos
    assert (photo.camera.width, photo.camera.height) == (WIDTH // 2, HEIGHT // 2)
    assert sorted(map(tuple, photo.pixels)) == [(x, y) for x in range(30, 50) for y in range(10, 20)]
    said = photo.features(np.array([[30, 10], [49, 19]]))
    expected = normalize(torch.tensor([[1.0, 0.0], [1.0, 1.0]]), dim=-1)
    torch.testing.assert_close(said.embeddings[:, :2], expected)
    keys = dino.keys(view.image())
    rows, columns = keys.shape[:2]
    # The middle of pixel (49, 19) of 128×96 is at (99, 39) of the photo, between patches of 8 px.
    x, y = 99 / WIDTH * columns - 0.5, 39 / HEIGHT * rows - 0.5
    left, top = int(x), int(y)
    a, b = x - left, y - top
    near = keys[top : top + 2, left : left + 2]
    key = (1 - b) * ((1 - a) * near[0, 0] + a * near[0, 1]) + b * ((1 - a) * near[1, 0] + a * near[1, 1])
    np.testing.assert_allclose(said.keys[1].numpy(), key / np.linalg.norm(key), atol=5e-3)
    (few,) = replace(photos, most=7)
    assert few.pixels.tolist() == photo.pixels[:7].tolist()


# --- queries ---


def test_a_pixel_is_decoded_to_a_mixture_of_codes_and_compared_with_the_text(scene):
    """Two codes at a right angle; logits (0, log 3) give shares ¼ and ¾."""
    codes = torch.eye(3)[:2]
    decoder = torch.nn.Sequential(torch.nn.Linear(8, 2))
    decoder[0].weight.data = torch.zeros(2, 8)
    decoder[0].weight.data[1, 0] = math.log(3.0)
    decoder[0].bias.data = torch.zeros(2)
    field = LEGaussiansField(scene.gaussians, torch.zeros(644, 9), decoder, codes, "toy")
    text, phrases = torch.tensor([[0.0, 1.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    queries = Queries(("red ball",), text, phrases, 10.0)
    rendered = torch.tensor([[0.5] + [0.0] * 7, [0.0, 2.0] + [0.0] * 6])  # unit length brings s₀ to 1 and 0
    length = math.hypot(0.25, 0.75)
    expected = [1 / (1 + math.exp(-10 * (0.75 - 0.25) / length)), 0.5]
    found = field.pixel_relevancy(rendered, queries)
    assert found[:, 0].tolist() == pytest.approx(expected, rel=1e-5)
    assert field.pixel_relevancy(rendered[:0], queries).shape == (0, 1)


@pytest.fixture(scope="module")
def scene():
    return make_scene(views=6)


@pytest.fixture(scope="module")
def inputs(scene):
    return Inputs(scene.gaussians, scene.items(noise=0.1), ToyEncoder())


@pytest.fixture(scope="module")
def learnt(inputs, tmp_path_factory):
    path = tmp_path_factory.mktemp("legaussians") / "seed_0" / "language.safetensors"
    ON_MASKS.learn(inputs, 0, path, SILENT)
    return path


def test_words_are_found_on_masks(scene, inputs, learnt):
    field = ON_MASKS.load(learnt, inputs)
    camera = scene.cameras[0]
    answer = field.relevancy(camera, field.prepare(WORDS, ToyEncoder()))
    known = answer.covered & (scene.ids[0] >= 0)
    assert (answer.maps.argmax(axis=0) == scene.ids[0])[known].mean() > 0.95
    assert answer.masks is not None
    np.testing.assert_array_equal(answer.masks.numpy(), answer.maps >= 0.5)
    for number, mask in enumerate(answer.masks.numpy()):
        truth = scene.ids[0] == number
        assert mask[truth].mean() > 0.9
        assert mask[~truth & known].mean() < 0.5


def test_masks_end_at_a_half_or_where_the_protocol_says(scene, inputs, learnt):
    own, by_protocol = (replace(ON_MASKS, cut=cut).load(learnt, inputs) for cut in ("published", "protocol"))
    queries = own.prepare(WORDS, ToyEncoder())
    answer, same = (field.relevancy(scene.cameras[0], queries) for field in (own, by_protocol))
    assert torch.equal(answer.values, same.values)
    assert torch.equal(answer.masks, answer.values >= 0.5)
    assert same.masks is None


def test_pixels_that_show_nothing_are_asked_too(scene, inputs, learnt):
    field = ON_MASKS.load(learnt, inputs)
    queries = field.prepare(WORDS, ToyEncoder())
    answer = field.relevancy(scene.cameras[0], queries)
    bare = ~answer.covered & (scene.ids[0] < 0)
    assert bare.any()
    of_nothing = field.pixel_relevancy(torch.zeros(1, 8), queries)[0].numpy()
    same = np.isclose(answer.maps, of_nothing[:, None, None], atol=1e-4).all(axis=0)
    assert same[bare].any()


def test_the_codes_of_the_masks_are_what_pixels_are_decoded_to(scene, inputs, learnt):
    """Each code is near the mean of the masks that cover some pixel."""
    field = ON_MASKS.load(learnt, inputs)
    words = torch.from_numpy(np.stack([word_vector(word) for word in WORDS])).float()
    assert ((field.codes @ words.T).amax(dim=0) > 0.75).all()
    assert (field.features[:, 8] >= 0).all()
    assert (field.features[:, 8] <= 1).all()


def test_eight_numbers_and_an_uncertainty_are_kept(scene, learnt):
    assert bytes_per_gaussian(learnt, len(scene.gaussians)) == 9 * 2


def test_the_same_seed_gives_the_same_bytes(inputs, tmp_path):
    short = replace(ON_MASKS, settings=replace(SETTINGS, codebook_steps=3, steps=12))
    paths = [tmp_path / name / "language.safetensors" for name in ("a", "b", "c")]
    for path, seed in zip(paths, (0, 0, 1), strict=True):
        short.learn(inputs, seed, path, SILENT)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert paths[0].read_bytes() != paths[2].read_bytes()


def test_damaged_files_and_other_encoders_are_errors(inputs, learnt, tmp_path):
    class Other(ToyEncoder):
        name = "other"

    with pytest.raises(QueryError, match="'toy'"):
        ON_MASKS.load(learnt, inputs).prepare(["red ball"], Other())
    (tmp_path / "half.safetensors").write_bytes(learnt.read_bytes()[:1000])
    with pytest.raises(WorkspaceError, match=r"half\.safetensors is missing or damaged"):
        LEGaussiansField.load(tmp_path / "half.safetensors", inputs.gaussians)


# --- tiles ---


class CountingEncoder(ColorEncoder):
    """Counts what it embeds."""

    def __init__(self) -> None:
        self.embedded = 0

    def encode_images(self, crops):
        self.embedded += len(crops)
        return super().encode_images(crops)


@pytest.fixture(scope="module")
def dense_inputs(tmp_path_factory):
    """Photos of the balls, and no masks at all: tiles do without."""
    scene = make_scene(views=5)
    capture = load_capture(write_capture(tmp_path_factory.mktemp("balls") / "capture", views=5), test_every=0)
    items = [(view.camera, None) for view in capture.train]
    return Inputs(scene.gaussians, items, CountingEncoder(), capture.train)  # type: ignore[arg-type]


def test_words_are_found_in_photos_alone_and_seeds_share_dense_features(dense_inputs, tmp_path):
    encoder = dense_inputs.encoder
    for seed in (0, 1):
        path = tmp_path / "legaussians" / f"seed_{seed}" / "language.safetensors"
        DENSE.learn(dense_inputs, seed, path, SILENT)
    kept = sorted(file.name for file in (tmp_path / "legaussians" / "dense").rglob("*.safetensors"))
    assert kept == [f"view_{number:02d}.png.safetensors" for number in (0, 2, 4)]  # three of five
    assert encoder.embedded == 3 * tile_count(HEIGHT, WIDTH)
    field = DENSE.load(tmp_path / "legaussians" / "seed_0" / "language.safetensors", dense_inputs)
    scene = make_scene(views=5)
    answer = field.relevancy(scene.cameras[1], field.prepare(WORDS, encoder))
    known = answer.covered & (scene.ids[1] >= 0)
    # A photo that was not learnt from. Chance is half.
    for number in range(len(WORDS)):
        truth = (scene.ids[1] == number)[known]
        assert _area_under_curve(answer.maps[number][known], truth) > 0.9


def _area_under_curve(values: np.ndarray, truth: np.ndarray) -> float:
    """How often a pixel of the thing has a larger value than one off it (Mann and Whitney)."""
    ranks = np.argsort(np.argsort(values)) + 1
    inside, outside = np.count_nonzero(truth), np.count_nonzero(~truth)
    return float((ranks[truth].sum() - inside * (inside + 1) / 2) / (inside * outside))


def test_photos_are_asked_for_where_they_are_needed(inputs, tmp_path):
    with pytest.raises(CompareError, match="looks at the photos, but was given 0 of 6"):
        DENSE.learn(inputs, 0, tmp_path / "a" / "language.safetensors", SILENT)
    vit = write_vit(tmp_path / "vit")
    with_dino = replace(ON_MASKS, settings=replace(SETTINGS, features=str(vit)))
    with pytest.raises(CompareError, match="looks at the photos"):
        with_dino.learn(inputs, 0, tmp_path / "a" / "language.safetensors", SILENT)


def test_photos_of_nothing_are_an_error(dense_inputs, tmp_path):
    away = replace(dense_inputs, gaussians=dense_inputs.gaussians[torch.zeros(644, dtype=torch.bool)])
    with pytest.raises(WorkspaceError, match="no photo shows any of the Gaussians"):
        DENSE.learn(away, 0, tmp_path / "m" / "s" / "language.safetensors", SILENT)


# --- rows ---


def test_rows_share_settings_and_say_what_they_leave_out(tmp_path):
    shared = DistillSettings(pixels_per_photo=48, top_k=5)
    known = all_methods(shared, legaussians=LEGaussiansSettings(steps=9))
    expected = LEGaussians(LEGaussiansSettings(steps=9), "tiles", pixels_per_photo=48, top_k=5)
    assert known["legaussians"].learner == expected
    assert known["legaussians-masks"].learner == replace(expected, targets="masks")
    assert known["uniform-legaussians-masks"].prompts == "uniform"
    assert "uniform-legaussians" not in known  # tiles are not prompted
    assert known["legaussians"].title == "LEGaussians (dense)"
    assert known["legaussians-masks"].title == "LEGaussians (on our masks)"
    by_protocol = known["legaussians-masks-protocol"]
    assert by_protocol.title == "LEGaussians (on our masks, masks by the protocol)"
    assert by_protocol.learner == replace(expected, targets="masks", cut="protocol")
    assert "cut" not in plain(known["legaussians-masks"].learner)  # what was learnt without it still counts
    reduced = all_methods(legaussians=LEGaussiansSettings("none", photos=6))
    assert reduced["legaussians"].title == "LEGaussians (dense, 6 photos, no DINO)"
    assert reduced["legaussians-masks"].title == "LEGaussians (on our masks, no DINO)"


def test_pixels_a_step_are_its_own_whatever_the_preset():
    """As many as for the other systems. What was learnt before there was a setting for it still counts."""
    for preset in PRESETS.values():
        learners = [method.learner for method in rows_of(LEGaussiansSettings(), preset.distill)]
        assert [learner.batch for learner in learners] == [4096, 4096]  # type: ignore[attr-defined]
    assert LangSplatSettings().batch_pixels == GroupingSettings().batch == GoiSettings().batch == 4096
    dense, _ = rows_of(LEGaussiansSettings(batch=64), DistillSettings())
    assert dense.learner.batch == 64  # type: ignore[attr-defined]
    assert "batch" not in plain(LEGaussians())["settings"]


def test_a_comparison_finds_out_before_it_starts_which_dino_there_is(tmp_path):
    folder = write_capture(tmp_path / "capture", views=2)
    capture, labels = load_capture(folder, test_every=0), folder / "labels"
    heard = Heard()
    (method,) = check(capture, labels, ["legaussians"], progress=heard)
    assert method.title == "LEGaussians (dense, no DINO)"
    assert [line.split(";")[0] for line in heard.said] == ["DINO: none"]
    vit = write_vit(tmp_path / "vit")
    settings = CompareSettings(legaussians=LEGaussiansSettings(str(vit)))
    (method,) = check(capture, labels, ["legaussians-masks"], settings)
    assert method.learner.settings.features == choose_dino(str(vit))  # type: ignore[attr-defined]
    assert check(capture, labels, ["gags"], progress=heard)
    assert len(heard.said) == 1  # nobody else needs one


def test_auto_becomes_the_dino_that_is_there(tmp_path):
    heard = Heard()
    assert LEGaussiansSettings().ready(heard) == LEGaussiansSettings("none")
    (line,) = heard.said
    assert line.startswith("DINO: none; facebook/dino-vits8 is not on this machine")
    vit = write_vit(tmp_path / "vit")
    named = LEGaussiansSettings(str(vit)).ready()
    assert named.features == choose_dino(str(vit))
    assert named.ready() == named
    with pytest.raises(ModelError, match="no folder"):
        LEGaussiansSettings("/no/such/vit").ready()
