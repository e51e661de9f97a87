"""LangSplat: losses, blending and answers by hand, convergence, words of a toy scene."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from tests.helpers.blobs import DIM, WORDS, ToyEncoder, make_scene, word_vector
from torch.nn.functional import normalize

from gags.capture import Camera
from gags.compare.methods.autoencoder import Autoencoder, AutoencoderSettings
from gags.compare.methods.langsplat import (
    LangSplat,
    LangSplatFields,
    LangSplatSettings,
    code_loss,
    shown_gaussians,
    train_fields,
    unit_codes,
)
from gags.compare.methods.learner import Inputs, bytes_per_gaussian, learnt_figures
from gags.compare.methods.pixels import PixelSamples, sample_pixels
from gags.errors import QueryError, WorkspaceError
from gags.gaussians import Gaussians, render
from gags.progress import SILENT
from gags.query import lerf_ovs
from gags.query.relevancy import Queries

FAST = LangSplat(
    LangSplatSettings(steps=150, batch_pixels=512, autoencoder=AutoencoderSettings(steps=500)),
    pixels_per_photo=3000,
)
BY_GAUSSIAN = replace(FAST, asked="gaussians")


@pytest.fixture(scope="module")
def scene():
    return make_scene(views=6)


@pytest.fixture(scope="module")
def learnt(scene, tmp_path_factory):
    """Sub-parts say something else, so that only parts and wholes can answer."""
    path = tmp_path_factory.mktemp("langsplat") / "language.safetensors"
    items = scene.items(noise=0.1)
    for _, described in items:
        described.embeddings[described.masks.levels == 0] = word_vector("something else")
    FAST.learn(Inputs(scene.gaussians, items, ToyEncoder()), 0, path, SILENT)
    return path


@pytest.mark.parametrize("learner", [FAST, BY_GAUSSIAN], ids=["by pixel", "by Gaussian"])
def test_words_are_found_on_the_level_that_knows_them(scene, learnt, learner):
    fields = learner.load(learnt, Inputs(scene.gaussians, [], ToyEncoder()))
    # Levels are chosen by a mean over 30 px: balls must be larger than that.
    camera = scene.cameras[0].resized(256, 192)
    ids = cv2.resize(scene.ids[0].astype(np.int16), (256, 192), interpolation=cv2.INTER_NEAREST)
    answer = fields.relevancy(camera, fields.prepare(WORDS, ToyEncoder()))
    assert answer.maps.shape == (5, 192, 256)
    assert answer.levels.shape == (3, 5, 192, 256)
    for number, relevancy in enumerate(answer.maps):
        truth = ids == number
        assert relevancy[truth].mean() > relevancy[~truth & answer.covered].mean() + 0.3
        peaks = [float(lerf_ovs.smooth(level * answer.known).max()) for level in answer.levels[:, number]]
        best = answer.levels[int(np.argmax(peaks)), number] * answer.known
        np.testing.assert_array_equal(relevancy, best.numpy())
    assert (answer.maps[:, ~answer.covered] == 0).all()


def test_eighteen_bytes_a_gaussian_are_kept(scene, learnt):
    assert bytes_per_gaussian(learnt, len(scene.gaussians)) == 3 * 3 * 2


def test_the_cosine_of_the_autoencoder_is_reported(scene, learnt):
    """Against the decoder on file, on codes of the Gaussians that show one thing alone."""
    (name, cosine), *others = learnt_figures(learnt).items()
    assert (name, others) == ("autoencoder_cosine", [])
    assert 0.8 < cosine <= 1
    fields = LangSplatFields.load(learnt, scene.gaussians)
    wholes = fields.net.decode(fields.features[:, 6:])
    words = torch.from_numpy(np.stack([word_vector(WORDS[owner]) for owner in scene.owner])).float()
    shown = fields.features[:, 6:].norm(dim=-1) > 0
    assert (wholes * words).sum(-1)[shown].median() > 0.8


def test_damaged_files_and_other_encoders_are_errors(scene, learnt, tmp_path):
    class Other(ToyEncoder):
        name = "other"

    with pytest.raises(QueryError, match="'toy'"):
        FAST.load(learnt, Inputs(scene.gaussians, [], ToyEncoder())).prepare(["red ball"], Other())
    (tmp_path / "half.safetensors").write_bytes(learnt.read_bytes()[:1000])
    with pytest.raises(WorkspaceError, match=r"half\.safetensors is missing or damaged"):
        LangSplatFields.load(tmp_path / "half.safetensors", scene.gaussians)


def test_the_same_seed_gives_the_same_file(scene, learnt, tmp_path):
    short = replace(FAST, settings=LangSplatSettings(steps=3, autoencoder=AutoencoderSettings(steps=3)))
    inputs = Inputs(scene.gaussians, scene.items(), ToyEncoder())
    contents = []
    for number, seed in enumerate((0, 0, 1)):
        path = tmp_path / f"{number}.safetensors"
        short.learn(inputs, seed, path, SILENT)
        contents.append(path.read_bytes())
    assert contents[0] == contents[1] != contents[2]


def test_defaults_are_the_published_ones():
    assert LangSplatSettings().rate == 2.5e-3
    assert LangSplat().asked == "pixels"


# --- the fields ---

CODES = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])  # of two masks


def _two_pixels() -> PixelSamples:
    """One pixel is Gaussian 0 at alpha 0.8; another both, 0.5 and 0.25; each lacks a level."""
    return PixelSamples(
        indices=torch.tensor([[0, 0], [0, 1]], dtype=torch.int32),
        weights=torch.tensor([[0.8, 0.0], [0.5, 0.25]]),
        targets=torch.tensor([[0, -1, -1], [1, 1, -1]], dtype=torch.int32),
    )


def test_loss_is_the_l1_distance_of_blended_unit_codes():
    """By hand; features are normalised Gaussian by Gaussian before blending, alpha is not divided by."""
    features = torch.zeros(2, 9)
    features[0, :3] = torch.tensor([3.0, 4.0, 0.0])  # sub-part: the unit code (0.6, 0.8, 0)
    features[1, :3] = torch.tensor([0.0, 0.0, 0.01])  # (0, 0, 1)
    features[1, 3:6] = torch.tensor([0.0, 7.0, 0.0])  # part: (0, 1, 0); Gaussian 0 has none there
    first = abs(0.8 * 0.6 - 1) + abs(0.8 * 0.8 - 0)  # towards (1, 0, 0)
    second = abs(0.5 * 0.6 - 0) + abs(0.5 * 0.8 - 1) + abs(0.25 * 1 - 0)  # towards (0, 1, 0)
    third = abs(0.25 * 1 - 1)  # the part of the second pixel
    loss = code_loss(features, _two_pixels(), torch.tensor([0, 1]), CODES)
    assert loss.item() == pytest.approx((first + second + third) / 3 / 3)
    alone = code_loss(features, _two_pixels(), torch.tensor([0]), CODES)
    assert alone.item() == pytest.approx(first / 3)


def test_only_what_a_pixel_with_a_mask_shows_is_learnt():
    """Gaussian 2 is in no pixel, Gaussian 1 not in the first, nobody on level whole: their codes stay 0."""
    expected = [[True, True, False], [True, True, False], [False, False, False]]
    assert shown_gaussians(_two_pixels(), 3).tolist() == expected
    settings = LangSplatSettings(steps=20, batch_pixels=4)
    found = train_fields(_two_pixels(), CODES, 3, settings, 0, SILENT).unflatten(1, (3, 3))
    torch.testing.assert_close(found.norm(dim=-1), torch.tensor(expected).float())


def test_one_gaussian_reaches_the_code_of_its_mask():
    """A pixel of alpha 0.8 cannot reach a unit code, but its direction is the nearest."""
    pixels = PixelSamples(
        torch.tensor([[0]], dtype=torch.int32),
        torch.tensor([[0.8]]),
        torch.tensor([[0, 1, -1]], dtype=torch.int32),
    )
    settings = LangSplatSettings(steps=800, batch_pixels=1)
    found = train_fields(pixels, CODES, 1, settings, 0, SILENT)
    torch.testing.assert_close(found[0, :6], CODES.flatten(), atol=0.02, rtol=0)


def test_random_starts_come_to_the_same_loss(scene):
    """Which is lower than that of the weighted mean of the codes that each Gaussian's pixels see."""
    items = scene.items(noise=0.1)
    pixels = sample_pixels(scene.gaussians, items, pixels=3000, top_k=16, seed=0, progress=SILENT)
    masks, count = int(pixels.targets.max()) + 1, len(scene.gaussians)
    codes = normalize(torch.randn(masks, 3, generator=torch.Generator().manual_seed(1)), dim=-1)
    settings = LangSplatSettings(steps=600, batch_pixels=1024)

    def loss(features: torch.Tensor) -> float:
        return float(code_loss(features, pixels, torch.arange(len(pixels)), codes))

    first, second = (loss(train_fields(pixels, codes, count, settings, seed, SILENT)) for seed in (0, 1))
    assert first == pytest.approx(second, rel=0.02)
    assert max(first, second) < 0.95 * loss(_uplifted(pixels, codes, count))


def _uplifted(pixels: PixelSamples, codes: torch.Tensor, gaussians: int) -> torch.Tensor:
    sums = torch.zeros(gaussians, 3, 3)
    for level in range(3):
        there = pixels.targets[:, level] >= 0
        seen = pixels.weights[there][..., None] * codes[pixels.targets[there, level].long()][:, None]
        sums[:, level].index_add_(0, pixels.indices[there].flatten().long(), seen.flatten(0, 1))
    return sums.flatten(1)


# --- asking two Gaussians ---


def _two_gaussians() -> tuple[Gaussians, Camera]:
    """Two wide flat Gaussians one behind the other on the axis of a camera, alpha about 0.5 each."""
    gaussians = Gaussians(
        torch.tensor([[0.0, 0.0, 2.0], [0.0, 0.0, 3.0]]),
        torch.tensor([[1.0, 0, 0, 0]]).repeat(2, 1),
        torch.full((2, 3), 0.5).log(),
        torch.zeros(2),
        torch.zeros(2, 1, 3),
    )
    return gaussians, Camera(np.eye(4), np.array([[40.0, 0, 16], [0, 40.0, 16], [0, 0, 1]]), 32, 32)


class Unfolding(Autoencoder):
    """Decodes a code to itself, made a unit vector of DIM numbers; 0 becomes the fourth axis."""

    def __init__(self) -> None:
        super().__init__(DIM)

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        decoded = torch.zeros(*codes.shape[:-1], DIM)
        decoded[..., :3] = codes
        decoded[..., 3] = (codes == 0).all(dim=-1).float()
        return normalize(decoded, dim=-1)

    def cosines(self, codes: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        return self.decode(codes) @ vectors.T


def _two_fields() -> tuple[LangSplatFields, Queries]:
    """On level sub-part, the Gaussian in front has code x, that behind y; on the others they have none."""
    gaussians, _ = _two_gaussians()
    features = torch.zeros(2, 9)
    features[0, 0] = features[1, 1] = 1.0
    axes = torch.eye(DIM)
    queries = Queries(("x", "y"), axes[:2], axes[4:6], 10.0)
    return LangSplatFields(gaussians, features, Unfolding(), "toy"), queries


def test_pixels_are_decoded_after_blending_without_a_division_by_alpha():
    fields, queries = _two_fields()
    gaussians, camera = _two_gaussians()
    found = fields.relevancy(camera, queries)
    x, y = render(gaussians, camera, torch.eye(2)).colors[16, 16].tolist()
    assert 0.4 < x < 0.55
    assert 0.15 < y < 0.3  # behind the other: the sum is less than 1
    for text, blended in enumerate((x, y)):
        cosine = blended / math.hypot(x, y)
        expected = 1 / (1 + math.exp(-10 * cosine))
        assert found.levels[0, text, 16, 16].item() == pytest.approx(expected, abs=1e-4)
    # Nothing has a code on the other levels: decoded, 0 would be at right angles to all texts, so 0.5.
    assert (found.levels[1:] == 0).all()
    assert torch.equal(found.values, found.levels[0] * found.known)


def test_the_background_is_decoded_but_counts_as_unknown():
    fields, queries = _two_fields()
    _, camera = _two_gaussians()
    aside = Camera(np.diag([1.0, 1, 1, 1]), np.array([[400.0, 0, -3000], [0, 400.0, 16], [0, 0, 1]]), 32, 32)
    found = fields.relevancy(aside, queries)
    assert not found.known.any()
    torch.testing.assert_close(found.levels[0], torch.full_like(found.levels[0], 0.5))
    assert (found.levels[1:] == 0).all()  # levels without any code
    assert (found.values == 0).all()
    assert fields.relevancy(camera, queries).known.any()


def test_by_gaussian_each_code_is_decoded_and_its_relevancy_rendered():
    fields, queries = _two_fields()
    gaussians, camera = _two_gaussians()
    found = fields.decoded().relevancy(camera, queries)
    x, y = render(gaussians, camera, torch.eye(2)).colors[16, 16].tolist()
    sure, unsure = 1 / (1 + math.exp(-10)), 0.5
    for text, (own, other) in enumerate(((x, y), (y, x))):
        expected = (own * sure + other * unsure) / (x + y)
        assert found.levels[0, text, 16, 16].item() == pytest.approx(expected, abs=1e-4)
    assert found.known[16, 16]
    assert (fields.decoded().features[:, 1:] == 0).all()  # what has no code has no embedding
    assert (found.levels[1:] == 0).all()


def test_codes_are_normalised_level_by_level():
    features = torch.tensor([[3.0, 4, 0, 0, 0, 0, 0, 0, -2]])
    expected = torch.tensor([[0.6, 0.8, 0, 0, 0, 0, 0, 0, -1]])
    torch.testing.assert_close(unit_codes(features), expected)
