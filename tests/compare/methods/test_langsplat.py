"""LangSplat: an autoencoder of three numbers, losses and levels by hand, words of a toy scene."""

from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from tests.helpers.blobs import WORDS, ToyEncoder, make_scene, word_vector
from torch.nn.functional import normalize

from gags.compare.methods.langsplat import (
    Autoencoder,
    AutoencoderSettings,
    LangSplat,
    LangSplatFields,
    LangSplatSettings,
    best_level,
    code_loss,
    start,
    train_autoencoder,
)
from gags.compare.methods.learner import Inputs, bytes_per_gaussian
from gags.distill.evidence import merge, view_evidence
from gags.distill.samples import Samples
from gags.errors import QueryError, WorkspaceError
from gags.progress import SILENT
from gags.query import lerf_ovs

AUTOENCODER = AutoencoderSettings(steps=400, batch=32)
FAST = LangSplat(LangSplatSettings(steps=60, autoencoder=AutoencoderSettings(steps=300)), batch_groups=64)


@pytest.fixture(scope="module")
def scene():
    return make_scene(views=6)


@pytest.fixture(scope="module")
def learnt(scene, tmp_path_factory):
    path = tmp_path_factory.mktemp("langsplat") / "language.safetensors"
    items = scene.items(noise=0.1)
    for _, features in items:
        features.embeddings[features.masks.levels == 0] = word_vector("something else")
    FAST.learn(Inputs(scene.gaussians, items, ToyEncoder()), 0, path, SILENT)
    return path


def test_words_are_found_on_the_level_that_knows_them(scene, learnt):
    """Sub-parts say something else, so that only parts and wholes can answer."""
    fields = FAST.load(learnt, Inputs(scene.gaussians, [], ToyEncoder()))
    # Levels are chosen by a mean over 30 px: balls must be larger than that.
    camera = scene.cameras[0].resized(256, 192)
    ids = cv2.resize(scene.ids[0].astype(np.int16), (256, 192), interpolation=cv2.INTER_NEAREST)
    answer = fields.relevancy(camera, fields.prepare(WORDS, ToyEncoder()))
    assert answer.maps.shape == (5, 192, 256)
    for number, relevancy in enumerate(answer.maps):
        truth = ids == number
        assert relevancy[truth].mean() > relevancy[~truth & answer.covered].mean() + 0.3
    assert (answer.maps[:, ~answer.covered] == 0).all()


def test_eighteen_bytes_a_gaussian_are_kept(scene, learnt):
    assert bytes_per_gaussian(learnt, len(scene.gaussians)) == 3 * 3 * 2


def test_damaged_files_and_other_encoders_are_errors(scene, learnt, tmp_path):
    class Other(ToyEncoder):
        name = "other"

    with pytest.raises(QueryError, match="'toy'"):
        FAST.load(learnt, Inputs(scene.gaussians, [], ToyEncoder())).prepare(["red ball"], Other())
    (tmp_path / "half.safetensors").write_bytes(learnt.read_bytes()[:1000])
    with pytest.raises(WorkspaceError, match=r"half\.safetensors is missing or damaged"):
        LangSplatFields.load(tmp_path / "half.safetensors", scene.gaussians)


def test_start_is_the_weighted_mean_of_each_level():
    codes = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])
    # Gaussian 0 is seen by a pixel of masks 0 and 1 with weight 0.5, and by one of mask 2 with weight 0.25.
    labels = np.array([[0, -1, 1], [-1, -1, 2]])
    seen = view_evidence(torch.tensor([[0], [0]]), torch.tensor([[0.5], [0.25]]), labels, 3)
    found = start(merge([seen], 2), codes, torch.tensor([0, 2, 2]))
    expected = torch.tensor([[1.0, 0, 0, 0, 0, 0, 0, 2 / 3, 1 / 3], [0.0] * 9])
    torch.testing.assert_close(found, expected)


def test_loss_leaves_out_levels_without_a_mask_and_weighs_pixels_by_their_density():
    codes = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])
    samples = Samples(
        indices=torch.tensor([[[0], [1]]]),
        weights=torch.tensor([[[1.0], [1.0]]]),
        targets=torch.tensor([[[0, -1, -1], [1, 1, -1]]]),
        density=torch.tensor([[1.0, 0.5]]),
        levels=torch.tensor([0]),
        areas=torch.ones(2),
    )
    features = torch.zeros(2, 9)
    features[0, 1] = 0.5  # sub-part of Gaussian 0: |1 − 0| + |0 − 0.5| = 1.5
    features[1, 4] = 1.0  # sub-part of Gaussian 1: 1, its part: 0
    loss = code_loss(features, samples, torch.tensor([0]), codes)
    assert loss.item() == pytest.approx((1.5 * 1 + 1.0 * 2 + 0.0 * 2) / (1 + 2 + 2))


def test_each_text_takes_the_level_of_the_highest_smoothed_peak():
    maps = np.zeros((3, 2, 80, 80), np.float32)
    maps[0, 0, 5, 5] = 1.0  # one bright pixel is no peak after smoothing
    maps[2, 0, 20:60, 20:60] = 0.6
    maps[1, 1, 20:60, 20:60] = 0.5
    maps[0, 1, 20:60, 20:60] = 0.4
    best = best_level(maps)
    np.testing.assert_array_equal(best[0], maps[2, 0])
    np.testing.assert_array_equal(best[1], maps[1, 1])
    assert lerf_ovs.smooth(best[0]).max() == pytest.approx(0.6)


# --- the autoencoder ---


def _embeddings() -> torch.Tensor:
    """Ten things seen eight times each, with a little noise. [80, 48]"""
    rng = torch.Generator().manual_seed(0)
    things = normalize(torch.randn(10, 48, generator=rng), dim=-1)
    return normalize(things.repeat(8, 1) + 0.02 * torch.randn(80, 48, generator=rng), dim=-1)


def test_embeddings_come_back():
    embeddings = _embeddings()
    net = train_autoencoder(embeddings, AUTOENCODER, 0, SILENT)
    codes = net.encode(embeddings)
    assert codes.shape == (80, 3)
    torch.testing.assert_close(codes.norm(dim=-1), torch.ones(80))
    decoded = net.decode(codes)
    torch.testing.assert_close(decoded.norm(dim=-1), torch.ones(80))
    assert (decoded * embeddings).sum(-1).min() > 0.95


def test_layers_are_those_of_the_paper():
    net = Autoencoder(512)
    shapes = [tuple(p.shape) for name, p in net.named_parameters() if name.endswith("weight")]
    wide = [512, 256, 128, 64, 32, 3, 16, 32, 64, 128, 256, 256, 512]
    assert shapes == [(b, a) for a, b in pairwise(wide)]


def test_the_same_seed_gives_the_same_codes():
    short = AutoencoderSettings(steps=5)
    first, again, other = (train_autoencoder(_embeddings(), short, seed, SILENT) for seed in (0, 0, 1))
    assert torch.equal(first.encode(_embeddings()), again.encode(_embeddings()))
    assert not torch.equal(first.encode(_embeddings()), other.encode(_embeddings()))
