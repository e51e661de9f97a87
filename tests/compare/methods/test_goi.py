"""GOI: what pixels should say, the loss in one sum, hyperplanes fitted to masks, words of a toy scene."""

import cv2
import numpy as np
import pytest
import torch
from tests.helpers.blobs import WORDS, ToyEncoder, make_scene
from torch.nn.functional import cosine_similarity, normalize

from gags.capture import View
from gags.compare.detector import NONE
from gags.compare.grounding import Grounded
from gags.compare.hyperplane import published_start
from gags.compare.methods import goi
from gags.compare.methods.goi import CodedGaussians, Goi, GoiSettings, distinct_embeddings, goi_loss
from gags.compare.methods.learner import Inputs, bytes_per_gaussian
from gags.errors import TrainingError, WorkspaceError
from gags.evaluate.answerer import Selector
from gags.progress import SILENT
from gags.query import lerf_ovs

LEARNER = Goi(GoiSettings(steps=500, batch=256, detector=NONE), pixels_per_photo=1500)


@pytest.fixture(scope="module")
def scene():
    return make_scene(views=6)


@pytest.fixture(scope="module")
def inputs(scene):
    return Inputs(scene.gaussians, scene.items(noise=0.1), ToyEncoder())


@pytest.fixture(scope="module")
def learnt(inputs, tmp_path_factory):
    path = tmp_path_factory.mktemp("goi") / "language.safetensors"
    LEARNER.learn(inputs, 0, path, SILENT)
    return path


def _iou(mask, truth):
    return (mask & truth).sum() / max((mask | truth).sum(), 1)


@pytest.mark.parametrize("plane", ["published", "calibrated"])
def test_words_are_found_in_views_and_in_space(scene, inputs, learnt, plane):
    coded = Goi(LEARNER.settings, plane).load(learnt, inputs)
    queries = coded.prepare(WORDS, ToyEncoder())
    hits, overlaps = [], []
    for camera, small in zip(scene.cameras[::2], scene.ids[::2], strict=True):
        # The peak is that of a mean over 30 px: balls must be larger than that.
        camera = camera.resized(256, 192)
        ids = cv2.resize(small.astype(np.int16), (256, 192), interpolation=cv2.INTER_NEAREST)
        answer = coded.relevancy(camera, queries)
        assert torch.equal(answer.masks, answer.values > 0.5)
        assert answer.peaks is None
        for number in np.unique(ids[ids >= 0]):
            x, y = lerf_ovs.peak(answer.maps[number])
            hits.append(ids[y, x] == number)
            overlaps.append(_iou(answer.masks[number].numpy(), ids == number))
    assert np.mean(hits) > 0.7
    assert np.mean(overlaps) > 0.65
    assert isinstance(coded, Selector)
    chosen = coded.select(queries).chosen.numpy()
    assert np.mean([_iou(row, scene.owner == number) for number, row in enumerate(chosen)]) > 0.6


def test_the_same_seed_gives_the_same_file(inputs, tmp_path):
    short = Goi(GoiSettings(steps=4, batch=64, detector=NONE), pixels_per_photo=100)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        short.learn(inputs, seed, tmp_path / name, SILENT)
    first, again, other = ((tmp_path / name).read_bytes() for name in "abc")
    assert first == again != other


def test_ten_numbers_a_gaussian_are_kept(inputs, learnt, tmp_path):
    assert bytes_per_gaussian(learnt, len(inputs.gaussians)) == 10 * 2
    (tmp_path / "half.safetensors").write_bytes(learnt.read_bytes()[:1000])
    with pytest.raises(WorkspaceError, match=r"half\.safetensors is missing or damaged"):
        CodedGaussians.load(tmp_path / "half.safetensors", inputs)


def test_a_pixel_has_the_mean_of_its_masks_and_each_mean_is_kept_once():
    embeddings = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])
    masks = torch.tensor([[0, 1, -1], [2, -1, -1], [0, 1, -1], [0, 1, 2]])
    truth, owners = distinct_embeddings(masks, embeddings)
    assert len(truth) == 3
    expected = [[0.5**0.5, 0.5**0.5, 0], [0, 0, 1], [0.5**0.5, 0.5**0.5, 0], [3**-0.5] * 3]
    torch.testing.assert_close(truth[owners], torch.tensor(expected))


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_loss_is_that_of_every_pixel(temperature):
    """Written out pixel by pixel, from the codes as they are, not of unit length."""
    rng = torch.Generator().manual_seed(0)
    codes = 3 * torch.randn(4, 6, generator=rng)
    truth = normalize(torch.randn(3, 6, generator=rng), dim=1)
    owners, logits = torch.tensor([0, 1, 1, 2, 0]), torch.randn(5, 4, generator=rng)
    terms = torch.zeros(4)
    for pixel, owner in enumerate(owners.tolist()):
        cosines = torch.stack([cosine_similarity(truth[owner], code, dim=0) for code in codes])
        chances = torch.exp(temperature * cosines) / torch.exp(temperature * cosines).sum()
        guess = torch.exp(logits[pixel]) / torch.exp(logits[pixel]).sum()
        wanted = torch.zeros(4)
        wanted[cosines.argmax()] = 1
        terms[0] += 50 * ((guess - wanted) ** 2).mean() / 5
        terms[1] += (1 - cosines.max()) / 5
        terms[2] += 0.3 * -(chances * chances.log()).sum() / 5
        terms[3] += (1 - cosines[logits[pixel].argmax()]) / 5
    found = goi_loss(logits, truth, owners, codes, temperature)
    torch.testing.assert_close(found, terms.sum())


def test_entropy_is_sharper_from_step_1000_on(inputs, monkeypatch):
    seen = []
    genuine = goi.goi_loss

    def loss(logits, truth, owners, codes, temperature):
        seen.append(temperature)
        return genuine(logits, truth, owners, codes, temperature)

    monkeypatch.setattr(goi, "goi_loss", loss)
    assert goi.SHARPER_FROM == 1000
    monkeypatch.setattr(goi, "SHARPER_FROM", 3)
    pixels = goi.draw_pixels(inputs.gaussians, inputs.items, per_photo=20, top_k=4, seed=0, progress=SILENT)
    pixels = pixels.subset((pixels.masks >= 0).any(dim=1))
    truth, owners = distinct_embeddings(pixels.masks, inputs.embeddings())
    short = Goi(GoiSettings(steps=5, batch=8, detector=NONE))
    features, reader, codes = short._train(len(inputs.gaussians), pixels, truth, owners, 0, SILENT)
    assert seen == [1.0, 1.0, 1.0, 2.0, 2.0]
    assert features.shape == (len(inputs.gaussians), 10)
    assert reader.weight.shape == (len(codes), 10)
    assert (goi.FEATURE_RATE, goi.LINEAR_RATE, goi.CODE_RATE) == (5e-3, 3e-3, 1e-3)
    assert (GoiSettings().steps, goi.BOX_SCORE) == (1500, 0.3)


class Finder:
    """Finds the ball of a word in photo 2 by its exact mask; other words nowhere."""

    def __init__(self, scene) -> None:
        self.scene, self.asked = scene, []

    def find(self, texts):
        self.asked.append(list(texts))
        view = View("2", None, self.scene.cameras[2])
        return {
            text: Grounded(view, self.scene.ids[2] == WORDS.index(text), 0.5) if text in WORDS else None
            for text in texts
        }


def test_a_plane_is_fitted_to_the_mask_of_one_photo_and_asked_everywhere(scene, inputs, learnt):
    finder = Finder(scene)
    coded = CodedGaussians.load(learnt, inputs, grounder=finder)
    queries = coded.prepare(["blue ball", "nothing"], ToyEncoder())
    coded.prepare(["nothing", "blue ball"], ToyEncoder())
    assert finder.asked == [["blue ball", "nothing"]]  # once
    answer = coded.relevancy(scene.cameras[5], queries)
    assert _iou(answer.masks[0].numpy(), scene.ids[5] == 3) > 0.6
    untouched = published_start(queries.vectors[1])  # found nowhere, so nothing to fit to
    assert coded.planes["nothing"].bias == untouched.bias
    assert torch.equal(coded.planes["nothing"].weights, untouched.weights)


def test_titles_say_what_is_swapped():
    assert LEARNER.title() == "GOI (fitted to our best mask)"
    assert Goi(LEARNER.settings, "calibrated").title() == "GOI (calibrated, fitted to our best mask)"
    assert Goi(GoiSettings(detector="a/b@c")).title() == "GOI"
    assert GoiSettings().ready().detector == NONE  # there is no network in the tests


def test_a_training_that_diverges_is_told(inputs, monkeypatch, tmp_path):
    monkeypatch.setattr(goi, "goi_loss", lambda logits, *_: logits.sum() * float("nan"))
    with pytest.raises(TrainingError, match="after step 0, the loss is no finite number"):
        Goi(GoiSettings(steps=3, batch=8, detector="none"), pixels_per_photo=50).learn(
            inputs, 0, tmp_path / "language.safetensors", SILENT
        )
    assert list(tmp_path.iterdir()) == []
