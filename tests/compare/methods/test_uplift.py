"""Uplift against sums by hand, and on a toy scene."""

import numpy as np
import pytest
import torch
from tests.helpers.blobs import DIM, WORDS, ToyEncoder, make_scene, word_vector

from gags.compare.methods import uplift
from gags.compare.methods.learner import FIGURES, Inputs, bytes_per_gaussian, learnt_figures
from gags.compare.methods.uplift import Uplift, seen_masks
from gags.embed.description import Description
from gags.errors import WorkspaceError
from gags.progress import SILENT
from gags.render import blend_weights
from gags.segment.masks import Masks
from gags.store import save_tensors

LEARNER = Uplift()


@pytest.fixture(scope="module")
def scene():
    return make_scene(views=4)


@pytest.fixture(scope="module")
def learnt(scene, tmp_path_factory):
    path = tmp_path_factory.mktemp("uplift") / "language.safetensors"
    LEARNER.learn(Inputs(scene.gaussians, scene.items(noise=0.1), ToyEncoder()), 0, path, SILENT)
    return path


def test_weights_are_shared_alike_between_levels():
    indices = torch.tensor([[0, 1], [0, -1]])
    weights = torch.tensor([[0.6, 0.3], [0.8, 0.0]])
    labels = torch.tensor([[0, 1, -1], [-1, -1, 2]])
    expected = torch.tensor([[0.3, 0.3, 0.8], [0.15, 0.15, 0.0]])
    torch.testing.assert_close(seen_masks(indices, weights, labels, 2, slice(0, 3)), expected)
    torch.testing.assert_close(seen_masks(indices, weights, labels, 2, slice(1, 3)), expected[:, 1:])


def test_features_are_the_mean_over_all_pixels(scene, learnt, tmp_path, monkeypatch):
    """Against the definition, pixel by pixel."""
    g = scene.gaussians
    sums = np.zeros((len(g), DIM))
    for camera, features in scene.items(noise=0.1):
        labels = features.masks.labels.reshape(3, -1)
        pixels = torch.from_numpy(np.stack(np.divmod(np.arange(labels.shape[1]), camera.width)[::-1], -1))
        blend = blend_weights(g.means, g.quats, g.scales, g.opacities, camera, pixels)
        for p in np.flatnonzero((labels >= 0).any(0)):
            rows = labels[labels[:, p] >= 0, p]
            mean = features.embeddings[rows].astype(np.float64).mean(axis=0)
            for i, w in zip(blend.indices[p].tolist(), blend.weights[p].tolist(), strict=True):
                if i >= 0:
                    sums[i] += w * mean
    expected = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    np.testing.assert_allclose(
        LEARNER.load(learnt, Inputs(g, [], ToyEncoder())).features.numpy(), expected, atol=2e-3
    )
    monkeypatch.setattr(uplift, "PAIRS_AT_ONCE", 5 * len(g))  # masks in several goes, as in large scenes
    LEARNER.learn(Inputs(g, scene.items(noise=0.1), ToyEncoder()), 1, tmp_path / "again.safetensors", SILENT)
    again = LEARNER.load(tmp_path / "again.safetensors", Inputs(g, [], ToyEncoder()))
    np.testing.assert_allclose(again.features.numpy(), expected, atol=2e-3)


def test_words_are_found(scene, learnt):
    uplifted = LEARNER.load(learnt, Inputs(scene.gaussians, [], ToyEncoder()))
    words = torch.from_numpy(np.stack([word_vector(word) for word in WORDS])).float()
    assert ((uplifted.features @ words.T).argmax(1).numpy() == scene.owner).mean() > 0.9
    answer = uplifted.relevancy(scene.cameras[0], uplifted.prepare(WORDS, ToyEncoder()))
    for number, relevancy in enumerate(answer.maps):
        truth = scene.ids[0] == number
        assert relevancy[truth].mean() > relevancy[~truth & answer.covered].mean() + 0.3
    assert (answer.maps[:, ~answer.covered] == 0).all()


def test_gaussians_without_an_embedding_have_no_relevancy(scene):
    """They have the least there is, not 0.5, which would be above that of things unlike the text."""
    features = torch.from_numpy(np.stack([word_vector(WORDS[owner]) for owner in scene.owner])).float()
    features[torch.from_numpy(scene.owner) == 0] = 0
    uplifted = uplift.UpliftedFeatures(scene.gaussians, features, "toy")
    answer = uplifted.relevancy(scene.cameras[0], uplifted.prepare([WORDS[0]], ToyEncoder()))
    said = answer.maps[0][answer.covered]
    assert np.median(answer.maps[0][(scene.ids[0] == 0) & answer.covered]) == said.min() < 0.5


def test_whole_embeddings_are_kept(scene, learnt):
    assert bytes_per_gaussian(learnt, len(scene.gaussians)) == 2 * DIM


def test_a_damaged_file_is_an_error(scene, learnt, tmp_path):
    half = tmp_path / "half.safetensors"
    half.write_bytes(learnt.read_bytes()[:100])
    for read in (
        lambda: LEARNER.load(half, Inputs(scene.gaussians, [], ToyEncoder())),
        lambda: bytes_per_gaussian(half, 1),
    ):
        with pytest.raises(WorkspaceError, match=r"half\.safetensors is missing or damaged"):
            read()


def test_more_figures_are_read_from_the_file(learnt, tmp_path):
    assert learnt_figures(learnt) == {}  # it has none
    path = tmp_path / "more.safetensors"
    save_tensors(path, {"features": torch.zeros(1)}, {FIGURES: '{"cosine": 0.5}'})
    assert learnt_figures(path) == {"cosine": 0.5}
    for text in ("[1]", "{", '{"cosine": "high"}'):
        save_tensors(path, {"features": torch.zeros(1)}, {FIGURES: text})
        with pytest.raises(WorkspaceError, match=r"more\.safetensors is missing or damaged"):
            learnt_figures(path)


def test_without_a_mask_there_is_nothing_to_learn(scene):
    nothing = Masks(np.full((3, 8, 8), -1, np.int16), *(np.zeros(0, np.int8),) * 3)
    described = Description(nothing, np.zeros((0, DIM), np.float16), "toy")
    inputs = Inputs(scene.gaussians, [(scene.cameras[0], described)], ToyEncoder())
    with pytest.raises(WorkspaceError, match="no photo has a single mask"):
        inputs.embeddings()
    assert len(inputs.levels()) == 0
